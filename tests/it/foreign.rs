//! Files that are not weights, each identified as what it is, and weights under other names.

use sit_engine::checkpoint::{Format, Mismatch, Reader};
use sit_tests::fixture;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn reader(bytes: Vec<u8>) -> sit_engine::Result<Reader<Cursor<Vec<u8>>>> {
    Reader::new("file", Cursor::new(bytes))
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A safetensors file of scalars.
fn scalars<'a>(names: impl IntoIterator<Item = &'a str>, metadata: &str) -> Vec<u8> {
    let entries: Vec<String> = names
        .into_iter()
        .enumerate()
        .map(|(i, name)| {
            let (from, to) = (4 * i, 4 * i + 4);
            format!(r#""{name}":{{"dtype":"F32","shape":[],"data_offsets":[{from},{to}]}}"#)
        })
        .collect();
    let n = entries.len();
    let header = format!("{{{metadata}{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 4 * n, 0);
    bytes
}

#[test]
fn other_files_are_named_as_what_they_are() {
    let training = std::fs::read(fixture::path("torch/training.pt")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&training).unwrap();
    let mut tar = vec![b'a'; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    // The result of a program that reserves the file's length first and is then stopped.
    let mut reserved = training.clone();
    reserved[20_000..].fill(0);
    let rows: [(&str, Vec<u8>, &str); 22] = [
        (
            "page",
            b"\n<!DOCTYPE html>\n<html><head><TITLE>Sign in\x1b[31m</TITLE>".to_vec(),
            "is an HTML page (\"Sign in?[31m\"), not weights",
        ),
        (
            "plain page",
            b"<html><body>404".to_vec(),
            "is an HTML page, not",
        ),
        (
            "store's error",
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(),
            "is an XML text",
        ),
        (
            "LFS",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2700611775\n"
                .to_vec(),
            "is a git-lfs pointer to a file of 2700611775 bytes; `git lfs pull`",
        ),
        ("gz", gz.finish().unwrap(), "is packed by gzip"),
        ("tar", tar, "is a tar archive"),
        ("zeros", vec![0; 4096], "begins with 1024 bytes of zeros"),
        (
            "reserved",
            reserved,
            "is a zip archive that cannot be read, as after a download",
        ),
        ("JSON", br#"{"error": "Not Found"}"#.to_vec(), "is JSON"),
        (
            "text",
            b"Entry not found, or it is private".to_vec(),
            "is text that begins with \"Entry not found, or it is private\"",
        ),
        ("GGUF", b"GGUF\x03\0\0\0\0\0\0\0".to_vec(), "is a GGUF file"),
        ("HDF5", b"\x89HDF\r\n\x1a\n\0\0".to_vec(), "is an HDF5 file"),
        ("npy", b"\x93NUMPY\x01\0".to_vec(), "is a NumPy array"),
        (
            "PNG",
            b"\x89PNG\r\n\x1a\n\0\0\0\0".to_vec(),
            "is a PNG picture",
        ),
        (
            "pickle",
            b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94.".to_vec(),
            "is a pickle, but none of torch.save",
        ),
        (
            "zip in zip",
            archive(&[("SiT-XL-2.pt", &training)]),
            "is a zip archive with SiT-XL-2.pt in it: unpack it",
        ),
        ("npz", archive(&[("arr_0.npy", b"x")]), "is a NumPy archive"),
        (
            "empty zip",
            b"PK\x05\x06\0\0\0\0".to_vec(),
            "is an empty zip archive",
        ),
        (
            "TorchScript",
            archive(&[("s/data.pkl", b"\x80\x02}."), ("s/constants.pkl", b"")]),
            "is a TorchScript program",
        ),
        (
            "two pickles",
            archive(&[("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")]),
            "has the pickles a/data.pkl and b/data.pkl, expected one",
        ),
        (
            "one tensor",
            archive(&[("a/data.pkl", b"\x80\x02].")]),
            "holds something else than a dictionary",
        ),
        ("nothing", Vec::new(), "is 0 bytes long"),
    ];
    for (what, bytes, expected) in rows {
        let error = reader(bytes).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("file: {expected}")),
            "{what}: {error}"
        );
    }
}

/// Two entries of the same name are ambiguous.
#[test]
fn an_archive_with_a_name_twice_is_refused() {
    let mut bytes = archive(&[("a/data.pkl", b"\x80\x02}."), ("a/data_pkl", b"\x80\x02].")]);
    for at in 0..bytes.len() - 8 {
        if &bytes[at..at + 8] == b"data_pkl" {
            bytes[at + 4] = b'.';
        }
    }
    let error = reader(bytes).unwrap_err().to_string();
    assert!(error.contains("two files of one name"), "{error}");
}

/// Names of sets are unique, the set that is called as its role has that name, and moments are no weights.
#[test]
fn sets_of_any_prefixes_are_told_apart() {
    let sets = |prefixes: &[&str]| -> Vec<String> {
        let names = prefixes
            .iter()
            .map(|prefix| format!("{prefix}x_embedder.proj.weight"));
        let names: Vec<String> = names.collect();
        let file = reader(scalars(names.iter().map(String::as_str), "")).unwrap();
        file.sets().map(str::to_owned).collect()
    };
    assert_eq!(sets(&["a.", "model."]), ["model", "a"]);
    assert_eq!(sets(&["", "model."]), ["model", "top"]);
    assert_eq!(sets(&["", "exp_avg."]), [""; 0]);
    assert_eq!(sets(&["a.", "b."]), ["model", "b"]);
    assert_eq!(
        sets(&["net_ema.", "ema.", "net."]),
        ["ema", "net_ema", "model"]
    );
    let moments = [
        "exp_avg.x_embedder.proj.weight",
        "exp_avg_sq.x_embedder.proj.weight",
    ];
    let error = reader(scalars(moments, "")).unwrap().model(None, None);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the moments of an optimizer"), "{error}");
}

/// One prefix may begin with the other.
#[test]
fn weights_and_average_in_one_dictionary_are_two_sets() {
    for (weights, average) in [("", "ema."), ("model.", "model.ema."), ("net.", "ema.")] {
        let names = ["x_embedder.proj.weight", "final_layer.linear.bias"];
        let of = |prefix: &str| names.map(|name| format!("{prefix}{name}"));
        let all = [of(weights), of(average)].concat();
        let mut file = reader(scalars(all.iter().map(String::as_str), "")).unwrap();
        let sets: Vec<String> = file.sets().map(str::to_owned).collect();
        assert_eq!(sets, ["ema", "model"], "{weights:?} {average:?}");
        for set in sets {
            file.select(&set).unwrap();
            let found: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
            assert_eq!(found, [names[1], names[0]], "{set} of {weights:?}");
        }
    }
}

#[test]
fn other_networks_are_named_as_what_they_are() {
    for (tensor, expected) in [
        (
            "transformer_blocks.0.attn1.to_q.weight",
            "another transformer under diffusers' names",
        ),
        ("model.diffusion_model.out.0.weight", "Stable Diffusion"),
        ("decoder.up.0.block.0.conv1.weight", "an autoencoder"),
        ("exp_avg.x", "the moments of an optimizer"),
    ] {
        let file = reader(scalars([tensor], "")).unwrap();
        let error = file.model(None, None).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("file: has {tensor}: ")) && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn a_header_that_contradicts_itself_is_refused() {
    let twice = scalars(["a", "a"], "");
    let mut gap = scalars(["a", "b"], "");
    let at = gap.windows(3).position(|w| w == b"[4,").unwrap();
    gap[at + 1] = b'5';
    for (bytes, expected) in [
        (twice, "has two tensors a"),
        (gap, "contradicts itself: b is F32"),
    ] {
        let error = reader(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Whoever reads a file relies on the numbers in its recipe.
#[test]
fn a_recipe_of_no_model_is_refused_when_the_file_is_opened() {
    let model = |change: &str| {
        let sizes = r#""input_size":8,"channels":1,"patch":2,"dim":32,"depth":2,"n_heads":2,"n_classes":10,"learn_sigma":false"#;
        let key = change.split(':').next().unwrap();
        let kept = sizes.split(',').filter(|pair| !pair.starts_with(key));
        let sizes: Vec<&str> = kept.chain([change]).collect();
        format!("{{{}}}", sizes.join(","))
    };
    let file = |model: &str, transport: &str, data: &str| {
        let recipe = format!(r#"{{"model":{model},"transport":{transport},"data":{data}}}"#);
        let text = recipe.replace('"', "\\\"");
        reader(scalars(
            ["x"],
            &format!(r#""__metadata__":{{"sit":"{text}"}},"#),
        ))
    };
    let plain = r#"{"path":"Linear","prediction":"velocity","loss_weight":"none"}"#;
    file(&model(r#""patch":2"#), plain, "null").unwrap();
    for (change, expected) in [
        (r#""patch":0"#, "model.patch: got 0"),
        (r#""n_heads":0"#, "model.n_heads: got 0"),
        (r#""depth":1000000000000"#, "model.depth: got 1000000000000"),
        (r#""n_heads":5"#, "model.dim: got 32"),
        (
            r#""input_size":4096"#,
            "4194304 tokens, expected at most 65536",
        ),
        (r#""patch":-1"#, "invalid value"),
    ] {
        let error = file(&model(change), plain, "null").unwrap_err().to_string();
        assert!(
            error.starts_with("file: metadata sit: ") && error.contains(expected),
            "{error}"
        );
    }
    let weighted = plain.replace("none", "velocity");
    let data = r#"{"name":"x","max_level":0}"#;
    for (transport, data, expected) in [
        (&weighted[..], "null", "transport.loss_weight: got velocity"),
        (plain, data, "data.max_level: got 0"),
    ] {
        let error = file(&model(r#""patch":2"#), transport, data).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Names in a file are untrusted: messages escape control characters and shorten long names.
#[test]
fn names_are_shown_on_one_short_line() {
    let long = "n".repeat(100_000);
    let file = reader(scalars(
        ["x_embedder.proj.weight", "\\u001b[31m", &long],
        "",
    ))
    .unwrap();
    let error = file.model(None, None).unwrap_err().to_string();
    assert!(error.contains("x_embedder.proj.weight is []"), "{error}");
    for name in ["\u{1b}[31m", &long] {
        let (name, got) = (name.to_owned(), [1].into());
        let line = Mismatch::Extra { name, got }.to_string();
        assert!(line.len() < 200 && !line.contains('\u{1b}'), "{line}");
    }
}

/// Pickles of NumPy's two major versions: orders of axes, types, keys on the way to a tensor.
#[test]
fn arrays_of_numpy_are_read_from_a_pickle() {
    let fixture = fixture::Fixture::open("numpy");
    let root = fixture.root();
    let tensors = root.at("tensors").entries();
    for file in root.at("files").list() {
        let mut reader = reader(fixture.file(file.text())).unwrap();
        assert_eq!(reader.format(), Format::Numpy);
        let mut names: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let own: Vec<&str> = reader.tensors().map(|(name, _)| name).collect();
        assert_eq!(own, names, "{}", file.text());
        for (name, tensor) in &tensors {
            let shape = tensor.at("shape").counts();
            assert_eq!(reader.shape(name).unwrap(), shape.into(), "{name}");
            let dtype = reader.entry(name).unwrap().dtype.to_string();
            assert_eq!(dtype, tensor.at("dtype").text(), "{name}");
            let values = tensor.at("values");
            match &dtype[..] {
                "I64" => {
                    let labels = values.numbers().into_iter().map(|x| x as u32);
                    let labels: Vec<u32> = labels.collect();
                    assert_eq!(reader.read_labels(name).unwrap(), labels, "{name}");
                }
                _ => assert_eq!(reader.read(name).unwrap(), values.floats(), "{name}"),
            }
        }
    }
    let refused = reader(fixture.file(root.at("refused").text()));
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("is a pickle, but none of torch.save"),
        "{message}"
    );
    // A file that ends early.
    let bytes = fixture.file(root.at("files").list()[1].text());
    let message = reader(bytes[..bytes.len() / 2].to_vec()).unwrap_err();
    assert!(message.to_string().contains("is truncated"), "{message}");
}
