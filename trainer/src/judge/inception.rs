//! The Inception network of FID as what makes features.

use super::classifier;
use super::extract::{Extractor, Taken};
use super::statistics::Made;
use crate::error::{Failure, Result};
use crate::weights;
use sit_engine::backend::Device;
use sit_engine::inception::{Inception, Resize};
use std::path::Path;

/// Length of the spatial features.
const N_SPATIAL: usize = 2023;

/// The network with the weights of a file, and a name by them.
pub struct InceptionFeatures {
    network: Inception,
    made: Made,
    batch: usize,
    /// Images `[n, H, W, 3]` of grey ones.
    rgb: Vec<u8>,
}

/// What statistics call a way to resize.
fn name(resize: Resize) -> &'static str {
    match resize {
        Resize::Tf1 => "tf1",
        Resize::HalfPixel => "half-pixel",
        Resize::Antialias => "antialias",
    }
}

impl InceptionFeatures {
    /// Number of the logits.
    pub const N_LOGITS: usize = Inception::N_LOGITS;

    /// Reads the weights; `batch` images are evaluated at a time.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the file: it cannot be read, or is of another network; or a device that fails.
    pub fn open(file: &Path, resize: Resize, batch: usize, device: &Device) -> Result<Self> {
        let mut reader = weights::open(file)?;
        let network = Inception::load(device, &mut reader, resize, batch)?;
        let names: Vec<String> = reader.tensors().map(|(name, _)| name.to_owned()).collect();
        let mut hash = classifier::HASH;
        for spec in Inception::specs() {
            // After a prefix such as `module.`.
            let found = names.iter().find(|name| {
                let before = name.strip_suffix(&spec.name[..]);
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            });
            if let Some(name) = found {
                hash = classifier::add(hash, &reader.read(name)?);
            }
        }
        Ok(InceptionFeatures {
            network,
            made: Made {
                extractor: format!("inception-{hash:016x}"),
                resize: name(resize).into(),
            },
            batch,
            rgb: Vec::new(),
        })
    }
}

impl Extractor for InceptionFeatures {
    fn made(&self) -> &Made {
        &self.made
    }

    fn dim(&self) -> usize {
        Inception::N_FEATURES
    }

    fn spatial_dim(&self) -> Option<usize> {
        Some(N_SPATIAL)
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn check(&self, [height, width, channels]: [usize; 3]) -> Result<()> {
        match channels {
            1 | 3 => Ok(()),
            _ => Err(Failure::Input(format!(
                "got images of {height}x{width} pixels and {channels} channels, expected grey or RGB"
            ))),
        }
    }

    fn read(&mut self, levels: &[u8], [height, width, channels]: [usize; 3]) -> Result<Taken> {
        let images = match channels {
            1 => {
                self.rgb.clear();
                self.rgb.extend(levels.iter().flat_map(|level| [*level; 3]));
                &self.rgb[..]
            }
            _ => levels,
        };
        let taps = self.network.features(images, [height, width])?;
        Ok(Taken {
            features: taps.pool2048,
            spatial: taps.spatial2023,
            logits: taps.logits_unbiased,
        })
    }
}
