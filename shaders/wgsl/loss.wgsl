// Weighted squared error of a linear combination, for every prediction target of SiT.
#include "lib/flat.wgsl"

const LANES: u32 = 64u;

#entry loss_fwd
#include "lib/reduce.wgsl" LANES=64

const TILE_X: u32 = 1u;

struct LossDims {
    batch: u32, // B
    per: u32, // elements of one sample
}

@group(0) @binding(0) var<uniform> dims: LossDims;
@group(0) @binding(1) var<storage, read> out: array<f32>; // [B, per]
@group(0) @binding(2) var<storage, read> x0: array<f32>; // [B, per]
@group(0) @binding(3) var<storage, read> x1: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read> coef: array<f32>; // [B, 4]
@group(0) @binding(5) var<storage, read_write> per_sample: array<f32>; // [B]

// per_sample = coef_0 mean(r^2), r = coef_1 out + coef_2 x0 + coef_3 x1
// Work: one workgroup per sample.
@compute @workgroup_size(LANES)
fn loss_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sample = flat_group(group, groups);
    if (sample >= dims.batch) {
        return;
    }
    let base = sample * dims.per;
    let weight = coef[4u * sample];
    let a = coef[4u * sample + 1u];
    let b = coef[4u * sample + 2u];
    let c = coef[4u * sample + 3u];
    var squares = 0.0;
    for (var i = lane; i < dims.per; i += LANES) {
        let r = a * out[base + i] + b * x0[base + i] + c * x1[base + i];
        squares += r * r;
    }
    let total = wg_sum(lane, squares);
    if (lane == 0u) {
        per_sample[sample] = weight * total / f32(dims.per);
    }
}

#entry loss_bwd
const TILE_X: u32 = 64u;

struct LossDims {
    batch: u32, // B
    per: u32, // elements of one sample
}

@group(0) @binding(0) var<uniform> dims: LossDims;
@group(0) @binding(1) var<storage, read> out: array<f32>; // [B, per]
@group(0) @binding(2) var<storage, read> x0: array<f32>; // [B, per]
@group(0) @binding(3) var<storage, read> x1: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read> coef: array<f32>; // [B, 4]
@group(0) @binding(5) var<storage, read> g: array<f32>; // [B]
@group(0) @binding(6) var<storage, read_write> gout: array<f32>; // [B, per]

// gout = g coef_0 (2 / per) r coef_1, r = coef_1 out + coef_2 x0 + coef_3 x1
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn loss_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / dims.per;
    if (sample >= dims.batch) {
        return;
    }
    let row = 4u * sample;
    let r = coef[row + 1u] * out[i] + coef[row + 2u] * x0[i] + coef[row + 3u] * x1[i];
    gout[i] = g[sample] * coef[row] * (2.0 / f32(dims.per)) * r * coef[row + 1u];
}

#entry loss_mean_fwd
#include "lib/reduce.wgsl" LANES=64

// A single workgroup covers everything.
const TILE_X: u32 = 0xffffffffu;

struct LossMeanDims {
    batch: u32, // B
}

@group(0) @binding(0) var<uniform> dims: LossMeanDims;
@group(0) @binding(1) var<storage, read> per_sample: array<f32>; // [B]
@group(0) @binding(2) var<storage, read_write> mean: array<f32>; // [1]

// mean = sum_b per_sample / B
// Work: one workgroup.
@compute @workgroup_size(LANES)
fn loss_mean_fwd(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var b = lane; b < dims.batch; b += LANES) {
        sum += per_sample[b];
    }
    let total = wg_sum(lane, sum);
    if (lane == 0u) {
        mean[0] = total / f32(dims.batch);
    }
}

#entry loss_mean_bwd
const TILE_X: u32 = 64u;

struct LossMeanDims {
    batch: u32, // B
}

@group(0) @binding(0) var<uniform> dims: LossMeanDims;
@group(0) @binding(1) var<storage, read> g: array<f32>; // [1]
@group(0) @binding(2) var<storage, read_write> gx: array<f32>; // [B]

// gx = g / B
// Work: one invocation per sample.
@compute @workgroup_size(LANES)
fn loss_mean_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.batch) {
        gx[i] = g[0] / f32(dims.batch);
    }
}
