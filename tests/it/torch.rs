//! PyTorch's files: what `torch.save` wrote is read, anything else is refused without a panic. `fixtures/torch` has the script.

use sit_engine::backend::Device;
use sit_engine::checkpoint::{Format, Reader};
use sit_engine::graph::{Arena, Layout};
use sit_engine::model::{self, ModelConfig};
use sit_tests::assert_close;
use sit_tests::fixture::{json, path, sine};
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

type File = Reader<Cursor<Vec<u8>>>;

const MODEL: ModelConfig = ModelConfig {
    input_size: 4,
    channels: 1,
    patch: 2,
    dim: 4,
    depth: 1,
    n_heads: 1,
    n_classes: 2,
    learn_sigma: false,
};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(path("torch").join(name)).unwrap()
}

fn reader(bytes: Vec<u8>) -> sit_engine::Result<File> {
    Reader::new("file.pt", Cursor::new(bytes))
}

#[test]
fn a_training_checkpoint_has_the_moving_average_and_the_weights() {
    let mut file = reader(fixture("training.pt")).unwrap();
    assert_eq!(file.format(), Format::Torch);
    assert_eq!(file.sets().collect::<Vec<_>>(), ["ema", "model"]);
    assert_eq!(file.model(Some(1), None).unwrap(), MODEL);
    let layout = Layout::new(&model::params(&MODEL), u64::MAX).unwrap();
    let arenas = Device::Cpu.arenas(&layout, &[Arena::Params]).unwrap();
    for (set, scale) in [("ema", 0.05), ("model", 0.1)] {
        file.select(set).unwrap();
        file.load(&MODEL, &arenas, Arena::Params).unwrap();
        for (k, (name, shape)) in model::params(&MODEL).into_iter().enumerate() {
            let got = pollster::block_on(arenas.read(Arena::Params, &name)).unwrap();
            // Sines of two libraries.
            assert_close(
                &name,
                &got,
                &sine(shape.numel(), scale, 1.7, 0.3 * k as f64),
                1e-6,
            );
        }
    }
    let error = file.select("opt").unwrap_err().to_string();
    assert_eq!(error, "file.pt: has no set of weights opt");
}

#[test]
fn types_and_views_are_read_or_refused_by_name() {
    let mut file = reader(fixture("views.pt")).unwrap();
    assert_eq!(file.sets().count(), 0);
    assert!(file.entry("step").is_none(), "a number is no tensor");
    let base = sine(18, 1.0, 1.7, 0.0);
    assert_close("f32", &file.read("f32").unwrap(), &base, 1e-6);
    assert_close("offset", &file.read("offset").unwrap(), &base[6..15], 1e-6);
    assert_close(
        "parameter",
        &file.read("parameter").unwrap(),
        &base[..3],
        1e-6,
    );
    // 11 and 8 bits of significand.
    assert_close("f16", &file.read("f16").unwrap(), &base, 1e-3);
    assert_close("bf16", &file.read("bf16").unwrap(), &base, 8e-3);
    assert_eq!(file.read("scalar").unwrap(), [0.25]);
    assert_eq!(file.shape("scalar").unwrap().len(), 0);
    assert!(file.read("empty").unwrap().is_empty());
    assert_eq!(file.read_labels("labels").unwrap(), [3, 0, 70_000]);
    assert_close("f64", &file.read("f64").unwrap(), &base, 1e-6);
    let at = |of: [usize; 6]| of.map(|i| base[i]);
    let transposed = file.read("transposed").unwrap();
    assert_eq!(file.shape("transposed").unwrap(), [3, 6].into());
    assert_close(
        "transposed",
        &transposed[..6],
        &at([0, 3, 6, 9, 12, 15]),
        1e-6,
    );
    assert_close(
        "transposed",
        &transposed[12..],
        &at([2, 5, 8, 11, 14, 17]),
        1e-6,
    );
    let column = file.read("column").unwrap();
    assert_close("column", &column, &at([1, 4, 7, 10, 13, 16]), 1e-6);
    for (tensor, expected) in [
        (
            "labels",
            "labels is I64, expected F32 or F16 or BF16 or F64",
        ),
        ("step", "has no tensor step"),
    ] {
        let error = file.read(tensor).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("file.pt: {expected}")),
            "{error}"
        );
    }
}

/// Written before 1.6, by each protocol, by Lightning: the weights are the same, whatever stands around them.
#[test]
fn the_same_weights_are_read_from_every_layout() {
    let layout = Layout::new(&model::params(&MODEL), u64::MAX).unwrap();
    let arenas = Device::Cpu.arenas(&layout, &[Arena::Params]).unwrap();
    let rows = [
        // A dictionary `state_dict`, names that begin with `model._orig_mod.`, numbers of numpy, f64, protocol 4.
        ("lightning.ckpt", Format::Torch, Some("state_dict.model"), 1),
        // Names that begin with `module.`, transposed views, protocol 5.
        ("old.pt", Format::TorchLegacy, None, 0),
    ];
    for (name, format, place, n_left_out) in rows {
        let mut file = reader(fixture(name)).unwrap();
        assert_eq!(file.format(), format, "{name}");
        assert_eq!(file.sets().count(), 0, "{name}");
        assert_eq!(
            (file.place(), file.n_left_out()),
            (place, n_left_out),
            "{name}"
        );
        assert_eq!(file.model(Some(1), None).unwrap(), MODEL, "{name}");
        file.load(&MODEL, &arenas, Arena::Params).unwrap();
        for (k, (tensor, shape)) in model::params(&MODEL).into_iter().enumerate() {
            let got = pollster::block_on(arenas.read(Arena::Params, &tensor)).unwrap();
            let want = sine(shape.numel(), 0.1, 1.7, 0.3 * k as f64);
            assert_close(&tensor, &got, &want, 1e-6);
        }
    }
}

/// Numbers that another program read from a file of PyTorch before 1.6.
#[test]
fn a_file_from_before_1_6_has_its_values_and_shapes() {
    let mut file = reader(fixture("legacy.pt")).unwrap();
    assert_eq!(file.format(), Format::TorchLegacy);
    let stated = json("torch/legacy.json");
    let tensors = stated["contents"].as_object().unwrap();
    for (name, tensor) in tensors {
        let numbers = |key: &str| -> Vec<f64> {
            let list = tensor[key].as_array().unwrap().iter();
            list.map(|x| x.as_f64().unwrap()).collect()
        };
        let shape: Vec<usize> = numbers("shape").iter().map(|&n| n as usize).collect();
        assert_eq!(file.shape(name).unwrap(), shape.into(), "{name}");
        if tensor["dtype"] != "int64" {
            assert_close(name, &file.read(name).unwrap(), &numbers("values"), 1e-6);
        } else if numbers("values").iter().all(|&x| x >= 0.0) {
            let got = file.read_labels(name).unwrap();
            assert_close(name, &got, &numbers("values"), 0.0);
        }
    }
    assert_eq!(file.tensors().count(), tensors.len());
    let whole = fixture("legacy.pt");
    for end in 16..whole.len() {
        let error = reader(whole[..end].to_vec()).unwrap_err().to_string();
        assert!(error.contains("truncated"), "{end}: {error}");
    }
}

/// The fixture with its files changed: `change` gets a name and what is in it, and `None` leaves it out.
fn repacked(name: &str, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
    packed(name, CompressionMethod::Stored, change)
}

fn packed(
    name: &str,
    method: CompressionMethod,
    change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut from = ZipArchive::new(Cursor::new(fixture(name))).unwrap();
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..from.len() {
        let mut file = from.by_index(i).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        if let Some(bytes) = change(&name, bytes) {
            let options = SimpleFileOptions::default().compression_method(method);
            to.start_file(name, options.large_file(true)).unwrap();
            to.write_all(&bytes).unwrap();
        }
    }
    to.finish().unwrap().into_inner()
}

/// `from` replaced by `to` in the pickle, once.
fn edited(from: &[u8], to: &[u8]) -> Vec<u8> {
    repacked("views.pt", |name, mut bytes| {
        if name.ends_with("data.pkl") {
            let at = bytes.windows(from.len()).position(|w| w == from);
            let at = at.expect("the pickle has what is replaced");
            bytes.splice(at..at + from.len(), to.iter().copied());
        }
        Some(bytes)
    })
}

#[test]
fn an_archive_with_64_bit_sizes_is_the_same() {
    let mut file = reader(repacked("views.pt", |_, bytes| Some(bytes))).unwrap();
    let mut whole = reader(fixture("views.pt")).unwrap();
    assert_eq!(file.read("f32").unwrap(), whole.read("f32").unwrap());
}

/// Nothing in a pickle is called, whatever its name.
#[test]
fn what_no_state_dict_needs_is_refused_by_name() {
    let ordinary = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let rows: [(&[u8], &[u8], &str); 10] = [
        (ordinary, b"cposix\nsystem\n", "refers to posix.system"),
        (
            ordinary,
            b"cargparse\nNamespace\n",
            "calls argparse.Namespace with arguments of another kind",
        ),
        (
            ordinary,
            b"ctorch\nFloatStorage\n",
            "calls torch.FloatStorage with",
        ),
        (
            b"ctorch\nDoubleStorage\n",
            b"ctorch\nComplexFloatStorage\n",
            "torch.ComplexFloatStorage",
        ),
        (
            b"X\x07\x00\x00\x00storage",
            b"X\x07\x00\x00\x00storags",
            "persistent id that is no storage",
        ),
        (b"\x80\x02", b"\x80\x06", "has protocol 6, expected 2 to 5"),
        (b"\x80\x02", b"\x80\x02\x97", "has the instruction 0x97"),
        (
            ordinary,
            b"csit\nSiT\n",
            "refers to sit.SiT, expected tensors and dictionaries alone, as torch.save(model.state_dict())",
        ),
        (
            b"K\x06K\x03\x86",
            b"K\x06K\x03\x87",
            "with arguments of another kind",
        ),
        (
            b"X\x03\x00\x00\x00f32",
            b"X\xff\xff\xff\xfff32",
            "is truncated",
        ),
    ];
    for (from, to, expected) in rows {
        let error = reader(edited(from, to)).unwrap_err().to_string();
        assert!(
            error.starts_with("file.pt: ") && error.contains(expected),
            "{expected}: {error}"
        );
    }
}

/// Tensors that do not lie in their storage fail alone, when they are read.
#[test]
fn a_tensor_beyond_its_array_is_refused_by_name() {
    // The first of 6 x 3, with other sizes.
    let sizes = b"K\x06K\x03\x86";
    let rows: [(&[u8], &str); 3] = [
        (
            b"K\x07K\x03\x86",
            "f32 ends at element 21 of an array of 18",
        ),
        (
            b"J\xff\xff\xff\x7fK\x03\x86",
            "f32 ends at element 6442450941 of",
        ),
        (
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x03\x86",
            "f32 has the sizes [9223372036854775807, 3], too many",
        ),
    ];
    for (to, expected) in rows {
        let error = reader(edited(sizes, to)).unwrap().read("f32").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let negative = reader(edited(sizes, b"J\xff\xff\xff\xffK\x03\x86")).unwrap_err();
    assert!(negative.to_string().contains("counts -1"), "{negative}");
    for (what, expected) in [
        ("cut", "of 68 bytes, expected 18 values of 4"),
        ("gone", "not in the file"),
    ] {
        let bytes = repacked("views.pt", |name, mut bytes| {
            if name == "views/data/0" {
                bytes.truncate(68);
                return (what == "cut").then_some(bytes);
            }
            Some(bytes)
        });
        let error = reader(bytes).unwrap().read("f32").unwrap_err().to_string();
        assert!(
            error.contains("f32 lies in views/data/0") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn other_archives_are_refused() {
    let compressed = packed("views.pt", CompressionMethod::Deflated, |_, bytes| {
        Some(bytes)
    });
    let big_endian = repacked("views.pt", |name, bytes| {
        Some(if name.ends_with("byteorder") {
            b"big".to_vec()
        } else {
            bytes
        })
    });
    let none = repacked("views.pt", |name, bytes| {
        (!name.ends_with("data.pkl")).then_some(bytes)
    });
    let list = repacked("views.pt", |name, bytes| {
        Some(if name.ends_with("data.pkl") {
            b"\x80\x02].".to_vec()
        } else {
            bytes
        })
    });
    let numbers = repacked("views.pt", |name, bytes| {
        let pickle = b"\x80\x02}X\x05\x00\x00\x00epochK\x07s.".to_vec();
        Some(if name.ends_with("data.pkl") {
            pickle
        } else {
            bytes
        })
    });
    for (bytes, expected) in [
        (compressed, "is compressed or encrypted, expected stored"),
        (big_endian, "big-endian"),
        (none, "without data.pkl"),
        (list, "something else than a dictionary"),
        (numbers, "holds no tensors but epoch"),
    ] {
        let error = reader(bytes).unwrap_err().to_string();
        assert!(
            error.starts_with("file.pt: ") && error.contains(expected),
            "{expected}: {error}"
        );
    }
}

/// Reads all that can be read.
fn read_all(bytes: Vec<u8>) -> sit_engine::Result<()> {
    let mut file = reader(bytes)?;
    file.examine(Some(1), None);
    let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
    names.iter().try_for_each(|name| file.read(name).map(drop))
}

#[test]
fn no_cut_and_no_changed_byte_panics() {
    for name in ["training.pt", "views.pt"] {
        let whole = fixture(name);
        for end in 0..whole.len() {
            if end % 7 == 0 || whole.len() - end < 200 {
                reader(whole[..end].to_vec()).unwrap_err();
            }
        }
    }
    // The pickle and the directory of the archive, byte by byte; tensors of changed values are no error.
    let whole = fixture("views.pt");
    let mut n_refused = 0;
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            n_refused += usize::from(read_all(bytes).is_err());
        }
    }
    assert!(n_refused > whole.len() / 2, "{n_refused}");
}
