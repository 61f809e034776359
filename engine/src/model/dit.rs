//! The diffusion transformer as a graph.

mod config;
mod recognize;

pub use config::{Block, Dit, PRESETS, Preset};
pub(crate) use recognize::{LANDMARK, recognize};

use super::{Inputs, Network, NetworkIo, Outputs};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{Init, LabelEmbed, Linear, PatchEmbed, Scope, TimeEmbed};
use crate::ops::{adaln, attention, chunk, patch, pointwise};
use crate::text::count;

const LN_EPS: f32 = 1e-6;

/// Width of the MLP relative to the tokens.
const MLP_RATIO: usize = 4;

impl Network for Dit {
    fn io(&self) -> NetworkIo {
        NetworkIo {
            image: [self.channels, self.input_size, self.input_size],
            n_classes: self.n_classes,
        }
    }

    fn validate(&self, batch: usize) -> Result<()> {
        self.check(batch)
    }

    /// With `c = mlp(sincos(t)) + table[y]` and `h = patches(x) + positions`, the blocks update h as described at [`Block`];
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
        let (side, d) = (self.input_size / self.patch, self.dim);
        let x_embedder = PatchEmbed::new(s, side, self.patch, self.channels, d)?;
        let t_embedder = TimeEmbed::new(s, "t_embedder", d)?;
        let y_embedder = match inputs.y {
            Some(y) => Some((LabelEmbed::new(s, "y_embedder", self.n_classes, d)?, y)),
            None => None,
        };
        let blocks = (0..self.depth)
            .map(|i| DitBlock::new(self, &mut s.at(format_args!("blocks.{i}"))))
            .collect::<Result<Vec<_>>>()?;
        let last = FinalLayer::new(self, &mut s.at("final_layer"))?;

        let g = s.graph();
        let mut h = x_embedder.forward(g, inputs.x)?;
        let mut c = t_embedder.forward(g, inputs.t)?;
        if let Some((embedder, y)) = y_embedder {
            let y = embedder.forward(g, y)?;
            c = pointwise::add(g, c, y)?;
        }
        // Shared by all blocks, so computed once.
        let c = pointwise::silu(g, c)?;
        for block in &blocks {
            h = block.forward(g, h, c)?;
        }
        let tokens = last.forward(g, h, c)?;
        Ok(Outputs {
            out: patch::patch_join(g, tokens, self.patch, self.channels)?,
            all: patch::patch_join(g, tokens, self.patch, self.out_channels())?,
        })
    }
}

/// A block of the transformer.
struct DitBlock {
    qkv: Linear,
    proj: Linear,
    fc1: Linear,
    fc2: Linear,
    modulation: Linear,
    kind: Block,
    n_heads: usize,
}

impl DitBlock {
    fn new(config: &Dit, s: &mut Scope<'_>) -> Result<Self> {
        let (d, wide) = (config.dim, MLP_RATIO * config.dim);
        let (chunks, init) = match config.block {
            Block::AdaLnZero => (6, Init::Zeros),
            Block::AdaLn => (4, Init::Xavier),
        };
        Ok(DitBlock {
            qkv: Linear::new(s, "attn.qkv", [3 * d, d], Init::Xavier)?,
            proj: Linear::new(s, "attn.proj", [d, d], Init::Xavier)?,
            fc1: Linear::new(s, "mlp.fc1", [wide, d], Init::Xavier)?,
            fc2: Linear::new(s, "mlp.fc2", [d, wide], Init::Xavier)?,
            modulation: Linear::new(s, "adaLN_modulation.1", [chunks * d, d], init)?,
            kind: config.block,
            n_heads: config.n_heads,
        })
    }

    /// h `[B, T, D]`, c `[B, D]` -> `[B, T, D]`.
    fn forward(&self, g: &mut Graph, h: Var, c: Var) -> Result<Var> {
        let modulation = self.modulation.forward(g, c)?;
        match self.kind {
            Block::AdaLnZero => {
                let [
                    shift_msa,
                    scale_msa,
                    gate_msa,
                    shift_mlp,
                    scale_mlp,
                    gate_mlp,
                ] = chunk::split(g, modulation)?;
                let x = self.attend(g, h, shift_msa, scale_msa)?;
                let h = self.proj.gated(g, x, h, gate_msa)?;
                let x = self.widen(g, h, shift_mlp, scale_mlp)?;
                self.fc2.gated(g, x, h, gate_mlp)
            }
            Block::AdaLn => {
                let [shift_msa, scale_msa, shift_mlp, scale_mlp] = chunk::split(g, modulation)?;
                let x = self.attend(g, h, shift_msa, scale_msa)?;
                let x = self.proj.forward(g, x)?;
                let h = pointwise::add(g, h, x)?;
                let x = self.widen(g, h, shift_mlp, scale_mlp)?;
                let x = self.fc2.forward(g, x)?;
                pointwise::add(g, h, x)
            }
        }
    }

    /// Attention, up to its output projection.
    fn attend(&self, g: &mut Graph, h: Var, shift: Var, scale: Var) -> Result<Var> {
        let x = adaln::adaln(g, h, shift, scale, LN_EPS)?;
        let qkv = self.qkv.forward(g, x)?;
        attention::attention(g, qkv, self.n_heads)
    }

    /// The MLP, up to its output projection.
    fn widen(&self, g: &mut Graph, h: Var, shift: Var, scale: Var) -> Result<Var> {
        let x = adaln::adaln(g, h, shift, scale, LN_EPS)?;
        self.fc1.gelu(g, x)
    }
}

/// The final layer: from tokens to patches of the output.
struct FinalLayer {
    linear: Linear,
    modulation: Linear,
}

impl FinalLayer {
    fn new(config: &Dit, s: &mut Scope<'_>) -> Result<Self> {
        let (d, patch_len) = (config.dim, config.patch * config.patch);
        let out = patch_len * config.out_channels();
        Ok(FinalLayer {
            linear: Linear::new(s, "linear", [out, d], Init::Zeros)?,
            modulation: Linear::new(s, "adaLN_modulation.1", [2 * d, d], Init::Zeros)?,
        })
    }

    /// h `[B, T, D]`, c `[B, D]` -> `[B, T, p·p·Cout]`.
    fn forward(&self, g: &mut Graph, h: Var, c: Var) -> Result<Var> {
        let modulation = self.modulation.forward(g, c)?;
        let [shift, scale] = chunk::split(g, modulation)?;
        let h = adaln::adaln(g, h, shift, scale, LN_EPS)?;
        self.linear.forward(g, h)
    }
}
