//! The Inception network of FID as what makes features.

use super::extract::{Extractor, Taken};
use super::statistics::Made;
use crate::error::{Failure, Result};
use crate::files::FileError;
use crate::weights;
use sha2::{Digest as _, Sha256};
use sit_engine::backend::Device;
use sit_engine::inception::{Inception, Resize};
use sit_engine::text::shown;
use std::fs::File;
use std::io;
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
        check_name(file)?;
        let network = Inception::load(device, &mut reader, resize, batch)?;
        Ok(InceptionFeatures {
            made: Made {
                extractor: format!("inception-{:016x}", network.hash()),
                resize: name(resize).into(),
            },
            network,
            batch,
            rgb: Vec::new(),
        })
    }
}

/// Refuses a `.pth` file whose name ends in the beginning of its SHA-256, as those that PyTorch publishes do, if it has another one.
fn check_name(file: &Path) -> Result<()> {
    let is_pth = file.extension().is_some_and(|e| e == "pth");
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let Some((_, named)) = stem
        .filter(|_| is_pth)
        .and_then(|stem| stem.rsplit_once('-'))
    else {
        return Ok(());
    };
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if named.len() != 8 || !named.bytes().all(is_hex) {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let read = File::open(file).and_then(|mut file| io::copy(&mut file, &mut Hashing(&mut hash)));
    read.map_err(FileError::of("read", file))?;
    let found = hash.finalize()[..4]
        .iter()
        .fold(String::new(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        });
    match found == named {
        true => Ok(()),
        false => Err(Failure::Input(format!(
            "{}: its SHA-256 begins with {found}, expected {named} as its name says: it is damaged, or another file",
            shown(file)
        ))),
    }
}

/// Hashes what is written to it.
struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    fn n_logits(&self) -> usize {
        Inception::N_LOGITS
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
