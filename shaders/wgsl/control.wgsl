// What an adaptive solver does per sample: it takes or rejects a step, and measures the step's error.
#include "lib/flat.wgsl"

#entry control_select
const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct ControlSelectDims {
    n: u32, // B per
    per: u32, // elements of one sample
}

@group(0) @binding(0) var<uniform> dims: ControlSelectDims;
@group(0) @binding(1) var<storage, read> taken: array<f32>; // [B]
@group(0) @binding(2) var<storage, read> old: array<f32>; // [B, per]
@group(0) @binding(3) var<storage, read> next: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, per]

// y = next where taken is not 0, else old; what is not taken may be NaN
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn control_select(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    if (taken[i / dims.per] != 0.0) {
        y[i] = next[i];
    } else {
        y[i] = old[i];
    }
}

#entry control_error
#include "lib/reduce.wgsl" LANES=64
const LANES: u32 = 64u;
const TILE_X: u32 = 1u;

struct ControlErrorDims {
    batch: u32, // B
    per: u32, // elements of one sample
}

@group(0) @binding(0) var<uniform> dims: ControlErrorDims;
@group(0) @binding(1) var<storage, read> error: array<f32>; // [B, per]
@group(0) @binding(2) var<storage, read> x0: array<f32>; // [B, per]
@group(0) @binding(3) var<storage, read> x1: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read> tolerance: array<f32>; // [2]
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [B]

// y = mean((error / (tolerance_0 + tolerance_1 max(|x0|, |x1|)))^2)
// Work: one workgroup per sample.
@compute @workgroup_size(LANES)
fn control_error(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sample = flat_group(group, groups);
    if (sample >= dims.batch) {
        return;
    }
    let base = sample * dims.per;
    var squares = 0.0;
    for (var i = lane; i < dims.per; i += LANES) {
        let size = max(abs(x0[base + i]), abs(x1[base + i]));
        let r = error[base + i] / (tolerance[0] + tolerance[1] * size);
        squares += r * r;
    }
    let total = wg_sum(lane, squares);
    if (lane == 0u) {
        y[sample] = total / f32(dims.per);
    }
}
