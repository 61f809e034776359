//! The U-Net as a graph.

mod config;
mod graph;
mod recognize;

pub use config::Unet;
pub(crate) use recognize::{LANDMARK, recognize};

use super::network::not_in_page;
use super::{Inputs, Network, NetworkIo, Outputs};
use crate::error::{Error, Result};
use crate::nn::Scope;
use crate::transport::Transport;

impl Network for Unet {
    fn io(&self) -> NetworkIo {
        NetworkIo {
            image: [self.channels, self.input_size, self.input_size],
            n_classes: self.n_classes,
            has_span: self.span,
            latent: None,
        }
    }

    fn validate(&self, batch: usize) -> Result<()> {
        self.check(batch)
    }

    fn check_transport(&self, transport: &Transport) -> Result<()> {
        if transport.path.ddpm().is_some() && self.time_scale != 1 {
            return Err(Error::setting(
                "model.time_scale",
                format!(
                    "got {}, expected 1 on the path DDPM, where the network gets the step",
                    self.time_scale
                ),
            ));
        }
        Ok(())
    }

    /// With `c = silu(mlp(sincos(time_scale · t)) + table[y])`, the input blocks compute features of ever smaller images, and the output blocks
    /// read them again in the reverse order, beside their own (`UNetModel.forward`).
    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        not_in_page("model.family", "unet")?;
        graph::forward(self, s, inputs)
    }
}
