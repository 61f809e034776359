// Matrix products with PyTorch's [out, in] weights: one tiled product in three layouts, with fused epilogues.
//
// A workgroup computes a TILE x TILE block in steps of 16 inner indices; an invocation computes REP x REP blocks of 4 x 4.
// V4 reads and writes 4 adjacent elements at once: N and K must then be multiples of 4.
// A row of the forward depends only on that row and on the variant: choose the variant by N and K, never by M.
// Forward: FUSE 0: bias, 1: bias and GELU, 2: bias and gated residual; SAVE also writes what the backward needs. Backward: FUSE 0:
// nothing, 1: multiplication by a factor.
#params TILE REP V4 FUSE SAVE
#if V4
alias Element = vec4<f32>;
// N and K must be multiples of it.
const MULTIPLE: u32 = 4u;
#else
alias Element = f32;
const MULTIPLE: u32 = 1u;
#end

#entry linear_fwd_64 TILE=64 REP=1 V4=1 FUSE=0 SAVE=0
#entry linear_fwd_32 TILE=32 REP=1 V4=0 FUSE=0 SAVE=0
#entry linear_gelu_64 TILE=64 REP=1 V4=1 FUSE=1 SAVE=0
#entry linear_gelu_32 TILE=32 REP=1 V4=0 FUSE=1 SAVE=0
#entry linear_gelu_save_64 TILE=64 REP=1 V4=1 FUSE=1 SAVE=1
#entry linear_gelu_save_32 TILE=32 REP=1 V4=0 FUSE=1 SAVE=1
#entry linear_gate_64 TILE=64 REP=1 V4=1 FUSE=2 SAVE=0
#entry linear_gate_32 TILE=32 REP=1 V4=0 FUSE=2 SAVE=0
#entry linear_gate_save_64 TILE=64 REP=1 V4=1 FUSE=2 SAVE=1
#entry linear_gate_save_32 TILE=32 REP=1 V4=0 FUSE=2 SAVE=1
#if FUSE == 2
struct LinearGateDims {
    m: u32, // M: rows of x
    n: u32, // N: outputs
    k: u32, // K: inputs
    tokens: u32, // T: rows that share one row of the gate
}

@group(0) @binding(0) var<uniform> dims: LinearGateDims;
#else
struct LinearDims {
    m: u32, // M: rows of x
    n: u32, // N: outputs
    k: u32, // K: inputs
}

@group(0) @binding(0) var<uniform> dims: LinearDims;
#end
@group(0) @binding(1) var<storage, read> x: array<Element>; // [M, K]
@group(0) @binding(2) var<storage, read> w: array<Element>; // [N, K]
@group(0) @binding(3) var<storage, read> b: array<Element>; // [N]
@group(0) @binding(4) var<storage, read_write> y: array<Element>; // [M, N]
#if FUSE == 1
#if SAVE
@group(0) @binding(5) var<storage, read_write> slope: array<Element>; // [M, N]
#end

#include "lib/activation.wgsl"
#end
#if FUSE == 2
@group(0) @binding(5) var<storage, read> res: array<Element>; // [M, N]
@group(0) @binding(6) var<storage, read> gate: array<Element>; // [M / T, N]
#if SAVE
@group(0) @binding(7) var<storage, read_write> branch: array<Element>; // [M, N]
#end
#end

fn finish(row: u32, column: u32, product: Element) {
    let at = row * (dims.n / MULTIPLE) + column;
    let value = product + b[column];
#if FUSE == 0
    y[at] = value;
#end
#if FUSE == 1
#if V4
    y[at] = vec4(gelu(value.x), gelu(value.y), gelu(value.z), gelu(value.w));
#if SAVE
    slope[at] = vec4(gelu_slope(value.x), gelu_slope(value.y), gelu_slope(value.z), gelu_slope(value.w));
#end
#else
    y[at] = gelu(value);
#if SAVE
    slope[at] = gelu_slope(value);
#end
#end
#end
#if FUSE == 2
    y[at] = res[at] + gate[(row / dims.tokens) * (dims.n / MULTIPLE) + column] * value;
#if SAVE
    branch[at] = value;
#end
#end
}

#include "lib/product.wgsl" TILE=TILE REP=REP V4=V4 LEFT=x LEFT_CALL=0 LEFT_ALONG_INNER=1 RIGHT=w RIGHT_CALL=0 RIGHT_ALONG_INNER=1

#if FUSE == 0
// y = x w^T + b
#end
#if FUSE == 1
// y = gelu_tanh(x w^T + b)
#if SAVE
// slope = d gelu_tanh at x w^T + b
#end
#end
#if FUSE == 2
// y = res + gate[row / T] (x w^T + b)
#if SAVE
// branch = x w^T + b
#end
#end
// Work: one workgroup per ${TILE} columns (x) and ${TILE} rows (y) of y.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_begin = group.y * TILE_Y;
    let column_begin = group.x * TILE_X;
    let rows = dims.m;
    let columns = dims.n;
    let left_stride = dims.k;
    let right_stride = dims.k;
    let inner_begin = 0u;
    let inner_end = dims.k;
#include "lib/product_loop.wgsl" TILE=TILE REP=REP SUMS=0
#include "lib/product_put.wgsl" REP=REP
}

#entry linear_bwd_x_64 TILE=64 REP=1 V4=1 FUSE=0 SAVE=0
#entry linear_bwd_x_32 TILE=32 REP=1 V4=0 FUSE=0 SAVE=0
#entry linear_bwd_x_mul_64 TILE=64 REP=1 V4=1 FUSE=1 SAVE=0
#entry linear_bwd_x_mul_32 TILE=32 REP=1 V4=0 FUSE=1 SAVE=0
struct LinearDims {
    m: u32, // M: rows of x
    n: u32, // N: outputs
    k: u32, // K: inputs
}

@group(0) @binding(0) var<uniform> dims: LinearDims;
@group(0) @binding(1) var<storage, read> g: array<Element>; // [M, N]
@group(0) @binding(2) var<storage, read> w: array<Element>; // [N, K]
@group(0) @binding(3) var<storage, read_write> gx: array<Element>; // [M, K]
#if FUSE
@group(0) @binding(4) var<storage, read> factor: array<Element>; // [M, K]
#end

fn finish(row: u32, column: u32, product: Element) {
    let at = row * (dims.k / MULTIPLE) + column;
#if FUSE
    gx[at] = product * factor[at];
#else
    gx[at] = product;
#end
}

#include "lib/product.wgsl" TILE=TILE REP=REP V4=V4 LEFT=g LEFT_CALL=0 LEFT_ALONG_INNER=1 RIGHT=w RIGHT_CALL=0 RIGHT_ALONG_INNER=0

#if FUSE
// gx = factor (g w), element by element
#else
// gx = g w
#end
// Work: one workgroup per ${TILE} columns (x) and ${TILE} rows (y) of gx.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_begin = group.y * TILE_Y;
    let column_begin = group.x * TILE_X;
    let rows = dims.m;
    let columns = dims.k;
    let left_stride = dims.n;
    let right_stride = dims.k;
    let inner_begin = 0u;
    let inner_end = dims.n;
#include "lib/product_loop.wgsl" TILE=TILE REP=REP SUMS=0
#include "lib/product_put.wgsl" REP=REP
}

#entry linear_bwd_w_64 TILE=64 REP=1 V4=1 FUSE=0 SAVE=0
#entry linear_bwd_w_32 TILE=32 REP=1 V4=0 FUSE=0 SAVE=0
struct LinearSplitDims {
    m: u32, // M: rows of x and g, which are summed over
    n: u32, // N: outputs
    k: u32, // K: inputs
    slice_rows: u32, // rows per slice; there are S = ceil(M / slice_rows) slices
}

@group(0) @binding(0) var<uniform> dims: LinearSplitDims;
@group(0) @binding(1) var<storage, read> g: array<Element>; // [M, N]
@group(0) @binding(2) var<storage, read> x: array<Element>; // [M, K]
@group(0) @binding(3) var<storage, read_write> gw: array<Element>; // [S, N, K]
@group(0) @binding(4) var<storage, read_write> gb: array<f32>; // [S, N]

// `row` is counted through all slices.
fn finish(row: u32, column: u32, product: Element) {
    gw[row * (dims.k / MULTIPLE) + column] = product;
}

#include "lib/product.wgsl" TILE=TILE REP=REP V4=V4 LEFT=g LEFT_CALL=0 LEFT_ALONG_INNER=0 RIGHT=x RIGHT_CALL=0 RIGHT_ALONG_INNER=0

// gw[s] = g^T x, gb[s] = column sums of g, both over the rows of slice s
// Work: one workgroup per ${TILE} columns (x) and ${TILE} rows (y) of gw and slice (z); those at x = 0 own gb too.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_begin = group.y * TILE_Y;
    let column_begin = group.x * TILE_X;
    let rows = dims.n;
    let columns = dims.k;
    let left_stride = dims.n;
    let right_stride = dims.k;
    let inner_begin = group.z * dims.slice_rows;
    let inner_end = min(inner_begin + dims.slice_rows, dims.m);
#include "lib/product_loop.wgsl" TILE=TILE REP=REP SUMS=1
#include "lib/product_put_slice.wgsl" REP=REP
}

#entry linear_bwd_sum TILE=0 REP=0 V4=0 FUSE=0 SAVE=0
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

struct LinearSumDims {
    n: u32, // elements of a slice
    slices: u32, // S
}

@group(0) @binding(0) var<uniform> dims: LinearSumDims;
@group(0) @binding(1) var<storage, read> part: array<f32>; // [S, n]
@group(0) @binding(2) var<storage, read_write> sum: array<f32>; // [n]

// sum = sum_s part_s
// Work: one invocation per element, which adds its slices in order.
@compute @workgroup_size(LANES)
fn linear_bwd_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    var total = 0.0;
    for (var s = 0u; s < dims.slices; s++) {
        total += part[s * dims.n + i];
    }
    sum[i] = total;
}
