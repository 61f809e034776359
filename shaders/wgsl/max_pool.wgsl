// The largest values of windows of an image [B, H, W, C], and their gradient. Pixels outside the image do not count.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct MaxPoolDims {
    batch: u32, // B
    height: u32, // H
    width: u32, // W
    channels: u32, // C
    out_height: u32, // H': windows along the height
    out_width: u32, // W': windows along the width
    kernel_height: u32, // kh
    kernel_width: u32, // kw
    stride: u32, // pixels between windows
    top: u32, // rows above the image
    left: u32, // columns to the left of the image
}

@group(0) @binding(0) var<uniform> dims: MaxPoolDims;

#include "lib/windows.wgsl"

#entry max_pool_fwd
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, H, W, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [B, H', W', C]

// y[b, r, q, c] = max of x[b, h, w, c] over the pixels (h, w) of window (r, q)
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn max_pool_fwd(
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
    var largest = x[((b * dims.height + rows.x) * dims.width + columns.x) * dims.channels + c];
    for (var h = rows.x; h < rows.y; h++) {
        for (var w = columns.x; w < columns.y; w++) {
            largest = max(largest, x[((b * dims.height + h) * dims.width + w) * dims.channels + c]);
        }
    }
    y[i] = largest;
}

#entry max_pool_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, H', W', C]
@group(0) @binding(2) var<storage, read> x: array<f32>; // [B, H, W, C]
@group(0) @binding(3) var<storage, read_write> gx: array<f32>; // [B, H, W, C]

// The first pixel with the largest value of window (r, q), as h W + w.
fn first_largest(b: u32, r: u32, q: u32, c: u32) -> u32 {
    let rows = inside(r, dims.top, dims.kernel_height, dims.height);
    let columns = inside(q, dims.left, dims.kernel_width, dims.width);
    let image = b * dims.height * dims.width;
    var at = rows.x * dims.width + columns.x;
    for (var h = rows.x; h < rows.y; h++) {
        for (var w = columns.x; w < columns.y; w++) {
            let pixel = h * dims.width + w;
            if (x[(image + pixel) * dims.channels + c] > x[(image + at) * dims.channels + c]) {
                at = pixel;
            }
        }
    }
    return at;
}

// gx[b, h, w, c] = sum of g[b, r, q, c] over the windows (r, q) whose first largest value is at (h, w)
// Work: one invocation per element of gx, which adds its windows in order.
@compute @workgroup_size(LANES)
fn max_pool_bwd(
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
            if (first_largest(b, r, q, c) == h * dims.width + w) {
                sum += g[((b * dims.out_height + r) * dims.out_width + q) * dims.channels + c];
            }
        }
    }
    gx[i] = sum;
}
