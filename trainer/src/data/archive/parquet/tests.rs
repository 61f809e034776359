//! Files that Hugging Face's datasets 5.2 and pyarrow 26 have written: `hf.parquet` has eight pictures of the levels 0, 20, 40, ... in two row
//! groups, `plain.parquet` the first three and a null as plain bytes in gzip, in small pages, `zstd.parquet` the same in another codec.

use std::fs;

use super::*;
use crate::data::folder::Folder;
use crate::data::{Dataset as _, Kind};

fn fixture(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parquet");
    Path::new(folder).join(name)
}

fn config(path: &Path) -> DataConfig {
    DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        image_size: Some(8),
        disk_cache: Some(false),
        ..DataConfig::digits()
    }
}

fn open(config: &DataConfig) -> Result<Folder, String> {
    Folder::open(config, &|_, _| ()).map_err(|e| e.to_string())
}

/// The red level of the first pixel and the label of each picture.
fn contents(data: &Folder) -> Vec<(u8, u32)> {
    let mut image = [0.0; 192];
    let level = |index: usize| {
        data.read(index, &mut image).unwrap();
        (((image[0] + 1.0) * 127.5).round() as u8, data.label(index))
    };
    (0..data.len()).map(level).collect()
}

#[test]
fn a_data_set_of_hugging_face_has_pictures_and_names() {
    for cache_mib in [None, Some(0)] {
        let data = open(&DataConfig {
            cache_mib,
            ..config(&fixture("hf.parquet"))
        })
        .unwrap();
        let expected: Vec<(u8, u32)> = (0..8).map(|i| (20 * i, u32::from(i) % 3)).collect();
        assert_eq!(contents(&data), expected);
        assert_eq!(data.class_names(), ["cat", "dog", "owl"]);
        assert!(data.item_name(6).ends_with("hf.parquet/000006"));
    }
}

#[test]
fn plain_bytes_in_many_pages_and_labels_that_are_texts() {
    let path = fixture("plain.parquet");
    let text = open(&config(&path)).err().unwrap();
    assert!(
        text.contains("plain.parquet/000003: the row has no picture"),
        "{text}"
    );
    let data = open(&DataConfig {
        skip_bad: true,
        ..config(&path)
    })
    .unwrap();
    assert_eq!(contents(&data), [(0, 1), (20, 0), (40, 1)]);
    assert_eq!(data.class_names(), ["a", "b"]);
    let table = Table::open(&path).unwrap();
    let chunks = table.chunks(table.image_column(&path).unwrap()).unwrap();
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].n_pages() > 1);
}

#[test]
fn what_is_wrong_is_said() {
    let text = open(&config(&fixture("zstd.parquet"))).err().unwrap();
    assert!(
        text.contains("got pages compressed by ZSTD") && text.contains("expected snappy"),
        "{text}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let whole = fs::read(fixture("hf.parquet")).unwrap();
    for (bytes, expected) in [
        (
            &whole[..whole.len() - 9],
            "got no Parquet file, or a damaged one (",
        ),
        (b"PAR1", "got no Parquet file, or a damaged one ("),
    ] {
        fs::write(&path, bytes).unwrap();
        let text = open(&config(&path)).err().unwrap();
        assert!(text.contains(expected), "{text}");
    }
    // The first page says that it unpacks to 1 GiB.
    let mut large = whole;
    assert_eq!(large[4..8], [0x15, 0, 0x15, large[7]]);
    let n: u32 = 1 << 31;
    let size: Vec<u8> = (0..5)
        .map(|i| (n >> (7 * i)) as u8 | if i < 4 { 0x80 } else { 0 })
        .collect();
    large.splice(7..9, size);
    fs::write(&path, &large).unwrap();
    let text = open(&config(&path)).err().unwrap();
    assert!(
        text.contains("a page of ") && text.contains(" that unpacks to 1073741824"),
        "{text}"
    );
}
