//! What a classifier says of images without noise.

use super::{Blueprint, Inputs, Model, evaluate};
use crate::backend::Program;
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Plan, SetId};
use crate::nn::Params;

/// Evaluates a network that has one vector for each image, at t = 1, where the state is the image.
#[derive(Debug)]
pub struct Features {
    program: Program,
    batch: usize,
    image_len: usize,
    n_features: usize,
    n_classes: usize,
    x: Vec<f32>,
}

/// What a network says of images.
#[derive(Debug)]
pub struct Read {
    /// What its last layer reads, `[N, D]`.
    pub features: Vec<f32>,
    /// The logits of the classes, `[N, n_classes]`.
    pub logits: Vec<f32>,
}

/// The program, and the length of a vector.
fn plan(blueprint: &Blueprint, weights: Arena, batch: usize) -> Result<(Plan, usize)> {
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let (io, network) = (blueprint.io(), blueprint.network());
    network.validate(batch)?;
    let (x, t) = (g.input("x", io.images(batch)), g.input("t", [batch]));
    let y = io.null_class().map(|_| g.input_u32("y", [batch]));
    let inputs = Inputs::new(x, t, y);
    let outputs = evaluate(network, &mut params.scope(&mut g), inputs)?;
    let features = outputs.features.ok_or_else(|| {
        Error::setting(
            "model",
            "got a network without features, expected a classifier",
        )
    })?;
    let n_features = g.shape(features)[1];
    let named = [("features", features), ("logits", outputs.out)];
    let request = Request {
        outputs: named.map(|(name, var)| (name.to_owned(), var)).to_vec(),
        weights: vec![weights],
        ..Request::default()
    };
    Ok((Plan::new(&g, &request, &[blueprint.layout()])?, n_features))
}

impl Features {
    /// For at most `batch` images at a time.
    ///
    /// # Errors
    /// [`Error::Setting`] for a network without features, or one that refuses the batch; [`Error::Limit`] and [`Error::Device`] when it
    /// does not fit on the device.
    pub fn new(model: &Model, batch: usize) -> Result<Self> {
        let (plan, n_features) = plan(model, model.weights(), batch)?;
        let io = model.io();
        let mut program = model.device().program(plan, &[model.arenas()])?;
        let t = model.transport().time_input(1.0) as f32;
        program.write("t", &vec![t; batch])?;
        Ok(Features {
            program,
            batch,
            image_len: io.image_len(),
            n_features,
            n_classes: io.n_classes,
            x: vec![0.0; batch * io.image_len()],
        })
    }

    /// Device memory beside the weights, in bytes.
    ///
    /// # Errors
    /// As [`Self::new`], without a device.
    pub fn forecast(blueprint: &Blueprint, batch: usize) -> Result<u64> {
        Ok(plan(blueprint, Arena::Params, batch)?.0.slot_bytes())
    }

    /// The length D of a vector.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Reads images x1 `[N, C, H, W]` in [-1, 1], a batch at a time. No image depends on another one.
    ///
    /// # Errors
    /// [`Error::Shape`] for a part of an image, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&mut self, x1: &[f32]) -> Result<Read> {
        pollster::block_on(self.read_async(x1))
    }

    /// As [`Self::read`], for a browser, which must not wait.
    ///
    /// # Errors
    /// As there.
    pub async fn read_async(&mut self, x1: &[f32]) -> Result<Read> {
        let (len, n) = (self.image_len, x1.len() / self.image_len);
        if x1.len() != n * len {
            return Err(Error::Shape(format!(
                "x1 got {} values, expected images of {len}",
                x1.len()
            )));
        }
        let mut read = Read {
            features: Vec::with_capacity(n * self.n_features),
            logits: Vec::with_capacity(n * self.n_classes),
        };
        for images in x1.chunks(self.batch * len) {
            self.x[..images.len()].copy_from_slice(images);
            self.program.write("x", &self.x)?;
            self.program.run()?;
            let outputs = self.program.read_all(["features", "logits"]);
            let [features, logits] = outputs.await?;
            let n = images.len() / len;
            read.features
                .extend_from_slice(&features[..n * self.n_features]);
            read.logits.extend_from_slice(&logits[..n * self.n_classes]);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Device;
    use crate::model::{Classifier, Dit};
    use crate::transport::Transport;

    fn trunk() -> Dit {
        Dit {
            dim: 8,
            depth: 1,
            n_heads: 2,
            patch: 2,
            input_size: 4,
            channels: 1,
            n_classes: 3,
            learn_sigma: false,
            ..Dit::preset("SiT-S/2").unwrap()
        }
    }

    #[test]
    fn the_head_maps_features_to_logits_and_images_are_read_alone() {
        let network = Classifier { trunk: trunk() };
        let model = Model::init(&Device::Cpu, network, Transport::default(), 1).unwrap();
        let images: Vec<f32> = (0..5 * 16).map(|i| (i as f32 * 0.7).sin()).collect();
        let read = |batch| Features::new(&model, batch).unwrap().read(&images).unwrap();
        let (all, few) = (read(5), read(2));
        assert_eq!((&all.features, &all.logits), (&few.features, &few.logits));
        assert_eq!((all.features.len(), all.logits.len()), (5 * 8, 5 * 3));
        let [weight, bias] = ["head.weight", "head.bias"].map(|name| model.read(name).unwrap());
        let rows = all.features.chunks(8).zip(all.logits.chunks(3));
        for (features, logits) in rows {
            for (class, logit) in logits.iter().enumerate() {
                let weights = &weight[class * 8..(class + 1) * 8];
                let sum: f32 = features.iter().zip(weights).map(|(a, b)| a * b).sum();
                assert!((sum + bias[class] - logit).abs() < 1e-5);
            }
        }
        assert!(
            Features::new(&model, 2)
                .unwrap()
                .read(&images[1..])
                .is_err()
        );
    }

    #[test]
    fn a_network_without_features_is_refused() {
        let model = Model::init(&Device::Cpu, trunk(), Transport::default(), 0).unwrap();
        let message = Features::new(&model, 2).unwrap_err().to_string();
        assert!(message.contains("expected a classifier"), "{message}");
    }
}
