use super::*;
use crate::npz::Writer;
use std::fs::{self, File};
use std::io::Write as _;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn read(path: &Path) -> Archive {
    Archive::read(path).unwrap().unwrap()
}

fn message(path: &Path) -> String {
    Archive::read(path).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.npz");
    let images: Vec<f32> = (0..12_u8)
        .map(|n| f32::from(n * 20) / 127.5 - 1.0)
        .collect();
    let mut writer = Writer::create(&path, 2, [3, 1, 2]).unwrap();
    writer.images(&images).unwrap();
    writer.finish([7, 300].into_iter()).unwrap();
    let archive = read(&path);
    assert_eq!((archive.n, archive.shape), (2, [3, 1, 2]));
    assert_eq!((archive.label(0), archive.label(1)), (Some(7), Some(300)));
    let mut image = [0.0; 6];
    archive.image(1, &mut image);
    let near = image
        .iter()
        .zip(&images[6..])
        .all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near && archive.has_levels(), "{image:?}");
    let latents = folder.path().join("latents.npz");
    let values: Vec<f32> = (0..8_u8).map(|n| f32::from(n) * 3.5 - 9.0).collect();
    let mut writer = Writer::create(&latents, 1, [4, 1, 2]).unwrap();
    writer.images(&values).unwrap();
    writer.finish([0].into_iter()).unwrap();
    let archive = read(&latents);
    let mut image = [0.0; 8];
    archive.image(0, &mut image);
    assert_eq!(image, values[..]);
    assert!(!archive.has_levels());
}

/// An archive with these entries: a name, a header and bytes.
fn write(path: &Path, entries: &[(&str, &str, &[u8])]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, header, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    fs::write(&path, "no").unwrap();
    assert!(message(&path).contains("x.npz: got no zip file ("));
    let header = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n")
    };
    let good = header("|u1", "False", "1, 1, 2, 1");
    for (name, header, bytes, expected) in [
        (
            "arr_0.npy",
            header("|u1", "False", "2, "),
            &[1, 2][..],
            "arr_0 is [2], expected [N, H, W, C]",
        ),
        (
            "arr_0.npy",
            header("<f8", "False", "1, 1, 1, 1"),
            &[0; 8],
            "has the type <f8",
        ),
        (
            "arr_0.npy",
            header("|u1", "True", "1, 1, 2, 1"),
            &[1, 2],
            "Fortran's order",
        ),
        (
            "arr_0.npy",
            header("|u1", "False", "0, 1, 2, 1"),
            &[],
            "has no images",
        ),
        (
            "arr_0.npy",
            header("|u1", "False", "1, x, 2, 1"),
            &[1, 2],
            "whole numbers",
        ),
        (
            "arr_0.npy",
            good.clone(),
            &[1],
            "expected the values of [1, 1, 2, 1] of |u1",
        ),
        (
            "arr_0.npy",
            good.clone(),
            &[1, 2, 3],
            "expected the values of [1, 1, 2, 1] of |u1",
        ),
        (
            "arr_0.npy",
            header("|u1", "False", "9999999, 99999, 9999, 99"),
            &[1],
            "expected the values of [9999999, 99999, 9999, 99]",
        ),
        (
            "arr_0.npy",
            header("[('a', '<i4')]", "False", "1, "),
            &[1],
            "without a plain type",
        ),
        ("arr_0.npy", "{}".into(), &[1], "without a plain type"),
    ] {
        write(&path, &[(name, &header, bytes)]);
        let message = message(&path);
        assert!(message.contains(expected), "{message}");
    }
    write(
        &path,
        &[
            ("arr_0.npy", &good, &[1, 2]),
            ("label.npy", &header("<i8", "False", "3, "), &[0; 24]),
        ],
    );
    assert!(message(&path).contains("label is [3], expected [1]"));
    write(
        &path,
        &[
            ("arr_0.npy", &good, &[1, 2]),
            ("label.npy", &header("<f4", "False", "1, "), &[0; 4]),
        ],
    );
    assert!(message(&path).contains("label of the type <f4"));
    // The images of other arrays are read as pictures are.
    write(&path, &[("arr_1.npy", &good, &[1, 2])]);
    assert!(Archive::read(&path).unwrap().is_none());
    write(&path, &[("arr_0.npy", &good, &[1, 2])]);
    assert_eq!(read(&path).label(0), None);
    write(
        &path,
        &[
            ("arr_0.npy", &good, &[1, 2]),
            ("label.npy", &header("|u1", "False", "1, "), &[9]),
        ],
    );
    assert_eq!(read(&path).label(0), Some(9));
}
