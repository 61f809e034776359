//! The binary versions of CIFAR-10 (`data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`) and CIFAR-100 (`train.bin`, `test.bin`).
//!
//! A file is a sequence of records: one byte of the label, or two for CIFAR-100's coarse and fine labels, of which the fine one is the class;
//! then 32x32 bytes each of red, green and blue. `batches.meta.txt` or `fine_label_names.txt` beside it has a name a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use image::RgbImage;
use sit_engine::text::count;

use super::super::item::{At, Content, Item, Reader};
use super::super::labels::Label;
use super::super::listing::LeftOut;
use super::{DataConfig, DataError, Found, read_bytes};

/// CIFAR-100's names of the classes; the file tells its `train.bin` from any other.
pub const FINE_NAMES: &str = "fine_label_names.txt";
const NAMES: &str = "batches.meta.txt";

const SIDE: u32 = 32;
const PIXELS: usize = (SIDE * SIDE) as usize;

/// More bytes than any list of names has.
const MAX_NAMES: u64 = 1 << 16;

struct Cifar {
    archives: Vec<PathBuf>,
}

impl Reader for Cifar {
    fn archives(&self) -> &[PathBuf] {
        &self.archives
    }

    fn has_files(&self) -> bool {
        false
    }

    fn read(&self, at: At) -> Result<Content, String> {
        let planes = read_bytes(&self.archives, at)?;
        let pixels = (0..PIXELS).flat_map(|i| [0, 1, 2].map(|c| planes[c * PIXELS + i]));
        let image = RgbImage::from_raw(SIDE, SIDE, pixels.collect());
        let image = image.ok_or("fewer pixels than a record has")?;
        Ok(Content::Pixels(image.into()))
    }
}

/// Lists the records of files.
///
/// # Errors
/// A file that is no sequence of records, or has a label that is no class.
pub fn list(archives: &[PathBuf], _: &DataConfig) -> Result<Found, DataError> {
    let (mut items, mut labels) = (Vec::new(), HashMap::new());
    let mut names = Vec::new();
    for (archive, path) in (0..).zip(archives) {
        let fine = path.with_file_name(FINE_NAMES);
        let is_100 = !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().to_lowercase().contains("batch"));
        let (n_labels, n_classes, list) = match is_100 {
            true => (2, 100, fine),
            false => (1, 10, path.with_file_name(NAMES)),
        };
        names = read_names(&list, n_classes)?;
        let io_error = |e| DataError::io(path, e);
        let file = File::open(path).map_err(io_error)?;
        let (n_bytes, size) = (
            file.metadata().map_err(io_error)?.len(),
            n_labels + 3 * PIXELS,
        );
        if n_bytes == 0 || n_bytes % size as u64 != 0 {
            let expected =
                format!("records of {size} bytes: {n_labels} of labels, 3 x 32 x 32 of pixels");
            return Err(DataError::content(
                path,
                count(n_bytes as usize, "byte"),
                expected,
            ));
        }
        let mut file = BufReader::new(file);
        for number in 0..n_bytes / size as u64 {
            let mut own = [0; 2];
            file.read_exact(&mut own[..n_labels]).map_err(io_error)?;
            file.seek_relative(3 * PIXELS as i64).map_err(io_error)?;
            let label = u32::from(own[n_labels - 1]);
            if label as usize >= n_classes {
                let got = format!("the label {label} of image {number}");
                let expected = format!("labels below {n_classes}");
                return Err(DataError::content(path, got, expected));
            }
            let item = Item {
                path: path.join(format!("{number:05}")),
                label: 0,
                at: At {
                    archive,
                    bytes: 3 * PIXELS as u32,
                    first: number * size as u64 + n_labels as u64,
                },
            };
            labels.insert(item.path.clone(), Label::Number(label));
            items.push(item);
        }
    }
    let archives = archives.to_vec();
    Ok(Found {
        items,
        labels,
        names,
        left_out: LeftOut::default(),
        reader: Box::new(Cifar { archives }),
    })
}

/// The names of the classes, a line each; none without the file.
fn read_names(path: &Path, n_classes: usize) -> Result<Vec<String>, DataError> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_NAMES).read_to_end(&mut text))
        .map_err(|e| DataError::io(path, e))?;
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    match names.len() == n_classes {
        true => Ok(names),
        false => {
            let expected = format!("the names of {n_classes} classes, a line each");
            Err(DataError::content(
                path,
                count(names.len(), "name"),
                expected,
            ))
        }
    }
}
