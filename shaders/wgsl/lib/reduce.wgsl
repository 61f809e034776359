#params LANES
// Every lane reads all partial sums in the same order: two barriers instead of a tree's log2(lanes), and equal bits in every lane.
var<workgroup> partial_sums: array<f32, ${LANES}>;

fn wg_sum(lane: u32, value: f32) -> f32 {
    partial_sums[lane] = value;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < ${LANES}u; i += 4u) {
        sum += (partial_sums[i] + partial_sums[i + 1u]) + (partial_sums[i + 2u] + partial_sums[i + 3u]);
    }
    workgroupBarrier();
    return sum;
}
