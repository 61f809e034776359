//! The commands of `sit`, a file or a folder each, and the arguments that several share.

mod backend;
mod base;
mod classes;
pub mod convert;
pub mod data;
mod describe;
pub mod ema;
pub mod eval;
mod exact;
mod examples;
pub mod info;
pub mod loss;
pub mod nll;
pub mod profile;
mod real;
pub mod sample;
pub mod selftest;
mod source;
pub mod sweep;
pub mod train;
mod values;
