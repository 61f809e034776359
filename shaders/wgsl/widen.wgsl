// Values of 16 bits, two in a word with the first one in the low half, as f32.
#include "lib/flat.wgsl"

const LANES: u32 = 64u;

struct WidenDims {
    n: u32, // values
}

@group(0) @binding(0) var<uniform> dims: WidenDims;

// The value of an f16 that is finite. WGSL's unpack2x16float needs a capability that not every adapter has.
fn half(bits: u32) -> f32 {
    let size = bits & 0x7fffu;
    let normal = bitcast<f32>((size << 13u) + 0x38000000u);
    let x = select(normal, f32(size) * 0x1p-24f, size < 0x400u);
    return select(x, -x, bits > 0x7fffu);
}

#entry widen_f16
@group(0) @binding(1) var<storage, read> x: array<u32>; // [(N + 1) / 2]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [N]

// y = x
// Work: one invocation per word.
@compute @workgroup_size(LANES)
fn widen_f16(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (2u * i >= dims.n) {
        return;
    }
    y[2u * i] = half(x[i] & 0xffffu);
    if (2u * i + 1u < dims.n) {
        y[2u * i + 1u] = half(x[i] >> 16u);
    }
}

#entry widen_bf16
@group(0) @binding(1) var<storage, read> x: array<u32>; // [(N + 1) / 2]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [N]

// y = x: a bfloat16 is the upper half of an f32
// Work: one invocation per word.
@compute @workgroup_size(LANES)
fn widen_bf16(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (2u * i >= dims.n) {
        return;
    }
    y[2u * i] = bitcast<f32>(x[i] << 16u);
    if (2u * i + 1u < dims.n) {
        y[2u * i + 1u] = bitcast<f32>(x[i] & 0xffff0000u);
    }
}
