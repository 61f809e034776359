//! SiT (Scalable Interpolant Transformers, arXiv 2401.08740) as portable compute: graph, autodiff, transport and backends.
//!
//! ```text
//! Graph -> (backward, optim) -> Graph -> Plan -> Program
//! ```
//!
//! A [`graph::Graph`] is a list of operations ([`ops`]); [`graph::Graph::backward`] appends gradients; a [`graph::Plan`] gives every
//! value a place and states the memory before anything is allocated; a [`backend::Program`] is a plan on a device, which
//! allocates and compiles nothing when it runs. [`model`] builds the network, [`transport`] has the coefficients of paths,
//! objectives and solvers, [`train`] and [`sample`] drive them.
//!
//! Conventions: t = 0 is noise and t = 1 is data; x0 is noise, x1 data; velocity points from noise to data; tensors are
//! contiguous row-major f32.

pub mod analytic;
pub mod backend;
pub mod checkpoint;
pub mod error;
pub mod graph;
pub mod model;
pub mod nn;
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
