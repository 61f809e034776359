#params DIM
// Mean and 1 / sqrt(mean((x - mean)^2) + eps) of the row of x at `base`; the mean of the RMS norm counts as 0. A second pass over the
// centered row avoids cancellation.
fn wg_row_stats(lane: u32, base: u32) -> vec2<f32> {
    let inverse_dim = 1.0 / f32(${DIM});
    var mean = 0.0;
    if (dims.centered == 1u) {
        var sum = 0.0;
        for (var d = lane; d < ${DIM}; d += LANES) {
            sum += x[base + d];
        }
        mean = wg_sum(lane, sum) * inverse_dim;
    }
    var squares = 0.0;
    for (var d = lane; d < ${DIM}; d += LANES) {
        let centered = x[base + d] - mean;
        squares += centered * centered;
    }
    return vec2(mean, 1.0 / sqrt(wg_sum(lane, squares) * inverse_dim + dims.eps));
}
