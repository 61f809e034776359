//! The Inception network by whose features generated images are compared with real ones.
//!
//! # Theory
//! Inception v3 (Szegedy et al. 2016, arXiv 1512.00567) classifies the images of ImageNet. The Fréchet inception distance (Heusel et al.
//! 2017, arXiv 1706.08500) is the distance between two normal distributions, those with the mean and covariance of the 2048 features
//! before the last layer. It is defined by one file of weights, which TensorFlow published on 2015-12-05, and by how images are resized
//! before ([`Resize`]). The network in PyTorch's torchvision has other weights and pools, and its numbers are not comparable.
//!
//! A batch norm behind a convolution w is folded into it when the file is read, in f64: `w γ / √(var + 0.001)` with the bias
//! `β - mean γ / √(var + 0.001)`.
//!
//! # Practice
//! The weights are a file of the user: `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid (torch-fidelity has the same), its tensors as
//! safetensors, or `inception_v3_weights_fid.pickle` of jax-fid, which was tested on a file of the same form only. The TorchScript file
//! `inception-2015-12-05.pt` is refused, since it is a program.
//!
//!
//! ```no_run
//! use sit_engine::backend::Device;
//! use sit_engine::checkpoint::Reader;
//! use sit_engine::inception::{Inception, Resize};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = std::fs::File::open("pt_inception-2015-12-05-6726825d.pth")?;
//! let mut reader = Reader::new("the file", file)?;
//! let mut inception = Inception::load(&Device::Cpu, &mut reader, Resize::Tf1, 8)?;
//! let images = vec![0; 5 * 64 * 64 * 3];
//! let taps = inception.features(&images, [64, 64])?;
//! assert_eq!(taps.pool2048.len(), 5 * Inception::N_FEATURES);
//! # Ok(())
//! # }
//! ```

mod graph;
mod layers;
mod resize;
mod weights;

pub use resize::Resize;

use crate::backend::{Device, Program};
use crate::checkpoint::Reader;
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Layout, Plan};
use crate::nn::ParamSpec;
use graph::LOGITS;
use layers::{Layer, Names, Tap};
use resize::Resizer;
use std::io::{Read, Seek};
use weights::Weights;

/// Height and width of the images that the network was trained on.
const SIDE: usize = 299;

/// What the network says of N images, row by row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taps {
    /// Means over the pixels after the first max pool, `[N, 64]`.
    pub tap64: Vec<f32>,
    /// Means after the second max pool, `[N, 192]`.
    pub tap192: Vec<f32>,
    /// Means before the last block that makes the image smaller, `[N, 768]`.
    pub tap768: Vec<f32>,
    /// The features, means over the last image, `[N, 2048]` (TensorFlow's pool_3): those of FID.
    pub pool2048: Vec<f32>,
    /// The first 7 channels of 17 x 17 pixels, `[N, 17 · 17 · 7]` in the order row, column, channel (TensorFlow's mixed_6/conv): those of sFID.
    pub spatial2023: Vec<f32>,
    /// The logits of 1008 classes, `[N, 1008]`.
    pub logits: Vec<f32>,
    /// The logits without the bias of the last layer, `[N, 1008]`: those of the Inception score in guided-diffusion and torch-fidelity.
    pub logits_unbiased: Vec<f32>,
}

/// The network with weights on a device.
#[derive(Debug)]
pub struct Inception {
    program: Program,
    /// Those that the program reads, and the bias of the last layer.
    weights: Weights,
    batch: usize,
    side: usize,
    resize: Resize,
    /// Of the size of the last images.
    resizer: Option<Resizer>,
    x: Vec<f32>,
}

impl Inception {
    /// Length of the features [`Taps::pool2048`].
    pub const N_FEATURES: usize = layers::N_FEATURES;
    /// Number of logits: those of the 1000 classes of ImageNet, and 8 that are unused.
    pub const N_LOGITS: usize = layers::N_LOGITS;

    /// Loads the weights of 2015-12-05 under the names of pytorch-fid and torch-fidelity (`Conv2d_1a_3x3.conv.weight`, ..), under those of
    /// jax-fid (`Conv2d_1a_3x3.conv.kernel`, ..), or such names after one prefix (`module.`). At most `batch` images are evaluated at a
    /// time. Beside the weights, which are 95 MB, each of them takes 22 MB.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming a tensor that is missing, that this network does not have, or that has another shape or values that
    /// are not finite, or for torchvision's network; [`Error::Setting`] for a batch of 0; [`Error::Limit`] and [`Error::Device`] when it
    /// does not fit on the device.
    pub fn load<R: Read + Seek>(
        device: &Device,
        reader: &mut Reader<R>,
        resize: Resize,
        batch: usize,
    ) -> Result<Self> {
        Self::load_at(device, reader, resize, batch, SIDE)
    }

    /// Bytes of the weights and of the values of a batch, before anything is loaded.
    ///
    /// # Errors
    /// [`Error::Setting`] for a batch of 0.
    pub fn forecast(batch: usize) -> Result<u64> {
        if batch == 0 {
            return Err(Error::setting("batch", "got 0, expected at least 1"));
        }
        let network = layers::network();
        let layout = weights::layout(&network, u64::MAX)?;
        let plan = plan(&network, &layout, batch, SIDE)?;
        Ok(layout.arena_bytes() + plan.slot_bytes())
    }

    /// A 64-bit hash of the weights: that of all files of the same ones, whatever their names and format.
    pub fn hash(&self) -> u64 {
        self.weights.hash
    }

    /// Evaluates RGB images `[N, H, W, 3]` of the size `[H, W]`, any number of them, in batches. No image depends on another one, and no
    /// bit on the batch.
    ///
    /// # Errors
    /// [`Error::Shape`] for an empty size or a part of an image, [`Error::Device`] when the device fails.
    pub fn features(&mut self, images: &[u8], size: [usize; 2]) -> Result<Taps> {
        let len = size
            .iter()
            .try_fold(3_usize, |n, &size| n.checked_mul(size));
        let len = match len {
            Some(len) if len > 0 && images.len().is_multiple_of(len) => len,
            _ => {
                return Err(Error::Shape(format!(
                    "images got {} values, expected a multiple of {} x {} x 3",
                    images.len(),
                    size[0],
                    size[1]
                )));
            }
        };
        let resizer = match self.resizer.take() {
            Some(resizer) if resizer.is_for(size) => resizer,
            _ => Resizer::new(self.resize, size, self.side),
        };
        let resizer = self.resizer.insert(resizer);
        let x_len = self.side * self.side * 3;
        let mut taps = Taps::default();
        for images in images.chunks(self.batch * len) {
            let n = images.len() / len;
            resizer.run(images, &mut self.x[..n * x_len]);
            self.program.write("x", &self.x)?;
            self.program.run()?;
            let names = [
                Tap::Mean64.name(),
                Tap::Mean192.name(),
                Tap::Mean768.name(),
                Tap::Mean2048.name(),
                Tap::Spatial.name(),
                LOGITS,
            ];
            let [a, b, c, d, spatial, logits] = pollster::block_on(self.program.read_all(names))?;
            for (to, from) in [
                (&mut taps.tap64, a),
                (&mut taps.tap192, b),
                (&mut taps.tap768, c),
                (&mut taps.pool2048, d),
                (&mut taps.spatial2023, spatial),
                (&mut taps.logits_unbiased, logits),
            ] {
                to.extend_from_slice(&from[..from.len() / self.batch * n]);
            }
        }
        let bias = self.weights.bias.iter().cycle();
        let logits = taps.logits_unbiased.iter().zip(bias);
        taps.logits = logits.map(|(logit, bias)| logit + bias).collect();
        Ok(taps)
    }
}

#[doc(hidden)]
impl Inception {
    /// As [`Inception::load`], for images that are resized to `side` x `side` pixels: tests on slow devices evaluate small images.
    ///
    /// # Errors
    /// As there, and [`Error::Shape`] below 75 pixels.
    pub fn load_at<R: Read + Seek>(
        device: &Device,
        reader: &mut Reader<R>,
        resize: Resize,
        batch: usize,
        side: usize,
    ) -> Result<Self> {
        if batch == 0 {
            return Err(Error::setting("batch", "got 0, expected at least 1"));
        }
        let network = layers::network();
        let weights = weights::load(device, &network, reader)?;
        let plan = plan(&network, &weights.layout, batch, side)?;
        Ok(Inception {
            program: device.program(plan, &[&weights.arenas])?,
            weights,
            batch,
            side,
            resize,
            resizer: None,
            x: vec![0.0; batch * side * side * 3],
        })
    }

    /// The tensors of a file, in the order of the official network.
    pub fn specs() -> Vec<ParamSpec> {
        let network = layers::network();
        let convs = layers::convs(&network).into_iter();
        let specs = convs.flat_map(|conv| conv.specs(Names::Torch, ""));
        specs.chain(layers::last(Names::Torch, "")).collect()
    }

    /// Bytes of the weights and of the values of a batch, on a device.
    pub fn bytes(&self) -> u64 {
        self.weights.arenas.bytes() + self.program.bytes()
    }
}

fn plan(network: &[Layer], layout: &Layout, batch: usize, side: usize) -> Result<Plan> {
    let built = graph::build(network, batch, side)?;
    let request = Request {
        outputs: built.outputs,
        ..Request::default()
    };
    Plan::new(&built.graph, &request, &[layout])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplications_and_memory_are_those_of_the_network() {
        let network = layers::network();
        let layout = weights::layout(&network, u64::MAX).unwrap();
        let plan = |batch| plan(&network, &layout, batch, SIDE).unwrap();
        // 5.71 billion, as is known of the network.
        assert_eq!(plan(1).macs() / 10_000_000, 571);
        // 21.8 million weights of convolutions, 17 thousand of norms that are folded into a bias, and 2.1 million of the last layer.
        assert_eq!(layout.arena_bytes() / 1_000_000, 95);
        let per_image = (plan(32).slot_bytes() - plan(16).slot_bytes()) / 16;
        assert!(per_image < 22 << 20, "{per_image}");
        let whole = layout.arena_bytes() + plan(16).slot_bytes();
        assert_eq!(Inception::forecast(16).unwrap(), whole);
    }
}
