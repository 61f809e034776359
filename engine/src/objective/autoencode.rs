//! The objective of a variational autoencoder.

use super::{Batch, Net, Objective, Port, Ports, SampleKey};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::{Inputs, NetworkIo};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::ops::{pointwise, reduce};
use crate::rng::{Stream, fill_normal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far an image and its reconstruction are apart: the mean over all values of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconstruction {
    /// Of |x − x̂|: edges stay sharper.
    #[default]
    L1,
    /// Of (x − x̂)², which is 4 · 10^(−PSNR / 10).
    Mse,
}

impl fmt::Display for Reconstruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reconstruction::L1 => "l1",
            Reconstruction::Mse => "mse",
        })
    }
}

/// The network encodes an image x to a normal distribution of latents, its posterior, draws z from it, and decodes z to x̂.
///
/// # Theory
/// The loss of an image is `d(x, x̂) + w KL`, with the distance d of [`Reconstruction`], z = μ + e^(l/2) ε for normal numbers ε, and the
/// divergence of the posterior from N(0, I) in nats, summed over the latent:
///
/// ```text
/// KL = ½ Σ (μ² + e^l − 1 − l)
/// ```
///
/// With w = 1 and −log p(x given z) in the place of d this is the negative of the lower bound of log p(x) (Kingma and Welling 2013, arXiv
/// 1312.6114, equation 10). Latent diffusion uses a small w, so that latents stay near the origin without becoming noise (Rombach et al.
/// 2022, arXiv 2112.10752, section 3.1). They sum d over the C·H·W values of an image where this is the mean: their weight of 1e-6 is
/// 1e-6 / (C·H·W) here. Their losses of a perceptual network and of a discriminator are not part of this.
///
/// # Practice
/// ε is a function of the seed and the image's number. The reported parts are `reconstruction` (d) and `kl` (KL).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Autoencode {
    /// The distance d of an image from its reconstruction.
    pub reconstruction: Reconstruction,
    /// The factor w of the divergence; 0 leaves the posterior free.
    pub kl_weight: f64,
}

impl Default for Autoencode {
    fn default() -> Self {
        Autoencode {
            reconstruction: Reconstruction::default(),
            kl_weight: 1e-6,
        }
    }
}

const X1: Port<f32> = Port::new("x1");
/// Normal numbers for the latents.
const NOISE: Port<f32> = Port::new("noise");

/// A time, which an autoencoder does not read: that of data.
const TIME_OF_DATA: f32 = 1.0;

impl Objective for Autoencode {
    fn validate(&self, io: &NetworkIo) -> Result<()> {
        latent(io)?;
        match self.kl_weight.is_finite() && (0.0..=1e6).contains(&self.kl_weight) {
            true => Ok(()),
            false => Err(Error::setting(
                "kl_weight",
                format!("got {}, expected a number from 0 to 1e6", self.kl_weight),
            )),
        }
    }

    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
        let (b, io) = (ports.batch(), net.io());
        let [z, height, width] = latent(&io)?;
        let x = ports.input(g, X1, io.images(b))?;
        let noise = ports.input(g, NOISE, [b, z, height, width])?;
        let t = g.constant(TIME_OF_DATA, [b]);
        let outputs = net.forward(g, Inputs::new(x, t, None).with_noise(noise))?;
        let posterior = outputs.posterior.ok_or_else(|| {
            Error::Shape("the network has no posterior, expected an autoencoder".into())
        })?;
        let distance = self.distance(g, outputs.out, x)?;
        let divergence = divergence(g, posterior)?;
        ports.part("reconstruction", distance);
        ports.part("kl", divergence);
        let weighted = pointwise::scale(g, divergence, self.kl_weight)?;
        pointwise::add(g, distance, weighted)
    }

    fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()> {
        let SampleKey { seed, number, .. } = key;
        let len: usize = latent(ports.io())?.iter().product();
        let step = key.step();
        for_rows(
            rows_mut(ports.fill(NOISE)?, len),
            grain(32 * len),
            |row, noise| {
                let index = (number + row as u64) * len as u64;
                fill_normal(seed, Stream::Posterior, step, index, noise);
            },
        );
        ports.copy(X1, batch.x1)
    }
}

impl Autoencode {
    /// `[B]`.
    fn distance(&self, g: &mut Graph, out: Var, x: Var) -> Result<Var> {
        let difference = pointwise::sub(g, out, x)?;
        let values = match self.reconstruction {
            Reconstruction::Mse => pointwise::square(g, difference)?,
            Reconstruction::L1 => {
                // relu(d) + relu(-d) has the slope 0 at 0.
                let opposite = pointwise::neg(g, difference)?;
                let above = pointwise::relu(g, difference)?;
                let below = pointwise::relu(g, opposite)?;
                pointwise::add(g, above, below)?
            }
        };
        let mean = reduce::mean(g, values, &[1, 2, 3])?;
        by_image(g, mean)
    }
}

/// The divergence of the posterior from N(0, I), `[B]`.
fn divergence(g: &mut Graph, [mean, log_variance]: [Var; 2]) -> Result<Var> {
    let square = pointwise::square(g, mean)?;
    let variance = pointwise::exp(g, log_variance)?;
    let rest = pointwise::affine(g, log_variance, -1.0, -1.0)?;
    let sum = pointwise::add(g, square, variance)?;
    let sum = pointwise::add(g, sum, rest)?;
    let sum = reduce::sum(g, sum, &[1, 2, 3])?;
    let sum = by_image(g, sum)?;
    pointwise::scale(g, sum, 0.5)
}

/// `[B, 1, 1, 1]` to `[B]`.
fn by_image(g: &mut Graph, x: Var) -> Result<Var> {
    let batch = g.shape(x)[0];
    g.reshape(x, [batch])
}

fn latent(io: &NetworkIo) -> Result<[usize; 3]> {
    io.latent.ok_or_else(|| {
        Error::setting(
            "model",
            "got a network without latents, expected an autoencoder",
        )
    })
}
