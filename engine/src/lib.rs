//! SiT (Scalable Interpolant Transformers, arXiv 2401.08740) as portable compute: training, sampling and the engine below them, on
//! any GPU that WebGPU reaches and on the CPU.
//!
//! # Theory
//! An interpolant `x_t = alpha_t x1 + sigma_t x0` leads from noise x0 at t = 0 to data x1 at t = 1. A network learns its mean velocity
//! `v(x, t) = E[d x_t / dt | x_t = x]`. The ODE `dX = v dt` and, for every diffusion `D_t`, the SDE
//! `dX = (v + D_t s) dt + sqrt(2 D_t) dW` with the score `s = grad log p_t` then lead from noise to data with the same distribution at
//! each time. [`transport`] has the scalars of all this, in f64 and without a tensor.
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
//! The modules that a program uses first: [`model`] (networks, and a network with weights), [`train`], [`sample`], [`checkpoint`]
//! (files of weights) and [`transport`]. A network of your own is built of [`nn`], an objective of your own implements
//! [`objective::Objective`]. Calls that wait for a device have a twin that ends in `_async`, for browsers.
//!
//! # Below
//!
//! ```text
//! Graph -> (backward, optim) -> Graph -> Plan -> Program
//! ```
//!
//! A [`graph::Graph`] is a list of operations ([`ops`]); [`graph::Graph::backward`] appends gradients; a [`graph::Plan`] gives every
//! value a place and states the memory before anything is allocated; a [`backend::Program`] is a plan on a device, which allocates
//! and compiles nothing when it runs.
//!
//! Conventions: t = 0 is noise and t = 1 is data; x0 is noise, x1 data; velocity points from noise to data; tensors are
//! contiguous row-major f32.

pub mod analytic;
mod autodiff;
pub mod backend;
pub mod checkpoint;
pub mod error;
pub mod graph;
pub mod model;
pub mod nn;
// For this project's benchmarks: not part of the interface.
#[doc(hidden)]
pub mod num;
pub mod objective;
pub mod ops;
pub mod optim;
pub mod rng;
pub mod sample;
pub mod shape;
pub mod table;
pub mod text;
pub mod train;
pub mod transport;

pub use error::{Error, Result};
