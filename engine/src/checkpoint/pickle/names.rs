//! The names that a pickle may refer to. They are never called; the reader records what a call would return.

use super::super::index::Dtype;
use super::IN_PAGE;

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Global {
    /// A dictionary, initially empty.
    Dictionary,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    Numpy(Numpy),
    /// `argparse.Namespace`, in which training scripts keep their flags; its contents are ignored.
    Namespace,
    /// Objects next to tensors that contain none: numpy numbers, paths, dates, settings.
    Beside,
}

/// A function that makes arrays, or the class of their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Numpy {
    /// An array whose contents are set afterwards.
    Reconstruct,
    /// An array of the contents of a buffer.
    FromBuffer,
    Type,
}

/// Their names; NumPy 2 has another module.
const NUMPY: [(&str, Numpy); 5] = [
    ("numpy.core.multiarray._reconstruct", Numpy::Reconstruct),
    ("numpy._core.multiarray._reconstruct", Numpy::Reconstruct),
    ("numpy.core.numeric._frombuffer", Numpy::FromBuffer),
    ("numpy._core.numeric._frombuffer", Numpy::FromBuffer),
    ("numpy.dtype", Numpy::Type),
];

pub(super) const GLOBALS: [(&str, Global); 17] = [
    ("collections.OrderedDict", Global::Dictionary),
    ("collections.defaultdict", Global::Dictionary),
    ("torch._utils._rebuild_tensor", Global::RebuildTensor),
    ("torch._utils._rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils._rebuild_parameter", Global::RebuildParameter),
    (
        "torch._utils._rebuild_parameter_with_state",
        Global::RebuildParameter,
    ),
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

/// Packages whose objects training scripts save next to the weights.
const BESIDE_PACKAGES: [&str; 8] = [
    "numpy",
    "omegaconf",
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "pathlib",
    "datetime",
    "ml_collections",
];

/// Single harmless names, from modules that also have other names.
const BESIDE: [&str; 24] = [
    "_codecs.encode",
    "types.SimpleNamespace",
    "easydict.EasyDict",
    "collections.Counter",
    "collections.deque",
    "torch.Size",
    "torch.device",
    "torch.float16",
    "torch.bfloat16",
    "torch.float32",
    "torch.float64",
    "builtins.dict",
    "builtins.list",
    "builtins.set",
    "builtins.frozenset",
    "builtins.int",
    "builtins.float",
    "builtins.complex",
    "builtins.slice",
    "builtins.bytearray",
    "__builtin__.dict",
    "__builtin__.set",
    "__builtin__.bytearray",
    "__builtin__.complex",
];

/// Longer names are rejected.
const MAX_NAME_BYTES: usize = 200;

/// The meaning of `module.name`, or why it is rejected.
pub(super) fn global(module: &[u8], name: &[u8]) -> Result<Global, String> {
    if module.len() + name.len() > MAX_NAME_BYTES {
        return Err("refers to a name of more than 200 bytes".into());
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let name = format!("{}.{}", text(module), text(name));
    if let Some((_, global)) = GLOBALS.iter().find(|(known, _)| *known == name) {
        return Ok(*global);
    }
    if !IN_PAGE && let Some((_, numpy)) = NUMPY.iter().find(|(known, _)| *known == name) {
        return Ok(Global::Numpy(*numpy));
    }
    let package = name.split('.').next().unwrap_or_default();
    if BESIDE.contains(&&name[..]) || BESIDE_PACKAGES.contains(&package) {
        return Ok(Global::Beside);
    }
    let name = super::super::shown(&name);
    Err(match package {
        "__torch__" => format!("refers to {name}: a TorchScript program, expected a state dict"),
        _ => format!(
            "refers to {name}, expected tensors and dictionaries alone, as torch.save(model.state_dict()) writes"
        ),
    })
}
