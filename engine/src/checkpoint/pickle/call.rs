//! The results that calls in a pickle would have.

use super::names::{GLOBALS, Global};
use super::{IN_PAGE, MAX_AXES, Machine, Result, Slice, Storage, Value, View};

impl Machine<'_> {
    /// The value that a call would return.
    pub(super) fn call(&mut self, function: Value, args: Value) -> Result<Value> {
        let Value::Tuple(args) = args else {
            return Err("calls with what is no tuple".into());
        };
        if let Value::Global(Global::Numpy(numpy)) = function
            && !IN_PAGE
        {
            return Ok(self.call_numpy(numpy, args));
        }
        let args = self.pickle.tuple(args);
        match (function, args) {
            (Value::Global(Global::Beside), _) => Ok(Value::Other),
            // The argument of a defaultdict is the type of its values.
            (Value::Global(Global::Dictionary), [] | [Value::Global(Global::Beside)]) => {
                Ok(Value::Dict(self.container()))
            }
            (Value::Global(Global::Namespace), []) => Ok(Value::Other),
            (
                Value::Global(Global::RebuildParameter),
                &[tensor @ Value::Tensor(_), _requires_grad, _hooks, ..],
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
                self.check_naturals(sizes)?;
                self.check_naturals(strides)?;
                if sizes.len != strides.len {
                    return Err("has a tensor with other strides than axes".into());
                }
                let view = View {
                    storage,
                    offset: natural(Value::Int(offset))?,
                    sizes,
                    strides,
                };
                self.pickle.views.push(view);
                Ok(Value::Tensor(self.pickle.views.len() as u32 - 1))
            }
            (Value::Global(global), _) => {
                let name = GLOBALS.iter().find(|(_, known)| *known == global);
                let name = name.map_or("a name", |(name, _)| name);
                Err(format!("calls {name} with arguments of another kind"))
            }
            _ => Err("calls what is no name".into()),
        }
    }

    /// A storage from its persistent id, `("storage", type, key, device, numel)`; before PyTorch 1.6 a last element gave the view
    /// of another storage, or None.
    pub(super) fn storage(&mut self, id: Value) -> Result<Value> {
        const REFUSED: &str = "has a persistent id that is no storage";
        let Value::Tuple(id) = id else {
            return Err(REFUSED.into());
        };
        let id = self.pickle.tuple(id);
        let id = id.strip_suffix(&[Value::Other]).unwrap_or(id);
        let &[
            Value::Text(kind),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            Value::Text(_device),
            numel,
        ] = id
        else {
            let whole =
                matches!(id, [Value::Text(kind), ..] if self.pickle.text(*kind) == b"module");
            return Err(match whole {
                true => "is of a whole module, expected tensors and dictionaries alone".into(),
                false => REFUSED.into(),
            });
        };
        if self.pickle.text(kind) != b"storage" {
            return Err(REFUSED.into());
        }
        let numel = natural(numel)?;
        self.pickle.storages.push(Storage { key, dtype, numel });
        Ok(Value::Storage(self.pickle.storages.len() as u32 - 1))
    }

    fn check_naturals(&self, tuple: Slice) -> Result<()> {
        if tuple.len as usize > MAX_AXES {
            return Err(format!(
                "has a tensor of {} axes, expected at most {MAX_AXES}",
                tuple.len
            ));
        }
        let mut values = self.pickle.tuple(tuple).iter();
        values.try_for_each(|value| natural(*value).map(drop))
    }
}

/// A non-negative integer.
fn natural(value: Value) -> Result<u64> {
    match value {
        Value::Int(n) => u64::try_from(n).map_err(|_| format!("counts {n}")),
        _ => Err("counts with what is no integer".into()),
    }
}
