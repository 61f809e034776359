// Rotary position embedding (RoFormer, arXiv 2104.09864): pairs of neighboring values of a head turn by an angle of their token.
#include "lib/flat.wgsl"

const LANES: u32 = 256u;
const TILE_X: u32 = 256u;

struct RotaryDims {
    n: u32, // pairs of values: B T W / 2
    tokens: u32, // T
    width: u32, // W: values of a token
    rotated: u32, // values of a token that turn; the others are copied
    head_dim: u32, // values of a head
    direction: f32, // 1, or -1 to turn back
}

@group(0) @binding(0) var<uniform> dims: RotaryDims;

#entry rotary_turn
@group(0) @binding(1) var<storage, read> x: array<f32>; // [B, T, W]
@group(0) @binding(2) var<storage, read> turns: array<f32>; // [T, head_dim]: cosine and sine of each pair's angle
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [B, T, W]

// (y0, y1) = (x0 cos - x1 sin, x1 cos + x0 sin)
// Work: one invocation per pair.
@compute @workgroup_size(LANES)
fn rotary_turn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat_group(group, groups) * LANES + lane;
    if (i >= dims.n) {
        return;
    }
    let at = 2u * i;
    let column = at % dims.width;
    var pair = vec2(x[at], x[at + 1u]);
    if (column < dims.rotated) {
        let turn = ((at / dims.width) % dims.tokens) * dims.head_dim + column % dims.head_dim;
        let cosine = turns[turn];
        let sine = dims.direction * turns[turn + 1u];
        pair = vec2(pair.x * cosine - pair.y * sine, pair.y * cosine + pair.x * sine);
    }
    y[at] = pair.x;
    y[at + 1u] = pair.y;
}
