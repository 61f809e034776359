//! The library behind the command `sit`: data, run configuration and the files a run writes.

pub mod cli;
mod commands;
pub mod config;
pub mod data;
pub mod error;
pub mod files;
pub mod log;
mod memory;
pub mod npz;
pub mod png;
mod preview;
mod progress;
pub mod run;
mod sampling;
mod stdout;
mod training;
