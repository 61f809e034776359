// Permutes the quads of inner index i to avoid bank conflicts: 8 adjacent invocations then write to 8 different banks, whether they
// hold adjacent inner indices, adjacent quads, or every fourth inner index of two quads.
fn bank(i: u32) -> u32 {
    return (i ^ ((i >> 2u) << 1u)) & 7u;
}
