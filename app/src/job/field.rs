//! What a run follows: a network, or the exact field of a mixture.

use crate::source::{Origin, WeightStream};
use crate::state::Model;
use sit_engine::analytic::Mixture;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::error::{Error, Result};
use sit_engine::model::{self, NetworkIo};
use sit_engine::transport::Transport;

/// The source of the velocity.
#[derive(Debug)]
pub enum Field {
    /// A network with its weights.
    Network(model::Model),
    /// The exact velocity of a mixture, instead of a network.
    Exact {
        /// Shapes of the points.
        io: NetworkIo,
        /// What is integrated.
        transport: Transport,
        /// The data.
        mixture: Mixture,
    },
}

impl Field {
    /// Loads a network.
    ///
    /// # Errors
    /// As of [`Reader::load`], and when the device cannot hold it.
    pub fn network(
        device: &Device,
        model: &Model,
        mut weights: Reader<Box<dyn WeightStream>>,
    ) -> Result<Self> {
        let Some(network) = model.network.clone() else {
            return Err(Error::Config(
                "an exact field has no weights to load".into(),
            ));
        };
        let network = model::Model::zeros(device, network, model.transport.clone())?;
        weights.load(&network)?;
        Ok(Field::Network(network))
    }

    /// The exact field of a mixture.
    pub fn exact(model: &Model, mixture: Mixture) -> Self {
        Field::Exact {
            io: model.io,
            transport: model.transport.clone(),
            mixture,
        }
    }

    /// What lanes sample from.
    ///
    /// # Errors
    /// As of [`Field::network`].
    pub fn of(device: &Device, origin: Origin) -> Result<(Model, Self)> {
        match origin {
            Origin::Network((model, weights)) => {
                let field = Field::network(device, &model, weights)?;
                Ok((model, field))
            }
            Origin::Exact(model, mixture) => {
                let field = Field::exact(&model, mixture);
                Ok((model, field))
            }
            #[cfg(target_arch = "wasm32")]
            Origin::Page(file) => Err(Error::Config(format!("{file} has to be fetched first"))),
        }
    }

    /// The shapes of what it moves.
    pub fn io(&self) -> NetworkIo {
        match self {
            Field::Network(network) => network.io(),
            Field::Exact { io, .. } => *io,
        }
    }

    /// What it was trained to do.
    pub fn transport(&self) -> &Transport {
        match self {
            Field::Network(network) => network.transport(),
            Field::Exact { transport, .. } => transport,
        }
    }
}
