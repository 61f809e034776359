//! Files made to use much memory or time. Reading any file must take at most a small multiple of its size.

use crate::memory::peak;
use sit_engine::checkpoint::Reader;
use sit_tests::fixture;
use std::io::{Cursor, Write};
use std::time::Instant;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Limit of memory: bytes per byte of the file, and bytes for any file.
const MOST: (usize, usize) = (64, 2 << 20);

/// Reads everything that can be read, and checks the memory that it took.
#[track_caller]
fn read_all(what: &str, bytes: &[u8]) -> Result<(), String> {
    let (done, most) = peak(|| {
        let mut file = Reader::new("file", Cursor::new(bytes)).map_err(|e| e.to_string())?;
        drop(file.examine(Some(1), None));
        drop(file.examine(None, None));
        let sets: Vec<String> = file.sets().map(str::to_owned).collect();
        let mut all = Ok(());
        for set in 0..sets.len().max(1) {
            if let Some(name) = sets.get(set) {
                file.select(name).map_err(|e| e.to_string())?;
            }
            let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
            for name in names {
                let read = file.read(&name).map(drop).map_err(|e| e.to_string());
                all = all.and(read);
            }
        }
        all
    });
    let limit = MOST.0 * bytes.len() + MOST.1;
    assert!(
        most <= limit,
        "{what}: {most} bytes of memory for a file of {}: {done:?}",
        bytes.len()
    );
    done
}

fn archive(pickle: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("archive/data.pkl", pickle)].iter().chain(files) {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn text(text: &str) -> Vec<u8> {
    let n = (text.len() as u32).to_le_bytes();
    [b"X", &n[..], text.as_bytes()].concat()
}

const PROTO: &[u8] = b"\x80\x02";
const REBUILD: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n";

/// A storage named `key` of `numel` floats.
fn storage(key: &str, numel: u8) -> Vec<u8> {
    let [kind, key, device] = ["storage", key, "cpu"].map(text);
    let class = b"ctorch\nFloatStorage\n";
    [b"(", &kind[..], class, &key, &device, b"K", &[numel], b"tQ"].concat()
}

/// Each file refers many times to something large.
#[test]
fn pickles_that_repeat_themselves_stay_small() {
    let one = storage("0", 4);
    let n = "n".repeat(120_000);
    let array: &[(&str, &[u8])] = &[("archive/data/0", &[0; 16])];
    // A call with remembered sizes and strides.
    let sizes = [
        PROTO,
        b"}q\0",
        REBUILD,
        b"q\x01(",
        &one,
        b"K\0(",
        &b"K\x01".repeat(25_000),
        b"tq\x02h\x02tq\x03R",
        &b"h\x01h\x03R".repeat(10_000),
        b"h\0.",
    ];
    // A storage with a remembered key.
    let long = storage(&n, 4);
    let keys = [
        PROTO,
        b"}q\0",
        &long[..long.len() - 1],
        b"q\x01Q",
        &b"h\x01Q".repeat(40_000),
        b"h\0.",
    ];
    // Items under a remembered name.
    let tensor = [REBUILD, b"(", &one, b"K\0K\x04\x85K\x01\x85tRq\x01"].concat();
    let name = text(&n);
    let names = [
        PROTO,
        b"}q\0",
        &tensor,
        &name,
        b"q\x02h\0(",
        &b"h\x02h\x01".repeat(35_000),
        b"u.",
    ];
    // Tensors with a long key and short names: the messages contain the key.
    let far: Vec<u8> = [REBUILD, b"(", &long, b"K\0K\x04\x85K\x01\x85tRq\x01"].concat();
    let short: Vec<u8> = (0..30_000)
        .flat_map(|i| [&text(&i.to_string())[..], b"h\x01"].concat())
        .collect();
    let messages = [PROTO, b"}q\0", &far, b"h\0(", &short, b"u."];
    // One array under many names.
    let many: Vec<u8> = (0..10_000)
        .flat_map(|i| [&text(&format!("{i}"))[..], b"h\x01"].concat())
        .collect();
    let big = [
        REBUILD,
        b"(",
        &storage("0", 4)[..storage("0", 4).len() - 4],
        b"M\0\xfatQK\0M\0\xfa\x85K\x01\x85tRq\x01",
    ]
    .concat();
    let shared = [PROTO, b"}q\0", &big, b"h\0(", &many, b"u."];
    let floats = vec![1; 4 * 64_000];
    let large: &[(&str, &[u8])] = &[("archive/data/0", &floats)];
    // A value for each byte.
    let [nones, memo, tuples, dicts, lists, dups] =
        [&b"N"[..], b"\x94", b"\x85", b"}", b"]", b"2"].map(|op| op.repeat(200_000));
    let stack = |ops: &[u8]| [PROTO, b"}", ops, b"."].concat();
    // Dictionaries in dictionaries.
    let deep = [
        PROTO,
        b"}",
        &b"}".repeat(1000),
        &[text("a"), b"}s".to_vec()].concat(),
        b".",
    ]
    .concat();
    type File<'a> = (&'a str, Vec<u8>, &'a [(&'a str, &'a [u8])], &'a str);
    let rows: [File; 12] = [
        (
            "sizes",
            sizes.concat(),
            &[],
            "a tensor of 25000 axes, expected at most 8",
        ),
        ("keys", keys.concat(), &[], "holds no tensors"),
        ("names", names.concat(), array, ""),
        ("messages", messages.concat(), &[], "not in the file"),
        (
            "shared",
            shared.concat(),
            large,
            "they repeat the same values",
        ),
        ("nones", stack(&nones), &[], "something else"),
        ("memo", stack(&memo), &[], "holds no tensors"),
        ("tuples", stack(&tuples), &[], "something else"),
        ("dicts", stack(&dicts), &[], "holds no tensors"),
        ("lists", stack(&lists), &[], "something else"),
        ("dups", stack(&dups), &[], "holds no tensors"),
        ("deep", deep, &[], ""),
    ];
    for (what, pickle, files, expected) in rows {
        let started = Instant::now();
        let done = read_all(what, &archive(&pickle, files));
        match &done {
            Ok(()) => assert_eq!(expected, "", "{what}"),
            Err(error) => assert!(
                error.contains(expected) && error.len() < 600,
                "{what}: {error}"
            ),
        }
        // Quadratic time would take minutes.
        let seconds = started.elapsed().as_secs_f64();
        assert!(seconds < 60.0, "{what}: {seconds} s");
    }
}

/// A tensor that repeats one value is small in its file; it is read only up to a small multiple of the file's size.
#[test]
fn an_expanded_tensor_is_read_within_bounds() {
    let tensor = |sizes: &[u8]| {
        let head = [PROTO, b"}", &text("x"), REBUILD, b"("].concat();
        let view = [b"K\0", sizes, b"K\0K\0\x86tRs."].concat();
        archive(
            &[&head[..], &storage("0", 1), &view].concat(),
            &[("archive/data/0", &1.5_f32.to_le_bytes())],
        )
    };
    let bytes = tensor(b"K\x03K\x02\x86");
    let mut file = Reader::new("file", Cursor::new(bytes)).unwrap();
    assert_eq!(file.read("x").unwrap(), [1.5; 6]);
    for sizes in [
        &b"J\0\0\0\x01M\0\x01\x86"[..],
        b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86",
    ] {
        let error = read_all("expanded", &tensor(sizes)).unwrap_err();
        assert!(error.contains("repeat the same values"), "{error}");
    }
}

/// Time grows linearly: ten times the tensors take about ten times as long.
#[test]
fn a_header_of_many_tensors_is_read_in_one_pass() {
    let file = |n: usize| {
        let entry = |i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
        let entries: Vec<String> = (0..n).map(entry).collect();
        let header = format!("{{{}}}", entries.join(","));
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    let seconds = |n: usize| {
        let bytes = file(n);
        let started = Instant::now();
        read_all("many tensors", &bytes).unwrap();
        started.elapsed().as_secs_f64()
    };
    seconds(1000);
    let (small, large) = (seconds(10_000), seconds(100_000));
    assert!(large < 60.0 * small + 0.5, "{small} s, then {large} s");
}

/// A generator of numbers that are the same everywhere.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// Bytes flipped, replaced, doubled, taken out and copied elsewhere, one to four times.
pub fn mutant(whole: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        let len = (1 + numbers.below(16)).min(bytes.len() - at);
        match numbers.below(6) {
            0 => bytes[at] ^= 1 << numbers.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9'][numbers.below(6)],
            2 => drop(bytes.drain(at..at + len)),
            3 => {
                let part = bytes[at..at + len].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let from = numbers.below(bytes.len() - len + 1);
                bytes.copy_within(from..from + len, at);
            }
            _ => {
                let wide = [u64::MAX, 1 << 31, 1 << 40, 0][numbers.below(4)].to_le_bytes();
                bytes[at..at + len.min(8)].copy_from_slice(&wide[..len.min(8)]);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// A file under the names of diffusers, and the bytes of its header.
const DIFFUSERS: &str = "diffusers_dit/diffusion_pytorch_model.safetensors";
const N_HEAD: usize = 4568;

#[test]
fn no_mutant_panics_or_takes_much_memory() {
    for (name, n) in [
        ("torch/views.pt", 3000),
        ("torch_legacy.pt", 3000),
        ("torch/lightning.ckpt", 1000),
        ("repa/repa.pt", 1000),
        ("header", 3000),
        (DIFFUSERS, 3000),
    ] {
        let whole = match name {
            "header" => small_safetensors(),
            _ => std::fs::read(fixture::path(name)).unwrap(),
        };
        read_all(name, &whole).ok();
        let mut numbers = Numbers(7);
        let mut n_refused = 0;
        for i in 0..n {
            // The header alone, where values are most of the file.
            let n_head = if name == DIFFUSERS {
                N_HEAD
            } else {
                whole.len()
            };
            let (head, values) = whole.split_at(n_head);
            let bytes = [&mutant(head, &mut numbers), values].concat();
            let refused = read_all(&format!("{name}, mutant {i}"), &bytes).is_err();
            n_refused += usize::from(refused);
        }
        assert!(n_refused > n / 4, "{name}: {n_refused} of {n}");
    }
}

/// A recipe, a few tensors of a SiT and their values.
fn small_safetensors() -> Vec<u8> {
    let recipe = r#"{\"model\":{\"input_size\":4,\"channels\":1,\"patch\":2,\"dim\":4,\"depth\":1,\"n_heads\":1,\"n_classes\":2,\"learn_sigma\":false},\"transport\":{\"path\":\"Linear\"},\"data\":null}"#;
    let header = format!(
        r#"{{"__metadata__":{{"sit":"{recipe}"}},"x_embedder.proj.weight":{{"dtype":"F32","shape":[4,1,2,2],"data_offsets":[0,64]}},"x_embedder.proj.bias":{{"dtype":"F64","shape":[4],"data_offsets":[64,96]}},"pos_embed":{{"dtype":"BF16","shape":[1,4,4],"data_offsets":[96,128]}}}}"#
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 128, 0);
    bytes
}

/// Dictionaries and arrays of NumPy that refer to the same ones many times, and arrays of other lengths than their sizes.
#[test]
fn pickles_of_arrays_stay_small_too() {
    const ARRAY: &[u8] = b"cnumpy._core.numeric\n_frombuffer\n(";
    const TYPE: &[u8] = b"cnumpy\ndtype\n";
    let array = |n: u8, sizes: &[u8]| {
        let bytes = vec![0; usize::from(n)];
        let [code, order] = ["f4", "C"].map(text);
        [
            ARRAY,
            b"C",
            &[n],
            &bytes,
            TYPE,
            &code,
            b"\x89\x88\x87R",
            sizes,
            &order,
            b"tR",
        ]
        .concat()
    };
    let named = |name: &str, value: &[u8]| [&text(name)[..], value].concat();
    // The same array under many names, in dictionaries with the same long keys.
    let long = "k".repeat(60_000);
    let mut many = [PROTO, b"}(", &named("a", &array(4, b"K\x01\x85"))].concat();
    many.extend(b"q\x01");
    many.extend(named(&long, b"h\x01"));
    for i in 0..2000_u32 {
        many.extend(named(&i.to_string(), b"}("));
        many.extend(named(&long[..200], b"h\x01"));
        many.extend(named("b", b"h\x01u"));
    }
    many.extend(b"u.");
    read_all("arrays", &many).unwrap();
    // A dictionary in itself, and one below many keys.
    let own = [
        PROTO,
        b"}q\0(",
        &named("a", b"h\0"),
        &named("b", &array(4, b"K\x01\x85")),
        b"u.",
    ]
    .concat();
    read_all("a dictionary in itself", &own).unwrap();
    let mut deep = [PROTO, &b"}("[..]].concat();
    for _ in 0..30 {
        deep.extend(named("a", b"}("));
    }
    deep.extend(named("a", &array(4, b"K\x01\x85")));
    deep.extend([b'u'; 31]);
    deep.extend(b".");
    let message = read_all("deep", &deep).unwrap_err();
    assert!(message.contains("inside one another"), "{message}");
    for (sizes, expected) in [
        (
            &b"K\x02\x85"[..],
            "has 4 bytes, too few or too many for [2]",
        ),
        (b"K\0\x85", "has 4 bytes"),
        (
            b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87",
            "has 4 bytes",
        ),
    ] {
        let one = [PROTO, b"}(", &named("a", &array(4, sizes)), b"u."].concat();
        let message = read_all("sizes", &one).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    // Sizes that are none: no array.
    let one = [
        PROTO,
        b"}(",
        &named("a", &array(4, b"J\xff\xff\xff\xff\x85")),
        b"u.",
    ]
    .concat();
    let message = read_all("sizes", &one).unwrap_err();
    assert!(message.contains("none of torch.save"), "{message}");
}
