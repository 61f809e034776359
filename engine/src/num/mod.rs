//! Numeric primitives of the CPU backend: scalars, vector loops, parallel rows, matrix products.

pub mod gemm;
pub mod par;
pub mod real;
pub mod simd;
pub mod slice;
mod tile;

pub use gemm::{Mat, MatMut, Packed, Store, gemm, gemm_pair, gemm_row_sums, gemm_serial};
pub use real::Real;
