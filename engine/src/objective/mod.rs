//! Training objectives: the loss as a graph, and the random draws for each image.
//!
//! # Theory
//! An objective has two parts. `build` appends a graph that maps a batch of images and its random inputs to a loss per image.
//! `draw` fills in the random inputs of each image: noise, time, a dropped label. They are all functions of the seed and the
//! image's number ([`SampleKey`]), so that neither the batch size nor resuming changes them.
//!
//! # Practice
//! [`Matching`] is SiT's: the network predicts velocity, score, noise or data at a point between noise and image. An objective of your
//! own implements [`Objective`]: [`Objective::build`] makes its inputs as [`Ports`], and [`Objective::draw`] fills them before each
//! batch. Here a network learns to denoise:
//!
//! ```
//! use sit_engine::Result;
//! use sit_engine::backend::Device;
//! use sit_engine::graph::{Graph, Var};
//! use sit_engine::model::{Dit, Inputs, NetworkIo};
//! use sit_engine::objective::{Batch, Net, Objective, Port, Ports, SampleKey, TIMES};
//! use sit_engine::ops::loss;
//! use sit_engine::rng::{Stream, fill_normal, uniform};
//! use sit_engine::train::Trainer;
//!
//! #[derive(Debug)]
//! struct Denoise;
//!
//! const X: Port<f32> = Port::new("x");
//! const X1: Port<f32> = Port::new("x1");
//! const Y: Port<u32> = Port::new("y");
//! const COEF: Port<f32> = Port::new("coef");
//!
//! impl Objective for Denoise {
//!     fn validate(&self, _: &NetworkIo) -> Result<()> {
//!         Ok(())
//!     }
//!
//!     fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
//!         let (b, io) = (ports.batch(), net.io());
//!         let x = ports.input(g, X, io.images(b))?;
//!         let x1 = ports.input(g, X1, io.images(b))?;
//!         let t = ports.input(g, TIMES, [b])?;
//!         let y = io.null_class().map(|_| ports.input(g, Y, [b])).transpose()?;
//!         let coef = ports.input(g, COEF, [b, 4])?;
//!         let out = net.forward(g, Inputs::new(x, t, y))?.out;
//!         loss::loss(g, out, x1, x1, coef)
//!     }
//!
//!     fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()> {
//!         let (len, step) = (ports.io().image_len(), key.step());
//!         let mut noise = vec![0.0; len];
//!         for (b, x1) in batch.x1.chunks(len).enumerate() {
//!             let number = key.number + b as u64;
//!             let t = uniform(key.seed, Stream::Time, step, number) as f32;
//!             fill_normal(key.seed, Stream::Noise, step, number * len as u64, &mut noise);
//!             let x: Vec<f32> = noise.iter().zip(x1).map(|(x0, x1)| (1.0 - t) * x0 + t * x1).collect();
//!             ports.fill(TIMES)?[b] = t;
//!             ports.fill(X)?[b * len..][..len].copy_from_slice(&x);
//!             // The loss is 1 times the mean square of 1 out - 1 x1 + 0 x1.
//!             ports.fill(COEF)?[4 * b..][..4].copy_from_slice(&[1.0, 1.0, -1.0, 0.0]);
//!         }
//!         if ports.io().null_class().is_some() {
//!             ports.copy(Y, batch.y)?;
//!         }
//!         ports.copy(X1, batch.x1)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let network = Dit { input_size: 8, dim: 32, depth: 1, n_heads: 2, ..Dit::preset("SiT-S/4").unwrap() };
//! let mut trainer = Trainer::builder(network).objective(Denoise).batch(2).build(&Device::Cpu)?;
//! let images = vec![0.5; 2 * trainer.io().image_len()];
//! let first = trainer.step(&images, &[0, 1], 1e-2)?.loss;
//! let second = trainer.step(&images, &[0, 1], 1e-2)?.loss;
//! assert!(second < first);
//! # Ok(())
//! # }
//! ```

mod autoencode;
mod classify;
mod discrete;
mod distill;
mod draws;
mod matching;
mod ports;
mod second_moment;
mod teacher;

pub use autoencode::{Autoencode, Reconstruction};
pub use classify::Classify;
pub use discrete::Discrete;
#[doc(hidden)]
pub use discrete::Place;
pub use distill::{Distill, Pieces};
pub use matching::Matching;
pub use ports::{Port, PortElem, Ports};
#[doc(hidden)]
pub use second_moment::SecondMoment;
pub use teacher::Teacher;

use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::model::{Inputs, Network, NetworkIo, Outputs, evaluate};
use crate::nn::Params;
use std::fmt::Debug;

/// The times of the images, `[B]`: by them a trainer tells the loss by time. An objective without this port has none.
pub const TIMES: Port<f32> = Port::new("t");

/// The factors of the images' losses, `[B]`, of an objective that does not draw all times alike: a trainer divides by them where it
/// tells the loss of an image. An objective without this port has factors of 1.
pub const WEIGHTS: Port<f32> = Port::new("weight");

/// Images and labels of one forward and backward pass.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// Images in [-1, 1], `[B, C, H, W]`.
    pub x1: &'a [f32],
    /// Labels up to the null class, `[B]`; ignored by an unconditional network.
    pub y: &'a [u32],
    /// What is paired with each image, `[B, C, H, W]`: noise for fixed pairs (reflow, arXiv 2209.03003), or an image of the data set that
    /// the transport begins with ([`Base`](crate::transport::Base)). If `None`, noise is drawn, which only a Gaussian base allows.
    pub x0: Option<&'a [f32]>,
    /// Number of the first image since the run began.
    pub first: u64,
}

impl<'a> Batch<'a> {
    /// Images x1 with labels y; `first` is the number of the first one since the run began.
    pub fn new(x1: &'a [f32], y: &'a [u32], first: u64) -> Self {
        let x0 = None;
        Batch { x1, y, x0, first }
    }
}

/// Identifies an image; its random draws are functions of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleKey {
    /// The run's seed.
    pub seed: u64,
    /// Number of the image since the run began, or in the validation set.
    pub number: u64,
    /// Whether the image is only used for validation: its draws differ from all training draws, and no label is dropped.
    pub is_validation: bool,
}

impl SampleKey {
    /// The `step` of all draws of [`crate::rng`] for this image.
    pub fn step(self) -> u32 {
        u32::from(self.is_validation)
    }
}

/// The network that an objective trains, in a graph.
#[derive(Debug)]
pub struct Net<'a> {
    network: &'a dyn Network,
    params: &'a mut Params,
}

impl<'a> Net<'a> {
    /// Shapes of the inputs and outputs.
    pub fn io(&self) -> NetworkIo {
        self.network.io()
    }

    /// Evaluates the network; an objective may do so several times.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the inputs do not fit the network.
    pub fn forward(&mut self, g: &mut Graph, inputs: Inputs) -> Result<Outputs> {
        evaluate(self.network, &mut self.params.scope(g), inputs)
    }
}

#[doc(hidden)]
impl<'a> Net<'a> {
    /// `network`, with its parameters declared in `params`.
    pub fn new(network: &'a dyn Network, params: &'a mut Params) -> Self {
        Net { network, params }
    }
}

/// A training objective.
pub trait Objective: Debug + Send + Sync {
    /// Checks the settings for a network of these shapes.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] or [`crate::Error::Config`] with the reason.
    fn validate(&self, io: &NetworkIo) -> Result<()>;

    /// Appends the loss of each image of a batch, `[B]`; external inputs are declared in `ports`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var>;

    /// Fills the ports for a batch. `key` identifies its first image.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for data of a wrong length, [`crate::Error::Config`] for a label beyond the null class.
    fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()>;

    /// Another network that [`Objective::build`] evaluates, with the parameter set [`SetId::GUIDE`](crate::graph::SetId::GUIDE) and
    /// weights that stay; most objectives have none.
    fn teacher(&self) -> Option<&Teacher> {
        None
    }

    /// Learns from a step that was done: the time of each image, and its loss divided by its factor ([`WEIGHTS`]). Most objectives
    /// draw everything from the seed and learn nothing.
    fn learn(&self, _by_image: &[(f64, f64)]) {}

    /// What it has learned; empty for most objectives. A run that goes on from it draws as if it had not been interrupted.
    fn state(&self) -> Vec<f32> {
        Vec::new()
    }

    /// Goes on from what [`Objective::state`] returned.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a state of another length.
    fn restore(&self, state: &[f32]) -> Result<()> {
        match state.len() {
            0 => Ok(()),
            n => Err(crate::Error::Shape(format!(
                "the objective's state has {n} numbers, expected none"
            ))),
        }
    }
}
