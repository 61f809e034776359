//! PyTorch's files: broken and changed ones, and ones without weights, are refused without a panic. The script: `fixtures/torch`.

use sit_engine::checkpoint::Reader;
use sit_tests::fixture::path;
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

type File = Reader<Cursor<Vec<u8>>>;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(path("torch").join(name)).unwrap()
}

fn reader(bytes: Vec<u8>) -> sit_engine::Result<File> {
    Reader::new("file.pt", Cursor::new(bytes))
}

#[test]
fn what_a_training_checkpoint_lacks_is_refused_by_name() {
    let mut file = reader(fixture("training.pt")).unwrap();
    let error = file.select("opt").unwrap_err().to_string();
    assert_eq!(error, "file.pt: has no set of weights opt, but ema, model");
}

#[test]
fn other_types_are_refused_by_name() {
    let mut file = reader(fixture("views.pt")).unwrap();
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

#[test]
fn a_cut_file_from_before_1_6_is_refused() {
    let whole = std::fs::read(path("torch_legacy.pt")).unwrap();
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

/// Nothing in a pickle is called, whatever its name is.
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

/// If a tensor exceeds its storage, only this tensor fails, and only when it is read.
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
    // Changes the pickle and the archive's directory byte by byte; tensors with changed values are not an error.
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
