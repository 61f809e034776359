// Rows of a table by index, and the gradient of the table.
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

struct GatherDims {
    count: u32, // M: indices
    rows: u32, // N: rows of the table
    dim: u32, // D: elements of a row
}

@group(0) @binding(0) var<uniform> dims: GatherDims;

#entry gather_fwd
@group(0) @binding(1) var<storage, read> table: array<f32>; // [N, D]
@group(0) @binding(2) var<storage, read> index: array<u32>; // [M]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [M, D]

// y = table[index]; an index out of range reads the last row
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn gather_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let at = i / dims.dim;
    if (at < dims.count) {
        y[i] = table[min(index[at], dims.rows - 1u) * dims.dim + i % dims.dim];
    }
}

#entry gather_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [M, D]
@group(0) @binding(2) var<storage, read> index: array<u32>; // [M]
@group(0) @binding(3) var<storage, read_write> gtable: array<f32>; // [N, D]

// gtable[r] = sum of g[m] over the m with index r
// Work: one invocation per (row, column), which adds the matching gradients in order.
@compute @workgroup_size(LANES)
fn gather_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let row = i / dims.dim;
    if (row >= dims.rows) {
        return;
    }
    var sum = 0.0;
    for (var at = 0u; at < dims.count; at++) {
        if (min(index[at], dims.rows - 1u) == row) {
            sum += g[at * dims.dim + i % dims.dim];
        }
    }
    gtable[i] = sum;
}
