// Multi-head self-attention without a score matrix in memory (FlashAttention, 2205.14135 and 2307.08691), on the packed projection
// qkv: a row is [q | k | v], each [H, head_dim].
//
// DEPTH is the largest head dimension of a variant, CHUNK the number of rows that are staged at once.
#params DEPTH CHUNK

#entry attention_fwd_32 DEPTH=32 CHUNK=16
#entry attention_fwd_64 DEPTH=64 CHUNK=16
#entry attention_fwd_80 DEPTH=80 CHUNK=16
#entry attention_fwd_128 DEPTH=128 CHUNK=8
#include "lib/attention.wgsl" DEPTH=DEPTH

@group(0) @binding(1) var<storage, read> qkv: array<f32>; // [B, T, 3 D]
@group(0) @binding(2) var<storage, read_write> o: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read_write> lse: array<f32>; // [B, H, T]

#include "lib/product_load.wgsl" NAME=load_queries SOURCE=qkv TARGET=stage AT=0 TILE=32 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/product_load.wgsl" NAME=load_keys SOURCE=qkv TARGET=stage AT=128 TILE=64 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/attention_load.wgsl" NAME=load_values SOURCE=qkv DEPTH=DEPTH CHUNK=CHUNK

// Far below every score, but finite.
const MASKED: f32 = -1e30;

// o = softmax(scale q k^T) v; lse = log sum exp of the scaled scores
// Work: one workgroup per 32 queries (x) of one head (y) of one sample (z), with an online softmax over the keys.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let lane_x = lane % 16u;
    let lane_y = lane / 16u;
    let dim = dims.n_heads * dims.head_dim;
    let head_at = group.y * dims.head_dim;
    let first_row = group.z * dims.tokens;
    let first_stat = (group.z * dims.n_heads + group.y) * dims.tokens;
    let row_begin = first_row + group.x * TILE_X;
    let row_end = first_row + dims.tokens;

    var maximum = vec4(MASKED);
    // Partial: this invocation's columns only.
    var sum = vec4<f32>();
#for c in 0..DEPTH / 16
    var result_${c} = vec4<f32>();
#end
    for (var column_begin = first_row; column_begin < row_end; column_begin += 64u) {
#include "lib/attention_scores.wgsl" INTO=score LOAD_ROWS=load_queries ROWS_AT=head_at ROWS_STRIDE=3u*dim LOAD_COLUMNS=load_keys COLUMNS_AT=(dim+head_at) COLUMNS_STRIDE=3u*dim
        let column = column_begin + lane_x * 4u;
#for j in 0..4
        score_${j} = select(vec4(MASKED), score_${j} * dims.scale, column + ${j}u < row_end);
#end
        stage[lane_y * 16u + lane_x] = max(max(score_0, score_1), max(score_2, score_3));
        workgroupBarrier();
        var new_maximum = maximum;
#for x in 0..16
        new_maximum = max(new_maximum, stage[lane_y * 16u + ${x}u]);
#end
        let shrink = exp(maximum - new_maximum);
        maximum = new_maximum;
        sum *= shrink;
#for c in 0..DEPTH / 16
        result_${c} *= shrink;
#end
#for j in 0..4
        {
            let weight = exp(score_${j} - maximum);
            sum += weight;
            weights[weight_index(lane_x * 4u + ${j}u, lane_y)] = weight;
        }
#end
        workgroupBarrier();
#include "lib/attention_apply.wgsl" INTO=result LOAD=load_values AT=2u*dim+head_at STRIDE=3u*dim DEPTH=DEPTH CHUNK=CHUNK
    }

    stage[lane_y * 16u + lane_x] = sum;
    workgroupBarrier();
    var total = vec4<f32>();
#for x in 0..16
    total += stage[lane_y * 16u + ${x}u];
#end
#for i in 0..4
    {
        let row = row_begin + lane_y * 4u + ${i}u;
        if (row < row_end) {
#for c in 0..DEPTH / 16
            if (lane_x + ${c * 16}u < dims.head_dim) {
                o[row * dim + head_at + lane_x + ${c * 16}u] = result_${c}[${i}] / total[${i}];
            }
#end
            if (lane_x == 0u) {
                lse[first_stat + row - first_row] = maximum[${i}] + log(total[${i}]);
            }
        }
    }
#end
}

#entry attention_bwd_delta DEPTH=0 CHUNK=0
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

struct AttentionDeltaDims {
    n: u32, // B T H
    tokens: u32, // T
    n_heads: u32, // H
    head_dim: u32, // D / H
}

@group(0) @binding(0) var<uniform> dims: AttentionDeltaDims;
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> o: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read_write> delta: array<f32>; // [B, H, T]

// delta = sum_d g o, which is the sum over keys of softmax times its gradient
// Work: one invocation per (row, head).
@compute @workgroup_size(LANES)
fn attention_bwd_delta(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    var sum = 0.0;
    for (var at = i * dims.head_dim; at < (i + 1u) * dims.head_dim; at++) {
        sum += g[at] * o[at];
    }
    let row = i / dims.n_heads;
    let head = i % dims.n_heads;
    delta[((row / dims.tokens) * dims.n_heads + head) * dims.tokens + row % dims.tokens] = sum;
}

#entry attention_bwd_q_32 DEPTH=32 CHUNK=16
#entry attention_bwd_q_64 DEPTH=64 CHUNK=16
#entry attention_bwd_q_80 DEPTH=80 CHUNK=16
#entry attention_bwd_q_128 DEPTH=128 CHUNK=8
#include "lib/attention.wgsl" DEPTH=DEPTH

@group(0) @binding(1) var<storage, read> qkv: array<f32>; // [B, T, 3 D]
@group(0) @binding(2) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read> lse: array<f32>; // [B, H, T]
@group(0) @binding(4) var<storage, read> delta: array<f32>; // [B, H, T]
@group(0) @binding(5) var<storage, read_write> gqkv: array<f32>; // [B, T, 3 D]: the q third

#include "lib/product_load.wgsl" NAME=load_queries SOURCE=qkv TARGET=stage AT=0 TILE=32 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/product_load.wgsl" NAME=load_grads SOURCE=g TARGET=stage AT=0 TILE=32 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/product_load.wgsl" NAME=load_keys SOURCE=qkv TARGET=stage AT=128 TILE=64 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/attention_load.wgsl" NAME=load_key_rows SOURCE=qkv DEPTH=DEPTH CHUNK=CHUNK

// gq = ds k, ds = scale p (g v^T - delta), p = exp(scale q k^T - lse)
// Work: one workgroup per 32 queries (x) of one head (y) of one sample (z), which adds its keys in order.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let lane_x = lane % 16u;
    let lane_y = lane / 16u;
    let dim = dims.n_heads * dims.head_dim;
    let head_at = group.y * dims.head_dim;
    let first_row = group.z * dims.tokens;
    let first_stat = (group.z * dims.n_heads + group.y) * dims.tokens;
    let row_begin = first_row + group.x * TILE_X;
    let row_end = first_row + dims.tokens;

    var row_lse = vec4<f32>();
    var row_delta = vec4<f32>();
#for i in 0..4
    if (row_begin + lane_y * 4u + ${i}u < row_end) {
        row_lse[${i}] = lse[first_stat + row_begin - first_row + lane_y * 4u + ${i}u];
        row_delta[${i}] = delta[first_stat + row_begin - first_row + lane_y * 4u + ${i}u];
    }
#end
#for c in 0..DEPTH / 16
    var result_${c} = vec4<f32>();
#end
    for (var column_begin = first_row; column_begin < row_end; column_begin += 64u) {
#include "lib/attention_scores.wgsl" INTO=score LOAD_ROWS=load_queries ROWS_AT=head_at ROWS_STRIDE=3u*dim LOAD_COLUMNS=load_keys COLUMNS_AT=(dim+head_at) COLUMNS_STRIDE=3u*dim
#include "lib/attention_scores.wgsl" INTO=grad LOAD_ROWS=load_grads ROWS_AT=head_at ROWS_STRIDE=dim LOAD_COLUMNS=load_keys COLUMNS_AT=(2u*dim+head_at) COLUMNS_STRIDE=3u*dim
        let column = column_begin + lane_x * 4u;
#for j in 0..4
        {
            let weight = exp(min(score_${j} * dims.scale - row_lse, vec4(80.0)));
            let slope = dims.scale * weight * (grad_${j} - row_delta);
            weights[weight_index(lane_x * 4u + ${j}u, lane_y)] = select(vec4<f32>(), slope, column + ${j}u < row_end);
        }
#end
        workgroupBarrier();
#include "lib/attention_apply.wgsl" INTO=result LOAD=load_key_rows AT=dim+head_at STRIDE=3u*dim DEPTH=DEPTH CHUNK=CHUNK
    }
#for i in 0..4
    {
        let row = row_begin + lane_y * 4u + ${i}u;
#for c in 0..DEPTH / 16
        if (row < row_end && lane_x + ${c * 16}u < dims.head_dim) {
            gqkv[row * 3u * dim + head_at + lane_x + ${c * 16}u] = result_${c}[${i}];
        }
#end
    }
#end
}

#entry attention_bwd_kv_32 DEPTH=32 CHUNK=16
#entry attention_bwd_kv_64 DEPTH=64 CHUNK=16
#entry attention_bwd_kv_80 DEPTH=80 CHUNK=16
#entry attention_bwd_kv_128 DEPTH=128 CHUNK=8
#include "lib/attention.wgsl" DEPTH=DEPTH

@group(0) @binding(1) var<storage, read> qkv: array<f32>; // [B, T, 3 D]
@group(0) @binding(2) var<storage, read> g: array<f32>; // [B, T, D]
@group(0) @binding(3) var<storage, read> lse: array<f32>; // [B, H, T]
@group(0) @binding(4) var<storage, read> delta: array<f32>; // [B, H, T]
@group(0) @binding(5) var<storage, read_write> gqkv: array<f32>; // [B, T, 3 D]: the k and v thirds

#include "lib/product_load.wgsl" NAME=load_keys SOURCE=qkv TARGET=stage AT=0 TILE=32 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/product_load.wgsl" NAME=load_queries SOURCE=qkv TARGET=stage AT=128 TILE=64 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/product_load.wgsl" NAME=load_grads SOURCE=g TARGET=stage AT=128 TILE=64 THREADS=128 FIRST=0 V4=0 ALONG_INNER=1
#include "lib/attention_load.wgsl" NAME=load_query_rows SOURCE=qkv DEPTH=DEPTH CHUNK=CHUNK
#include "lib/attention_load.wgsl" NAME=load_grad_rows SOURCE=g DEPTH=DEPTH CHUNK=CHUNK

// gv = p^T g, gk = ds^T q, ds = scale p (g v^T - delta), p = exp(scale q k^T - lse)
// Work: one workgroup per 32 keys (x) of one head (y) of one sample (z), which adds its queries in order.
@compute @workgroup_size(LANES)
fn ${ENTRY}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let lane_x = lane % 16u;
    let lane_y = lane / 16u;
    let dim = dims.n_heads * dims.head_dim;
    let head_at = group.y * dims.head_dim;
    let first_row = group.z * dims.tokens;
    let first_stat = (group.z * dims.n_heads + group.y) * dims.tokens;
    let row_begin = first_row + group.x * TILE_X;
    let row_end = first_row + dims.tokens;

#for c in 0..DEPTH / 16
    var grad_key_${c} = vec4<f32>();
    var grad_value_${c} = vec4<f32>();
#end
    for (var column_begin = first_row; column_begin < row_end; column_begin += 64u) {
#include "lib/attention_scores.wgsl" INTO=score LOAD_ROWS=load_keys ROWS_AT=(dim+head_at) ROWS_STRIDE=3u*dim LOAD_COLUMNS=load_queries COLUMNS_AT=head_at COLUMNS_STRIDE=3u*dim
#include "lib/attention_scores.wgsl" INTO=grad LOAD_ROWS=load_keys ROWS_AT=(2u*dim+head_at) ROWS_STRIDE=3u*dim LOAD_COLUMNS=load_grads COLUMNS_AT=head_at COLUMNS_STRIDE=dim
        let column = column_begin + lane_x * 4u;
#for j in 0..4
        var weight_${j} = vec4<f32>();
        var slope_${j} = vec4<f32>();
        if (column + ${j}u < row_end) {
            let at = first_stat + column - first_row + ${j}u;
            weight_${j} = exp(min(score_${j} * dims.scale - lse[at], vec4(80.0)));
            slope_${j} = dims.scale * weight_${j} * (grad_${j} - delta[at]);
        }
        weights[weight_index(lane_x * 4u + ${j}u, lane_y)] = weight_${j};
#end
        workgroupBarrier();
#include "lib/attention_apply.wgsl" INTO=grad_value LOAD=load_grad_rows AT=head_at STRIDE=dim DEPTH=DEPTH CHUNK=CHUNK
#for j in 0..4
        weights[weight_index(lane_x * 4u + ${j}u, lane_y)] = slope_${j};
#end
        workgroupBarrier();
#include "lib/attention_apply.wgsl" INTO=grad_key LOAD=load_query_rows AT=head_at STRIDE=3u*dim DEPTH=DEPTH CHUNK=CHUNK
    }
#for i in 0..4
    {
        let row = row_begin + lane_y * 4u + ${i}u;
#for c in 0..DEPTH / 16
        if (row < row_end && lane_x + ${c * 16}u < dims.head_dim) {
            let at = row * 3u * dim + head_at + lane_x + ${c * 16}u;
            gqkv[at + dim] = grad_key_${c}[${i}];
            gqkv[at + 2u * dim] = grad_value_${c}[${i}];
        }
#end
    }
#end
}
