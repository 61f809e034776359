// SwiGLU, the gated activation of an MLP (Shazeer 2020, arXiv 2002.05202): y = silu(a) b, where a and b are the halves of each row.
#include "lib/flat.wgsl"
#include "lib/activation.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct SwigluDims {
    n: u32, // elements of y
    width: u32, // H: elements of a row of y
}

@group(0) @binding(0) var<uniform> dims: SwigluDims;

#entry swiglu_fwd
@group(0) @binding(1) var<storage, read> ab: array<f32>; // [rows, 2 H]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows, H]

// y = silu(a) b
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn swiglu_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    let at = (i / dims.width) * 2u * dims.width + i % dims.width;
    y[i] = silu(ab[at]) * ab[at + dims.width];
}

#entry swiglu_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [rows, H]
@group(0) @binding(2) var<storage, read> ab: array<f32>; // [rows, 2 H]
@group(0) @binding(3) var<storage, read_write> gab: array<f32>; // [rows, 2 H]

// ga = g b silu'(a), gb = g silu(a)
// Work: one invocation per element of g.
@compute @workgroup_size(LANES)
fn swiglu_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    let at = (i / dims.width) * 2u * dims.width + i % dims.width;
    gab[at] = g[i] * ab[at + dims.width] * silu_slope(ab[at]);
    gab[at + dims.width] = g[i] * silu(ab[at]);
}
