// Norm of each head of q and k, with learned weight and bias, in the packed rows [q | k | v]; v is copied (arXiv 2302.05442, section 2).
#include "lib/flat.wgsl"
#include "lib/reduce.wgsl" LANES=64

const LANES: u32 = 64u;

struct QkNormDims {
    rows: u32, // B T 3 H heads
    n_heads: u32, // H
    head_dim: u32, // hd
    tokens: u32, // T
    centered: u32, // 1 for the layer norm, 0 for the RMS norm, whose mean counts as 0
    eps: f32, // added to the variance or the mean square
}

@group(0) @binding(0) var<uniform> dims: QkNormDims;

#entry qk_norm_fwd
const TILE_X: u32 = 1u;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, T, 3 H hd]
@group(0) @binding(2) var<storage, read> weight: array<f32>; // [2, hd]
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [2, hd]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, T, 3 H hd]
@group(0) @binding(5) var<storage, read_write> stats: array<f32>; // [B, T, 3 H, 2]

#include "lib/row_stats.wgsl" DIM=dims.head_dim

// y = (x - mean) rstd weight + bias for the heads of q and k; stats = mean, rstd = 1 / sqrt(mean((x - mean)^2) + eps), and 0 for v
// Work: one workgroup per head of a token.
@compute @workgroup_size(LANES)
fn qk_norm_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(group, groups);
    if (row >= dims.rows) {
        return;
    }
    let base = row * dims.head_dim;
    let part = (row / dims.n_heads) % 3u;
    if (part == 2u) {
        for (var d = lane; d < dims.head_dim; d += LANES) {
            y[base + d] = x[base + d];
        }
        if (lane == 0u) {
            stats[2u * row] = 0.0;
            stats[2u * row + 1u] = 0.0;
        }
        return;
    }
    let of_head = wg_row_stats(lane, base);
    let mean = of_head.x;
    let rstd = of_head.y;
    let first = part * dims.head_dim;
    for (var d = lane; d < dims.head_dim; d += LANES) {
        y[base + d] = (x[base + d] - mean) * rstd * weight[first + d] + bias[first + d];
    }
    if (lane == 0u) {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = rstd;
    }
}

#entry qk_norm_bwd_x
const TILE_X: u32 = 1u;

@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, 3 H hd]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, T, 3 H hd]
@group(0) @binding(3) var<storage, read> stats: array<f32>; // [B, T, 3 H, 2]
@group(0) @binding(4) var<storage, read> weight: array<f32>; // [2, hd]
@group(0) @binding(5) var<storage, read_write> gx: array<f32>; // [B, T, 3 H hd]

// gx = rstd (h - mean(h) - xhat mean(h xhat)), h = g weight, xhat = (x - mean) rstd; mean(h) counts as 0 for the RMS norm
// Work: one workgroup per head of a token.
@compute @workgroup_size(LANES)
fn qk_norm_bwd_x(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(group, groups);
    if (row >= dims.rows) {
        return;
    }
    let base = row * dims.head_dim;
    let part = (row / dims.n_heads) % 3u;
    if (part == 2u) {
        for (var d = lane; d < dims.head_dim; d += LANES) {
            gx[base + d] = g[base + d];
        }
        return;
    }
    let first = part * dims.head_dim;
    let mean = stats[2u * row];
    let rstd = stats[2u * row + 1u];
    var sum = 0.0;
    var dot_sum = 0.0;
    for (var d = lane; d < dims.head_dim; d += LANES) {
        let h = g[base + d] * weight[first + d];
        sum += h;
        dot_sum += h * (x[base + d] - mean) * rstd;
    }
    let inverse_dim = 1.0 / f32(dims.head_dim);
    let mean_h = wg_sum(lane, sum * f32(dims.centered)) * inverse_dim;
    let mean_dot = wg_sum(lane, dot_sum) * inverse_dim;
    for (var d = lane; d < dims.head_dim; d += LANES) {
        let h = g[base + d] * weight[first + d];
        gx[base + d] = rstd * (h - mean_h - (x[base + d] - mean) * rstd * mean_dot);
    }
}

#entry qk_norm_bwd_weight
const TILE_X: u32 = 64u;

@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, 3 H hd]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, T, 3 H hd]
@group(0) @binding(3) var<storage, read> stats: array<f32>; // [B, T, 3 H, 2]
@group(0) @binding(4) var<storage, read_write> gweight: array<f32>; // [B, 2, hd]
@group(0) @binding(5) var<storage, read_write> gbias: array<f32>; // [B, 2, hd]

// gweight = sum over tokens and heads of g (x - mean) rstd, gbias = sum over them of g
// Work: one invocation per (sample, q or k, column), which adds its heads in order.
@compute @workgroup_size(LANES)
fn qk_norm_bwd_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let heads = 3u * dims.n_heads;
    let sample_rows = dims.tokens * heads;
    let sample = i / (2u * dims.head_dim);
    if (sample * sample_rows >= dims.rows) {
        return;
    }
    let part = (i / dims.head_dim) % 2u;
    let column = i % dims.head_dim;
    var sum = 0.0;
    var dot_sum = 0.0;
    for (var t = 0u; t < dims.tokens; t++) {
        for (var head = 0u; head < dims.n_heads; head++) {
            let row = sample * sample_rows + t * heads + part * dims.n_heads + head;
            let at = row * dims.head_dim + column;
            sum += g[at];
            dot_sum += g[at] * (x[at] - stats[2u * row]) * stats[2u * row + 1u];
        }
    }
    gweight[i] = dot_sum;
    gbias[i] = sum;
}
