//! Safetensors files made and broken by hand.

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// A tensor as it is stored in a file.
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor {
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

pub fn i64s(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor {
        dtype: Dtype::I64,
        shape: shape.to_vec(),
        bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

impl Tensor {
    pub fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        let (chunks, rest) = self.bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

pub type Tensors = BTreeMap<String, Tensor>;

pub fn read(path: &Path) -> Tensors {
    read_all(path).0
}

fn read_all(path: &Path) -> (Tensors, Option<HashMap<String, String>>) {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let own = |(name, view): (String, TensorView)| {
        let tensor = Tensor {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        (name, tensor)
    };
    let tensors = tensors.tensors().into_iter().map(own).collect();
    (tensors, header.metadata().clone())
}

pub fn write(path: &Path, tensors: &Tensors) {
    write_all(path, tensors, None);
}

fn write_all(path: &Path, tensors: &Tensors, metadata: Option<HashMap<String, String>>) {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name, view.unwrap())
    });
    fs::write(path, serialize(views, metadata).unwrap()).unwrap();
}

/// Changes a file and keeps its metadata.
pub fn edit(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let (mut tensors, metadata) = read_all(path);
    change(&mut tensors);
    write_all(path, &tensors, metadata);
}

/// Cuts a file to `part` of its length.
pub fn truncate(path: &Path, part: f64) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..(part * bytes.len() as f64) as usize]).unwrap();
}
