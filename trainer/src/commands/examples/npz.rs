//! NumPy archives of images: `arr_0` `[N, H, W, C]` and `label` `[N]`, as `sit sample --npz` and evaluation programs write them.

use crate::error::{Failure, Result};
use crate::files::FileError;
use crate::memory;
use sit_engine::text::shown;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use zip::ZipArchive;
use zip::result::ZipError;

/// More bytes than any header has.
const MAX_HEADER: usize = 1 << 16;

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

/// An array: NumPy's name of its type, its shape and its bytes.
struct Array {
    descr: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Archive {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the file: it is no archive, lacks `arr_0`, or an array has another type or shape.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
        let file = File::open(path).map_err(FileError::of("read", path));
        let file = file.map_err(Failure::beforehand)?;
        let mut zip = ZipArchive::new(BufReader::new(file))
            .map_err(|e| refuse(format!("is no NumPy archive: {e}")))?;
        let images = array(&mut zip, path, "arr_0")?.ok_or_else(|| {
            refuse("has no array arr_0, expected the images there, uint8 [N, H, W, C]".into())
        })?;
        let &[n, height, width, channels] = &images.shape[..] else {
            return Err(refuse(format!(
                "arr_0 is {:?}, expected [N, H, W, C]",
                images.shape
            )));
        };
        if n == 0 {
            return Err(refuse("arr_0 has no images".into()));
        }
        let values = match &images.descr[..] {
            "|u1" => Values::Levels(images.bytes),
            "<f4" => Values::Floats(
                images
                    .bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect(),
            ),
            other => {
                return Err(refuse(format!(
                    "arr_0 has the type {other}, expected uint8 (|u1), or of latents float32 (<f4)"
                )));
            }
        };
        let labels = match array(&mut zip, path, "label")? {
            None => None,
            Some(labels) if labels.shape == [n] => Some(integers(&labels).map_err(refuse)?),
            Some(labels) => {
                return Err(refuse(format!(
                    "label is {:?}, expected [{n}]",
                    labels.shape
                )));
            }
        };
        Ok(Archive {
            shape: [channels, height, width],
            n,
            values,
            labels,
        })
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

/// The array of this name, if there is one.
fn array(zip: &mut ZipArchive<BufReader<File>>, path: &Path, name: &str) -> Result<Option<Array>> {
    let refuse = |what: String| Failure::Input(format!("{}: {name} {what}", shown(path)));
    let mut entry = match zip.by_name(&format!("{name}.npy")) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(e) => return Err(refuse(format!("cannot be read: {e}"))),
    };
    let broken = |e: io::Error| refuse(format!("cannot be read: {e}"));
    let mut start = [0; 8];
    entry.read_exact(&mut start).map_err(broken)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(refuse("is no NumPy array".into()));
    }
    let n_size = if start[6] == 1 { 2 } else { 4 };
    let mut size = [0; 4];
    entry.read_exact(&mut size[..n_size]).map_err(broken)?;
    let size = u32::from_le_bytes(size) as usize;
    if size > MAX_HEADER {
        return Err(refuse(format!(
            "has a header of {size} bytes, expected at most {MAX_HEADER}"
        )));
    }
    let mut header = vec![0; size];
    entry.read_exact(&mut header).map_err(broken)?;
    let header = String::from_utf8_lossy(&header);
    let (descr, shape) = parse(&header).map_err(|what| refuse(what.to_owned()))?;
    let width = descr[2..].parse::<u64>().unwrap_or(0);
    let bytes = shape
        .iter()
        .try_fold(width, |bytes, n| bytes.checked_mul(*n as u64));
    memory::require_host(
        &format!("{name} of {}", shown(path)),
        Some(bytes.unwrap_or(u64::MAX)),
        "take a file of fewer images",
    )?;
    let (wanted, mut content) = (bytes.unwrap_or(0), Vec::new());
    entry
        .take(wanted + 1)
        .read_to_end(&mut content)
        .map_err(broken)?;
    if content.len() as u64 != wanted {
        return Err(refuse(format!(
            "has {} bytes or more, expected {wanted} for {shape:?} of {descr}",
            content.len()
        )));
    }
    Ok(Some(Array {
        descr,
        shape,
        bytes: content,
    }))
}

/// Type and shape of a header such as `{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, ), }`.
fn parse(header: &str) -> std::result::Result<(String, Vec<usize>), &'static str> {
    let after = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}'"))?;
        Some(rest.split_once(':')?.1.trim_start())
    };
    let descr = after("descr").and_then(|rest| rest.strip_prefix('\''));
    let descr = descr
        .and_then(|rest| rest.split_once('\''))
        .map(|(name, _)| name);
    let descr = descr.filter(|name| name.len() > 2 && name.is_ascii());
    let descr = descr.ok_or("has no plain type in its header")?;
    match after("fortran_order") {
        Some(rest) if rest.starts_with("False") => {}
        _ => return Err("is in Fortran's order, expected C's; numpy.ascontiguousarray changes it"),
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('('));
    let shape = shape
        .and_then(|rest| rest.split_once(')'))
        .map(|(shape, _)| shape);
    let sizes = shape
        .ok_or("has no shape in its header")?
        .split(',')
        .map(str::trim);
    let sizes = sizes
        .filter(|size| !size.is_empty())
        .map(str::parse::<usize>);
    let sizes = sizes.collect::<std::result::Result<Vec<_>, _>>();
    Ok((
        descr.to_owned(),
        sizes.map_err(|_| "has a shape that is not of whole numbers")?,
    ))
}

/// Whole numbers of any type.
fn integers(array: &Array) -> std::result::Result<Vec<i64>, String> {
    let (descr, bytes) = (&array.descr[..], &array.bytes);
    fn all<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> i64) -> Vec<i64> {
        bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
    }
    Ok(match descr {
        "<i8" => all(bytes, i64::from_le_bytes),
        "<i4" => all(bytes, |b| i32::from_le_bytes(b).into()),
        "<i2" => all(bytes, |b| i16::from_le_bytes(b).into()),
        "|i1" => all(bytes, |b| i8::from_le_bytes(b).into()),
        "<u8" => all(bytes, |b| {
            u64::from_le_bytes(b).try_into().unwrap_or(i64::MAX)
        }),
        "<u4" => all(bytes, |b| u32::from_le_bytes(b).into()),
        "<u2" => all(bytes, |b| u16::from_le_bytes(b).into()),
        "|u1" => all(bytes, |b| u8::from_le_bytes(b).into()),
        _ => {
            return Err(format!(
                "label has the type {descr}, expected whole numbers"
            ));
        }
    })
}

#[cfg(test)]
mod tests;
