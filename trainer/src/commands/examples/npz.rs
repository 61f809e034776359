//! NumPy archives of images: `arr_0` `[N, H, W, C]` and `label` `[N]`, as `sit sample --npz` and evaluation programs write them.

use crate::data::Npz;
use crate::error::{Failure, Result};
use crate::memory;
use sit_engine::text::shown;
use std::path::Path;

/// An archive in memory.
#[derive(Debug)]
pub struct Archive {
    /// Shape of an image, `[C, H, W]`.
    pub shape: [usize; 3],
    /// Number of images.
    pub n: usize,
    values: Values,
    labels: Option<Vec<i64>>,
}

/// Values `[N, H, W, C]`.
#[derive(Debug)]
enum Values {
    /// Levels of 0 to 255.
    Levels(Vec<u8>),
    /// As they are.
    Floats(Vec<f32>),
}

impl Archive {
    /// Reads a file; `None` if it has no `arr_0`.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the file: it is no archive, or an array has another type or shape.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
        let mut npz = Npz::open(path)?;
        let Some(images) = npz.array("arr_0")? else {
            return Ok(None);
        };
        let &[n, height, width, channels] = &images.shape[..] else {
            return Err(refuse(format!(
                "arr_0 is {:?}, expected [N, H, W, C]",
                images.shape
            )));
        };
        if images.n_bytes == 0 {
            return Err(refuse("arr_0 has no images".into()));
        }
        if !matches!(&images.descr[..], "|u1" | "<f4") {
            return Err(refuse(format!(
                "arr_0 has the type {}, expected uint8 (|u1), or of latents float32 (<f4)",
                shown(&images.descr)
            )));
        }
        memory::require_host(
            &format!("arr_0 of {}", shown(path)),
            Some(images.n_bytes),
            "take a file of fewer images",
        )?;
        let bytes = npz.values(&images)?;
        let values = match &images.descr[..] {
            "|u1" => Values::Levels(bytes),
            _ => {
                let floats = bytes.as_chunks().0.iter();
                Values::Floats(floats.map(|b| f32::from_le_bytes(*b)).collect())
            }
        };
        let labels = match npz.array("label")? {
            None => None,
            Some(labels) if labels.shape == [n] => Some(npz.integers(&labels)?),
            Some(labels) => {
                return Err(refuse(format!(
                    "label is {:?}, expected [{n}]",
                    labels.shape
                )));
            }
        };
        Ok(Some(Archive {
            shape: [channels, height, width],
            n,
            values,
            labels,
        }))
    }

    /// Whether the values are levels.
    pub fn has_levels(&self) -> bool {
        matches!(self.values, Values::Levels(_))
    }

    /// The label of an image, if there are any.
    pub fn label(&self, index: usize) -> Option<i64> {
        self.labels.as_ref().map(|labels| labels[index])
    }

    /// Writes an image `[C, H, W]`: levels as `2 level / 255 - 1`.
    pub fn image(&self, index: usize, image: &mut [f32]) {
        let (len, channels) = (image.len(), self.shape[0]);
        let pixels = len / channels;
        for (i, value) in image.iter_mut().enumerate() {
            let at = index * len + i % pixels * channels + i / pixels;
            *value = match &self.values {
                Values::Levels(levels) => (2 * i32::from(levels[at]) - 255) as f32 / 255.0,
                Values::Floats(floats) => floats[at],
            };
        }
    }
}

#[cfg(test)]
mod tests;
