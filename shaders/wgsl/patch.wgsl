// Images to patch tokens and back. Token t = (r, q) of a G x G grid, row-major; G = I / p.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct PatchDims {
    batch: u32, // B
    channels: u32, // C of the image
    channels_out: u32, // channels of a joined token: C, or 2 C when half of them are dropped
    image_size: u32, // I: image height and width
    patch_size: u32, // p
}

@group(0) @binding(0) var<uniform> dims: PatchDims;

// A pixel, and the index of its token.
struct Pixel {
    sample: u32,
    channel: u32,
    row: u32,
    column: u32,
    token: u32,
}

// From the flat index in [B, C, I, I].
fn pixel(i: u32) -> Pixel {
    let column = i % dims.image_size;
    let row = (i / dims.image_size) % dims.image_size;
    let plane = i / (dims.image_size * dims.image_size);
    let sample = plane / dims.channels;
    let grid = dims.image_size / dims.patch_size;
    let token = (sample * grid + row / dims.patch_size) * grid + column / dims.patch_size;
    return Pixel(sample, plane % dims.channels, row, column, token);
}

// Index in [B, T, C p p]: channel, row, column, as a convolution's weight [D, C, p, p].
fn split_index(at: Pixel) -> u32 {
    return ((at.token * dims.channels + at.channel) * dims.patch_size + at.row % dims.patch_size) * dims.patch_size + at.column % dims.patch_size;
}

// Index in [B, T, p p Cout]: row, column, channel.
fn join_index(at: Pixel) -> u32 {
    return ((at.token * dims.patch_size + at.row % dims.patch_size) * dims.patch_size + at.column % dims.patch_size) * dims.channels_out + at.channel;
}

#entry patch_split_fwd
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, C, I, I]
@group(0) @binding(2) var<storage, read_write> tokens: array<f32>; // [B, T, C p p]

// tokens[b, (r, q), (c, i, j)] = x[b, c, r p + i, q p + j]
// Work: one invocation per pixel and channel.
@compute @workgroup_size(LANES)
fn patch_split_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let at = pixel(i);
    if (at.sample < dims.batch) {
        tokens[split_index(at)] = x[i];
    }
}

#entry patch_split_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, C p p]
@group(0) @binding(2) var<storage, read_write> gx: array<f32>; // [B, C, I, I]

// gx[b, c, r p + i, q p + j] = g[b, (r, q), (c, i, j)]
// Work: one invocation per pixel and channel.
@compute @workgroup_size(LANES)
fn patch_split_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let at = pixel(i);
    if (at.sample < dims.batch) {
        gx[i] = g[split_index(at)];
    }
}

#entry patch_join_fwd
@group(0) @binding(1) var<storage, read> tokens: array<f32>; // [B, T, p p Cout]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, C, I, I]

// y[b, c, r p + i, q p + j] = tokens[b, (r, q), (i, j, c)]
// Work: one invocation per pixel and channel.
@compute @workgroup_size(LANES)
fn patch_join_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let at = pixel(i);
    if (at.sample < dims.batch) {
        y[i] = tokens[join_index(at)];
    }
}

#entry patch_join_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, C, I, I]
@group(0) @binding(2) var<storage, read_write> gtokens: array<f32>; // [B, T, p p Cout]

// gtokens[b, (r, q), (i, j, c)] = g[b, c, r p + i, q p + j]; the gradient of dropped channels is 0
// Work: one invocation per pixel and channel of the image; it also clears every dropped channel c + k C.
@compute @workgroup_size(LANES)
fn patch_join_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let at = pixel(i);
    if (at.sample >= dims.batch) {
        return;
    }
    let first = join_index(at);
    gtokens[first] = g[i];
    for (var dropped = dims.channels; at.channel + dropped < dims.channels_out; dropped += dims.channels) {
        gtokens[first + dropped] = 0.0;
    }
}
