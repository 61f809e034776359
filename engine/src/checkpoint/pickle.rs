//! Reads the pickles that `torch.save` writes for state dicts (protocols 2 to 5) as data: nothing in them is ever called. Arrays of NumPy
//! are known, too.
//!
//! A pickle is a program for a stack machine. This one implements only the instructions and names that dictionaries of tensors
//! need, and rejects all others by name. Memory is bounded: an instruction takes at least one byte and creates at most two values
//! of 16 bytes, since strings stay in the pickle and tuples share one array.

mod call;
mod held;
mod names;
mod numpy;

pub(super) use held::{Array, Pickle, Slice, Storage, Value, View};

use crate::model::IN_PAGE;
use held::Item;
use std::collections::HashMap;

/// Larger pickles are rejected; that of SiT-XL/2 with its optimizer has less than a megabyte.
pub(super) const MAX_PICKLE_BYTES: u64 = 16 << 20;

/// Pickles with more values are rejected; a tensor with its name takes about 25.
const MAX_VALUES: usize = 1 << 22;

/// More axes than any weight has.
const MAX_AXES: usize = 8;

type Result<T> = std::result::Result<T, String>;

/// Reads the pickle at the start of `bytes`; returns its contents and its length.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle<'_>, usize)> {
    let mut machine = Machine {
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        far_memo: HashMap::new(),
        n_containers: 0,
        pickle: Pickle {
            bytes,
            top: Value::Other,
            parts: Vec::new(),
            items: Vec::new(),
            storages: Vec::new(),
            views: Vec::new(),
            arrays: Vec::new(),
            types: Vec::new(),
        },
    };
    loop {
        let at = machine.at;
        let step = machine.step();
        if let Some(top) = step.map_err(|what| format!("its pickle {what}, at byte {at}"))? {
            machine.pickle.top = top;
            machine.pickle.items.sort_by_key(|item| item.of);
            return Ok((machine.pickle, machine.at));
        }
    }
}

struct Machine<'a> {
    /// Position of the next byte.
    at: usize,
    stack: Vec<Value>,
    /// Stack heights of the open marks.
    marks: Vec<usize>,
    /// Memo entries 0, 1, 2, ...
    memo: Vec<Value>,
    /// Memo entries with other numbers.
    far_memo: HashMap<u32, Value>,
    /// Number of dictionaries and lists so far.
    n_containers: u32,
    pickle: Pickle<'a>,
}

impl<'a> Machine<'a> {
    /// Executes one instruction; returns the outermost value at the end.
    fn step(&mut self) -> Result<Option<Value>> {
        let [op] = self.take()?;
        let value = match op {
            b'.' => return self.pop().map(Some),
            // PROTO
            0x80 => match self.take()? {
                [2..=5] => return Ok(None),
                [n] => return Err(format!("has protocol {n}, expected 2 to 5")),
            },
            // FRAME
            0x95 => {
                let _: [u8; 8] = self.take()?;
                return Ok(None);
            }
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(None);
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' | b'r' | 0x94 => {
                let slot = match op {
                    0x94 => self.memo.len() as u32,
                    _ => self.slot(op == b'q')?,
                };
                let top = *self.stack.last().ok_or("has nothing to remember")?;
                let n_memo = self.memo.len();
                match self.memo.get_mut(slot as usize) {
                    Some(known) => *known = top,
                    None if slot as usize == n_memo => self.memo.push(top),
                    None => drop(self.far_memo.insert(slot, top)),
                }
                return self.check_size();
            }
            // BINGET, LONG_BINGET
            b'h' | b'j' => {
                let slot = self.slot(op == b'h')?;
                let known = self.memo.get(slot as usize);
                let known = known.or_else(|| self.far_memo.get(&slot));
                *known.ok_or_else(|| format!("refers to {slot}, which it never stored"))?
            }
            b'N' => Value::Other,
            0x88 | 0x89 => Value::Bool(op == 0x88),
            // BINFLOAT
            b'G' => {
                let _: [u8; 8] = self.take()?;
                Value::Other
            }
            b'K' => Value::Int(self.take::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.take()?).into()),
            // LONG1, LONG4: two's complement of any length.
            0x8a | 0x8b => {
                let n = self.length(if op == 0x8a { 1 } else { 4 })?;
                integer(self.slice(n)?)
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' | 0x8c | 0x8d => {
                let text = self.counted(op, 0x8c, b'X')?;
                std::str::from_utf8(self.pickle.text(text))
                    .map_err(|e| format!("has a text that is not UTF-8 ({e})"))?;
                Value::Text(text)
            }
            // SHORT_BINSTRING, BINSTRING: str or bytes of Python 2.
            b'U' | b'T' => {
                let text = self.counted(op, b'U', b'T')?;
                match std::str::from_utf8(self.pickle.text(text)) {
                    Ok(_) => Value::Text(text),
                    Err(_) => Value::Other,
                }
            }
            // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
            b'C' | b'B' | 0x8e | 0x96 => {
                let bytes = self.counted(op, b'C', b'B')?;
                match IN_PAGE {
                    true => Value::Other,
                    false => Value::Bytes(bytes),
                }
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Global(names::global(module, name)?)
            }
            // STACK_GLOBAL
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err("refers to a name that is no text".into());
                };
                let (module, name) = (self.pickle.text(module), self.pickle.text(name));
                Value::Global(names::global(module, name)?)
            }
            b')' => self.tuple(self.stack.len()),
            0x85..=0x87 => {
                let n = usize::from(op - 0x84);
                let from = self.stack.len().checked_sub(n).ok_or("lacks a value")?;
                self.above_mark(from)?;
                self.tuple(from)
            }
            b't' => {
                let from = self.mark()?;
                self.tuple(from)
            }
            b'}' => Value::Dict(self.container()),
            b']' => Value::List(self.container()),
            // EMPTY_SET
            0x8f => Value::Other,
            // FROZENSET
            0x91 => {
                let from = self.mark()?;
                self.stack.truncate(from);
                Value::Other
            }
            // SETITEM, SETITEMS, APPEND, APPENDS, ADDITEMS
            b's' | b'u' | b'a' | b'e' | 0x90 => {
                self.add(op)?;
                return self.check_size();
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let (args, function) = (self.pop()?, self.pop()?);
                self.call(function, args)?
            }
            // NEWOBJ_EX
            0x92 => {
                let (_named, args, function) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(function, args)?
            }
            // BUILD: attributes of a state dict or of an object, ignored for tensors.
            b'b' => {
                let state = self.pop()?;
                match self.stack.last() {
                    Some(Value::Dict(_) | Value::Other) => return Ok(None),
                    Some(&numpy @ (Value::Array(_) | Value::NumpyType(_))) if !IN_PAGE => {
                        self.set_numpy(numpy, state);
                        return Ok(None);
                    }
                    _ => return Err("sets attributes of what has none".into()),
                }
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?
            }
            // POP, POP_MARK
            b'0' => return self.pop().map(|_| None),
            b'1' => {
                let from = self.mark()?;
                self.stack.truncate(from);
                return Ok(None);
            }
            // DUP
            b'2' => *self.stack.last().ok_or("lacks a value")?,
            _ => {
                return Err(format!(
                    "has the instruction {op:#04x}, which no state dict needs"
                ));
            }
        };
        self.stack.push(value);
        self.check_size()
    }

    fn check_size(&self) -> Result<Option<Value>> {
        let Pickle { parts, items, .. } = &self.pickle;
        let n_memo = self.memo.len() + self.far_memo.len();
        if self.stack.len() + n_memo + parts.len() + items.len() > MAX_VALUES {
            return Err(format!("has more than {MAX_VALUES} values"));
        }
        Ok(None)
    }

    /// Pops the values above a height of the stack into a tuple.
    fn tuple(&mut self, from: usize) -> Value {
        let parts = &mut self.pickle.parts;
        let at = parts.len() as u32;
        parts.extend(self.stack.drain(from..));
        let len = parts.len() as u32 - at;
        Value::Tuple(Slice { at, len })
    }

    fn container(&mut self) -> u32 {
        self.n_containers += 1;
        self.n_containers
    }

    /// Moves values from the stack into the dictionary or list below them.
    fn add(&mut self, op: u8) -> Result<()> {
        let from = match op {
            b's' => self.above_mark(self.stack.len().saturating_sub(2))?,
            b'a' => self.above_mark(self.stack.len().saturating_sub(1))?,
            _ => self.mark()?,
        };
        let below = from.checked_sub(1).map(|at| self.stack[at]);
        let values = self.stack.drain(from..);
        match (below, op) {
            (Some(Value::Dict(of)), b's' | b'u') => {
                let (pairs, []) = values.as_slice().as_chunks::<2>() else {
                    return Err("has a key without a value".into());
                };
                let item = |&[key, value]: &[Value; 2]| Item { of, key, value };
                self.pickle.items.extend(pairs.iter().map(item));
            }
            (Some(Value::List(of)), b'a' | b'e') => {
                // Only lists of array names matter; no tensor depends on other lists.
                let texts = values.filter(|value| matches!(value, Value::Text(_)));
                let key = Value::Other;
                self.pickle
                    .items
                    .extend(texts.map(|value| Item { of, key, value }));
            }
            (Some(Value::Other), _) => {}
            _ => return Err("adds to what is no dictionary or list".into()),
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        self.above_mark(self.stack.len().saturating_sub(1))?;
        self.stack.pop().ok_or_else(|| "lacks a value".into())
    }

    /// Checks that a stack height is above the last mark and has at least one value above it.
    fn above_mark(&self, from: usize) -> Result<usize> {
        let least = self.marks.last().copied().unwrap_or(0);
        if from < least || from >= self.stack.len() {
            return Err("lacks a value".into());
        }
        Ok(from)
    }

    /// Pops the last mark.
    fn mark(&mut self) -> Result<usize> {
        // Values below a mark are never popped, so a mark is never above the top of the stack.
        self.marks.pop().ok_or_else(|| "lacks a mark".into())
    }

    fn slot(&mut self, short: bool) -> Result<u32> {
        Ok(match short {
            true => self.take::<1>()?[0].into(),
            false => u32::from_le_bytes(self.take()?),
        })
    }

    /// Bytes after their count, which has 1 byte for the instruction `short`, 4 for `medium`, else 8.
    fn counted(&mut self, op: u8, short: u8, medium: u8) -> Result<Slice> {
        let n = self.length(match op {
            _ if op == short => 1,
            _ if op == medium => 4,
            _ => 8,
        })?;
        let at = self.at as u32;
        let len = self.slice(n)?.len() as u32;
        Ok(Slice { at, len })
    }

    fn length(&mut self, n_bytes: usize) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..n_bytes].copy_from_slice(self.slice(n_bytes)?);
        Ok(usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(N)?);
        Ok(bytes)
    }

    fn slice(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = &self.pickle.bytes[self.at..];
        let slice = rest.get(..n).ok_or("is truncated")?;
        self.at += n;
        Ok(slice)
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.pickle.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n');
        let end = end.ok_or("is truncated")?;
        self.at += end + 1;
        Ok(&rest[..end])
    }
}

/// Two's complement, little-endian; integers of more than 64 bits are ignored, as they cannot be sizes.
fn integer(bytes: &[u8]) -> Value {
    let mut wide = match bytes.last() {
        Some(top) if *top >= 0x80 => [0xff; 8],
        _ => [0; 8],
    };
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        }
        None => Value::Other,
    }
}
