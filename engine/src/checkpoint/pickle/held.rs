//! The contents of a pickle, in a few flat arrays.

use super::super::index::Dtype;
use super::names::Global;

/// A range: of the pickle's bytes for a string, of [`Pickle::parts`] for a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Slice {
    pub(super) at: u32,
    pub(super) len: u32,
}

impl Slice {
    /// Position of the first byte in the pickle.
    pub fn start(self) -> u64 {
        self.at.into()
    }

    /// Number of bytes.
    pub fn len(self) -> u64 {
        self.len.into()
    }
}

/// A value. Compound values are stored as indices, so that copies are cheap and nothing nests in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Value {
    /// A value that no tensor depends on: None, a float, bytes, an object.
    Other,
    Bool(bool),
    Int(i64),
    Text(Slice),
    Bytes(Slice),
    Tuple(Slice),
    Dict(u32),
    List(u32),
    Global(Global),
    Storage(u32),
    Tensor(u32),
    /// An array of NumPy, and the type of its values.
    Array(u32),
    NumpyType(u32),
}

/// A flat array in the file.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Storage {
    /// Its name in the file.
    pub key: Slice,
    pub dtype: Dtype,
    pub numel: u64,
}

/// A view of a storage.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct View {
    /// Index of the storage.
    pub storage: u32,
    /// First element.
    pub offset: u64,
    /// Sizes and strides, equally many, at most [`super::MAX_AXES`].
    pub(super) sizes: Slice,
    pub(super) strides: Slice,
}

/// An array of NumPy, whose values lie in the pickle.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Array {
    pub dtype: Dtype,
    /// At most [`super::MAX_AXES`].
    pub sizes: Slice,
    /// Whether the first axis is the closest in memory.
    pub is_fortran: bool,
    pub bytes: Slice,
}

/// An item of a dictionary, or of a list, where the key is unused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub of: u32,
    pub key: Value,
    pub value: Value,
}

/// The contents of a pickle.
#[derive(Debug)]
pub(in super::super) struct Pickle<'a> {
    pub(super) bytes: &'a [u8],
    /// The outermost value.
    pub top: Value,
    /// Elements of all tuples.
    pub(super) parts: Vec<Value>,
    /// Items of all dictionaries and lists, grouped by container, in the order of insertion.
    pub(super) items: Vec<Item>,
    pub storages: Vec<Storage>,
    pub views: Vec<View>,
    /// `None` for one that is not of numbers.
    pub arrays: Vec<Option<Array>>,
    pub(super) types: Vec<Option<Dtype>>,
}

impl Pickle<'_> {
    /// The bytes of a string; they are valid UTF-8.
    pub fn text(&self, text: Slice) -> &[u8] {
        &self.bytes[text.at as usize..][..text.len as usize]
    }

    pub(super) fn tuple(&self, tuple: Slice) -> &[Value] {
        &self.parts[tuple.at as usize..][..tuple.len as usize]
    }

    /// Keys and values of a dictionary or a list.
    pub fn items(&self, of: u32) -> impl Iterator<Item = (Value, Value)> {
        let from = self.items.partition_point(|item| item.of < of);
        let mine = self.items[from..]
            .iter()
            .take_while(move |item| item.of == of);
        mine.map(|item| (item.key, item.value))
    }

    pub fn sizes(&self, view: &View) -> Vec<u64> {
        self.naturals(view.sizes)
    }

    /// The strides in elements.
    pub fn strides(&self, view: &View) -> Vec<u64> {
        self.naturals(view.strides)
    }

    /// The natural numbers of a tuple.
    pub fn naturals(&self, tuple: Slice) -> Vec<u64> {
        let numbers = self.tuple(tuple).iter().map(|value| match *value {
            Value::Int(n) => n.try_into().unwrap_or(u64::MAX),
            _ => u64::MAX,
        });
        numbers.collect()
    }
}
