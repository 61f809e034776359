//! Samples as a NumPy archive, as evaluation programs take them.

use crate::files::FileError;
use crate::npy::start;
use crate::pending::Pending;
use crate::png::{is_picture, level};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use zip::ZipWriter;

/// How an archive holds images: of one or three channels as u8 levels (see [`level`]); of other numbers of channels, which are latents, as
/// f32.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Shape of an image, `[C, H, W]`.
    pub shape: [usize; 3],
}

impl Layout {
    /// Bytes of an image.
    pub fn image_bytes(self) -> u64 {
        let each = if is_picture(self.shape[0]) { 1 } else { 4 };
        each * self.image_len() as u64
    }

    fn image_len(self) -> usize {
        self.shape.iter().product()
    }

    /// Writes images `[B, C, H, W]` as `[B, H, W, C]`.
    ///
    /// # Errors
    /// Those of `out`.
    ///
    /// # Panics
    /// If they are not whole.
    pub fn write(self, images: &[f32], out: &mut impl Write) -> io::Result<()> {
        let [channels, height, width] = self.shape;
        let len = self.image_len();
        assert!(images.len().is_multiple_of(len), "whole images");
        let mut bytes = Vec::with_capacity(self.image_bytes() as usize);
        for image in images.chunks_exact(len) {
            let last = (0..len).map(|i| image[i % channels * height * width + i / channels]);
            bytes.clear();
            if is_picture(channels) {
                bytes.extend(last.map(level));
            } else {
                bytes.extend(last.flat_map(f32::to_le_bytes));
            }
            out.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// An archive that is written batch by batch: `arr_0` `[N, H, W, C]` in its [`Layout`], then `label` (i64 `[N]`).
pub struct Writer {
    path: PathBuf,
    zip: ZipWriter<Quiet>,
    layout: Layout,
    n_images: u64,
    /// Images written.
    written: u64,
}

/// NumPy's name of the type of images of so many channels.
fn dtype(channels: usize) -> &'static str {
    if is_picture(channels) { "|u1" } else { "<f4" }
}

impl Writer {
    /// Starts an archive of `n_images` images of `shape` `[C, H, W]`.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be written.
    pub fn create(path: &Path, n_images: u64, shape: [usize; 3]) -> Result<Self, FileError> {
        let out = Quiet {
            out: Pending::create(path)?,
            broken: false,
        };
        let mut writer = Writer {
            path: path.to_owned(),
            zip: ZipWriter::new(out),
            layout: Layout { shape },
            n_images,
            written: 0,
        };
        let [channels, height, width] = shape.map(|size| size as u64);
        let shape = [n_images, height, width, channels];
        start(
            &mut writer.zip,
            "arr_0.npy",
            dtype(channels as usize),
            &shape,
        )
        .map_err(FileError::of("write", path))?;
        Ok(writer)
    }

    /// The path that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the next images `[B, C, H, W]`.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be written.
    ///
    /// # Panics
    /// If they are not whole, or more than were announced.
    pub fn images(&mut self, images: &[f32]) -> Result<(), FileError> {
        self.count(images.len() / self.layout.image_len());
        self.layout
            .write(images, &mut self.zip)
            .map_err(FileError::of("write", &self.path))
    }

    /// Writes an image that has the form of its [`Layout`] already.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be written.
    ///
    /// # Panics
    /// If there are more than were announced.
    pub fn encoded(&mut self, image: &[u8]) -> Result<(), FileError> {
        self.count(1);
        self.zip
            .write_all(image)
            .map_err(FileError::of("write", &self.path))
    }

    fn count(&mut self, n: usize) {
        self.written += n as u64;
        assert!(self.written <= self.n_images, "no more than announced");
    }

    /// Writes the labels and gives the file its name; returns its length in bytes.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be written.
    ///
    /// # Panics
    /// If there are fewer images than announced, or not one label per image.
    pub fn finish(mut self, labels: impl Iterator<Item = u32>) -> Result<u64, FileError> {
        let mut n = 0;
        let write = || {
            start(&mut self.zip, "label.npy", "<i8", &[self.n_images])?;
            for label in labels {
                n += 1;
                self.zip.write_all(&i64::from(label).to_le_bytes())?;
            }
            Ok(())
        };
        write().map_err(FileError::of("write", &self.path))?;
        assert!(
            n == self.n_images && self.written == n,
            "one label per image"
        );
        let quiet = self.zip.finish().map_err(io::Error::from);
        quiet
            .map_err(FileError::of("write", &self.path))?
            .out
            .finish()
    }
}

/// A file that ignores writes after the first error. The archive's destructor writes its end, and would print to stderr if that
/// failed.
struct Quiet {
    out: Pending,
    broken: bool,
}

impl Quiet {
    fn attempt<T>(
        &mut self,
        otherwise: T,
        act: impl FnOnce(&mut Pending) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.broken {
            return Ok(otherwise);
        }
        let done = act(&mut self.out);
        self.broken = done.is_err();
        done
    }
}

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), Write::flush)
    }
}

impl Seek for Quiet {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.attempt(0, |out| out.seek(to))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use zip::ZipArchive;

    use super::*;

    fn array(archive: &mut ZipArchive<File>, name: &str) -> (String, Vec<u8>) {
        let mut bytes = Vec::new();
        archive
            .by_name(name)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let data = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((data % 64, bytes[data - 1]), (0, b'\n'));
        (
            String::from_utf8(bytes[10..data].to_vec())
                .unwrap()
                .trim_end()
                .to_owned(),
            bytes[data..].to_vec(),
        )
    }

    #[test]
    fn images_are_channels_last_levels_and_labels_are_i64() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples.npz");
        // Two images of 3 channels, 1x2: value n is level n.
        let images: Vec<f32> = (0..12_u8).map(|n| f32::from(n) / 127.5 - 1.0).collect();
        let mut writer = Writer::create(&path, 2, [3, 1, 2]).unwrap();
        for image in images.chunks(6) {
            writer.images(image).unwrap();
        }
        assert!(!path.exists(), "it has its name when it is whole");
        let len = writer.finish([7, 300].into_iter()).unwrap();
        assert_eq!(len, path.metadata().unwrap().len());
        let mut archive = ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let (header, levels) = array(&mut archive, "arr_0.npy");
        assert_eq!(
            header,
            "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 2, 3, ), }"
        );
        assert_eq!(levels, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        let (header, labels) = array(&mut archive, "label.npy");
        assert_eq!(
            header,
            "{'descr': '<i8', 'fortran_order': False, 'shape': (2, ), }"
        );
        assert_eq!(labels, [7_i64, 300].map(i64::to_le_bytes).concat());
    }

    #[test]
    fn latents_are_f32_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.npz");
        let image: Vec<f32> = (0..8_u8).map(|n| f32::from(n) * 3.5 - 9.0).collect();
        let mut writer = Writer::create(&path, 1, [4, 1, 2]).unwrap();
        writer.images(&image).unwrap();
        writer.finish([0].into_iter()).unwrap();
        let mut archive = ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let (header, bytes) = array(&mut archive, "arr_0.npy");
        assert_eq!(
            header,
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2, 4, ), }"
        );
        let last = [0, 2, 4, 6, 1, 3, 5, 7].map(|i| image[i].to_le_bytes());
        assert_eq!(bytes, last.concat());
    }

    #[test]
    fn an_archive_that_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let mut writer = Writer::create(&path, 9, [1, 8, 8]).unwrap();
        writer.images(&[0.0; 128]).unwrap();
        drop(writer);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
