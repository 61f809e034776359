//! The commands of `sit`, one file each.

mod backend;
pub mod data;
pub mod export;
pub mod info;
pub mod sample;
mod source;
pub mod train;
mod values;
