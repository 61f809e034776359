//! Numeric primitives of the CPU backend: scalars, vector loops, parallel rows, matrix products.

pub mod buffer;
pub mod gemm;
pub mod mat;
pub mod operand;
mod pack;
pub(crate) mod panels;
pub mod par;
pub mod patches;
pub mod real;
pub(crate) mod scratch;
pub mod simd;
pub mod slice;
mod tile;
mod transpose;

pub use buffer::Buffer;
pub use gemm::{gemm, gemm_pair, gemm_row_sums};
pub use mat::{Mat, MatMut};
pub(crate) use pack::Packed;
pub(crate) use patches::{Patches, Window};
pub use real::Real;
pub(crate) use tile::NR;
