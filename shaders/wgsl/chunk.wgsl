// Splits a [B, n D] tensor into n tensors [B, D], and joins them: the conditioning of adaLN.
#params PARTS
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

struct ChunkDims {
    batch: u32, // B
    dim: u32, // D: columns of one chunk
}

@group(0) @binding(0) var<uniform> dims: ChunkDims;

#entry chunk_split2 PARTS=2
#entry chunk_split4 PARTS=4
#entry chunk_split6 PARTS=6
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, ${PARTS} D]
#for part in 0..PARTS
@group(0) @binding(${part + 2}) var<storage, read_write> y${part}: array<f32>; // [B, D]
#end

// y_k = x[:, k D .. (k + 1) D]
// Work: one invocation per (sample, column), which writes all ${PARTS} chunks.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / dims.dim;
    if (sample < dims.batch) {
        let first = sample * ${PARTS}u * dims.dim + i % dims.dim;
#for part in 0..PARTS
        y${part}[i] = x[first + ${part}u * dims.dim];
#end
    }
}

#entry chunk_join2 PARTS=2
#entry chunk_join4 PARTS=4
#entry chunk_join6 PARTS=6
#for part in 0..PARTS
@group(0) @binding(${part + 1}) var<storage, read> x${part}: array<f32>; // [B, D]
#end
@group(0) @binding(${PARTS + 1}) var<storage, read_write> y: array<f32>; // [B, ${PARTS} D]

// y[:, k D .. (k + 1) D] = x_k
// Work: one invocation per (sample, column), which reads all ${PARTS} chunks.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / dims.dim;
    if (sample < dims.batch) {
        let first = sample * ${PARTS}u * dims.dim + i % dims.dim;
#for part in 0..PARTS
        y[first + ${part}u * dims.dim] = x${part}[i];
#end
    }
}
