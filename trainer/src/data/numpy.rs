//! NumPy archives (`.npz`): zip files of arrays. The one reader of NumPy's format.
//!
//! An array is the file `NAME.npy` in the archive: a magic, a version, the length of a header, the header
//! `{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }`, and the values. `numpy.savez` stores it as it is, so that values are found by
//! their position; `numpy.savez_compressed` deflates it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sit_engine::text::shown;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::DataError;

/// More bytes than any header has.
const MAX_HEADER: usize = 1 << 16;

/// An open archive.
pub struct Npz {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    n_bytes: u64,
}

/// What the header of an array says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Its name, without `.npy`.
    pub name: String,
    /// NumPy's name of its type: `|u1`, `<f4`.
    pub descr: String,
    /// Its shape, in C's order.
    pub shape: Vec<usize>,
    /// Bytes of its values.
    pub n_bytes: u64,
    /// Where they begin in the archive, unless they are compressed.
    pub at: Option<u64>,
}

impl Npz {
    /// Opens an archive.
    ///
    /// # Errors
    /// A file that cannot be read or is no zip file.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let io_error = |e| DataError::io(path, e);
        let file = File::open(path).map_err(io_error)?;
        let n_bytes = file.metadata().map_err(io_error)?.len();
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|e| {
            DataError::content(path, format!("no zip file ({e})"), "a NumPy archive")
        })?;
        let path = path.to_owned();
        Ok(Self { path, zip, n_bytes })
    }

    /// The names of the arrays, in the archive's order.
    pub fn names(&self) -> Vec<String> {
        let names = self.zip.file_names().flatten();
        names
            .filter_map(|name| name.strip_suffix(".npy").map(str::to_owned))
            .collect()
    }

    /// Reads the header of an array; `None` if the archive has none of this name.
    ///
    /// # Errors
    /// A header that is none, an array in Fortran's order, or values that are cut off.
    pub fn array(&mut self, name: &str) -> Result<Option<Array>, DataError> {
        let path = &self.path;
        let refuse = |got: String, expected: &str| {
            DataError::content(path, format!("{name} {got}"), expected)
        };
        let broken = |e: io::Error| refuse(format!("that cannot be read ({e})"), WHOLE);
        let mut entry = match self.zip.by_name(&format!("{name}.npy")) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(e) => return Err(refuse(format!("that cannot be read ({e})"), WHOLE)),
        };
        let is_stored = entry.compression() == CompressionMethod::Stored;
        let (begin, size) = (entry.data_start(), entry.size());
        let mut start = [0; 8];
        entry.read_exact(&mut start).map_err(broken)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(refuse("that begins otherwise".into(), "NumPy's array"));
        }
        let n_size = if start[6] == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        entry.read_exact(&mut length[..n_size]).map_err(broken)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            let got = format!("with a header of {length} bytes");
            return Err(refuse(got, &format!("at most {MAX_HEADER}")));
        }
        let mut header = vec![0; length];
        entry.read_exact(&mut header).map_err(broken)?;
        let (descr, shape) = parse(&String::from_utf8_lossy(&header))
            .map_err(|(got, expected)| refuse(got.into(), expected))?;
        let width = descr[2..].parse::<u64>().unwrap_or(0);
        // A character of NumPy's text has four bytes.
        let width = width.saturating_mul(if descr[1..].starts_with('U') { 4 } else { 1 });
        let n_bytes = shape
            .iter()
            .try_fold(width, |bytes, n| bytes.checked_mul(*n as u64));
        let n_before = (8 + n_size + length) as u64;
        let n_bytes = n_bytes.filter(|n| n.checked_add(n_before) == Some(size));
        let n_bytes = n_bytes.ok_or_else(|| {
            let expected = format!("the values of {shape:?} of {descr}");
            refuse(format!("of {size} bytes with its header"), &expected)
        })?;
        let at = match is_stored {
            false => None,
            true => {
                let end = begin.and_then(|begin| begin.checked_add(size));
                if end.is_none_or(|end| end > self.n_bytes) {
                    let got = format!("of {size} bytes");
                    let expected = format!("less in a file of {} bytes", self.n_bytes);
                    return Err(refuse(got, &expected));
                }
                begin.map(|begin| begin + n_before)
            }
        };
        let name = name.to_owned();
        Ok(Some(Array {
            name,
            descr,
            shape,
            n_bytes,
            at,
        }))
    }

    /// Reads the values of an array. Memory grows with the data that arrives, up to [`Array::n_bytes`].
    ///
    /// # Errors
    /// Values that are cut off or damaged.
    pub fn values(&mut self, array: &Array) -> Result<Vec<u8>, DataError> {
        let path = self.path.clone();
        let refuse =
            |got: String| DataError::content(&path, format!("{} {got}", array.name), WHOLE);
        let mut values = Vec::new();
        // One more: at the end of an entry its checksum is compared.
        self.stream(array)?
            .take(array.n_bytes + 1)
            .read_to_end(&mut values)
            .map_err(|e| refuse(format!("that cannot be read ({e})")))?;
        match values.len() as u64 == array.n_bytes {
            true => Ok(values),
            false => Err(refuse(format!("of {} bytes", values.len()))),
        }
    }

    /// The values of an array from their beginning on, whether they are compressed or not. What follows the last one is nothing; a reader that
    /// reads on until there has also compared the checksum.
    ///
    /// # Errors
    /// An array that cannot be found any more.
    pub fn stream(&mut self, array: &Array) -> Result<impl Read, DataError> {
        let path = &self.path;
        let broken = |e: &dyn std::fmt::Display| {
            let got = format!("{} that cannot be read ({e})", array.name);
            DataError::content(path, got, WHOLE)
        };
        let entry = self.zip.by_name(&format!("{}.npy", array.name));
        let mut entry = entry.map_err(|e| broken(&e))?;
        let n_before = entry.size().saturating_sub(array.n_bytes);
        let skipped = io::copy(&mut (&mut entry).take(n_before), &mut io::sink());
        skipped.map_err(|e| broken(&e))?;
        Ok(entry)
    }

    /// Reads the values of an array of numbers as f64: f4 or f8.
    ///
    /// # Errors
    /// As [`Npz::values`], and an array of another type.
    pub fn floats(&mut self, array: &Array) -> Result<Vec<f64>, DataError> {
        match &array.descr[..] {
            "<f8" => {
                let bytes = self.values(array)?;
                let values = bytes.as_chunks().0.iter();
                Ok(values.map(|b| f64::from_le_bytes(*b)).collect())
            }
            "<f4" => {
                let bytes = self.values(array)?;
                let values = bytes.as_chunks().0.iter();
                Ok(values.map(|b| f32::from_le_bytes(*b).into()).collect())
            }
            other => {
                let got = format!("{} of the type {}", array.name, shown(other));
                let expected = "float64 (<f8) or float32 (<f4)";
                Err(DataError::content(&self.path, got, expected))
            }
        }
    }

    /// Reads the values of an array of whole numbers of any type.
    ///
    /// # Errors
    /// As [`Npz::values`], and an array of another type.
    pub fn integers(&mut self, array: &Array) -> Result<Vec<i64>, DataError> {
        fn all<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
        }
        // Before anything is unpacked: values of another type may be of any size.
        let sign = array.descr.get(1..2);
        let is_whole = sign.is_some_and(|sign| "iu".contains(sign));
        let bytes = &match is_whole && ["1", "2", "4", "8"].contains(&&array.descr[2..]) {
            true => self.values(array)?,
            false => Vec::new(),
        };
        Ok(match &array.descr[..] {
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
            other => {
                let got = format!("{} of the type {}", array.name, shown(other));
                return Err(DataError::content(&self.path, got, "whole numbers"));
            }
        })
    }
}

const WHOLE: &str = "a whole array";

/// What is wrong with a header, and what was expected.
type Wrong = (&'static str, &'static str);

/// Type and shape of a header such as `{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, ), }`.
fn parse(header: &str) -> Result<(String, Vec<usize>), Wrong> {
    let after = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}'"))?;
        Some(rest.split_once(':')?.1.trim_start())
    };
    let descr = after("descr").and_then(|rest| rest.strip_prefix('\''));
    let descr = descr
        .and_then(|rest| rest.split_once('\''))
        .map(|(name, _)| name);
    let descr = descr.filter(|name| name.len() > 2 && name.is_ascii());
    let descr = descr.ok_or(("without a plain type in its header", "numbers of one type"))?;
    match after("fortran_order") {
        Some(rest) if rest.starts_with("False") => {}
        _ => {
            let expected = "C's order; numpy.ascontiguousarray changes it";
            return Err(("in Fortran's order", expected));
        }
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('('));
    let shape = shape
        .and_then(|rest| rest.split_once(')'))
        .map(|(shape, _)| shape);
    let sizes = shape
        .ok_or(("without a shape in its header", "a shape"))?
        .split(',')
        .map(str::trim);
    let sizes = sizes
        .filter(|size| !size.is_empty())
        .map(str::parse::<usize>);
    let sizes: Vec<usize> = sizes
        .collect::<Result<_, _>>()
        .map_err(|_| ("with a shape that is none", "whole numbers"))?;
    match sizes.len() {
        // NumPy's own limit.
        0..=64 => Ok((descr.to_owned(), sizes)),
        _ => Err(("of too many axes", "at most 64")),
    }
}
