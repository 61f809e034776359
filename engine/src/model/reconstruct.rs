//! What an autoencoder makes of images.

use super::{Blueprint, Inputs, Model, Output, evaluate};
use crate::backend::Program;
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Plan, SetId};
use crate::nn::Params;

/// Evaluates an autoencoder with the weights that its model has when it runs, without noise.
#[derive(Debug)]
pub struct Reconstruct {
    program: Program,
    batch: usize,
    image_len: usize,
    latent_len: usize,
    x: Vec<f32>,
}

/// What an autoencoder says of images.
#[derive(Debug, Default)]
pub struct Reconstructed {
    /// Means of the latents, `[N, Z, h, w]`.
    pub mean: Vec<f32>,
    /// Logarithms of their variances, of the same shape.
    pub log_variance: Vec<f32>,
    /// The images again, decoded from the means, `[N, C, H, W]`.
    pub images: Vec<f32>,
}

const OUTPUTS: [&str; 3] = ["mean", "log_variance", "images"];

fn plan(blueprint: &Blueprint, weights: Arena, batch: usize) -> Result<Plan> {
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let (io, network) = (blueprint.io(), blueprint.network());
    network.validate(batch)?;
    let refuse = || {
        Error::setting(
            "model",
            "got a network without a posterior, expected an autoencoder",
        )
    };
    if network.output() != Output::Reconstruction {
        return Err(refuse());
    }
    let x = g.input("x", io.images(batch));
    // Data has the time 1, which an autoencoder does not read.
    let t = g.constant(1.0, [batch]);
    let outputs = evaluate(network, &mut params.scope(&mut g), Inputs::new(x, t, None))?;
    let [mean, log_variance] = outputs.posterior.ok_or_else(refuse)?;
    let vars = [mean, log_variance, outputs.out];
    let named = OUTPUTS.map(str::to_owned).into_iter().zip(vars);
    let request = Request {
        outputs: named.collect(),
        weights: vec![weights],
        ..Request::default()
    };
    Plan::new(&g, &request, &[blueprint.layout()])
}

impl Reconstruct {
    /// For at most `batch` images at a time.
    ///
    /// # Errors
    /// [`Error::Setting`] for another network than an autoencoder, or one that refuses the batch; [`Error::Limit`] and [`Error::Device`]
    /// when it does not fit on the device.
    pub fn new(model: &Model, batch: usize) -> Result<Self> {
        let plan = plan(model, model.weights(), batch)?;
        let io = model.io();
        Ok(Reconstruct {
            program: model.device().program(plan, &[model.arenas()])?,
            batch,
            image_len: io.image_len(),
            latent_len: io.latent.map_or(0, |latent| latent.iter().product()),
            x: vec![0.0; batch * io.image_len()],
        })
    }

    /// Device memory beside the weights, in bytes.
    ///
    /// # Errors
    /// As [`Self::new`], without a device.
    pub fn forecast(blueprint: &Blueprint, batch: usize) -> Result<u64> {
        Ok(plan(blueprint, Arena::Params, batch)?.slot_bytes())
    }

    /// Evaluates images `[N, C, H, W]` in [-1, 1], a batch at a time. No image depends on another one.
    ///
    /// # Errors
    /// [`Error::Shape`] for a part of an image, [`Error::Device`] when the device fails.
    pub fn read(&mut self, images: &[f32]) -> Result<Reconstructed> {
        let len = self.image_len;
        if !images.len().is_multiple_of(len) {
            return Err(Error::Shape(format!(
                "images got {} values, expected a multiple of {len}",
                images.len()
            )));
        }
        let mut all = Reconstructed::default();
        for some in images.chunks(self.batch * len) {
            self.x[..some.len()].copy_from_slice(some);
            self.program.write("x", &self.x)?;
            self.program.run()?;
            let read = self.program.read_all(OUTPUTS);
            let [mean, log_variance, images] = pollster::block_on(read)?;
            let latents = some.len() / len * self.latent_len;
            all.mean.extend_from_slice(&mean[..latents]);
            all.log_variance.extend_from_slice(&log_variance[..latents]);
            all.images.extend_from_slice(&images[..some.len()]);
        }
        Ok(all)
    }
}
