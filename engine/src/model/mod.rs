//! Networks and their weights.
//!
//! # Theory
//! A [`Network`] predicts the transport's target (velocity, score, noise or data) from a state x at time t and a label y. It is a
//! single traversal over a [`Scope`](crate::nn::Scope): parameters are declared where they are used, so that names, shapes, initial
//! values and the graph come from the same code. A [`Model`] is a network with its transport and its weights on a device.
//!
//! # Practice
//! [`Dit`] is SiT's transformer, and [`Unet`] a convolutional U-Net. [`ModelConfig`] is any network that a configuration or a file of weights can name; a network of your
//! own implements [`Network`]. A [`Blueprint`] is all of a model that is known before there is a device.
//!
//! ```
//! use sit_engine::backend::Device;
//! use sit_engine::model::{Model, Dit, ModelConfig};
//! use sit_engine::transport::Transport;
//!
//! # fn main() -> sit_engine::Result<()> {
//! let network = Dit { dim: 64, depth: 2, n_heads: 2, ..Dit::preset("SiT-S/8").unwrap() };
//! let model = Model::init(&Device::Cpu, network, Transport::default(), 0)?;
//! assert_eq!(model.io().image, [4, 32, 32]);
//! # Ok(())
//! # }
//! ```

mod autoencoder;
mod classifier;
mod config;
mod dit;
mod features;
mod network;
#[cfg(not(target_arch = "wasm32"))]
mod reconstruct;
mod unet;

pub use autoencoder::{AutoencoderKl, AutoencoderNet};
pub use classifier::Classifier;
pub use config::{ModelConfig, Recognized};
/// Names of tensors that tell a network under its official names.
pub(crate) const LANDMARKS: [&str; 3] = [dit::LANDMARKS[0], dit::LANDMARKS[1], unet::LANDMARK];
pub use dit::{Condition, Dit, PRESETS, Preset};
#[doc(hidden)]
pub use features::{Features, Read};
pub(crate) use network::{IN_PAGE, evaluate};
pub use network::{Inputs, Network, NetworkIo, Output, Outputs};
#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub use reconstruct::{Reconstruct, Reconstructed};
pub use unet::Unet;

use crate::backend::{Arenas, Device};
use crate::error::{Error, Result};
pub use crate::graph::Storage;
use crate::graph::plan::Widen;
use crate::graph::{Arena, Graph, Layout, SetId};
use crate::nn::{ParamSpec, Params};
use crate::ops::widen;
use crate::shape::Shape;
use crate::transport::{Transport, Variance};
use std::ops::Deref;
use std::sync::Arc;

/// The graph of a network for one image, its parameters and its outputs.
fn graph_of(network: &dyn Network) -> Result<(Graph, Params, Outputs)> {
    let io = network.io();
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let inputs = Inputs {
        x: g.input("x", io.images(1)),
        t: g.input("t", [1]),
        y: io.null_class().map(|_| g.input_u32("y", [1])),
        span: io.has_span.then(|| g.input("span", [1])),
        noise: None,
    };
    let outputs = network.forward(&mut params.scope(&mut g), inputs)?;
    Ok((g, params, outputs))
}

/// The parameters of a network, in order, including fixed tables.
///
/// # Errors
/// Those of [`Network::validate`].
#[doc(hidden)]
pub fn params(network: &dyn Network) -> Result<Vec<ParamSpec>> {
    network.validate(1)?;
    Ok(graph_of(network)?.1.into_specs())
}

/// Multiply-accumulates of a network for one image, counted as in the papers.
///
/// # Errors
/// Those of [`Network::validate`].
#[doc(hidden)]
pub fn macs(network: &dyn Network) -> Result<u64> {
    network.validate(1)?;
    Ok(graph_of(network)?.0.macs())
}

/// Number of parameters as the papers count them: the trained ones and the position embedding.
fn count(specs: &[ParamSpec]) -> usize {
    let counted = specs.iter().filter(|spec| spec.is_counted());
    counted.map(|spec| spec.shape.numel()).sum()
}

/// Channels of a network's last layer.
fn n_outputs(network: &dyn Network) -> Result<usize> {
    let (g, _, outputs) = graph_of(network)?;
    Ok(g.shape(outputs.all).get(1).copied().unwrap_or(0))
}

/// Whether a network has as many outputs again as its prediction, for a learned variance.
///
/// # Errors
/// Those of [`Network::validate`].
#[doc(hidden)]
pub fn has_variance(network: &dyn Network) -> Result<bool> {
    network.validate(1)?;
    Ok(n_outputs(network)? == 2 * network.io().channels())
}

/// Rejects a learned variance of a network whose last layer has `n_outputs` channels for images of `channels`, unless it has as many
/// again.
pub(crate) fn check_variance(variance: Variance, n_outputs: usize, channels: usize) -> Result<()> {
    if !variance.is_learned() || n_outputs == 2 * channels {
        return Ok(());
    }
    Err(Error::setting(
        "ddpm_variance",
        format!(
            "got {variance}, but the network has {n_outputs} outputs per pixel for images of {channels} and none for a variance; \
             expected a model with learn_sigma = true, or fixed-small or fixed-large"
        ),
    ))
}

/// A network, its transport, its parameters and their layout: the part of a [`Model`] that needs no device.
#[derive(Clone, Debug)]
pub struct Blueprint {
    network: Arc<dyn Network>,
    transport: Transport,
    specs: Arc<[ParamSpec]>,
    layout: Arc<Layout>,
}

impl Blueprint {
    /// Shapes of the network's inputs and outputs.
    pub fn io(&self) -> NetworkIo {
        self.network.io()
    }

    /// The trained parameters with their initial values under `seed`, one at a time.
    pub(crate) fn initial(&self, seed: u64) -> impl Iterator<Item = (&ParamSpec, Vec<f32>)> {
        let trained = self.specs.iter().filter(|spec| spec.is_trained());
        let numbered = trained.enumerate();
        numbered.map(move |(index, spec)| {
            let values = spec.init.values(&spec.shape, seed, index as u32);
            (spec, values)
        })
    }

    /// Number of parameters as the papers count them: the trained ones and the position embedding.
    pub fn n_params(&self) -> usize {
        count(&self.specs)
    }
}

#[doc(hidden)]
impl Blueprint {
    /// Lays out the trained parameters in segments of at most `max_segment_bytes` ([`Device::max_segment_bytes`]).
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for invalid sizes or an invalid transport, [`crate::Error::Limit`] when a single parameter exceeds
    /// a segment.
    pub fn new(
        network: impl Network + 'static,
        transport: Transport,
        max_segment_bytes: u64,
    ) -> Result<Self> {
        Self::stored(network, transport, Storage::F32, max_segment_bytes)
    }

    /// As [`Blueprint::new`], with the weights kept in `storage`.
    ///
    /// # Errors
    /// As there.
    pub fn stored(
        network: impl Network + 'static,
        transport: Transport,
        storage: Storage,
        max_segment_bytes: u64,
    ) -> Result<Self> {
        transport.target()?;
        network.check_transport(&transport)?;
        if network.io().has_span && transport.student_steps.is_none() {
            return Err(Error::setting(
                "student_steps",
                "got none, expected a number: the network predicts mean velocities (model.span = true)",
            ));
        }
        let specs = params(&network)?;
        let variance = transport.path.ddpm().map(|ddpm| ddpm.variance);
        let predicts = network.output() == Output::Prediction;
        if let Some(variance) = variance.filter(|variance| variance.is_learned() && predicts) {
            check_variance(variance, n_outputs(&network)?, network.io().channels())?;
        }
        let trained = specs.iter().filter(|spec| spec.is_trained());
        let list: Vec<(String, Shape)> = trained
            .map(|spec| (spec.name.clone(), spec.shape.clone()))
            .collect();
        Ok(Blueprint {
            network: Arc::new(network),
            transport,
            specs: specs.into(),
            layout: Arc::new(match IN_PAGE {
                // Its models are small.
                true => Layout::new(&list, max_segment_bytes)?,
                false => {
                    let widen = Widen(widen::Widen::op);
                    Layout::stored(&list, storage, widen, max_segment_bytes)?
                }
            }),
        })
    }
}

#[doc(hidden)]
impl Blueprint {
    /// The prediction, path and loss weight that the network is trained for.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        &*self.network
    }

    /// The parameters, in order, including fixed tables.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// The location of each trained parameter.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// A network with weights on a device. A clone shares the weights.
#[derive(Clone, Debug)]
pub struct Model {
    blueprint: Blueprint,
    device: Device,
    arenas: Arenas,
    weights: Arena,
}

impl AsRef<Blueprint> for Blueprint {
    fn as_ref(&self) -> &Blueprint {
        self
    }
}

impl AsRef<Blueprint> for Model {
    fn as_ref(&self) -> &Blueprint {
        &self.blueprint
    }
}

impl Deref for Model {
    type Target = Blueprint;

    fn deref(&self) -> &Blueprint {
        &self.blueprint
    }
}

impl Model {
    /// A model whose weights are all zero, to be overwritten.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for a network or transport that is refused; [`crate::Error::Limit`] and [`crate::Error::Device`] when it
    /// does not fit on the device.
    pub fn zeros(
        device: &Device,
        network: impl Network + 'static,
        transport: Transport,
    ) -> Result<Self> {
        Self::stored(device, network, transport, Storage::F32)
    }

    /// As [`Model::zeros`], with the weights kept in `storage`: half the memory in 16 bits, for sampling. A sampler then computes with the
    /// rounded weights in f32.
    ///
    /// # Errors
    /// Those of [`Model::zeros`].
    pub fn stored(
        device: &Device,
        network: impl Network + 'static,
        transport: Transport,
        storage: Storage,
    ) -> Result<Self> {
        let most = device.max_segment_bytes();
        let blueprint = Blueprint::stored(network, transport, storage, most)?;
        let arenas = device.arenas(&blueprint.layout, &[Arena::Params])?;
        Ok(Self::over(blueprint, device, arenas, Arena::Params))
    }

    /// A model with the initial weights of `seed`.
    ///
    /// # Errors
    /// Those of [`Model::zeros`].
    pub fn init(
        device: &Device,
        network: impl Network + 'static,
        transport: Transport,
        seed: u64,
    ) -> Result<Self> {
        let model = Self::zeros(device, network, transport)?;
        for (spec, values) in model.initial(seed) {
            model.write(&spec.name, &values)?;
        }
        Ok(model)
    }

    /// A model over existing arenas.
    pub(crate) fn over(
        blueprint: Blueprint,
        device: &Device,
        arenas: Arenas,
        weights: Arena,
    ) -> Self {
        Model {
            blueprint,
            device: device.clone(),
            arenas,
            weights,
        }
    }

    /// Writes a trained parameter, by name.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when there is none of that name or the length differs.
    pub fn write(&self, name: &str, values: &[f32]) -> Result<()> {
        self.arenas.write(self.weights, name, values)
    }

    /// Reads a trained parameter, by name.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when there is none of that name, [`crate::Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        pollster::block_on(self.read_async(name))
    }
}

#[doc(hidden)]
impl Model {
    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Async variant of [`Self::read`], for browsers.
    pub async fn read_async(&self, name: &str) -> Result<Vec<f32>> {
        self.arenas.read(self.weights, name).await
    }

    /// The arenas, to create programs that contain this model.
    pub fn arenas(&self) -> &Arenas {
        &self.arenas
    }

    /// Which of the arenas has the weights.
    pub fn weights(&self) -> Arena {
        self.weights
    }
}
