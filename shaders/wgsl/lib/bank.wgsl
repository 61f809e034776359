// Permutes the quads of inner index i: what 8 neighboring invocations write at once then lies in 8 different banks,
// whether they hold neighboring inner indices, neighboring quads, or every fourth inner index of two quads.
fn bank(i: u32) -> u32 {
    return (i ^ ((i >> 2u) << 1u)) & 7u;
}
