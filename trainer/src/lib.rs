//! The library behind the command `sit`: data, run configuration and the files a run writes.

pub mod config;
pub mod data;
