//! The commands of `sit`, one file each.

mod backend;
pub mod data;
pub mod info;
pub mod sample;
pub mod train;
mod values;
