// Gradient norm, clipping, AdamW (PyTorch's order) and EMA over flat arenas padded with zeros.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;

// Marks a squared norm that is not finite: WGSL implementations need not preserve infinity and NaN.
const NOT_FINITE: f32 = -1.0;

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

#entry adamw_norm_part
#include "lib/reduce.wgsl" LANES=256

const TILE_X: u32 = 1u;

struct AdamwNormPartDims {
    n: u32, // elements of the segment
    parts: u32, // P: ranges of ceil(n / P) elements
}

@group(0) @binding(0) var<uniform> dims: AdamwNormPartDims;
@group(0) @binding(1) var<storage, read> grads: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> prev: array<f32>; // [P]
@group(0) @binding(3) var<storage, read_write> part: array<f32>; // [P]

// part = prev + sum of grads^2 over each range; -1 if a gradient is not finite, the sum overflows or prev is -1
// Work: one workgroup per part.
@compute @workgroup_size(LANES)
fn adamw_norm_part(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let p = flat_group(group, groups);
    if (p >= dims.parts) {
        return;
    }
    let len = (dims.n + dims.parts - 1u) / dims.parts;
    let end = min((p + 1u) * len, dims.n);
    var sum = 0.0;
    var bad = 0.0;
    for (var i = p * len + lane; i < end; i += LANES) {
        let grad = grads[i];
        bad += select(1.0, 0.0, is_finite(grad));
        sum += grad * grad;
    }
    let total = prev[p] + wg_sum(lane, sum);
    let any_bad = wg_sum(lane, bad);
    if (lane == 0u) {
        part[p] = select(NOT_FINITE, total, any_bad == 0.0 && prev[p] >= 0.0 && is_finite(total));
    }
}

#entry adamw_norm
#include "lib/reduce.wgsl" LANES=256

// A single workgroup covers everything.
const TILE_X: u32 = 0xffffffffu;

struct AdamwNormDims {
    parts: u32, // parts of all segments
}

@group(0) @binding(0) var<uniform> dims: AdamwNormDims;
@group(0) @binding(1) var<storage, read> part: array<f32>; // [P]
@group(0) @binding(2) var<storage, read_write> stats: array<f32>; // [2]

// stats = sqrt(sum_p part_p), flag; flag = 1 and norm = 0 if a part or the sum is not finite
// Work: one workgroup.
@compute @workgroup_size(LANES)
fn adamw_norm(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    var bad = 0.0;
    for (var p = lane; p < dims.parts; p += LANES) {
        bad += select(0.0, 1.0, part[p] < 0.0 || !is_finite(part[p]));
        sum += part[p];
    }
    let total = wg_sum(lane, sum);
    let any_bad = wg_sum(lane, bad);
    if (lane == 0u) {
        let good = any_bad == 0.0 && is_finite(total);
        stats[0] = sqrt(select(0.0, total, good));
        stats[1] = select(1.0, 0.0, good);
    }
}

#entry adamw_step
const TILE_X: u32 = 256u;

struct AdamwDims {
    n: u32, // elements of the segment
}

@group(0) @binding(0) var<uniform> dims: AdamwDims;
@group(0) @binding(1) var<storage, read> grads: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> stats: array<f32>; // [2]: norm, not-finite flag
@group(0) @binding(3) var<storage, read> hyper: array<f32>; // [9]: lr beta1 beta2 adam_eps weight_decay ema_decay c1 c2 clip
@group(0) @binding(4) var<storage, read_write> params: array<f32>; // [n]
@group(0) @binding(5) var<storage, read_write> m: array<f32>; // [n]
@group(0) @binding(6) var<storage, read_write> v: array<f32>; // [n]
@group(0) @binding(7) var<storage, read_write> ema: array<f32>; // [n]

// params = params (1 - lr weight_decay) - lr c1 m / (sqrt(c2 v) + adam_eps), m and v the moments of the clipped gradient;
// c1 = 1 / (1 - beta1^t), c2 = 1 / (1 - beta2^t); ema = ema_decay ema + (1 - ema_decay) params
// Work: one invocation per element; nothing changes if a gradient was not finite.
@compute @workgroup_size(LANES)
fn adamw_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n || stats[1] != 0.0) {
        return;
    }
    let lr = hyper[0];
    let beta1 = hyper[1];
    let beta2 = hyper[2];
    let ema_decay = hyper[5];
    let clip = hyper[8];
    // torch.nn.utils.clip_grad_norm_
    let clip_scale = select(1.0, min(1.0, clip / (stats[0] + 1e-6)), clip > 0.0);
    let grad = grads[i] * clip_scale;
    let m_new = beta1 * m[i] + (1.0 - beta1) * grad;
    let v_new = beta2 * v[i] + (1.0 - beta2) * grad * grad;
    let denominator = sqrt(v_new * hyper[7]) + hyper[3];
    let param = params[i] * (1.0 - lr * hyper[4]) - lr * (m_new * hyper[6]) / denominator;
    m[i] = m_new;
    v[i] = v_new;
    params[i] = param;
    ema[i] = ema_decay * ema[i] + (1.0 - ema_decay) * param;
}

#entry adamw_average
const TILE_X: u32 = 256u;

struct AdamwAverageDims {
    n: u32, // elements of the segment
    number: u32, // of the rate, below the K rates
}

@group(0) @binding(0) var<uniform> dims: AdamwAverageDims;
@group(0) @binding(1) var<storage, read> params: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> stats: array<f32>; // [2]: norm, not-finite flag
@group(0) @binding(3) var<storage, read> rates: array<f32>; // [K]: 1 - decay of each average
@group(0) @binding(4) var<storage, read_write> average: array<f32>; // [n]

// average = average + rate (params - average)
// Work: one invocation per element; nothing changes if a gradient was not finite.
@compute @workgroup_size(LANES)
fn adamw_average(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n && stats[1] == 0.0) {
        average[i] += rates[dims.number] * (params[i] - average[i]);
    }
}

#entry adamw_accumulate
const TILE_X: u32 = 256u;

struct AdamwDims {
    n: u32, // elements of the segment
}

@group(0) @binding(0) var<uniform> dims: AdamwDims;
@group(0) @binding(1) var<storage, read> grads: array<f32>; // [n]
@group(0) @binding(2) var<storage, read> keep: array<f32>; // [1]: 0 for the first micro-batch, which overwrites acc
@group(0) @binding(3) var<storage, read_write> acc: array<f32>; // [n]

// acc = acc + grads, or acc = grads when keep = 0
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn adamw_accumulate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        acc[i] = select(acc[i], 0.0, keep[0] == 0.0) + grads[i];
    }
}
