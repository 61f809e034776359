//! Reads the values of one tensor.

use super::index::{Copied, Dtype, Entry, Place};
use super::{Reader, renamed, shown};
use crate::error::Result;
use crate::model::IN_PAGE;
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
        let mut values: Vec<f32> = match dtype {
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
            let tensor = self.called(tensor);
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
        if self.set().is_reversed && !IN_PAGE {
            let row = self.shape(tensor).map_or(0, |shape| shape.last());
            renamed::reverse(tensor, &mut values, row);
        }
        Ok(values)
    }

    /// Checks that the copies that the file has of a tensor are equal, as those of the embedders in diffusers' blocks.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] naming the copy that differs or cannot be read.
    pub(super) fn check_copies(&mut self) -> Result<()> {
        let copies = std::mem::take(&mut self.index.sets[self.set].copies);
        let checked = copies.iter().try_for_each(|copy| self.check_copy(copy));
        self.index.sets[self.set].copies = copies;
        checked
    }

    fn check_copy(&mut self, Copied { of, name, entry }: &Copied) -> Result<()> {
        let Some(first) = self.entry(of).cloned() else {
            return Ok(());
        };
        let (of, name) = (self.called(of), shown(name));
        let kind = |entry: &Entry| format!("{} {}", entry.shape, entry.dtype);
        if kind(entry) != kind(&first) {
            return self.refuse(format_args!(
                "{name} is {}, expected {} as {of} is: a SiT has one embedding for all blocks",
                kind(entry),
                kind(&first)
            ));
        }
        let bytes = self.bytes_of(&name, entry)?;
        let same = self.bytes_of(&of, &first)?;
        if let Some(at) = bytes.iter().zip(&same).position(|(a, b)| a != b) {
            let at = at / (entry.dtype.bitsize() / 8).max(1);
            return self.refuse(format_args!(
                "{name}[{at}] is not that of {of}: a SiT has one embedding for all blocks, and here they were trained apart"
            ));
        }
        Ok(())
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
                self.called(tensor),
                expected.join(" or ")
            ));
        }
        let bytes = self.bytes_of(&self.called(tensor), &entry)?;
        Ok((dtype, bytes))
    }

    /// The bytes of the tensor that messages call `name`.
    fn bytes_of(&mut self, name: &str, entry: &Entry) -> Result<Vec<u8>> {
        let place = match &entry.place {
            Ok(place) => place,
            Err(why) => return self.refuse(format_args!("{name} {why}")),
        };
        if let Place::Joined(rows) = place {
            let mut bytes = Vec::new();
            for entry in rows {
                bytes.extend(self.bytes_of(name, entry)?);
            }
            return Ok(bytes);
        }
        let part = &mut self.parts[entry.part];
        let gathered = gather(&mut part.stream, entry, place);
        gathered.map_err(|e| super::refuse(&part.name, format_args!("{name} cannot be read: {e}")))
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
fn gather(stream: &mut (impl Read + Seek), entry: &Entry, place: &Place) -> io::Result<Vec<u8>> {
    let unknown = || io::Error::other("its place is not known");
    let Place::Array { start, strides } = place else {
        return Err(unknown());
    };
    let n_bytes = entry.n_bytes().ok_or_else(unknown)? as usize;
    let Some(strides) = strides else {
        return read_at(stream, *start, n_bytes);
    };
    let width = entry.dtype.bitsize() / 8;
    let steps = |(&size, &stride): (&usize, &u64)| (size as u64 - 1) * stride;
    let last: u64 = entry.shape.iter().zip(strides).map(steps).sum();
    let all = read_at(stream, *start, (last as usize + 1) * width)?;
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
