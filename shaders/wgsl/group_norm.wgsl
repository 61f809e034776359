// Group normalization (biased variance) with a factor and a shift per sample and channel, optionally followed by SiLU.
#params SILU
#include "lib/flat.wgsl"
#include "lib/reduce.wgsl" LANES=128
#if SILU
#include "lib/activation.wgsl"
#end

const LANES: u32 = 128u;
const TILE_X: u32 = 1u;

struct GroupNormDims {
    batch: u32, // B
    pixels: u32, // P: pixels of an image
    channels: u32, // C
    groups: u32, // G: groups of C / G adjacent channels
    eps: f32, // added to the variance
}

@group(0) @binding(0) var<uniform> dims: GroupNormDims;

#entry group_norm_fwd SILU=0
#entry group_norm_silu SILU=1
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, P, C]
@group(0) @binding(2) var<storage, read> factor: array<f32>; // [B, C]
@group(0) @binding(3) var<storage, read> shift: array<f32>; // [B, C]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, P, C]
@group(0) @binding(5) var<storage, read_write> stats: array<f32>; // [B, G, 2]

#if SILU
// y = silu((x - mean) rstd factor + shift);
#else
// y = (x - mean) rstd factor + shift;
#end
// stats = mean, rstd = 1 / sqrt(mean((x - mean)^2) + eps), over the pixels and the channels of a group
// Work: one workgroup per (sample, group); the variance takes a second pass over the centered values, to avoid cancellation.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = flat_group(group, groups);
    if (at >= dims.batch * dims.groups) {
        return;
    }
    let width = dims.channels / dims.groups;
    let sample = at / dims.groups;
    // The first channel of the group, in [C] and in [B, C].
    let channel = (at % dims.groups) * width;
    let modulation = sample * dims.channels + channel;
    let base = sample * dims.pixels * dims.channels + channel;
    let n = dims.pixels * width;
    let inverse_n = 1.0 / f32(n);
    var sum = 0.0;
    for (var i = lane; i < n; i += LANES) {
        sum += x[base + (i / width) * dims.channels + i % width];
    }
    let mean = wg_sum(lane, sum) * inverse_n;
    var squares = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let centered = x[base + (i / width) * dims.channels + i % width] - mean;
        squares += centered * centered;
    }
    let rstd = 1.0 / sqrt(wg_sum(lane, squares) * inverse_n + dims.eps);
    for (var i = lane; i < n; i += LANES) {
        let c = i % width;
        let element = base + (i / width) * dims.channels + c;
        let u = (x[element] - mean) * rstd * factor[modulation + c] + shift[modulation + c];
#if SILU
        y[element] = silu(u);
#else
        y[element] = u;
#end
    }
    if (lane == 0u) {
        stats[2u * at] = mean;
        stats[2u * at + 1u] = rstd;
    }
}

#entry group_norm_bwd_mod SILU=0
#entry group_norm_silu_bwd_mod SILU=1
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, P, C]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, P, C]
@group(0) @binding(3) var<storage, read> stats: array<f32>; // [B, G, 2]
@group(0) @binding(4) var<storage, read_write> gfactor: array<f32>; // [B, C]
@group(0) @binding(5) var<storage, read_write> gshift: array<f32>; // [B, C]
#if SILU
@group(0) @binding(6) var<storage, read> factor: array<f32>; // [B, C]
@group(0) @binding(7) var<storage, read> shift: array<f32>; // [B, C]
#end

#if SILU
// gshift = sum of h, gfactor = sum of h (x - mean) rstd over the pixels, h = g silu'((x - mean) rstd factor + shift)
#else
// gshift = sum of g, gfactor = sum of g (x - mean) rstd over the pixels
#end
// Work: one workgroup per (sample, channel).
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = flat_group(group, groups);
    if (at >= dims.batch * dims.channels) {
        return;
    }
    let sample = at / dims.channels;
    let channel = at % dims.channels;
    let row = sample * dims.groups + channel / (dims.channels / dims.groups);
    let mean = stats[2u * row];
    let rstd = stats[2u * row + 1u];
    let base = sample * dims.pixels * dims.channels + channel;
    var sum = 0.0;
    var dot_sum = 0.0;
    for (var p = lane; p < dims.pixels; p += LANES) {
        let normal = (x[base + p * dims.channels] - mean) * rstd;
        var grad = g[base + p * dims.channels];
#if SILU
        grad *= silu_slope(normal * factor[at] + shift[at]);
#end
        sum += grad;
        dot_sum += grad * normal;
    }
    let all = wg_sum(lane, sum);
    let dot_all = wg_sum(lane, dot_sum);
    if (lane == 0u) {
        gshift[at] = all;
        gfactor[at] = dot_all;
    }
}

#entry group_norm_bwd_x SILU=0
#entry group_norm_silu_bwd_x SILU=1
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, P, C]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, P, C]
@group(0) @binding(3) var<storage, read> stats: array<f32>; // [B, G, 2]
@group(0) @binding(4) var<storage, read> factor: array<f32>; // [B, C]
@group(0) @binding(5) var<storage, read> gfactor: array<f32>; // [B, C]
@group(0) @binding(6) var<storage, read> gshift: array<f32>; // [B, C]
@group(0) @binding(7) var<storage, read_write> gx: array<f32>; // [B, P, C]
#if SILU
@group(0) @binding(8) var<storage, read> shift: array<f32>; // [B, C]
#end

// gx = rstd (h factor - mean(h factor) - xhat mean(h factor xhat)), xhat = (x - mean) rstd, with means over the group;
#if SILU
// h = g silu'(xhat factor + shift)
#else
// h = g
#end
// Work: one workgroup per (sample, group); the means come from the sums of its channels.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = flat_group(group, groups);
    if (at >= dims.batch * dims.groups) {
        return;
    }
    let width = dims.channels / dims.groups;
    let sample = at / dims.groups;
    let channel = (at % dims.groups) * width;
    let modulation = sample * dims.channels + channel;
    let base = sample * dims.pixels * dims.channels + channel;
    let n = dims.pixels * width;
    let mean = stats[2u * at];
    let rstd = stats[2u * at + 1u];
    var sum = 0.0;
    var dot_sum = 0.0;
    for (var c = lane; c < width; c += LANES) {
        sum += factor[modulation + c] * gshift[modulation + c];
        dot_sum += factor[modulation + c] * gfactor[modulation + c];
    }
    let mean_h = wg_sum(lane, sum) / f32(n);
    let mean_dot = wg_sum(lane, dot_sum) / f32(n);
    for (var i = lane; i < n; i += LANES) {
        let c = i % width;
        let element = base + (i / width) * dims.channels + c;
        let normal = (x[element] - mean) * rstd;
        var grad = g[element];
#if SILU
        grad *= silu_slope(normal * factor[modulation + c] + shift[modulation + c]);
#end
        gx[element] = rstd * (grad * factor[modulation + c] - mean_h - normal * mean_dot);
    }
}
