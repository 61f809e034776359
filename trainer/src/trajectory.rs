//! Every state of sampling as a safetensors file.

use crate::error::{Failure, Result};
use crate::files::{self, FileError};
use crate::pending::Pending;
use sit_engine::checkpoint::{self, Dtype};
use sit_engine::model::NetworkIo;
use sit_engine::shape::Shape;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

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
        let header = checkpoint::header_of(&tensors, &[(SETTINGS, settings)])?;
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

/// Writes states of images as `--init` takes them: x f32 `[N, C, H, W]` and, of a model with classes, y i64 `[N]`.
///
/// # Errors
/// The file cannot be written.
pub fn write_states(path: &Path, io: &NetworkIo, x: &[f32], y: &[u32]) -> Result<u64> {
    let (n, [c, h, w]) = (y.len(), io.image);
    let mut tensors = vec![("x".to_owned(), Shape::from([n, c, h, w]), Dtype::F32)];
    if io.n_classes > 0 {
        tensors.insert(0, ("y".to_owned(), Shape::from([n]), Dtype::I64));
    }
    let header = checkpoint::header_of(&tensors, &[])?;
    let mut out = Pending::create(path)?;
    let mut write = || {
        out.write_all(&header)?;
        if io.n_classes > 0 {
            for label in y {
                out.write_all(&i64::from(*label).to_le_bytes())?;
            }
        }
        checkpoint::write_values(&mut out, x)
    };
    write().map_err(FileError::of("write", path))?;
    Ok(out.finish()?)
}

/// The states of images with times of their own. They are collected in a temporary file; the file has `t` f32 `[n+1, B]` and `x` f32
/// `[n+1, B, C, H, W]`, where n is the largest number of steps and an image with fewer repeats its last state.
#[derive(Debug)]
pub struct OwnTimes {
    path: PathBuf,
    shape: [usize; 3],
    states: BufWriter<File>,
    n_states: u64,
    /// For each image, times and numbers of its states.
    images: Vec<Vec<(f32, u64)>>,
}

impl OwnTimes {
    /// For `n_images` images of `shape` `[C, H, W]`.
    ///
    /// # Errors
    /// There is no room for a temporary file.
    pub fn create(path: &Path, shape: [usize; 3], n_images: u64) -> Result<Self> {
        let folder = files::parent(path);
        let states = tempfile::tempfile_in(folder).map_err(FileError::of("write", path))?;
        Ok(OwnTimes {
            path: path.to_owned(),
            shape,
            states: BufWriter::new(states),
            n_states: 0,
            images: vec![Vec::new(); n_images as usize],
        })
    }

    /// The path that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the next state of an image.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn state(&mut self, image: u64, t: f64, x: &[f32]) -> Result<()> {
        let written = checkpoint::write_values(&mut self.states, x);
        written.map_err(FileError::of("write", &self.path))?;
        self.images[image as usize].push((t as f32, self.n_states));
        self.n_states += 1;
        Ok(())
    }

    /// Writes the file; returns its length in bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self, labels: impl Iterator<Item = u32>, settings: &str) -> Result<u64> {
        let failed = FileError::of("write", &self.path);
        let (n, [c, h, w]) = (self.images.len(), self.shape);
        let longest = self.images.iter().map(Vec::len).max().unwrap_or(0);
        let tensors = [
            ("y".to_owned(), Shape::from([n]), Dtype::I64),
            ("t".to_owned(), Shape::from([longest, n]), Dtype::F32),
            (
                "x".to_owned(),
                Shape::from([longest, n, c, h, w]),
                Dtype::F32,
            ),
        ];
        let header = checkpoint::header_of(&tensors, &[(SETTINGS, settings)])?;
        let mut out = Pending::create(&self.path)?;
        let of = |image: &[(f32, u64)], k: usize| image[k.min(image.len() - 1)];
        let write = || -> io::Result<()> {
            let mut states = self.states.into_inner()?;
            out.write_all(&header)?;
            for label in labels {
                out.write_all(&i64::from(label).to_le_bytes())?;
            }
            for k in 0..longest {
                let t: Vec<f32> = self.images.iter().map(|image| of(image, k).0).collect();
                checkpoint::write_values(&mut out, &t)?;
            }
            let mut bytes = vec![0; 4 * c * h * w];
            for k in 0..longest {
                for image in &self.images {
                    let at = of(image, k).1 * bytes.len() as u64;
                    states.seek(SeekFrom::Start(at))?;
                    states.read_exact(&mut bytes)?;
                    out.write_all(&bytes)?;
                }
            }
            Ok(())
        };
        write().map_err(failed)?;
        Ok(out.finish()?)
    }
}
