//! The pickles that `torch.save` writes of state dicts (protocol 2), read as data: nothing in them is ever called.
//!
//! A pickle is a program for a stack machine. This one knows the instructions and the few names that dictionaries of tensors
//! need, and refuses any other by name.

use super::index::Dtype;
use std::collections::HashMap;

/// A value. What has parts is a number in [`Pickle`], so that copies are cheap and nothing nests in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// What no tensor depends on: none, a bool, a float, a list, an object.
    Other,
    Int(i64),
    Text(usize),
    Tuple(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
}

/// The names that a state dict refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    /// `argparse.Namespace`, in which training scripts keep their flags; it stays shut.
    Namespace,
}

const GLOBALS: [(&str, Global); 14] = [
    ("collections.OrderedDict", Global::OrderedDict),
    ("torch._utils._rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils._rebuild_parameter", Global::RebuildParameter),
    ("torch.FloatStorage", Global::Storage(Dtype::F32)),
    ("torch.HalfStorage", Global::Storage(Dtype::F16)),
    ("torch.BFloat16Storage", Global::Storage(Dtype::BF16)),
    ("torch.DoubleStorage", Global::Storage(Dtype::F64)),
    ("torch.LongStorage", Global::Storage(Dtype::I64)),
    ("torch.IntStorage", Global::Storage(Dtype::I32)),
    ("torch.ShortStorage", Global::Storage(Dtype::I16)),
    ("torch.CharStorage", Global::Storage(Dtype::I8)),
    ("torch.ByteStorage", Global::Storage(Dtype::U8)),
    ("torch.BoolStorage", Global::Storage(Dtype::BOOL)),
    ("argparse.Namespace", Global::Namespace),
];

/// A flat array in the archive.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    /// Name of its file.
    pub key: String,
    pub dtype: Dtype,
    pub numel: u64,
}

/// A view of a storage.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Number of the storage.
    pub storage: usize,
    /// First element.
    pub offset: u64,
    pub sizes: Vec<u64>,
    pub strides: Vec<u64>,
}

/// What a pickle holds.
#[derive(Debug, Default)]
pub(super) struct Pickle {
    pub texts: Vec<String>,
    tuples: Vec<Vec<Value>>,
    /// Keys and values in the order they were set.
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub storages: Vec<Storage>,
    pub views: Vec<View>,
}

type Result<T> = std::result::Result<T, String>;

/// Reads a pickle and returns what is in it and its outermost value.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle, Value)> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        pickle: Pickle::default(),
    };
    loop {
        let at = machine.at;
        let step = machine.step();
        match step.map_err(|what| format!("its pickle {what}, at byte {at}"))? {
            None => {}
            Some(value) => return Ok((machine.pickle, value)),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    pickle: Pickle,
}

impl<'a> Machine<'a> {
    /// One instruction; returns the outermost value at the end.
    fn step(&mut self) -> Result<Option<Value>> {
        let [op] = self.take()?;
        let value = match op {
            b'.' => return self.pop().map(Some),
            // PROTO
            0x80 => match self.take()? {
                [2] => return Ok(None),
                [n] => {
                    return Err(format!(
                        "has protocol {n}, expected 2, the one of torch.save"
                    ));
                }
            },
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(None);
            }
            // BINPUT, LONG_BINPUT
            b'q' | b'r' => {
                let slot = self.slot(op == b'q')?;
                let top = *self.stack.last().ok_or("has nothing to remember")?;
                self.memo.insert(slot, top);
                return Ok(None);
            }
            // BINGET, LONG_BINGET
            b'h' | b'j' => {
                let slot = self.slot(op == b'h')?;
                let known = self.memo.get(&slot);
                *known.ok_or_else(|| format!("refers to {slot}, which it never stored"))?
            }
            b'N' | 0x88 | 0x89 | b']' => Value::Other,
            // BINFLOAT
            b'G' => {
                let _: [u8; 8] = self.take()?;
                Value::Other
            }
            b'K' => Value::Int(self.take::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.take()?).into()),
            // LONG1: two's complement of any length.
            0x8a => {
                let [n] = self.take()?;
                let bytes = self.slice(n.into())?;
                let mut wide = match bytes.last() {
                    Some(top) if *top >= 0x80 => [0xff; 8],
                    _ => [0; 8],
                };
                match wide.get_mut(..bytes.len()) {
                    Some(low) => low.copy_from_slice(bytes),
                    None => return Err(format!("has an integer of {n} bytes")),
                }
                Value::Int(i64::from_le_bytes(wide))
            }
            // BINUNICODE
            b'X' => {
                let n = u32::from_le_bytes(self.take()?);
                let text = std::str::from_utf8(self.slice(n as usize)?);
                let text = text.map_err(|e| format!("has a text that is not UTF-8 ({e})"))?;
                self.pickle.texts.push(text.to_owned());
                Value::Text(self.pickle.texts.len() - 1)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let name = format!("{module}.{name}");
                let known = GLOBALS.iter().find(|(known, _)| *known == name);
                let (_, global) = known.ok_or_else(|| {
                    format!("refers to {name}, expected tensors and dictionaries alone")
                })?;
                Value::Global(*global)
            }
            b')' => self.tuple(Vec::new()),
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let from = self.stack.len().checked_sub(n).ok_or("lacks a value")?;
                let values = self.split(from)?;
                self.tuple(values)
            }
            b't' => {
                let values = self.since_mark()?;
                self.tuple(values)
            }
            b'}' => self.dict(),
            // SETITEM, SETITEMS, APPEND, APPENDS
            b's' | b'u' | b'a' | b'e' => {
                let items = match op {
                    b's' => self.split(self.stack.len().saturating_sub(2))?,
                    b'a' => self.split(self.stack.len().saturating_sub(1))?,
                    _ => self.since_mark()?,
                };
                match (self.stack.last(), op) {
                    (Some(&Value::Dict(dict)), b's' | b'u') => {
                        let (pairs, []) = items.as_chunks::<2>() else {
                            return Err("has a key without a value".into());
                        };
                        self.pickle.dicts[dict].extend(pairs.iter().map(|[k, v]| (*k, *v)));
                    }
                    (Some(Value::Other), b'a' | b'e') => {}
                    _ => return Err("adds to what is no dictionary or list".into()),
                }
                return Ok(None);
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let (args, function) = (self.pop()?, self.pop()?);
                self.call(function, args)?
            }
            // BUILD: attributes of a state dict or of a namespace.
            b'b' => {
                self.pop()?;
                match self.stack.last() {
                    Some(Value::Dict(_) | Value::Other) => return Ok(None),
                    _ => return Err("sets attributes of what has none".into()),
                }
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?
            }
            _ => {
                return Err(format!(
                    "has the instruction {op:#04x}, which no state dict needs"
                ));
            }
        };
        self.stack.push(value);
        Ok(None)
    }

    fn tuple(&mut self, values: Vec<Value>) -> Value {
        self.pickle.tuples.push(values);
        Value::Tuple(self.pickle.tuples.len() - 1)
    }

    fn dict(&mut self) -> Value {
        self.pickle.dicts.push(Vec::new());
        Value::Dict(self.pickle.dicts.len() - 1)
    }

    /// What a call would make.
    fn call(&mut self, function: Value, args: Value) -> Result<Value> {
        let Value::Tuple(args) = args else {
            return Err("calls with what is no tuple".into());
        };
        let args = &self.pickle.tuples[args][..];
        match (function, args) {
            (Value::Global(Global::OrderedDict), []) => Ok(self.dict()),
            (Value::Global(Global::Namespace), []) => Ok(Value::Other),
            (
                Value::Global(Global::RebuildParameter),
                &[tensor @ Value::Tensor(_), _requires_grad, _hooks],
            ) => Ok(tensor),
            (
                Value::Global(Global::RebuildTensor),
                &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(sizes),
                    Value::Tuple(strides),
                    ..,
                ],
            ) => {
                let view = View {
                    storage,
                    offset: natural(Value::Int(offset))?,
                    sizes: self.naturals(sizes)?,
                    strides: self.naturals(strides)?,
                };
                if view.sizes.len() != view.strides.len() {
                    return Err("has a tensor with other strides than axes".into());
                }
                self.pickle.views.push(view);
                Ok(Value::Tensor(self.pickle.views.len() - 1))
            }
            (Value::Global(global), _) => {
                let name = GLOBALS.iter().find(|(_, known)| *known == global);
                let name = name.map_or("a name", |(name, _)| name);
                Err(format!("calls {name} with arguments of another kind"))
            }
            _ => Err("calls what is no name".into()),
        }
    }

    /// A storage by its persistent id, `("storage", type, key, device, numel)`.
    fn storage(&mut self, id: Value) -> Result<Value> {
        const REFUSED: &str = "has a persistent id that is no storage";
        let Value::Tuple(id) = id else {
            return Err(REFUSED.into());
        };
        let &[
            Value::Text(kind),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            Value::Text(_device),
            numel,
        ] = &self.pickle.tuples[id][..]
        else {
            return Err(REFUSED.into());
        };
        if self.pickle.texts[kind] != "storage" {
            return Err(REFUSED.into());
        }
        self.pickle.storages.push(Storage {
            key: self.pickle.texts[key].clone(),
            dtype,
            numel: natural(numel)?,
        });
        Ok(Value::Storage(self.pickle.storages.len() - 1))
    }

    fn naturals(&self, tuple: usize) -> Result<Vec<u64>> {
        let values = self.pickle.tuples[tuple].iter();
        values.map(|value| natural(*value)).collect()
    }

    fn pop(&mut self) -> Result<Value> {
        Ok(self.split(self.stack.len().saturating_sub(1))?.remove(0))
    }

    /// The values from a height on, which must be above the last mark, at least one.
    fn split(&mut self, from: usize) -> Result<Vec<Value>> {
        let least = self.marks.last().copied().unwrap_or(0);
        if from < least || from >= self.stack.len() {
            return Err("lacks a value".into());
        }
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or("lacks a mark")?;
        // A value below the mark is never taken, so the mark is not above the stack.
        Ok(self.stack.split_off(mark))
    }

    fn slot(&mut self, short: bool) -> Result<u32> {
        Ok(match short {
            true => self.take::<1>()?[0].into(),
            false => u32::from_le_bytes(self.take()?),
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(N)?);
        Ok(bytes)
    }

    fn slice(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let slice = rest.get(..n).ok_or("is truncated")?;
        self.at += n;
        Ok(slice)
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or("is truncated")?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

/// A number that counts something.
fn natural(value: Value) -> Result<u64> {
    match value {
        Value::Int(n) => u64::try_from(n).map_err(|_| format!("counts {n}")),
        _ => Err("counts with what is no integer".into()),
    }
}
