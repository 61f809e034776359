// Linear combinations of tensors with per-sample coefficients: all of SiT's transport.
#params TERMS
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct LincombDims {
    n: u32, // B per
    per: u32, // elements of one sample
    term: u32, // index of the coefficient that the backward applies; the forward uses the first ones in order
}

@group(0) @binding(0) var<uniform> dims: LincombDims;

#entry lincomb_fwd1 TERMS=1
#entry lincomb_fwd2 TERMS=2
#entry lincomb_fwd3 TERMS=3
#entry lincomb_fwd4 TERMS=4
@group(0) @binding(1) var<storage, read> coef: array<f32>; // [B, 4]
#for k in 0..TERMS
@group(0) @binding(${k + 2}) var<storage, read> x${k}: array<f32>; // [B, per]
#end
@group(0) @binding(${TERMS + 2}) var<storage, read_write> y: array<f32>; // [B, per]

// y[b, :] = sum_k coef[b, k] x_k[b, :], ${TERMS} terms
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    let row = 4u * (i / dims.per);
    var sum = coef[row] * x0[i];
#for k in 1..TERMS
    sum += coef[row + ${k}u] * x${k}[i];
#end
    y[i] = sum;
}

#entry lincomb_bwd TERMS=1
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, per]
@group(0) @binding(2) var<storage, read> coef: array<f32>; // [B, 4]
@group(0) @binding(3) var<storage, read_write> gx: array<f32>; // [B, per]

// gx[b, :] = coef[b, term] g[b, :]
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn lincomb_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        gx[i] = coef[4u * (i / dims.per) + dims.term] * g[i];
    }
}
