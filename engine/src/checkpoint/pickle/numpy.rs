//! Arrays of NumPy. What is no array of numbers is beside the tensors and not looked at.

use super::super::index::Dtype;
use super::held::{Array, Slice};
use super::names::Numpy;
use super::{MAX_AXES, Machine, Value};

/// The type with this code in NumPy.
fn dtype(code: &[u8]) -> Option<Dtype> {
    Some(match code {
        b"f2" => Dtype::F16,
        b"f4" => Dtype::F32,
        b"f8" => Dtype::F64,
        b"i8" => Dtype::I64,
        b"i4" => Dtype::I32,
        b"i2" => Dtype::I16,
        b"i1" => Dtype::I8,
        b"u1" => Dtype::U8,
        b"b1" => Dtype::BOOL,
        _ => return None,
    })
}

impl Machine<'_> {
    /// What a call would return.
    pub(super) fn call_numpy(&mut self, numpy: Numpy, args: Slice) -> Value {
        let array = match (numpy, self.pickle.tuple(args)) {
            (Numpy::Type, &[Value::Text(code), ..]) => {
                let dtype = dtype(self.pickle.text(code));
                self.pickle.types.push(dtype);
                return Value::NumpyType(self.pickle.types.len() as u32 - 1);
            }
            (Numpy::Type, _) => return Value::Other,
            (Numpy::FromBuffer, &[bytes, dtype, sizes, Value::Text(order)]) => {
                let is_fortran = self.pickle.text(order) == b"F";
                self.array(dtype, sizes, is_fortran, bytes)
            }
            (Numpy::Reconstruct | Numpy::FromBuffer, _) => None,
        };
        self.pickle.arrays.push(array);
        Value::Array(self.pickle.arrays.len() as u32 - 1)
    }

    /// Sets the contents of an array, or the byte order of a type.
    pub(super) fn set_numpy(&mut self, object: Value, state: Value) {
        let Value::Tuple(state) = state else {
            return;
        };
        match (object, self.pickle.tuple(state)) {
            (Value::Array(at), &[_version, sizes, dtype, Value::Bool(is_fortran), bytes]) => {
                self.pickle.arrays[at as usize] = self.array(dtype, sizes, is_fortran, bytes);
            }
            (Value::NumpyType(at), &[_version, Value::Text(order), ..])
                if self.pickle.text(order) == b">" =>
            {
                self.pickle.types[at as usize] = None;
            }
            _ => {}
        }
    }

    fn array(&self, dtype: Value, sizes: Value, is_fortran: bool, bytes: Value) -> Option<Array> {
        let (Value::NumpyType(dtype), Value::Tuple(sizes), Value::Bytes(bytes)) =
            (dtype, sizes, bytes)
        else {
            return None;
        };
        let mut numbers = self.pickle.tuple(sizes).iter();
        let fits =
            sizes.len as usize <= MAX_AXES && numbers.all(|size| matches!(size, Value::Int(0..)));
        fits.then_some(Array {
            dtype: self.pickle.types[dtype as usize]?,
            sizes,
            is_fortran,
            bytes,
        })
    }
}
