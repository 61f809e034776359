//! Reads the values of one tensor.

use super::index::{Dtype, Entry};
use super::{Reader, shown};
use crate::error::Result;
use half::{bf16, f16};
use std::io::{self, Read, Seek, SeekFrom};

impl<R: Read + Seek> Reader<R> {
    /// Reads a tensor of any shape. f16 and bf16 are widened exactly, f64 is rounded to f32.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] when it is missing, has another type, contains NaN, an infinity or a number beyond f32's range,
    /// or cannot be read.
    pub fn read(&mut self, tensor: &str) -> Result<Vec<f32>> {
        let (dtype, bytes) =
            self.bytes(tensor, &[Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64])?;
        let two = |of: fn([u8; 2]) -> f32| bytes.as_chunks().0.iter().map(|b| of(*b)).collect();
        let wide = |b: &[u8; 8]| f64::from_le_bytes(*b);
        let values: Vec<f32> = match dtype {
            Dtype::F16 => two(|b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => two(|b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| wide(b) as f32).collect(),
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        };
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let tensor = shown(tensor);
            if dtype == Dtype::F64 && wide(&bytes.as_chunks().0[at]).is_finite() {
                return self.refuse(format_args!(
                    "{tensor}[{at}] is {:e}, expected at most {:e} for f32",
                    wide(&bytes.as_chunks().0[at]),
                    f32::MAX
                ));
            }
            return self.refuse(format_args!(
                "{tensor}[{at}] is {}, expected a finite number",
                values[at]
            ));
        }
        Ok(values)
    }

    /// The bytes of a tensor of one of these types, in row-major order.
    fn bytes(&mut self, tensor: &str, dtypes: &[Dtype]) -> Result<(Dtype, Vec<u8>)> {
        let Some(entry) = self.entry(tensor).cloned() else {
            return self.refuse(format_args!("has no tensor {}", shown(tensor)));
        };
        let dtype = entry.dtype;
        if !dtypes.contains(&dtype) {
            let expected: Vec<String> = dtypes.iter().map(Dtype::to_string).collect();
            return self.refuse(format_args!(
                "{} is {dtype}, expected {}",
                shown(tensor),
                expected.join(" or ")
            ));
        }
        if let Err(why) = &entry.place {
            return self.refuse(format_args!("{} {why}", shown(tensor)));
        }
        let part = &mut self.parts[entry.part];
        match gather(&mut part.stream, &entry) {
            Ok(bytes) => Ok((dtype, bytes)),
            Err(e) => {
                let part = &self.parts[entry.part].name;
                let tensor = shown(tensor);
                Err(super::refuse(
                    part,
                    format_args!("{tensor} cannot be read: {e}"),
                ))
            }
        }
    }
}

#[doc(hidden)]
impl<R: Read + Seek> Reader<R> {
    /// Reads a tensor of class labels, stored as i64, i32 or u8.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] when it is missing, has another type or a negative label, or the file cannot be read.
    pub fn read_labels(&mut self, tensor: &str) -> Result<Vec<u32>> {
        let (dtype, bytes) = self.bytes(tensor, &[Dtype::I64, Dtype::I32, Dtype::U8])?;
        let wide: Vec<i64> = match dtype {
            Dtype::U8 => bytes.into_iter().map(i64::from).collect(),
            Dtype::I32 => {
                let words = bytes.as_chunks().0.iter();
                words.map(|b| i32::from_le_bytes(*b).into()).collect()
            }
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
        };
        let labels: std::result::Result<Vec<u32>, _> =
            wide.iter().map(|&label| u32::try_from(label)).collect();
        labels.or_else(|_| {
            self.refuse(format_args!(
                "{tensor} holds a label that is negative or too large"
            ))
        })
    }
}

/// The bytes of a tensor with a known location, in row-major order.
fn gather(stream: &mut (impl Read + Seek), entry: &Entry) -> io::Result<Vec<u8>> {
    let unknown = || io::Error::other("its place is not known");
    let place = entry.place.as_ref().map_err(|_| unknown())?;
    let n_bytes = entry.n_bytes().ok_or_else(unknown)? as usize;
    let Some(strides) = &place.strides else {
        return read_at(stream, place.start, n_bytes);
    };
    let width = entry.dtype.bitsize() / 8;
    let steps = |(&size, &stride): (&usize, &u64)| (size as u64 - 1) * stride;
    let last: u64 = entry.shape.iter().zip(strides).map(steps).sum();
    let all = read_at(stream, place.start, (last as usize + 1) * width)?;
    let mut bytes = Vec::with_capacity(n_bytes);
    let mut index = vec![0; entry.shape.len()];
    let mut at = 0;
    while bytes.len() < n_bytes {
        bytes.extend_from_slice(&all[at * width..][..width]);
        // Advance to the next index: the last axis first, carrying to the previous one when it is exhausted.
        for axis in (0..index.len()).rev() {
            let stride = strides[axis] as usize;
            index[axis] += 1;
            at += stride;
            if index[axis] < entry.shape[axis] {
                break;
            }
            at -= index[axis] * stride;
            index[axis] = 0;
        }
    }
    Ok(bytes)
}

fn read_at(stream: &mut (impl Read + Seek), at: u64, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    stream.seek(SeekFrom::Start(at))?;
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
