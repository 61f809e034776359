//! The tiny autoencoders of TAESD, with the names of their files.

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{Conv, GroupNorm, Init, Scope};
use crate::ops::conv::Windows;
use crate::ops::{axes, pointwise, resample};

/// Channels of an image.
pub(super) const CHANNELS: usize = 3;
/// Pixels of an image for one of a latent.
pub(super) const FACTOR: usize = 8;
/// Groups of the norm of a pool, and its channels relative to the others.
const POOL: usize = 4;

/// A tiny autoencoder (github.com/madebyollin/taesd): residual blocks of three convolutions without norms, three halvings. Its files
/// have an encoder or a decoder each, with the numbers of PyTorch's `nn.Sequential` as names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyAutoencoder {
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels inside.
    pub width: usize,
    /// Whether the blocks of the smallest size have a second branch with a norm.
    pub pool: bool,
}

/// Layers of the encoder that halve, and of the decoder that follow an enlargement.
const HALVE: [usize; 3] = [2, 6, 10];
const ENLARGED: [usize; 3] = [7, 12, 17];

impl TinyAutoencoder {
    pub(super) fn validate(&self) -> Result<()> {
        for (key, size) in [
            ("latent_channels", self.latent_channels),
            ("width", self.width),
        ] {
            if !(1..=1 << 14).contains(&size) {
                let problem = format!("got {size}, expected 1 to 16384");
                return Err(Error::setting(key, problem));
            }
        }
        Ok(())
    }

    /// x `[B, 3, H, W]` in [-1, 1] -> z `[B, Z, H / 8, W / 8]`.
    pub(super) fn encode(&self, s: &mut Scope<'_>, x: Var) -> Result<Var> {
        let (g, c) = (s.graph(), self.width);
        let x = axes::channels_last(g, x)?;
        // The files are for numbers from 0 to 1.
        let x = pointwise::affine(g, x, 0.5, 0.5)?;
        let mut s = s.at("encoder");
        let mut h = conv(&mut s, 0, [c, CHANNELS], x)?;
        for layer in 1..14 {
            h = match HALVE.contains(&layer) {
                true => plain(&mut s, layer, c, Windows::new(2, 1), h)?,
                false => block(&mut s.at(layer), c, self.pool && layer > 10, h)?,
            };
        }
        let z = conv(&mut s, 14, [self.latent_channels, c], h)?;
        axes::channels_first(s.graph(), z)
    }

    /// z `[B, Z, h, w]` -> x `[B, 3, 8 h, 8 w]`.
    pub(super) fn decode(&self, s: &mut Scope<'_>, z: Var) -> Result<Var> {
        let (g, c) = (s.graph(), self.width);
        let z = axes::channels_last(g, z)?;
        // Layer 0 keeps latents between -3 and 3.
        let z = pointwise::scale(g, z, 1.0 / 3.0)?;
        let z = pointwise::tanh(g, z)?;
        let z = pointwise::scale(g, z, 3.0)?;
        let mut s = s.at("decoder");
        let h = conv(&mut s, 1, [c, self.latent_channels], z)?;
        let mut h = pointwise::relu(s.graph(), h)?;
        for layer in 3..19 {
            if ENLARGED.contains(&(layer + 1)) {
                h = resample::enlarge(s.graph(), h, 2)?;
            } else if ENLARGED.contains(&layer) {
                h = plain(&mut s, layer, c, Windows::new(1, 1), h)?;
            } else {
                h = block(&mut s.at(layer), c, self.pool && layer < 6, h)?;
            }
        }
        let x = conv(&mut s, 19, [CHANNELS, c], h)?;
        let g = s.graph();
        let x = pointwise::affine(g, x, 2.0, -1.0)?;
        axes::channels_first(g, x)
    }
}

/// A layer with a bias; `sizes` are `[O, C]`.
fn conv(s: &mut Scope<'_>, layer: usize, [n, c]: [usize; 2], x: Var) -> Result<Var> {
    let conv = Conv::new(s, &layer.to_string(), [n, c, 3], 1, Init::FanIn)?;
    conv.forward(s.graph(), x)
}

/// A layer without a bias.
fn plain(s: &mut Scope<'_>, layer: usize, c: usize, windows: Windows, x: Var) -> Result<Var> {
    let conv = Conv::without_bias(s, &layer.to_string(), [c, c, 3], windows, Init::FanIn)?;
    conv.forward(s.graph(), x)
}

/// `relu(x + conv(relu(conv(relu(conv(x))))))`; with a pool, x is first increased by [`pool`] of itself.
fn block(s: &mut Scope<'_>, c: usize, has_pool: bool, x: Var) -> Result<Var> {
    let mut layer = |name| Conv::new(s, name, [c, c, 3], 1, Init::FanIn);
    let [first, second, third] = [layer("conv.0")?, layer("conv.2")?, layer("conv.4")?];
    let x = match has_pool {
        true => pool(&mut s.at("pool"), c, x)?,
        false => x,
    };
    let g = s.graph();
    let h = first.relu(g, x)?;
    let h = second.relu(g, h)?;
    let h = third.forward(g, h)?;
    let h = pointwise::add(g, x, h)?;
    pointwise::relu(g, h)
}

/// `x + conv(relu(norm(conv(x))))` with convolutions of one pixel.
fn pool(s: &mut Scope<'_>, c: usize, x: Var) -> Result<Var> {
    let (wide, one) = (POOL * c, Windows::new(1, 0));
    let first = Conv::without_bias(s, "0", [wide, c, 1], one, Init::FanIn)?;
    let norm = GroupNorm::new(s, "1", wide, POOL)?;
    let last = Conv::without_bias(s, "3", [c, wide, 1], one, Init::FanIn)?;
    let g: &mut Graph = s.graph();
    let h = first.forward(g, x)?;
    let h = norm.forward(g, h)?;
    let h = pointwise::relu(g, h)?;
    let h = last.forward(g, h)?;
    pointwise::add(g, x, h)
}
