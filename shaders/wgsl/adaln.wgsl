// Layer norm (biased variance) or RMS norm without affine parameters, modulated per sample: the adaLN of DiT, section 3.2.
#include "lib/flat.wgsl"
#include "lib/reduce.wgsl" LANES=64

const LANES: u32 = 64u;

struct AdalnDims {
    rows: u32, // B T
    tokens: u32, // T: rows that share one shift and scale
    dim: u32, // D
    centered: u32, // 1 for the layer norm, 0 for the RMS norm, whose mean counts as 0
    eps: f32, // added to the variance or the mean square
}

@group(0) @binding(0) var<uniform> dims: AdalnDims;

#entry adaln_fwd
const TILE_X: u32 = 1u;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> shift: array<f32>; // [B, D]
@group(0) @binding(3) var<storage, read> scale: array<f32>; // [B, D]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, T, D]
@group(0) @binding(5) var<storage, read_write> stats: array<f32>; // [B T, 2]

#include "lib/row_stats.wgsl" DIM=dims.dim

// y = (x - mean) rstd (1 + scale) + shift; stats = mean, rstd = 1 / sqrt(mean((x - mean)^2) + eps)
// Work: one workgroup per row.
@compute @workgroup_size(LANES)
fn adaln_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(group, groups);
    if (row >= dims.rows) {
        return;
    }
    let base = row * dims.dim;
    let of_row = wg_row_stats(lane, base);
    let mean = of_row.x;
    let rstd = of_row.y;
    let sample = (row / dims.tokens) * dims.dim;
    for (var d = lane; d < dims.dim; d += LANES) {
        y[base + d] = (x[base + d] - mean) * rstd * (1.0 + scale[sample + d]) + shift[sample + d];
    }
    if (lane == 0u) {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = rstd;
    }
}

#entry adaln_bwd_x
const TILE_X: u32 = 1u;

@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read> stats: array<f32>; // [B T, 2]
@group(0) @binding(4) var<storage, read> scale: array<f32>; // [B, D]
@group(0) @binding(5) var<storage, read_write> gx: array<f32>; // [B, T, D]

// gx = rstd (h - mean(h) - xhat mean(h xhat)), h = g (1 + scale), xhat = (x - mean) rstd; mean(h) counts as 0 for the RMS norm
// Work: one workgroup per row.
@compute @workgroup_size(LANES)
fn adaln_bwd_x(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(group, groups);
    if (row >= dims.rows) {
        return;
    }
    let base = row * dims.dim;
    let sample = (row / dims.tokens) * dims.dim;
    let mean = stats[2u * row];
    let rstd = stats[2u * row + 1u];
    var sum = 0.0;
    var dot_sum = 0.0;
    for (var d = lane; d < dims.dim; d += LANES) {
        let h = g[base + d] * (1.0 + scale[sample + d]);
        sum += h;
        dot_sum += h * (x[base + d] - mean) * rstd;
    }
    let inverse_dim = 1.0 / f32(dims.dim);
    let mean_h = wg_sum(lane, sum * f32(dims.centered)) * inverse_dim;
    let mean_dot = wg_sum(lane, dot_sum) * inverse_dim;
    for (var d = lane; d < dims.dim; d += LANES) {
        let h = g[base + d] * (1.0 + scale[sample + d]);
        gx[base + d] = rstd * (h - mean_h - (x[base + d] - mean) * rstd * mean_dot);
    }
}

#entry adaln_bwd_mod
const TILE_X: u32 = 64u;

@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read> stats: array<f32>; // [B T, 2]
@group(0) @binding(4) var<storage, read_write> gshift: array<f32>; // [B, D]
@group(0) @binding(5) var<storage, read_write> gscale: array<f32>; // [B, D]

// gshift = sum_t g, gscale = sum_t g (x - mean) rstd
// Work: one invocation per (sample, column), which adds its tokens in order.
@compute @workgroup_size(LANES)
fn adaln_bwd_mod(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= (dims.rows / dims.tokens) * dims.dim) {
        return;
    }
    let first_row = (i / dims.dim) * dims.tokens;
    let column = i % dims.dim;
    var sum = 0.0;
    var dot_sum = 0.0;
    for (var t = 0u; t < dims.tokens; t++) {
        let row = first_row + t;
        let grad = g[row * dims.dim + column];
        sum += grad;
        dot_sum += grad * (x[row * dims.dim + column] - stats[2u * row]) * stats[2u * row + 1u];
    }
    gshift[i] = sum;
    gscale[i] = dot_sum;
}
