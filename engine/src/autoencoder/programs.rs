//! Programs that encode and decode images of one size.

use super::tiles::{self, Blend, Tiles};
use super::weights::{self, Weights};
use super::{AutoencoderConfig, Half};
use crate::backend::{Device, Program};
use crate::error::{Error, Result};
use crate::graph::plan::{Port, Request};
use crate::graph::{Graph, Layout, Plan, SetId};
use crate::nn::Params;

/// What an encoder says of images: a normal distribution of latents for each, with independent values.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// The means, `[N, Z, H / f, W / f]`.
    pub mean: Vec<f32>,
    /// The logarithms of the variances, of the same shape; empty for an autoencoder without variances.
    pub log_variance: Vec<f32>,
}

impl Posterior {
    /// Latents `mean + e^(log_variance / 2) noise`; `noise` are normal numbers, one for each value.
    pub fn sample(&self, noise: &[f32]) -> Vec<f32> {
        if self.log_variance.is_empty() {
            return self.mean.clone();
        }
        let moments = self.mean.iter().zip(&self.log_variance);
        moments
            .zip(noise)
            .map(|((mean, log_variance), noise)| mean + (0.5 * log_variance).exp() * noise)
            .collect()
    }
}

/// A half as a program for images or tiles of one size.
#[derive(Debug)]
struct Batches {
    program: Program,
    batch: usize,
    /// Values of an input and of each output.
    len: usize,
    out_len: usize,
    outputs: Vec<&'static str>,
    x: Vec<f32>,
}

/// How images go through a half within a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Images or tiles at a time.
    pub batch: usize,
    /// The tiles of an image; `None` for whole images.
    pub tiles: Option<Tiles>,
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of the program beside them.
    pub program: u64,
}

/// A half on a device.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub config: &'a AutoencoderConfig,
    pub device: &'a Device,
    pub weights: &'a Weights,
}

/// The graph of a half for a batch of images of a size: its plan and the names of its outputs.
fn plan(
    config: &AutoencoderConfig,
    layout: &Layout,
    half: Half,
    size: [usize; 2],
    batch: usize,
) -> Result<(Plan, Vec<&'static str>)> {
    let latent = config.latent_size(size)?;
    if batch == 0 {
        return Err(Error::setting("batch", "got 0, expected at least 1"));
    }
    let (c, [height, width]) = match half {
        Half::Encoder => (config.channels(), size),
        Half::Decoder => (config.latent_channels(), latent),
    };
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let x = g.input("x", [batch, c, height, width]);
    let mut s = params.scope(&mut g);
    let outputs = match half {
        Half::Encoder => {
            let (mean, log_variance) = config.encode(&mut s, x)?;
            let log_variance = log_variance.map(|var| ("log_variance", var));
            let outputs = [Some(("mean", mean)), log_variance];
            outputs.into_iter().flatten().collect()
        }
        Half::Decoder => vec![("out", config.decode(&mut s, x)?)],
    };
    let names = outputs.iter().map(|(name, _)| *name).collect();
    let named = outputs.into_iter();
    let request = Request {
        outputs: named.map(|(name, var)| (name.to_owned(), var)).collect(),
        ..Request::default()
    };
    Ok((Plan::new(&g, &request, &[layout])?, names))
}

/// The most images of a size at a time with which a half needs at most `budget` bytes beside its weights, or else the largest tiles.
pub(super) fn fit(
    config: &AutoencoderConfig,
    half: Half,
    size: [usize; 2],
    most: usize,
    budget: u64,
) -> Result<Fit> {
    let layout = weights::layout(config, half, u64::MAX)?;
    let f = config.factor();
    let mut side = size[0].max(size[1]) / f;
    let (mut batch, mut tiles) = (most, None);
    loop {
        let tile = size.map(|n| n.min(side * f));
        let (plan, _) = plan(config, &layout, half, tile, batch)?;
        let program = plan.slot_bytes();
        if program <= budget {
            return Ok(Fit {
                batch,
                tiles,
                weights: layout.arena_bytes(),
                program,
            });
        }
        if batch > 1 {
            batch /= 2;
            continue;
        }
        if side <= 8 {
            return Err(Error::Limit(format!(
                "a tile of {} x {} pixels of the autoencoder needs {program} bytes, got a budget of {budget}",
                tile[0], tile[1],
            )));
        }
        side = side.div_ceil(2).max(8);
        tiles = Some(Tiles::of_side(side));
    }
}

impl Batches {
    fn new(source: Source<'_>, half: Half, size: [usize; 2], batch: usize) -> Result<Self> {
        let layout = &source.weights.layout;
        let (plan, outputs) = plan(source.config, layout, half, size, batch)?;
        let numel = |port: &Port| port.ty.shape.numel();
        let (len, out_len) = (numel(&plan.inputs[0]), numel(&plan.outputs[0]));
        let program = source.device.program(plan, &[&source.weights.arenas])?;
        Ok(Batches {
            program,
            batch,
            len: len / batch,
            out_len: out_len / batch,
            outputs,
            x: vec![0.0; len],
        })
    }

    /// The outputs for all inputs. No image depends on another one.
    async fn run(&mut self, x: &[f32]) -> Result<Vec<Vec<f32>>> {
        let n = x.len() / self.len;
        if x.len() != n * self.len {
            return Err(Error::Shape(format!(
                "x got {} values, expected a multiple of {}",
                x.len(),
                self.len
            )));
        }
        let mut all = vec![Vec::with_capacity(n * self.out_len); self.outputs.len()];
        for some in x.chunks(self.batch * self.len) {
            self.x[..some.len()].copy_from_slice(some);
            self.program.write("x", &self.x)?;
            self.program.run()?;
            for (all, name) in all.iter_mut().zip(&self.outputs) {
                let out = self.program.read(name).await?;
                all.extend_from_slice(&out[..some.len() / self.len * self.out_len]);
            }
        }
        Ok(all)
    }
}

/// A half for images of one size, whole or in tiles.
#[derive(Debug)]
pub(super) struct Tiled {
    batches: Batches,
    /// The tiles, and the sizes of an input and an output in pixels of the latent; `None` for whole images.
    tiles: Option<Tiles>,
    latent: [usize; 2],
    /// Pixels of the input and of the output for one of the latent, and channels of the output.
    factors: [usize; 2],
    channels: usize,
}

impl Tiled {
    pub fn new(
        source: Source<'_>,
        half: Half,
        size: [usize; 2],
        batch: usize,
        tiles: Option<Tiles>,
    ) -> Result<Self> {
        let config = source.config;
        let latent = config.latent_size(size)?;
        if let Some(tiles) = &tiles {
            tiles.validate()?;
        }
        let tiles = tiles.filter(|tiles| latent.iter().any(|&n| n > tiles.side));
        let f = config.factor();
        let program_size = tiles.map_or(size, |tiles| latent.map(|n| tiles.side_in(n) * f));
        let (factors, channels) = match half {
            Half::Encoder => ([f, 1], config.latent_channels()),
            Half::Decoder => ([1, f], config.channels()),
        };
        Ok(Tiled {
            batches: Batches::new(source, half, program_size, batch)?,
            tiles,
            latent,
            factors,
            channels,
        })
    }

    async fn run(&mut self, x: &[f32]) -> Result<Vec<Vec<f32>>> {
        let Some(tiles) = self.tiles else {
            return self.batches.run(x).await;
        };
        let scaled = |size: [usize; 2], by: usize| size.map(|n| n * by);
        let [from, to] = self.factors;
        let side = self.latent.map(|n| tiles.side_in(n));
        let size = scaled(self.latent, from);
        let pixels = size[0] * size[1];
        let channels = self.batches.len / (side[0] * side[1] * from * from);
        let (len, places) = (channels * pixels, tiles.places(self.latent));
        if !x.len().is_multiple_of(len) {
            return Err(Error::Shape(format!(
                "x got {} values, expected a multiple of {len}",
                x.len()
            )));
        }
        let mut all = vec![Vec::new(); self.batches.outputs.len()];
        for image in x.chunks_exact(len) {
            let new = || Blend::new(self.channels, scaled(self.latent, to));
            let mut blends: Vec<Blend> = all.iter().map(|_| new()).collect();
            for some in places.chunks(self.batches.batch) {
                let cut = |place: &[usize; 2]| {
                    tiles::cut(image, size, scaled(*place, from), scaled(side, from))
                };
                let tiles: Vec<f32> = some.iter().flat_map(cut).collect();
                let outputs = self.batches.run(&tiles).await?;
                for (blend, output) in blends.iter_mut().zip(&outputs) {
                    for (tile, place) in output.chunks_exact(self.batches.out_len).zip(some) {
                        blend.add(tile, scaled(*place, to), scaled(side, to));
                    }
                }
            }
            for (all, blend) in all.iter_mut().zip(blends) {
                all.extend(blend.finish());
            }
        }
        Ok(all)
    }
}

/// Encodes images of one size.
#[derive(Debug)]
pub struct Encoder(pub(super) Tiled);

impl Encoder {
    /// Images `[N, C, H, W]` in [-1, 1] to the posterior of their latents.
    ///
    /// # Errors
    /// [`Error::Shape`] for a part of an image, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(&mut self, images: &[f32]) -> Result<Posterior> {
        pollster::block_on(self.encode_async(images))
    }

    /// Async variant of [`Self::encode`], for browsers.
    #[doc(hidden)]
    pub async fn encode_async(&mut self, images: &[f32]) -> Result<Posterior> {
        let mut outputs = self.0.run(images).await?.into_iter();
        Ok(Posterior {
            mean: outputs.next().unwrap_or_default(),
            log_variance: outputs.next().unwrap_or_default(),
        })
    }
}

/// Decodes to images of one size.
#[derive(Debug)]
pub struct Decoder(pub(super) Tiled);

impl Decoder {
    /// Latents `[N, Z, H / f, W / f]` to images `[N, C, H, W]`, which may exceed [-1, 1] a little.
    ///
    /// # Errors
    /// [`Error::Shape`] for a part of a latent, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn decode(&mut self, latents: &[f32]) -> Result<Vec<f32>> {
        pollster::block_on(self.decode_async(latents))
    }

    /// Async variant of [`Self::decode`], for browsers.
    #[doc(hidden)]
    pub async fn decode_async(&mut self, latents: &[f32]) -> Result<Vec<f32>> {
        let outputs = self.0.run(latents).await?;
        Ok(outputs.into_iter().next().unwrap_or_default())
    }
}
