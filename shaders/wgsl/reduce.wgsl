// Sum and maximum over adjacent axes, which get size 1, and the reverse: broadcasting along such axes.
#params MAX
#include "lib/flat.wgsl"

const LANES: u32 = 64u;

struct ReduceDims {
    outer: u32, // product of the sizes before the reduced axes
    len: u32, // product of the reduced sizes
    inner: u32, // product of the sizes after the reduced axes
}

@group(0) @binding(0) var<uniform> dims: ReduceDims;

#entry reduce_sum MAX=0
#entry reduce_max MAX=1
const TILE_X: u32 = 64u;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [outer, len, inner]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [outer, inner]

#if MAX
// y = max_l x[:, l, :]
#else
// y = sum_l x[:, l, :]
#end
// Work: one invocation per element of y, which reduces its terms in order.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.outer * dims.inner) {
        return;
    }
    let first = (i / dims.inner) * dims.len * dims.inner + i % dims.inner;
    var total = x[first];
    for (var l = 1u; l < dims.len; l++) {
#if MAX
        total = max(total, x[first + l * dims.inner]);
#else
        total += x[first + l * dims.inner];
#end
    }
    y[i] = total;
}

#entry reduce_sum_rows MAX=0
#entry reduce_max_rows MAX=1
const TILE_X: u32 = 1u;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [outer, len]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [outer, inner]

#if MAX
var<workgroup> partial_maxima: array<f32, 64>;

// Every lane reads all partial results in the same order, as wg_sum does.
fn wg_max(lane: u32, value: f32) -> f32 {
    partial_maxima[lane] = value;
    workgroupBarrier();
    var largest = partial_maxima[0];
    for (var i = 1u; i < LANES; i++) {
        largest = max(largest, partial_maxima[i]);
    }
    workgroupBarrier();
    return largest;
}
#else
#include "lib/reduce.wgsl" LANES=64
#end

#if MAX
// y = max_l x[:, l], inner = 1
#else
// y = sum_l x[:, l], inner = 1
#end
// Work: one workgroup per row; a lane takes every 64th element.
@compute @workgroup_size(LANES)
fn ${ENTRY}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = flat_group(group, groups);
    if (row >= dims.outer * dims.inner) {
        return;
    }
    let first = row * dims.len;
#if MAX
    var total = x[first];
    for (var l = lane; l < dims.len; l += LANES) {
        total = max(total, x[first + l]);
    }
    let all = wg_max(lane, total);
#else
    var total = 0.0;
    for (var l = lane; l < dims.len; l += LANES) {
        total += x[first + l];
    }
    let all = wg_sum(lane, total);
#end
    if (lane == 0u) {
        y[row] = all;
    }
}

#entry reduce_broadcast MAX=0
const TILE_X: u32 = 64u;

@group(0) @binding(1) var<storage, read> x: array<f32>; // [outer, inner]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [outer, len, inner]

// y[:, l, :] = x
// Work: one invocation per element of y.
@compute @workgroup_size(LANES)
fn reduce_broadcast(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let row = i / (dims.len * dims.inner);
    if (row < dims.outer) {
        y[i] = x[row * dims.inner + i % dims.inner];
    }
}
