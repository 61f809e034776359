// Convolutions of images [B, H, W, C] with weights [O, kh, kw, C]: the tiled product of lib/product.wgsl, whose loads gather patches.
//
// Patch (b, r, q) has K = kh kw C values in the order (i, j, c). V4 handles 4 adjacent channels at once: C and O must then be
// multiples of 4. A window's result depends only on its image and on the variant, which C and O choose. RELU makes the negative values of
// the forward 0.
#params TILE REP V4 RELU
#if V4
alias Element = vec4<f32>;
// C and O must be multiples of it.
const MULTIPLE: u32 = 4u;
#else
alias Element = f32;
const MULTIPLE: u32 = 1u;
#end

struct ConvDims {
    batch: u32, // B: images
    height: u32, // H
    width: u32, // W
    channels: u32, // C
    out_height: u32, // H': windows along the height
    out_width: u32, // W': windows along the width
    outputs: u32, // O: channels of the result
    kernel_height: u32, // kh
    kernel_width: u32, // kw
    stride: u32, // pixels between windows
    top: u32, // rows of zeros above the image
    left: u32, // columns of zeros to the left of the image
    slice_rows: u32, // windows per slice of the gradient of w; there are S = ceil(B H' W' / slice_rows) slices
}

@group(0) @binding(0) var<uniform> dims: ConvDims;

#entry conv_fwd_64 TILE=64 REP=1 V4=1 RELU=0
#entry conv_fwd_32 TILE=32 REP=1 V4=0 RELU=0
#entry conv_relu_64 TILE=64 REP=1 V4=1 RELU=1
#entry conv_relu_32 TILE=32 REP=1 V4=0 RELU=1
@group(0) @binding(1) var<storage, read> x: array<Element>; // [B, H, W, C]
@group(0) @binding(2) var<storage, read> w: array<Element>; // [O, kh, kw, C]
@group(0) @binding(3) var<storage, read> b: array<Element>; // [O]
@group(0) @binding(4) var<storage, read_write> y: array<Element>; // [B, H', W', O]

#include "lib/conv_patch.wgsl"

fn finish(row: u32, column: u32, product: Element) {
#if RELU
    y[row * (dims.outputs / MULTIPLE) + column] = max(product + b[column], Element());
#else
    y[row * (dims.outputs / MULTIPLE) + column] = product + b[column];
#end
}

#include "lib/product.wgsl" TILE=TILE REP=REP V4=V4 LEFT=patch_value LEFT_CALL=1 LEFT_ALONG_INNER=1 RIGHT=w RIGHT_CALL=0 RIGHT_ALONG_INNER=1

#if RELU
// y[b, r, q, o] = max(b[o] + sum_ijc w[o, i, j, c] x[b, stride r + i - top, stride q + j - left, c], 0), x = 0 outside the image
#else
// y[b, r, q, o] = b[o] + sum_ijc w[o, i, j, c] x[b, stride r + i - top, stride q + j - left, c], 0 outside the image
#end
// Work: one workgroup per ${TILE} outputs (x) and ${TILE} windows (y).
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_begin = group.y * TILE_Y;
    let column_begin = group.x * TILE_X;
    let rows = dims.batch * dims.out_height * dims.out_width;
    let columns = dims.outputs;
    let inner_begin = 0u;
    let inner_end = dims.kernel_height * dims.kernel_width * dims.channels;
    let left_stride = 0u;
    let right_stride = inner_end;
#include "lib/product_loop.wgsl" TILE=TILE REP=REP SUMS=0
#include "lib/product_put.wgsl" REP=REP
}

#entry conv_bwd_x_64 TILE=64 REP=1 V4=1 RELU=0
#entry conv_bwd_x_32 TILE=32 REP=1 V4=0 RELU=0
@group(0) @binding(1) var<storage, read> g: array<Element>; // [B, H', W', O]
@group(0) @binding(2) var<storage, read> w: array<Element>; // [O, kh, kw, C]
@group(0) @binding(3) var<storage, read_write> gx: array<Element>; // [B, H, W, C]

// The gradient of the window that has pixel `row` at a tap; `inner` counts (i, j, o). 0 where there is no such window.
fn window(row: u32, inner: u32) -> Element {
    let tap = inner / dims.outputs;
    let column = row % dims.width;
    let line = row / dims.width;
    // Negative numbers become larger than any window.
    let r = line % dims.height + dims.top - tap / dims.kernel_width;
    let q = column + dims.left - tap % dims.kernel_width;
    let at = vec2(r, q) / dims.stride;
    if (at.x >= dims.out_height || at.y >= dims.out_width || r % dims.stride + q % dims.stride > 0u) {
        return Element();
    }
    let first = ((line / dims.height * dims.out_height + at.x) * dims.out_width + at.y) * dims.outputs;
    return g[(first + inner % dims.outputs) / MULTIPLE];
}

// The weight from channel `column` to (i, j, o).
fn weight(column: u32, inner: u32) -> Element {
    let taps = dims.kernel_height * dims.kernel_width;
    let row = inner % dims.outputs * taps + inner / dims.outputs;
    return w[(row * dims.channels + column) / MULTIPLE];
}

fn finish(row: u32, column: u32, product: Element) {
    gx[row * (dims.channels / MULTIPLE) + column] = product;
}

#include "lib/product.wgsl" TILE=TILE REP=REP V4=V4 LEFT=window LEFT_CALL=1 LEFT_ALONG_INNER=1 RIGHT=weight RIGHT_CALL=1 RIGHT_ALONG_INNER=0

// gx[b, h, w, c] = sum_ijo w[o, i, j, c] g[b, (h + top - i) / stride, (w + left - j) / stride, o] where both divide
// Work: one workgroup per ${TILE} channels (x) and ${TILE} pixels (y).
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_begin = group.y * TILE_Y;
    let column_begin = group.x * TILE_X;
    let rows = dims.batch * dims.height * dims.width;
    let columns = dims.channels;
    let inner_begin = 0u;
    let inner_end = dims.kernel_height * dims.kernel_width * dims.outputs;
    let left_stride = 0u;
    let right_stride = 0u;
#include "lib/product_loop.wgsl" TILE=TILE REP=REP SUMS=0
#include "lib/product_put.wgsl" REP=REP
}

#entry conv_bwd_w_64 TILE=64 REP=1 V4=1 RELU=0
#entry conv_bwd_w_32 TILE=32 REP=1 V4=0 RELU=0
@group(0) @binding(1) var<storage, read> g: array<Element>; // [B, H', W', O]
@group(0) @binding(2) var<storage, read> x: array<Element>; // [B, H, W, C]
@group(0) @binding(3) var<storage, read_write> gw: array<Element>; // [S, O, kh, kw, C]
@group(0) @binding(4) var<storage, read_write> gb: array<f32>; // [S, O]

#include "lib/conv_patch.wgsl"

// The product sums over windows, so that they are its inner index.
fn patch_of(inner: u32, row: u32) -> Element {
    return patch_value(row, inner);
}

// `row` is counted through all slices.
fn finish(row: u32, column: u32, product: Element) {
    gw[row * (dims.kernel_height * dims.kernel_width * dims.channels / MULTIPLE) + column] = product;
}

#include "lib/product.wgsl" TILE=TILE REP=REP V4=V4 LEFT=g LEFT_CALL=0 LEFT_ALONG_INNER=0 RIGHT=patch_of RIGHT_CALL=1 RIGHT_ALONG_INNER=0

// gw[s, o, i, j, c] = sum of g[b, r, q, o] x[b, stride r + i - top, stride q + j - left, c], gb[s, o] = sum of g[b, r, q, o], both
// over the windows (b, r, q) of slice s
// Work: one workgroup per ${TILE} taps and channels (x) and ${TILE} outputs (y) and slice (z); those at x = 0 own gb too.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_begin = group.y * TILE_Y;
    let column_begin = group.x * TILE_X;
    let rows = dims.outputs;
    let columns = dims.kernel_height * dims.kernel_width * dims.channels;
    let left_stride = dims.outputs;
    let right_stride = 0u;
    let inner_begin = group.z * dims.slice_rows;
    let inner_end = min(inner_begin + dims.slice_rows, dims.batch * dims.out_height * dims.out_width);
#include "lib/product_loop.wgsl" TILE=TILE REP=REP SUMS=1
#include "lib/product_put_slice.wgsl" REP=REP
}
