//! The commands of `sit`, one file each.

mod backend;
mod classes;
pub mod data;
mod describe;
pub mod export;
pub mod info;
pub mod sample;
mod source;
pub mod train;
mod values;
