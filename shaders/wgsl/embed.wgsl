// Position, time and class embeddings.
#include "lib/flat.wgsl"

const LANES: u32 = 64u;
const TILE_X: u32 = 64u;

#entry embed_pos_fwd
struct EmbedPosDims {
    n: u32, // B T D
    period: u32, // T D
}

@group(0) @binding(0) var<uniform> dims: EmbedPosDims;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, T, D]
@group(0) @binding(2) var<storage, read> pos: array<f32>; // [T, D]
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, T, D]

// y = x + pos
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn embed_pos_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i < dims.n) {
        y[i] = x[i] + pos[i % dims.period];
    }
}

#entry embed_time_fwd
#include "lib/trig.wgsl"

struct EmbedTimeDims {
    batch: u32, // B
    half: u32, // F / 2 frequencies
}

@group(0) @binding(0) var<uniform> dims: EmbedTimeDims;
@group(0) @binding(1) var<storage, read> t: array<f32>; // [B]
@group(0) @binding(2) var<storage, read> freqs: array<f32>; // [F / 2]
@group(0) @binding(3) var<storage, read_write> e: array<f32>; // [B, F]

// e = [cos(t f), sin(t f)]
// Work: one invocation per (sample, frequency), which writes the cosine and the sine.
@compute @workgroup_size(LANES)
fn embed_time_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / dims.half;
    let f = i % dims.half;
    if (sample < dims.batch) {
        let wave = cos_sin(t[sample] * freqs[f]);
        e[2u * sample * dims.half + f] = wave.x;
        e[(2u * sample + 1u) * dims.half + f] = wave.y;
    }
}

#entry embed_label_fwd
struct EmbedLabelDims {
    batch: u32, // B
    rows: u32, // N + 1: classes and the null class
    dim: u32, // D
}

@group(0) @binding(0) var<uniform> dims: EmbedLabelDims;
@group(0) @binding(1) var<storage, read> table: array<f32>; // [N + 1, D]
@group(0) @binding(2) var<storage, read> y: array<u32>; // [B]
@group(0) @binding(3) var<storage, read_write> e: array<f32>; // [B, D]

// e = table[y]; a label out of range reads the last row, the null class
// Work: one invocation per element.
@compute @workgroup_size(LANES)
fn embed_label_fwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let sample = i / dims.dim;
    if (sample < dims.batch) {
        e[i] = table[min(y[sample], dims.rows - 1u) * dims.dim + i % dims.dim];
    }
}

#entry embed_label_bwd
struct EmbedLabelDims {
    batch: u32, // B
    rows: u32, // N + 1: classes and the null class
    dim: u32, // D
}

@group(0) @binding(0) var<uniform> dims: EmbedLabelDims;
@group(0) @binding(1) var<storage, read> g: array<f32>; // [B, D]
@group(0) @binding(2) var<storage, read> y: array<u32>; // [B]
@group(0) @binding(3) var<storage, read_write> gtable: array<f32>; // [N + 1, D]

// gtable[r] = sum of g[b] over the samples with label r
// Work: one invocation per (row, column), which adds its samples in order.
@compute @workgroup_size(LANES)
fn embed_label_bwd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    let row = i / dims.dim;
    if (row >= dims.rows) {
        return;
    }
    var sum = 0.0;
    for (var sample = 0u; sample < dims.batch; sample++) {
        if (min(y[sample], dims.rows - 1u) == row) {
            sum += g[sample * dims.dim + i % dims.dim];
        }
    }
    gtable[i] = sum;
}
