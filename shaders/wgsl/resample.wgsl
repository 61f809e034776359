// Sums and means over windows of an image [B, H, W, C], and the transpose, which spreads windows [B, H', W', C] to their pixels.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct ResampleDims {
    batch: u32, // B
    height: u32, // H
    width: u32, // W
    channels: u32, // C
    out_height: u32, // H': windows along the height
    out_width: u32, // W': windows along the width
    kernel_height: u32, // kh
    kernel_width: u32, // kw
    stride: u32, // pixels between windows
    top: u32, // rows of zeros above the image
    left: u32, // columns of zeros to the left of the image
    divide: u32, // 0: sums, 1: means over the kernel, 2: means over its pixels inside the image
}

@group(0) @binding(0) var<uniform> dims: ResampleDims;

#include "lib/windows.wgsl"

// The factor of the sum of window (r, q).
fn window_factor(r: u32, q: u32) -> f32 {
    if (dims.divide == 0u) {
        return 1.0;
    }
    if (dims.divide == 1u) {
        return 1.0 / f32(dims.kernel_height * dims.kernel_width);
    }
    let rows = inside(r, dims.top, dims.kernel_height, dims.height);
    let columns = inside(q, dims.left, dims.kernel_width, dims.width);
    return 1.0 / f32((rows.y - rows.x) * (columns.y - columns.x));
}

#entry resample_pool
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, H, W, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, H', W', C]

// y[b, r, q, c] = factor(r, q) sum of x[b, h, w, c] over the pixels (h, w) of window (r, q)
// Work: one invocation per element of y, which adds its pixels in order.
@compute @workgroup_size(LANES)
fn resample_pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let c = i % dims.channels;
    let q = i / dims.channels % dims.out_width;
    let line = i / dims.channels / dims.out_width;
    let r = line % dims.out_height;
    let b = line / dims.out_height;
    if (b >= dims.batch) {
        return;
    }
    let rows = inside(r, dims.top, dims.kernel_height, dims.height);
    let columns = inside(q, dims.left, dims.kernel_width, dims.width);
    var sum = 0.0;
    for (var h = rows.x; h < rows.y; h++) {
        for (var w = columns.x; w < columns.y; w++) {
            sum += x[((b * dims.height + h) * dims.width + w) * dims.channels + c];
        }
    }
    y[i] = window_factor(r, q) * sum;
}

#entry resample_spread
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, H', W', C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, H, W, C]

// y[b, h, w, c] = sum of factor(r, q) x[b, r, q, c] over the windows (r, q) that contain pixel (h, w)
// Work: one invocation per element of y, which adds its windows in order.
@compute @workgroup_size(LANES)
fn resample_spread(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let c = i % dims.channels;
    let w = i / dims.channels % dims.width;
    let line = i / dims.channels / dims.width;
    let h = line % dims.height;
    let b = line / dims.height;
    if (b >= dims.batch) {
        return;
    }
    let rows = around(h, dims.top, dims.kernel_height, dims.out_height);
    let columns = around(w, dims.left, dims.kernel_width, dims.out_width);
    var sum = 0.0;
    for (var r = rows.x; r < rows.y; r++) {
        for (var q = columns.x; q < columns.y; q++) {
            sum += window_factor(r, q) * x[((b * dims.out_height + r) * dims.out_width + q) * dims.channels + c];
        }
    }
    y[i] = sum;
}
