//! Samples as a NumPy archive, as evaluation programs take them.

use std::io::{self, Seek, Write};
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::files::{FileError, write_atomically};
use crate::png::level;

/// Writes `arr_0` (u8 `[N, H, W, C]`, levels as in [`level`]) and `label` (i64 `[N]`) from images `[N, C, H, W]` in [-1, 1];
/// `shape` is `[C, H, W]`.
///
/// # Errors
/// [`FileError`] if the file cannot be written.
///
/// # Panics
/// If there is not one label per image.
pub fn write(
    path: &Path,
    images: &[f32],
    shape: [usize; 3],
    labels: &[u32],
) -> Result<(), FileError> {
    let [channels, height, width] = shape;
    assert_eq!(
        images.len(),
        labels.len() * channels * height * width,
        "one label per image"
    );
    write_atomically(path, |out| {
        let mut zip = ZipWriter::new(out);
        start(
            &mut zip,
            "arr_0.npy",
            "|u1",
            &[labels.len(), height, width, channels],
        )?;
        let mut levels = vec![0; channels * height * width];
        for image in images.chunks_exact(levels.len()) {
            for (i, to) in levels.iter_mut().enumerate() {
                *to = level(image[i % channels * height * width + i / channels]);
            }
            zip.write_all(&levels)?;
        }
        start(&mut zip, "label.npy", "<i8", &[labels.len()])?;
        labels
            .iter()
            .try_for_each(|&label| zip.write_all(&i64::from(label).to_le_bytes()))?;
        zip.finish()?;
        Ok(())
    })
}

/// Starts an array: NumPy's format 1.0, whose data begin at a multiple of 64 bytes.
fn start(
    zip: &mut ZipWriter<impl Write + Seek>,
    name: &str,
    dtype: &str,
    shape: &[usize],
) -> io::Result<()> {
    // The entry's size is not known beforehand; the flag makes room for more than 4 GiB.
    zip.start_file(name, SimpleFileOptions::default().large_file(true))?;
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}");
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let padded = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    header = format!("{header:<width$}\n", width = padded - 1);
    zip.write_all(MAGIC)?;
    zip.write_all(&(padded as u16).to_le_bytes())?;
    zip.write_all(header.as_bytes())
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
        write(&path, &images, [3, 1, 2], &[7, 300]).unwrap();
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
}
