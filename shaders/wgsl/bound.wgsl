// Terms of the variational bound of discrete diffusion.
#params LEARNED
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const SLOPE: f32 = 1.5957691216057308;
const CUBIC: f32 = 0.044715;
const HALF_LEVEL: f32 = 0.00392156862745098;
const LEAST_LOG: f32 = -27.631021115928547;

struct BoundDims {
    batch: u32, // B
    per: u32, // elements of one sample
}

@group(0) @binding(0) var<uniform> dims: BoundDims;

fn bounded_exp(x: f32) -> f32 {
    return exp(clamp(x, -87.3, 88.7));
}

// 1/6 - z/24 + z^2/120 - z^3/720 + z^4/5040 - z^5/40320
fn sixth(z: f32) -> f32 {
    let tail = 0.001388888888888889 - z * (0.0001984126984126984 - z * 0.0000248015873015873);
    return 0.16666666666666666 - z * (0.041666666666666664 - z * (0.008333333333333333 - z * tail));
}

fn log_sigmoid(x: f32) -> f32 {
    return min(x, 0.0) - log(1.0 + bounded_exp(-abs(x)));
}

fn logistic(x: f32) -> f32 {
    return 1.0 / (1.0 + bounded_exp(-x));
}

// KL of two normal distributions whose means are d apart: its value, by the residual, by the log variance.
fn divergence(d: f32, log_var: f32, z: f32, k: f32) -> vec3<f32> {
    let inverse_var = bounded_exp(-log_var);
    let square = d * d * inverse_var;
    let e = bounded_exp(-z);
    let small = abs(z) < 0.5;
    let phi = select(e - 1.0 + z, z * z * (0.5 - z * sixth(z)), small);
    let slope = select(1.0 - e, z * (1.0 - z * (0.5 - z * sixth(z))), small);
    return vec3<f32>(0.5 * (phi + square), k * d * inverse_var, 0.5 * (slope - square));
}

// -ln of the probability of the level of x1, with a mean d above it.
fn decoder(d: f32, x1: f32, log_var: f32, k: f32) -> vec3<f32> {
    let s = bounded_exp(-0.5 * log_var);
    let p = clamp(s * (HALF_LEVEL - d), -1e6, 1e6);
    let q = clamp(s * (-HALF_LEVEL - d), -1e6, 1e6);
    let a = SLOPE * (p + CUBIC * p * p * p);
    let b = SLOPE * (q + CUBIC * q * q * q);
    let rise_p = SLOPE * (1.0 + 3.0 * CUBIC * p * p);
    let rise_q = SLOPE * (1.0 + 3.0 * CUBIC * q * q);
    // Each by the image less the mean, and by the log variance.
    let below = logistic(-a) * vec2<f32>(s * rise_p, -0.5 * p * rise_p);
    let above = -logistic(b) * vec2<f32>(s * rise_q, -0.5 * q * rise_q);
    var value = log_sigmoid(a);
    var by = below;
    if (x1 > 0.999) {
        value = log_sigmoid(-b);
        by = above;
    } else if (x1 >= -0.999) {
        // sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)), with a - b and its derivatives as products.
        let width = s * 2.0 * HALF_LEVEL;
        let squares = p * p + p * q + q * q;
        let gap = SLOPE * width * (1.0 + CUBIC * squares);
        let gap_by = SLOPE * width * vec2<f32>(
            s * 3.0 * CUBIC * (p + q),
            -0.5 * (1.0 + 3.0 * CUBIC * squares),
        );
        let lost = select(
            1.0 - bounded_exp(-gap),
            gap * (1.0 - gap * (0.5 - gap * sixth(gap))),
            gap < 0.5,
        );
        value = log_sigmoid(a) + log_sigmoid(-b) + log(lost);
        by = below + above + (1.0 - lost) / lost * gap_by;
    }
    if (value < LEAST_LOG) {
        return vec3<f32>(-LEAST_LOG, 0.0, 0.0);
    }
    return vec3<f32>(-value, k * by.x, -by.y);
}

// The term of element i of a sample, whose row of coef begins here; `v` is the output for its variance.
fn term_of(i: u32, row: u32, v: f32) -> vec3<f32> {
    let k = coef[row + 2u];
    let r = out[i] + coef[row] * x0[i] + coef[row + 1u] * x1[i];
    let z = coef[row + 3u] + coef[row + 4u] * v;
    if (coef[row + 7u] > 0.5) {
        return decoder(k * r, x1[i], coef[row + 5u] + z, k);
    }
    return divergence(k * r, coef[row + 5u] + z, z, k);
}

#entry bound_fwd LEARNED=0
#entry bound_fwd_learned LEARNED=1
#include "lib/reduce.wgsl" LANES=64
const TILE_X: u32 = 1u;

@group(0) @binding(1) var<storage, read> coef: array<f32>; // [B, 8]
@group(0) @binding(2) var<storage, read> out: array<f32>; // [B, per]
@group(0) @binding(3) var<storage, read> x0: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read> x1: array<f32>; // [B, per]
@group(0) @binding(5) var<storage, read_write> per_sample: array<f32>; // [B]
#if LEARNED == 1
@group(0) @binding(6) var<storage, read> all: array<f32>; // [B, 2, per]
#end

// per_sample = coef_6 / ln 2 mean(term)
// Work: one workgroup per sample.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sample = flat_group(group, groups);
    if (sample >= dims.batch) {
        return;
    }
    let base = sample * dims.per;
    let row = 8u * sample;
    var sum = 0.0;
    for (var j = lane; j < dims.per; j += LANES) {
        let i = base + j;
#if LEARNED == 1
        sum += term_of(i, row, all[i + base + dims.per]).x;
#end
#if LEARNED == 0
        sum += term_of(i, row, 0.0).x;
#end
    }
    let total = wg_sum(lane, sum);
    if (lane == 0u) {
        per_sample[sample] = coef[row + 6u] * 1.4426950408889634 * total / f32(dims.per);
    }
}

#entry bound_bwd LEARNED=0
#entry bound_bwd_learned LEARNED=1
const TILE_X: u32 = 64u;

@group(0) @binding(1) var<storage, read> g: array<f32>; // [B]
@group(0) @binding(2) var<storage, read> coef: array<f32>; // [B, 8]
@group(0) @binding(3) var<storage, read> out: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read> x0: array<f32>; // [B, per]
@group(0) @binding(5) var<storage, read> x1: array<f32>; // [B, per]
@group(0) @binding(6) var<storage, read_write> gout: array<f32>; // [B, per]
#if LEARNED == 1
@group(0) @binding(7) var<storage, read> all: array<f32>; // [B, 2, per]
#end

// gout = g coef_6 / (ln 2 per) d term / d out
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / dims.per;
    if (sample >= dims.batch) {
        return;
    }
    let row = 8u * sample;
#if LEARNED == 1
    let by = term_of(i, row, all[i + (sample + 1u) * dims.per]).y;
#end
#if LEARNED == 0
    let by = term_of(i, row, 0.0).y;
#end
    gout[i] = g[sample] * coef[row + 6u] * 1.4426950408889634 / f32(dims.per) * by;
}

#entry bound_bwd_all LEARNED=1
const TILE_X: u32 = 64u;

@group(0) @binding(1) var<storage, read> g: array<f32>; // [B]
@group(0) @binding(2) var<storage, read> coef: array<f32>; // [B, 8]
@group(0) @binding(3) var<storage, read> out: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read> x0: array<f32>; // [B, per]
@group(0) @binding(5) var<storage, read> x1: array<f32>; // [B, per]
@group(0) @binding(6) var<storage, read> all: array<f32>; // [B, 2, per]
@group(0) @binding(7) var<storage, read_write> gall: array<f32>; // [B, 2, per]

// gall = 0 in the first half, g coef_6 coef_4 / (ln 2 per) d term / d log variance in the second
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn bound_bwd_all(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = flat_group(group, groups) * LANES + lane;
    let sample = at / (2u * dims.per);
    if (sample >= dims.batch) {
        return;
    }
    let j = at - sample * 2u * dims.per;
    if (j < dims.per) {
        gall[at] = 0.0;
        return;
    }
    let i = sample * dims.per + j - dims.per;
    let row = 8u * sample;
    let by = term_of(i, row, all[at]).z;
    gall[at] = g[sample] * coef[row + 6u] * coef[row + 4u] * 1.4426950408889634 / f32(dims.per) * by;
}
