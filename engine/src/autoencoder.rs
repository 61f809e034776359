//! Autoencoders: networks between images and latents, in which latent models are trained and sampled.
//!
//! # Theory
//! An encoder maps an image x in [-1, 1] to the mean and the logarithm of the variance of a normal distribution of latents, its
//! posterior (Kingma and Welling 2013, arXiv 1312.6114; Rombach et al. 2022, arXiv 2112.10752), and a decoder maps a latent z back to
//! an image. A latent model sees `(z - shift) scale`, whose standard deviation is about 1. The tiny autoencoders of TAESD
//! (github.com/madebyollin/taesd) have no variance, and their latents are scaled already.
//!
//! # Practice
//! [`AutoencoderConfig`] is a network with its sizes, which [`recognize`] finds in a file; [`Autoencoder`] has its weights on a device.
//! An [`Encoder`] or a [`Decoder`] is a program for one size of images. [`Autoencode`](crate::objective::Autoencode) is the objective that
//! trains an [`AutoencoderNet`](crate::model::AutoencoderNet), whose weights [`Autoencoder`] loads.
//!
//! ```no_run
//! use sit_engine::autoencoder::{Autoencoder, recognize};
//! use sit_engine::backend::Device;
//! use sit_engine::checkpoint::Reader;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = std::fs::File::open("diffusion_pytorch_model.safetensors")?;
//! let mut reader = Reader::new("the file", file)?;
//! let config = recognize(&reader)?;
//! let autoencoder = Autoencoder::load(&Device::Cpu, config, &mut reader)?;
//! let images = vec![0.0; 3 * 64 * 64];
//! let posterior = autoencoder.encoder([64, 64], 1, None)?.encode(&images)?;
//! let again = autoencoder.decoder([64, 64], 1, None)?.decode(&posterior.mean)?;
//! # Ok(())
//! # }
//! ```

mod loaded;
mod programs;
mod recognize;
mod tiles;
mod tiny;
mod weights;

pub use crate::model::AutoencoderKl;
pub use loaded::Autoencoder;
pub use programs::{Decoder, Encoder, Fit, Posterior};
pub use recognize::{halves, recognize};
pub use tiles::Tiles;
pub use tiny::TinyAutoencoder;

use crate::error::{Error, Result};
use crate::graph::{Graph, SetId, Var};
use crate::nn::{ParamSpec, Params, Scope};

/// One of the two networks of an autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// From images to latents.
    Encoder,
    /// From latents to images.
    Decoder,
}

/// An autoencoder with its sizes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AutoencoderConfig {
    /// The autoencoder of Stable Diffusion and its relatives.
    Kl(AutoencoderKl),
    /// One of TAESD.
    Tiny(TinyAutoencoder),
}

impl From<AutoencoderKl> for AutoencoderConfig {
    fn from(kl: AutoencoderKl) -> Self {
        AutoencoderConfig::Kl(kl)
    }
}

impl From<TinyAutoencoder> for AutoencoderConfig {
    fn from(tiny: TinyAutoencoder) -> Self {
        AutoencoderConfig::Tiny(tiny)
    }
}

impl AutoencoderConfig {
    /// Channels of an image.
    pub fn channels(&self) -> usize {
        match self {
            AutoencoderConfig::Kl(kl) => kl.channels,
            AutoencoderConfig::Tiny(_) => tiny::CHANNELS,
        }
    }

    /// Channels of a latent.
    pub fn latent_channels(&self) -> usize {
        match self {
            AutoencoderConfig::Kl(kl) => kl.latent_channels,
            AutoencoderConfig::Tiny(tiny) => tiny.latent_channels,
        }
    }

    /// Pixels of an image for one of a latent, along each axis.
    pub fn factor(&self) -> usize {
        match self {
            AutoencoderConfig::Kl(kl) => kl.factor(),
            AutoencoderConfig::Tiny(_) => tiny::FACTOR,
        }
    }

    /// Scale and shift between a latent z and what a latent model sees, `(z - shift) scale`.
    pub fn scaling(&self) -> [f64; 2] {
        match self {
            AutoencoderConfig::Kl(kl) => [kl.scale, kl.shift],
            AutoencoderConfig::Tiny(_) => [1.0, 0.0],
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        match self {
            AutoencoderConfig::Kl(kl) => kl.validate(),
            AutoencoderConfig::Tiny(tiny) => tiny.validate(),
        }
    }

    /// How images of a size `[H, W]` go through a half that may take `budget` bytes beside its weights: at most `most` of them at a time, as
    /// many as fit, or one in the largest tiles that fit.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size that the latents do not divide, or no image at a time; [`Error::Limit`] when a tile of 8 pixels of the
    /// latent exceeds the budget.
    pub fn fit(&self, half: Half, size: [usize; 2], most: usize, budget: u64) -> Result<Fit> {
        programs::fit(self, half, size, most, budget)
    }

    /// x `[B, C, H, W]` in [-1, 1] -> the mean and the logarithm of the variance of the latents, `[B, Z, H / f, W / f]`; a
    /// [`TinyAutoencoder`] has the mean alone.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn encode(&self, s: &mut Scope<'_>, x: Var) -> Result<(Var, Option<Var>)> {
        match self {
            AutoencoderConfig::Kl(kl) => {
                let [mean, log_variance] = kl.encode(s, x)?;
                Ok((mean, Some(log_variance)))
            }
            AutoencoderConfig::Tiny(tiny) => Ok((tiny.encode(s, x)?, None)),
        }
    }

    /// z `[B, Z, h, w]` -> x `[B, C, f h, f w]`, about in [-1, 1].
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn decode(&self, s: &mut Scope<'_>, z: Var) -> Result<Var> {
        match self {
            AutoencoderConfig::Kl(kl) => kl.decode(s, z),
            AutoencoderConfig::Tiny(tiny) => tiny.decode(s, z),
        }
    }

    /// The parameters of a half, in order, with the names of the official files.
    ///
    /// # Errors
    /// Those of [`Self::validate`].
    #[doc(hidden)]
    pub fn params(&self, half: Half) -> Result<Vec<ParamSpec>> {
        self.validate()?;
        let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
        let (c, side) = match half {
            Half::Encoder => (self.channels(), self.factor()),
            Half::Decoder => (self.latent_channels(), 1),
        };
        let input = g.input("input", [1, c, side, side]);
        let mut s = params.scope(&mut g);
        match half {
            Half::Encoder => drop(self.encode(&mut s, input)?),
            Half::Decoder => drop(self.decode(&mut s, input)?),
        }
        Ok(params.into_specs())
    }

    /// A parameter of the first layer, which tells that a file has the half.
    fn first_layer(&self, half: Half) -> &'static str {
        match (self, half) {
            (AutoencoderConfig::Kl(_), Half::Encoder) => "encoder.conv_in.weight",
            (AutoencoderConfig::Kl(_), Half::Decoder) => "decoder.conv_in.weight",
            (AutoencoderConfig::Tiny(_), Half::Encoder) => "encoder.0.weight",
            (AutoencoderConfig::Tiny(_), Half::Decoder) => "decoder.1.weight",
        }
    }

    /// The size of the latents of images of a size.
    fn latent_size(&self, size: [usize; 2]) -> Result<[usize; 2]> {
        let f = self.factor();
        if size.iter().any(|n| *n == 0 || n % f != 0) {
            return Err(Error::setting(
                "image_size",
                format!(
                    "got {} x {} pixels, expected multiples of {f}, the pixels of one of a latent",
                    size[0], size[1]
                ),
            ));
        }
        Ok(size.map(|n| n / f))
    }
}
