// A step of discrete diffusion: the predicted image is clamped, and the size of the noise may be an output of the network.
#params NOISY LEARNED
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct AncestralDims {
    n: u32, // B per
    per: u32, // elements of one sample
}

@group(0) @binding(0) var<uniform> dims: AncestralDims;

#entry ancestral_plain NOISY=0 LEARNED=0
#entry ancestral_noisy NOISY=1 LEARNED=0
#entry ancestral_learned NOISY=1 LEARNED=1
@group(0) @binding(1) var<storage, read> coef: array<f32>; // [B, 8]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, per]
@group(0) @binding(3) var<storage, read> out: array<f32>; // [B, per]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [B, per]
#if NOISY == 1
@group(0) @binding(5) var<storage, read> noise: array<f32>; // [B, per]
#end
#if LEARNED == 1
@group(0) @binding(6) var<storage, read> all: array<f32>; // [B, 2, per]
#end

// y = c_3 x + c_4 clamp(c_0 x + c_1 out, -c_2, c_2) + c_5 exp(c_6 + c_7 v) noise, v the second half of all; c the row of coef
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
    let b = i / dims.per;
    let row = 8u * b;
    let clip = coef[row + 2u];
    let raw = coef[row] * x[i] + coef[row + 1u] * out[i];
    // min and max may drop a NaN, which must be seen; a compiler may drop raw != raw.
    let is_nan = (bitcast<u32>(raw) & 0x7fffffffu) > 0x7f800000u;
    let data = select(min(max(raw, -clip), clip), raw, is_nan);
    var sum = coef[row + 3u] * x[i] + coef[row + 4u] * data;
#if NOISY == 1
    if (coef[row + 5u] != 0.0) {
#if LEARNED == 1
        let log_std = coef[row + 6u] + coef[row + 7u] * all[i + (b + 1u) * dims.per];
#end
#if LEARNED == 0
        let log_std = coef[row + 6u];
#end
        sum += coef[row + 5u] * exp(log_std) * noise[i];
    }
#end
    y[i] = sum;
}
