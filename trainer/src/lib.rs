//! Data, run configurations and the files a run writes; with the feature `cli` also the command `sit`.
//!
//! For wasm32 it has what needs neither files nor threads: [`config`], [`data`] and [`png`].

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[cfg(feature = "cli")]
mod budget;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(not(target_arch = "wasm32"))]
mod columns;
#[cfg(feature = "cli")]
mod commands;
pub mod config;
pub mod data;
#[cfg(feature = "cli")]
mod encode;
#[cfg(not(target_arch = "wasm32"))]
pub mod error;
#[cfg(feature = "cli")]
mod evaluation;
#[cfg(not(target_arch = "wasm32"))]
pub mod files;
#[cfg(not(target_arch = "wasm32"))]
pub mod host;
#[cfg(feature = "cli")]
mod init;
#[cfg(feature = "cli")]
mod judge;
#[cfg(feature = "cli")]
pub mod log;
#[cfg(feature = "cli")]
mod memory;
#[cfg(feature = "cli")]
pub mod metrics;
pub mod npy;
#[cfg(feature = "cli")]
pub mod npz;
#[cfg(feature = "cli")]
mod outputs;
#[cfg(feature = "cli")]
mod pairs;
#[cfg(feature = "cli")]
mod peak;
#[cfg(not(target_arch = "wasm32"))]
pub mod pending;
pub mod png;
#[cfg(feature = "cli")]
mod preview;
#[cfg(feature = "cli")]
mod progress;
#[cfg(feature = "cli")]
mod real;
#[cfg(feature = "cli")]
mod reconstruct;
#[cfg(not(target_arch = "wasm32"))]
pub mod run;
#[cfg(feature = "cli")]
mod sampling;
#[cfg(feature = "cli")]
mod signals;
#[cfg(feature = "cli")]
mod stdout;
#[cfg(feature = "cli")]
mod straightness;
#[cfg(feature = "cli")]
mod teacher;
#[cfg(feature = "cli")]
mod training;
#[cfg(feature = "cli")]
mod trajectory;
#[cfg(feature = "cli")]
mod vae;
#[cfg(feature = "cli")]
mod validation;
#[cfg(not(target_arch = "wasm32"))]
pub mod weights;
