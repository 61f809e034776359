// Classifier-free guidance: a batch of 2 B, the first half with labels, the second half with the null class.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

#entry guide_double
struct GuideDoubleDims {
    n: u32, // elements of x
}

@group(0) @binding(0) var<uniform> dims: GuideDoubleDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [2, n]

// y = [x, x]
// Work: one invocation per element of x.
@compute @workgroup_size(LANES)
fn guide_double(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = x[i];
        y[dims.n + i] = x[i];
    }
}

#entry guide_mix
struct GuideMixDims {
    n: u32, // B C I I
    channels: u32, // C
    plane: u32, // I I
    guided: u32, // channels that are guided, the first ones
}

@group(0) @binding(0) var<uniform> dims: GuideMixDims;
@group(0) @binding(1) var<storage, read> out: array<f32>; // [2 B, C, I, I]
@group(0) @binding(2) var<storage, read> scale: array<f32>; // [B]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, C, I, I]

// y = u + scale (c - u) in guided channels, c in the others; c the first half of out, u the second
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn guide_mix(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    let c = out[i];
    let u = out[dims.n + i];
    let plane = i / dims.plane;
    let by = scale[plane / dims.channels];
    y[i] = select(c, u + by * (c - u), plane % dims.channels < dims.guided);
}
