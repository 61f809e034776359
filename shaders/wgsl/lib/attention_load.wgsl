#params NAME SOURCE DEPTH CHUNK
// Copies ${CHUNK} rows of ${SOURCE}, `stride` elements long, at dimensions `at` .. `at` + head_dim to `stage`.
fn ${NAME}(lane: u32, begin: u32, end: u32, at: u32, stride: u32) {
    for (var item = lane; item < ${CHUNK * DEPTH / 4}u; item += LANES) {
        let row = begin + item / ${DEPTH / 4}u;
        let d = (item % ${DEPTH / 4}u) * 4u;
        var value = vec4<f32>();
#for j in 0..4
        if (row < end && d + ${j}u < dims.head_dim) {
            value[${j}] = ${SOURCE}[row * stride + at + d + ${j}u];
        }
#end
        stage[item] = value;
    }
}
