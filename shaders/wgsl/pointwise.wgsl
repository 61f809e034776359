// Maps over n elements, whatever their shape.
#include "lib/flat.wgsl"
#include "lib/activation.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct PointwiseDims {
    n: u32, // elements of each tensor
}

@group(0) @binding(0) var<uniform> dims: PointwiseDims;

#entry pointwise_silu_fwd
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

// y = x / (1 + exp(-x))
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn pointwise_silu_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = silu(x[i]);
    }
}

#entry pointwise_silu_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(3) var<storage, read_write> gx: array<f32>; // [n]

// gx = g s (1 + x (1 - s)), s = sigmoid(x)
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn pointwise_silu_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        gx[i] = g[i] * silu_slope(x[i]);
    }
}

#entry pointwise_add
@group(0) @binding(1) var<storage, read> a: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [n]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [n]

// y = a + b
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn pointwise_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = a[i] + b[i];
    }
}

#entry pointwise_mul
@group(0) @binding(1) var<storage, read> a: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [n]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [n]

// y = a b
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn pointwise_mul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = a[i] * b[i];
    }
}

#entry pointwise_copy
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [n]

// y = x
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn pointwise_copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = x[i];
    }
}
