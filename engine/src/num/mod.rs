//! Numeric primitives of the CPU backend: scalars, vector loops, parallel rows, matrix products.

pub mod gemm;
pub mod mat;
mod pack;
pub mod par;
pub mod real;
pub(crate) mod scratch;
pub mod simd;
pub mod slice;
mod tile;
mod transpose;

pub use gemm::{Store, gemm, gemm_pair, gemm_row_sums, gemm_serial};
pub use mat::{Mat, MatMut};
pub use pack::Packed;
pub use real::Real;
