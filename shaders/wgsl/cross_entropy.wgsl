// The cross entropy of logits and labels; the label K, the null class, has the loss 0.
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

struct CrossEntropyDims {
    batch: u32, // B
    n_classes: u32, // K
}

@group(0) @binding(0) var<uniform> dims: CrossEntropyDims;

#entry cross_entropy_fwd
@group(0) @binding(1) var<storage, read> logits: array<f32>; // [B, K]
@group(0) @binding(2) var<storage, read> y: array<u32>; // [B]
@group(0) @binding(3) var<storage, read_write> loss: array<f32>; // [B]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // [B]

// lse = log sum_k exp(logits_k), loss = lse - logits_y
// Work: one invocation per sample.
@compute @workgroup_size(LANES)
fn cross_entropy_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = flat_group(group, groups) * LANES + lane;
    if (b >= dims.batch) {
        return;
    }
    let first = b * dims.n_classes;
    var most = logits[first];
    for (var k = 1u; k < dims.n_classes; k++) {
        most = max(most, logits[first + k]);
    }
    var total = 0.0;
    for (var k = 0u; k < dims.n_classes; k++) {
        total += exp(max(logits[first + k] - most, -80.0));
    }
    let sum = most + log(total);
    lse[b] = sum;
    var value = 0.0;
    if (y[b] < dims.n_classes) {
        value = sum - logits[first + y[b]];
    }
    loss[b] = value;
}

#entry cross_entropy_bwd
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B]
@group(0) @binding(2) var<storage, read> logits: array<f32>; // [B, K]
@group(0) @binding(3) var<storage, read> y: array<u32>; // [B]
@group(0) @binding(4) var<storage, read> lse: array<f32>; // [B]
@group(0) @binding(5) var<storage, read_write> glogits: array<f32>; // [B, K]

// glogits_k = g (exp(logits_k - lse) - [k = y])
// Work: one invocation per logit.
@compute @workgroup_size(LANES)
fn cross_entropy_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let b = i / dims.n_classes;
    if (b >= dims.batch) {
        return;
    }
    var slope = 0.0;
    if (y[b] < dims.n_classes) {
        slope = exp(clamp(logits[i] - lse[b], -80.0, 0.0));
        if (i % dims.n_classes == y[b]) {
            slope -= 1.0;
        }
    }
    glogits[i] = g[b] * slope;
}
