//! Every state of sampling as a safetensors file.

use crate::error::{Failure, Result};
use crate::files::FileError;
use crate::pending::Pending;
use sit_engine::checkpoint::{self, Dtype};
use sit_engine::shape::Shape;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Key of the file's metadata that holds the settings as JSON.
const SETTINGS: &str = "sample";

/// A file of `y` i64 `[B]`, `t` f32 `[n+1]` and `x` f32 `[n+1, B, C, H, W]`, the states of n steps. It is written batch by batch,
/// each state at its position.
#[derive(Debug)]
pub struct Trajectory {
    out: Pending,
    /// Where x begins.
    x_at: u64,
    n_images: u64,
    image_bytes: u64,
}

impl Trajectory {
    /// Starts a file of states at the times `t`, of `n_images` images of `shape` `[C, H, W]` with as many `labels`; `settings` is JSON.
    ///
    /// # Errors
    /// [`Failure::Input`] when it is larger than a file can be; an error when the file cannot be written.
    pub fn create(
        path: &Path,
        t: &[f32],
        shape: [usize; 3],
        n_images: u64,
        labels: impl Iterator<Item = u32>,
        settings: &str,
    ) -> Result<Self> {
        let (n, [c, h, w]) = (n_images as usize, shape);
        let image_bytes = 4 * (c * h * w) as u64;
        let bytes = image_bytes
            .checked_mul(n_images)
            .and_then(|state| state.checked_mul(t.len() as u64))
            .filter(|&bytes| bytes < i64::MAX as u64 / 2);
        if bytes.is_none() {
            return Err(Failure::Input(format!(
                "--trajectory: {} states of {n} images are larger than a file can be",
                t.len()
            )));
        }
        let tensors = [
            ("y".to_owned(), Shape::from([n]), Dtype::I64),
            ("t".to_owned(), Shape::from([t.len()]), Dtype::F32),
            (
                "x".to_owned(),
                Shape::from([t.len(), n, c, h, w]),
                Dtype::F32,
            ),
        ];
        let header = checkpoint::header_of(&tensors, Some((SETTINGS, settings)))?;
        let mut out = Pending::create(path)?;
        let write = || {
            out.write_all(&header)?;
            for label in labels {
                out.write_all(&i64::from(label).to_le_bytes())?;
            }
            checkpoint::write_values(&mut out, t)?;
            // Fails now if the file cannot be written at any position.
            out.stream_position()
        };
        let x_at = write().map_err(FileError::of("write", path))?;
        Ok(Trajectory {
            out,
            x_at,
            n_images,
            image_bytes,
        })
    }

    /// The path that the file will have.
    pub fn path(&self) -> &Path {
        self.out.path()
    }

    /// Writes the state `[.., C, H, W]` of images number `first..` after `step` steps.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn state(&mut self, step: usize, first: u64, x: &[f32]) -> Result<()> {
        let at = self.x_at + (step as u64 * self.n_images + first) * self.image_bytes;
        let mut write = || -> io::Result<()> {
            self.out.seek(SeekFrom::Start(at))?;
            checkpoint::write_values(&mut self.out, x)
        };
        write().map_err(|e| FileError::of("write", self.out.path())(e))?;
        Ok(())
    }

    /// Gives the file its name; returns its length in bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> Result<u64> {
        Ok(self.out.finish()?)
    }
}
