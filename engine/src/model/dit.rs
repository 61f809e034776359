//! The diffusion transformer as a graph.

mod block;
mod config;
mod presets;
mod recognize;
mod trunk;

pub use config::{Condition, Dit};
pub use presets::{PRESETS, Preset};
pub(crate) use recognize::{LANDMARKS, recognize};

use super::{Inputs, Network, NetworkIo, Outputs};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{Init, Linear, Scope, TokenNorm};
use crate::ops::{chunk, patch};
use crate::text::count;
use block::Conditions;
pub(super) use trunk::Trunk;

impl Network for Dit {
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

    /// With `c = mlp(sincos(t)) + table[y]` and `h = patches(x) + positions`, the blocks update h as described at [`Condition`];
    /// finally `linear(adaln(h, shift, scale))` is assembled into an image (SiT `SiT.forward`).
    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        if inputs.y.is_some() != (self.n_classes > 0) {
            return Err(Error::Shape(match inputs.y {
                Some(_) => "the network has no classes, and got labels".into(),
                None => format!(
                    "the network has {}, and got no labels",
                    count(self.n_classes, "class")
                ),
            }));
        }
        let trunk = Trunk::new(self, s)?;
        let last = FinalLayer::new(self, &mut s.at("final_layer"))?;

        let g = s.graph();
        let (h, conditions) = trunk.forward(g, inputs)?;
        let tokens = last.forward(g, h, &conditions)?;
        let out = patch::patch_join(g, tokens, self.patch, self.channels)?;
        Ok(Outputs {
            all: patch::patch_join(g, tokens, self.patch, self.out_channels())?,
            ..Outputs::new(out)
        })
    }
}

/// The final layer: from tokens to patches of the output.
struct FinalLayer {
    norm: TokenNorm,
    linear: Linear,
    modulation: Option<Linear>,
}

impl FinalLayer {
    fn new(config: &Dit, s: &mut Scope<'_>) -> Result<Self> {
        let d = config.dim;
        let out = config.patch * config.patch * config.out_channels();
        let norm = TokenNorm::new(s, "norm_final", config.norm, d)?;
        let linear = Linear::new(s, "linear", [out, d], Init::Zeros)?;
        let modulation = match config.condition {
            Condition::InContext | Condition::CrossAttention => None,
            Condition::AdaLn | Condition::AdaLnZero => {
                let sizes = [2 * d, d];
                Some(Linear::new(s, "adaLN_modulation.1", sizes, Init::Zeros)?)
            }
        };
        Ok(FinalLayer {
            norm,
            linear,
            modulation,
        })
    }

    /// h `[B, T, D]` -> `[B, T, p·p·Cout]`.
    fn forward(&self, g: &mut Graph, h: Var, conditions: &Conditions) -> Result<Var> {
        let (mut shift, mut scale) = (None, None);
        if let (Some(modulation), Some(c)) = (self.modulation, conditions.vector) {
            let modulation = modulation.forward(g, c)?;
            [shift, scale] = chunk::split(g, modulation)?.map(Some);
        }
        let h = self.norm.forward(g, h, shift, scale)?;
        self.linear.forward(g, h)
    }
}
