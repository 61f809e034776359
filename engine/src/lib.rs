//! SiT (Scalable Interpolant Transformers, arXiv 2401.08740) as portable compute: training, sampling and the engine below them, on
//! every GPU with WebGPU support and on the CPU.
//!
//! # Theory
//! An interpolant `x_t = alpha_t x1 + sigma_t x0` leads from noise x0 at t = 0 to data x1 at t = 1. A network learns its mean velocity
//! `v(x, t) = E[d x_t / dt | x_t = x]`. The ODE `dX = v dt` and, for every diffusion `D_t`, the SDE
//! `dX = (v + D_t s) dt + sqrt(2 D_t) dW` with the score `s = grad log p_t` then lead from noise to data with the same marginal
//! distribution at each time. [`transport`] computes all scalars of this theory in f64, independent of tensors.
//!
//! # Practice
//! Train a network, and sample from it:
//!
//! ```
//! use sit_engine::backend::Device;
//! use sit_engine::model::Dit;
//! use sit_engine::train::{Trainer, Weights};
//! use sit_engine::transport::{Method, Sampler};
//!
//! # fn main() -> sit_engine::Result<()> {
//! let network = Dit { input_size: 8, dim: 32, depth: 1, n_heads: 2, ..Dit::preset("SiT-S/4").unwrap() };
//! let mut trainer = Trainer::builder(network).batch(2).build(&Device::Cpu)?;
//! let images = vec![0.5; 2 * trainer.io().image_len()];
//! for _ in 0..3 {
//!     let report = trainer.step(&images, &[3, 8], 1e-3)?;
//!     println!("loss {:.3}", report.loss);
//! }
//! let sampler = Sampler::ode(Method::Heun, 4);
//! let samples = trainer.model(Weights::Average).sampler(sampler).guidance(1.5).sample(&[3, 8])?;
//! assert_eq!(samples.len(), images.len());
//! # Ok(())
//! # }
//! ```
//!
//! Start with these modules: [`model`] (networks, and networks with weights), [`train`], [`sample`], [`checkpoint`] (weight files)
//! and [`transport`]. Build a network of your own from the layers in [`nn`]; implement [`objective::Objective`] for an objective of
//! your own.
//!
//! Every call that waits for a device has an async variant for browsers, where nothing may wait: `step_async` for `step`, and so on,
//! with the same arguments, results and errors. These pages list the waiting calls alone.
//!
//! # Below
//!
//! ```text
//! Graph -> (backward, optim) -> Graph -> Plan -> Program
//! ```
//!
//! A [`graph::Graph`] is a list of operations ([`ops`]); differentiation appends the gradients. A plan assigns storage to
//! every value and knows the memory use before anything is allocated. A program is a plan on a device; running it allocates and
//! compiles nothing.
//!
//! Conventions: t = 0 is noise and t = 1 is data; x0 is noise, x1 data; velocity points from noise to data; tensors are
//! contiguous row-major f32.

// Modules and items that are hidden from the documentation are public for this project's own programs, tests and benchmarks. They
// are not part of the interface and may change at any time.
#[doc(hidden)]
pub mod analytic;
mod autodiff;
pub mod autoencoder;
pub mod backend;
pub mod checkpoint;
pub mod error;
pub mod graph;
#[cfg(not(target_arch = "wasm32"))]
pub mod inception;
pub mod model;
pub mod nn;
#[doc(hidden)]
pub mod num;
pub mod objective;
pub mod ops;
pub mod optim;
pub mod rng;
pub mod sample;
pub mod shape;
#[doc(hidden)]
pub mod table;
#[doc(hidden)]
pub mod text;
pub mod train;
pub mod transport;

pub use error::{Error, Result};
