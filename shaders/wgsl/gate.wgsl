// Backward of the gated residual y = res + gate branch, whose forward is fused into linear_gate.
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

struct GateDims {
    batch: u32, // B
    tokens: u32, // T
    dim: u32, // D
}

@group(0) @binding(0) var<uniform> dims: GateDims;

#entry gate_bwd_branch
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> gate: array<f32>; // [B, D]
@group(0) @binding(3) var<storage, read_write> gbranch: array<f32>; // [B, T, D]

// gbranch = gate g
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn gate_bwd_branch(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / (dims.tokens * dims.dim);
    if (sample < dims.batch) {
        gbranch[i] = gate[sample * dims.dim + i % dims.dim] * g[i];
    }
}

#entry gate_bwd_gate
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> branch: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read_write> ggate: array<f32>; // [B, D]

// ggate = sum_t g branch
// Work: one invocation per (sample, column), which adds its tokens in order.
@compute @workgroup_size(LANES)
fn gate_bwd_gate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.batch * dims.dim) {
        return;
    }
    let first = (i / dims.dim) * dims.tokens * dims.dim + i % dims.dim;
    var sum = 0.0;
    for (var t = 0u; t < dims.tokens; t++) {
        sum += g[first + t * dims.dim] * branch[first + t * dims.dim];
    }
    ggate[i] = sum;
}
