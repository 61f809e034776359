//! NumPy archives of images: uint8 `[N, H, W]` or `[N, H, W, C]`, and whole numbers `[N]` or `[N, 1]` as labels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use sit_engine::text::{count, shown};

use super::super::decode::Rules;
use super::super::item::{At, Content, Item, Reader};
use super::super::labels::Label;
use super::super::listing::LeftOut;
use super::super::numpy::{Array, Npz};
use super::{DataConfig, DataError, Found, Split, read_bytes};

/// Names of arrays of images, each with the names that its labels may have: to train on, and to test with.
const TRAIN: [(&str, &[&str]); 5] = [
    ("arr_0", &["label", "labels", "arr_1"]),
    ("images", &["label", "labels"]),
    ("x_train", &["y_train"]),
    ("train_images", &["train_labels"]),
    ("x", &["y"]),
];
const TEST: [(&str, &[&str]); 2] = [("x_test", &["y_test"]), ("test_images", &["test_labels"])];

/// Memory that an image of the list takes, about.
const ITEM_BYTES: u64 = 256;

/// Images of one archive.
struct Images {
    /// `[H, W, C]`.
    shape: [usize; 3],
    place: Place,
}

enum Place {
    /// Where the first image begins in the archive.
    At(u64),
    /// Unpacked, since the archive is compressed.
    Memory(Vec<u8>),
}

struct Arrays {
    archives: Vec<PathBuf>,
    images: Vec<Images>,
}

impl Reader for Arrays {
    fn archives(&self) -> &[PathBuf] {
        &self.archives
    }

    fn has_files(&self) -> bool {
        false
    }

    fn read(&self, at: At) -> Result<Content, String> {
        let Images { shape, place } = &self.images[at.archive as usize];
        let [height, width, channels] = *shape;
        let len = height * width * channels;
        let levels = match place {
            Place::Memory(values) => values[at.first as usize * len..][..len].to_vec(),
            Place::At(begin) => {
                let first = begin + at.first * len as u64;
                read_bytes(&self.archives, At { first, ..at })?
            }
        };
        let (width, height) = (width as u32, height as u32);
        let image = match channels {
            1 => GrayImage::from_raw(width, height, levels).map(DynamicImage::from),
            3 => RgbImage::from_raw(width, height, levels).map(DynamicImage::from),
            _ => RgbaImage::from_raw(width, height, levels).map(DynamicImage::from),
        };
        image.map(Content::Pixels).ok_or("other pixels".into())
    }
}

/// The archives with a part to test with.
///
/// # Errors
/// A file that is no archive.
pub fn with_test(archives: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for path in archives {
        let names = Npz::open(path)?.names();
        if TEST
            .iter()
            .any(|(name, _)| names.iter().any(|own| own == name))
        {
            found.push(path.clone());
        }
    }
    Ok(found)
}

/// Lists the images of archives. One that is compressed is unpacked, if all take at most `data.cache_mib`.
///
/// # Errors
/// An archive that is none, without images, of another type or shape, cut off, or compressed and too large; labels of another number.
pub fn list(archives: &[PathBuf], config: &DataConfig) -> Result<Found, DataError> {
    let max_pixels = Rules::new(config).max_pixels;
    let most = config.cache_mib.unwrap_or(1024).saturating_mul(1 << 20);
    let (mut items, mut labels, mut images) = (Vec::new(), HashMap::new(), Vec::new());
    let mut left = most;
    for (archive, path) in (0..).zip(archives) {
        let mut npz = Npz::open(path)?;
        let (array, own) = arrays(&mut npz, path, config.split)?;
        let refuse = |got: String, expected: &str| {
            DataError::content(path, format!("{} {got}", array.name), expected)
        };
        if array.descr != "|u1" {
            let got = format!("of the type {}", shown(&array.descr));
            return Err(refuse(got, "levels as uint8 (|u1)"));
        }
        let (n, shape) = match array.shape[..] {
            [n, height, width] => (n, [height, width, 1]),
            [n, height, width, channels @ (1 | 3 | 4)] => (n, [height, width, channels]),
            _ => {
                let expected = "[N, H, W] or [N, H, W, C] with 1, 3 or 4 channels";
                return Err(refuse(format!("of {:?}", array.shape), expected));
            }
        };
        if array.n_bytes == 0 {
            return Err(refuse(
                format!("of {:?}", array.shape),
                "at least one image",
            ));
        }
        let pixels = shape[0] as u64 * shape[1] as u64;
        if pixels > max_pixels {
            let got = format!("of {}x{} pixels an image", shape[1], shape[0]);
            let expected = format!(
                "at most {} million (data.max_megapixels)",
                max_pixels / 1_000_000
            );
            return Err(refuse(got, &expected));
        }
        let place = match array.at {
            Some(at) => Place::At(at),
            None => {
                let needed = array.n_bytes.saturating_add(n as u64 * ITEM_BYTES);
                left = left.checked_sub(needed).ok_or_else(|| {
                    let got = format!("that unpacks to {} MiB", needed.div_ceil(1 << 20));
                    let expected = format!(
                        "at most data.cache_mib = {} of compressed arrays; numpy.savez stores them so that they need not be unpacked",
                        most >> 20
                    );
                    refuse(got, &expected)
                })?;
                Place::Memory(npz.values(&array)?)
            }
        };
        let own = match own {
            Some(own) if !matches!(own.shape[..], [m] | [m, 1] if m == n) => {
                let got = format!("{} of {:?}", own.name, own.shape);
                return Err(DataError::content(
                    path,
                    got,
                    format!("[{n}], a label for each image"),
                ));
            }
            Some(own) => Some(npz.integers(&own)?),
            None => None,
        };
        let bytes = array.n_bytes / n as u64;
        for number in 0..n {
            let item = Item {
                path: path.join(format!("{number:06}")),
                label: 0,
                at: At {
                    archive,
                    bytes: bytes.try_into().unwrap_or(u32::MAX),
                    first: number as u64,
                },
            };
            let label = own.as_ref().and_then(|own| Label::number(own[number]));
            labels.extend(label.map(|label| (item.path.clone(), label)));
            items.push(item);
        }
        images.push(Images { shape, place });
    }
    let archives = archives.to_vec();
    Ok(Found {
        items,
        labels,
        names: Vec::new(),
        left_out: LeftOut::default(),
        reader: Box::new(Arrays { archives, images }),
    })
}

/// The arrays of images and of labels.
fn arrays(npz: &mut Npz, path: &Path, split: Split) -> Result<(Array, Option<Array>), DataError> {
    let known: Vec<(&str, &[&str])> = match split {
        Split::Train => TRAIN.to_vec(),
        // A whole file may be the part to test with, by its name.
        Split::Test => TEST.iter().chain(&TRAIN).copied().collect(),
    };
    for (name, names_of_labels) in &known {
        let Some(images) = npz.array(name)? else {
            continue;
        };
        for name in *names_of_labels {
            if let Some(labels) = npz.array(name)? {
                return Ok((images, Some(labels)));
            }
        }
        return Ok((images, None));
    }
    let names = npz.names();
    let got = match names.len() {
        0 => "no arrays".to_owned(),
        1..=8 => format!("the arrays {}", shown(names.join(", "))),
        n => count(n, "array"),
    };
    let known: Vec<&str> = known.iter().map(|known| known.0).collect();
    let expected = format!("images in one of {}", known.join(", "));
    Err(DataError::content(path, got, expected))
}
