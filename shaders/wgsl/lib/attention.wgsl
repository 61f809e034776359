#params DEPTH
// Tiles of attention. A workgroup owns 32 rows of one head and loops over the columns, 64 at a time; the entry point decides
// whether rows are queries or keys. Invocation (lane_x, lane_y) holds 4 rows by 4 columns of a score tile, and 4 rows by every 16th
// of ${DEPTH} dimensions of a result.
const LANES: u32 = 128u;
const TILE_X: u32 = 32u;
const TILE_Y: u32 = 1u;
const TILE_Z: u32 = 1u;
// Largest head dimension of this variant.
const MAX_HEAD_DIM: u32 = ${DEPTH}u;

// Reused, with barriers in between, for the operands of scores, the row maxima and the operand rows of a result.
var<workgroup> stage: array<vec4<f32>, 384>;
// Weights of 64 columns by 8 quads of rows.
var<workgroup> weights: array<vec4<f32>, 512>;

struct AttentionDims {
    tokens: u32, // T
    n_heads: u32, // H
    head_dim: u32, // D / H
    scale: f32, // of the scores: head_dim^-1/2
}

@group(0) @binding(0) var<uniform> dims: AttentionDims;

// Avoids bank conflicts: 8 adjacent lane_x write to 8 different banks.
fn weight_index(column: u32, quad: u32) -> u32 {
    return column * 8u + (quad ^ ((column >> 2u) & 7u));
}

#include "lib/bank.wgsl"
