//! An autoencoder that is trained: the network of AutoencoderKL for images of one size.

mod kl;

pub use kl::AutoencoderKl;

use super::network::not_in_page;
use super::{Inputs, Network, NetworkIo, Output, Outputs};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::Scope;
use crate::ops::pointwise;
use crate::text::count;
use crate::transport::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A variational autoencoder in training (Kingma and Welling 2013, arXiv 1312.6114; Rombach et al. 2022, arXiv 2112.10752): images of one
/// size to latents, and back. The network is that of [`AutoencoderKl`], with its names, and a trained one takes images of any size.
///
/// Level l works on images of `input_size / 2^l` pixels with `widths[l]` channels; the latents have the size of the last level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderNet {
    /// Height and width of the images, in pixels.
    pub input_size: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of the levels, from the size of the image down. Each but the last halves the image.
    pub widths: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub blocks: usize,
    /// Groups of channels that are normalized together; 32 by default.
    #[serde(default = "default_groups", skip_serializing_if = "is_default_groups")]
    pub groups: usize,
    /// Whether the blocks of the smallest size have attention between them; true by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub middle_attention: bool,
}

/// The number of groups of diffusers.
const GROUPS: usize = 32;

fn default_groups() -> usize {
    GROUPS
}

// serde hands over a reference.
fn is_default_groups(groups: &usize) -> bool {
    *groups == GROUPS
}

fn yes() -> bool {
    true
}

// serde hands over a reference.
fn is_true(value: &bool) -> bool {
    *value
}

/// Upper limit on the pixels of a latent, over which the middle has attention, as for a transformer's tokens.
const MAX_PIXELS: usize = 1 << 16;

impl AutoencoderNet {
    /// The network, which knows no size of images. Its latents are not scaled.
    pub fn kl(&self) -> AutoencoderKl {
        AutoencoderKl {
            channels: self.channels,
            latent_channels: self.latent_channels,
            widths: self.widths.clone(),
            blocks: self.blocks,
            groups: self.groups,
            attention: self.middle_attention,
            quant: true,
            scale: 1.0,
            shift: 0.0,
        }
    }

    /// Shape of a latent, `[Z, h, w]`.
    pub fn latent(&self) -> [usize; 3] {
        let side = self.input_size / self.kl().factor();
        [self.latent_channels, side, side]
    }

    fn check_sizes(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::setting("model.input_size", problem));
        if !(1..=4096).contains(&self.input_size) {
            return refuse(format!("got {}, expected 1 to 4096", self.input_size));
        }
        let kl = self.kl();
        kl.validate().map_err(|e| e.within("model"))?;
        let f = kl.factor();
        if !self.input_size.is_multiple_of(f) {
            return refuse(format!(
                "got {}, expected a multiple of {f}, as {} halve the image {} times",
                self.input_size,
                count(self.widths.len(), "level"),
                self.widths.len() - 1
            ));
        }
        let [_, side, _] = self.latent();
        if self.middle_attention && side * side > MAX_PIXELS {
            return refuse(format!(
                "got {}, whose latents of {side} x {side} pixels are too many for attention, expected at most {MAX_PIXELS} pixels, more \
                 model.widths, or model.middle_attention = false",
                self.input_size
            ));
        }
        Ok(())
    }

    /// Far more than any machine holds is refused, so that sizes in bytes and sums of them stay below 2^64. The sizes are within their
    /// ranges.
    fn check_batch(&self, batch: usize) -> Result<()> {
        const MAX_BYTES: f64 = 1e15;
        let (mut params, mut values) = (0.0, 0.0);
        let wide = |level: usize| self.widths.get(level).map_or(0, |&width| width);
        for level in 0..self.widths.len() {
            let near = level.saturating_sub(1)..level + 2;
            let width = near.map(wide).max().unwrap_or(0) as f64;
            let pixels = ((self.input_size >> level) as f64).powi(2);
            let blocks = (2 * self.blocks + 6) as f64;
            params += blocks * 20.0 * width * width;
            values += blocks * 14.0 * pixels * width;
        }
        let [z, side, _] = self.latent();
        values += (side as f64).powi(2) * (20.0 * z as f64 + self.channels as f64);
        if self.middle_attention {
            values += 8.0 * (side as f64).powi(4);
        }
        // Weights, gradients, two moments and the average.
        let bytes = 4.0 * (5.0 * params + batch as f64 * values);
        if bytes <= MAX_BYTES {
            return Ok(());
        }
        let message = format!(
            "an {self} at batch {batch} takes about {:.0} TB; a smaller model.input_size, model.widths, model.blocks or batch takes less",
            bytes / 1e12
        );
        Err(Error::setting("model", message))
    }
}

impl Network for AutoencoderNet {
    fn io(&self) -> NetworkIo {
        let image = [self.channels, self.input_size, self.input_size];
        NetworkIo {
            latent: Some(self.latent()),
            ..NetworkIo::new(image, 0)
        }
    }

    fn output(&self) -> Output {
        Output::Reconstruction
    }

    fn validate(&self, batch: usize) -> Result<()> {
        not_in_page("model.family", "autoencoder")?;
        self.check_sizes()?;
        self.check_batch(batch)
    }

    fn check_transport(&self, transport: &Transport) -> Result<()> {
        match *transport == Transport::default() {
            true => Ok(()),
            false => Err(Error::setting(
                "transport",
                "got a path, prediction or weight of its own, expected the default: an autoencoder is trained without noise on its images",
            )),
        }
    }

    /// `decode(mean + e^(log_variance / 2) noise)` with the posterior of the image x; without noise, of its mean. Time and labels are not
    /// read.
    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        not_in_page("model.family", "autoencoder")?;
        let kl = self.kl();
        let posterior = kl.encode(s, inputs.x)?;
        let z = match inputs.noise {
            Some(noise) => sample(s.graph(), posterior, noise)?,
            None => posterior[0],
        };
        Ok(Outputs {
            posterior: Some(posterior),
            ..Outputs::new(kl.decode(s, z)?)
        })
    }
}

/// `mean + e^(log_variance / 2) noise`: the reparameterization of Kingma and Welling.
fn sample(g: &mut Graph, [mean, log_variance]: [Var; 2], noise: Var) -> Result<Var> {
    let half = pointwise::scale(g, log_variance, 0.5)?;
    let std = pointwise::exp(g, half)?;
    let spread = pointwise::mul(g, std, noise)?;
    pointwise::add(g, mean, spread)
}

/// `autoencoder of widths 32 64 64, 1 block a level, 4 x 7 x 7 latents`.
impl fmt::Display for AutoencoderNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<String> = self.widths.iter().map(usize::to_string).collect();
        let [z, height, width] = self.latent();
        let attention = match self.middle_attention {
            true => "",
            false => ", no attention",
        };
        write!(
            f,
            "autoencoder of widths {}, {} a level, {z} x {height} x {width} latents{attention}",
            widths.join(" "),
            count(self.blocks, "block")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net() -> AutoencoderNet {
        AutoencoderNet {
            input_size: 28,
            channels: 1,
            latent_channels: 4,
            widths: vec![16, 32, 32],
            blocks: 1,
            groups: 8,
            middle_attention: true,
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_by_name() {
        net().validate(64).unwrap();
        assert_eq!(net().io().latent, Some([4, 7, 7]));
        type Change = fn(&mut AutoencoderNet);
        let cases: [(Change, &str); 8] = [
            (
                |net| net.input_size = 30,
                "model.input_size: got 30, expected a multiple of 4, as 3 levels halve the image 2 times",
            ),
            (|net| net.input_size = 0, "model.input_size: got 0"),
            (
                |net| net.groups = 12,
                "model.widths: got 16, expected a multiple of the 12 groups",
            ),
            (|net| net.groups = 0, "model.groups: got 0"),
            (|net| net.widths.clear(), "model.widths: got 0 levels"),
            (
                |net| net.latent_channels = 0,
                "model.latent_channels: got 0",
            ),
            (|net| net.blocks = 0, "model.blocks: got 0"),
            (
                |net| (net.input_size, net.widths) = (4096, vec![16]),
                "model.input_size: got 4096, whose latents of 4096 x 4096 pixels are too many",
            ),
        ];
        for (change, expected) in cases {
            let mut net = net();
            change(&mut net);
            let message = net.validate(1).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let huge = AutoencoderNet {
            input_size: 4096,
            widths: vec![16_384; 5],
            blocks: 16_384,
            groups: 32,
            ..net()
        };
        let message = huge.validate(1 << 20).unwrap_err().to_string();
        assert!(message.contains("TB"), "{message}");
    }

    #[test]
    fn a_path_of_its_own_is_refused() {
        net().check_transport(&Transport::default()).unwrap();
        let noise = Transport {
            prediction: crate::transport::Prediction::Noise,
            ..Transport::default()
        };
        let message = net().check_transport(&noise).unwrap_err().to_string();
        assert!(message.starts_with("transport: got a path"), "{message}");
    }
}
