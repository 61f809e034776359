// Batched matrix products, with the tiled product of lib/product.wgsl; workgroup z computes matrix z of the batch.
// TA and TB: whether the matrices of a and b are stored transposed.
#params TA TB

struct MatmulDims {
    m: u32, // M: rows of y
    n: u32, // N: columns of y
    k: u32, // K: terms of each sum
}

@group(0) @binding(0) var<uniform> dims: MatmulDims;

#entry matmul_nn TA=0 TB=0
#entry matmul_nt TA=0 TB=1
#entry matmul_tn TA=1 TB=0
#entry matmul_tt TA=1 TB=1
#if TA
@group(0) @binding(1) var<storage, read> a: array<f32>; // [B, K, M]
#else
@group(0) @binding(1) var<storage, read> a: array<f32>; // [B, M, K]
#end
#if TB
@group(0) @binding(2) var<storage, read> b: array<f32>; // [B, N, K]
#else
@group(0) @binding(2) var<storage, read> b: array<f32>; // [B, K, N]
#end
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, M, N]

// `row` is counted through the whole batch.
fn finish(row: u32, column: u32, product: f32) {
    y[row * dims.n + column] = product;
}

#include "lib/product.wgsl" TILE=32 REP=1 V4=0 LEFT=a LEFT_CALL=0 LEFT_ALONG_INNER=${1 - TA} RIGHT=b RIGHT_CALL=0 RIGHT_ALONG_INNER=${TB}

#if TA
#if TB
// y[b] = a[b]^T b[b]^T
#else
// y[b] = a[b]^T b[b]
#end
#else
#if TB
// y[b] = a[b] b[b]^T
#else
// y[b] = a[b] b[b]
#end
#end
// Work: one workgroup per 32 columns (x) and 32 rows (y) of y and matrix (z).
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Both operands use an inner index that is counted through the batch, so matrix z starts at z K. If it runs along rows of
    // length K, this already shifts the address by z rows, so the row base is z (M - 1) instead of z M; likewise the column base.
    let inner_begin = group.z * dims.k;
    let inner_end = inner_begin + dims.k;
#if TA
    let row_base = 0u;
    let left_stride = dims.m;
#else
    let row_base = group.z * (dims.m - 1u);
    let left_stride = dims.k;
#end
#if TB
    let column_base = group.z * (dims.n - 1u);
    let right_stride = dims.k;
#else
    let column_base = 0u;
    let right_stride = dims.n;
#end
    let row_begin = row_base + group.y * TILE_Y;
    let rows = row_base + dims.m;
    let column_begin = column_base + group.x * TILE_X;
    let columns = column_base + dims.n;
#include "lib/product_loop.wgsl" TILE=32 REP=1 SUMS=0
#for i in 0..4
    {
        let row = group.y * TILE_Y + tile_y * 4u + ${i}u;
        if (row < dims.m) {
            let first = group.z * dims.m;
            put(first + row, first + dims.m, group.x * TILE_X + tile_x * 4u, dims.n, acc_0_${i}_0);
        }
    }
#end
}
