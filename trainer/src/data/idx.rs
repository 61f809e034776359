//! IDX files, plain or gzipped: the format of MNIST, Fashion-MNIST and the like.
//!
//! A file is a big-endian u32 magic number (0x803 for images, 0x801 for labels), one u32 per dimension, then u8 values.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::memory::InMemory;
use super::{DataError, Split};

const IMAGES_MAGIC: u32 = 0x803;
const LABELS_MAGIC: u32 = 0x801;

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Opens `train-images-idx3-ubyte[.gz]` and `train-labels-idx1-ubyte[.gz]`, or those of `t10k`, in `folder`.
///
/// The number of classes is one more than the greatest label.
///
/// # Errors
/// A missing file, or one that [`parse`] refuses.
pub fn open(folder: &Path, split: Split) -> Result<InMemory, DataError> {
    let [images, labels] = ["images-idx3", "labels-idx1"].map(|what| {
        find(folder, split, what)?.ok_or_else(|| {
            let looked_for = format!("{}-{what}-ubyte or {0}-{what}-ubyte.gz", prefix(split));
            DataError::content(folder, "a folder without it", looked_for)
        })
    });
    let (images, labels) = (images?, labels?);
    let open = |path: &Path| File::open(path).map_err(|source| DataError::io(path, source));
    let name = format!("{} ({})", folder.display(), prefix(split));
    let mut data = parse(
        &name,
        (&images, open(&images)?),
        (&labels, open(&labels)?),
        255,
    )?;
    let is_fashion = folder.to_string_lossy().to_lowercase().contains("fashion");
    if is_fashion && data.n_classes == FASHION.len() {
        data.class_names = FASHION.map(String::from).to_vec();
    }
    Ok(data)
}

/// The IDX file of `split` whose name holds `what`, if `folder` has one.
pub(super) fn find(folder: &Path, split: Split, what: &str) -> Result<Option<PathBuf>, DataError> {
    let is_folder = fs::metadata(folder)
        .map_err(|source| DataError::io(folder, source))?
        .is_dir();
    if !is_folder {
        return Err(DataError::content(
            folder,
            "a file",
            "a folder with IDX files",
        ));
    }
    // Some mirrors write `train-images.idx3-ubyte`.
    let names = [
        format!("{}-{what}-ubyte", prefix(split)),
        format!("{}-{}-ubyte", prefix(split), what.replace('-', ".")),
    ];
    let paths = names
        .iter()
        .flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]);
    Ok(paths.into_iter().find(|path| path.is_file()))
}

fn prefix(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "t10k",
    }
}

/// Reads a pair of IDX streams, each with the path that messages name; `max_level` is the brightest possible level.
///
/// # Errors
/// [`DataError::Content`] for a truncated stream, a wrong magic number, no images, or counts that differ.
pub fn parse(
    name: &str,
    (images_path, images): (&Path, impl Read),
    (labels_path, labels): (&Path, impl Read),
    max_level: u8,
) -> Result<InMemory, DataError> {
    let (dims, levels) = read(images_path, images, IMAGES_MAGIC, 3)?;
    let (label_dims, labels) = read(labels_path, labels, LABELS_MAGIC, 1)?;
    if label_dims[0] != dims[0] {
        return Err(DataError::content(
            labels_path,
            format!("{} labels", label_dims[0]),
            format!(
                "{}, one for each image of {}",
                dims[0],
                images_path.display()
            ),
        ));
    }
    let n_classes = labels
        .iter()
        .max()
        .map_or(0, |&label| usize::from(label) + 1);
    Ok(InMemory {
        name: name.to_owned(),
        source: images_path.to_owned(),
        labels_source: labels_path.to_owned(),
        shape: [1, dims[1], dims[2]],
        max_level,
        levels,
        labels: labels.into_iter().map(u32::from).collect(),
        n_classes,
        class_names: Vec::new(),
    })
}

/// The dimensions and values of one IDX stream. Memory grows with the data that is there, not with the declared size.
fn read(
    path: &Path,
    stream: impl Read,
    magic: u32,
    n_dims: usize,
) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let mut stream = BufReader::new(stream);
    let io_error = |source| DataError::io(path, source);
    let is_gzip = stream
        .fill_buf()
        .map_err(io_error)?
        .starts_with(&[0x1f, 0x8b]);
    let mut stream: Box<dyn Read + '_> = if is_gzip {
        Box::new(GzDecoder::new(stream))
    } else {
        Box::new(stream)
    };

    let mut header = Vec::new();
    let header_bytes = 4 * (1 + n_dims);
    read_up_to(path, &mut stream, header_bytes as u64, &mut header)?;
    let mut words = header
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes(word.try_into().expect("4 bytes")));
    if let Some(got) = words.next().filter(|&got| got != magic) {
        return Err(DataError::content(
            path,
            format!("magic number {got:#x}"),
            format!("{magic:#x} (IDX, {n_dims} dimensions of u8)"),
        ));
    }
    if header.len() < header_bytes {
        return Err(DataError::content(
            path,
            format!("{} bytes", header.len()),
            format!("an IDX header of {header_bytes} bytes"),
        ));
    }

    let dims: Vec<usize> = words.map(|dim| dim as usize).collect();
    let size = dims
        .iter()
        .try_fold(1u64, |size, &dim| size.checked_mul(dim as u64))
        .filter(|&size| size < u64::MAX);
    let declared = dims
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x");
    let size = match size {
        Some(size) if size > 0 => size,
        _ => {
            return Err(DataError::content(
                path,
                format!("the dimensions {declared}"),
                "dimensions of at least 1 and a size of less than 2^64",
            ));
        }
    };
    let mut values = Vec::new();
    read_up_to(path, &mut stream, size + 1, &mut values)?;
    if values.len() as u64 == size {
        return Ok((dims, values));
    }
    let got = if values.len() as u64 > size {
        format!("more than {size}")
    } else {
        values.len().to_string()
    };
    Err(DataError::content(
        path,
        format!("{got} bytes of data"),
        format!("{size} for the dimensions {declared}"),
    ))
}

fn read_up_to(
    path: &Path,
    stream: &mut dyn Read,
    n_bytes: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), DataError> {
    match stream.take(n_bytes).read_to_end(bytes) {
        Ok(_) => Ok(()),
        Err(error) if is_bad_gzip(&error) => {
            let got = format!(
                "a gzip stream that is cut off or corrupt after {} bytes ({error})",
                bytes.len()
            );
            Err(DataError::content(path, got, "a whole one"))
        }
        Err(source) => Err(DataError::io(path, source)),
    }
}

fn is_bad_gzip(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::data::Dataset;

    fn idx(magic: u32, dims: &[u32], values: &[u8]) -> Vec<u8> {
        let words = [&[magic], dims].concat();
        words
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .chain(values.iter().copied())
            .collect()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn images() -> Vec<u8> {
        let values: Vec<u8> = (0..3 * 2 * 4).map(|i| i * 10).collect();
        idx(IMAGES_MAGIC, &[3, 2, 4], &values)
    }

    fn labels() -> Vec<u8> {
        idx(LABELS_MAGIC, &[3], &[2, 0, 1])
    }

    fn parse_bytes(images: &[u8], labels: &[u8]) -> Result<InMemory, DataError> {
        parse(
            "test",
            (Path::new("the-images"), images),
            (Path::new("the-labels"), labels),
            255,
        )
    }

    fn message(images: &[u8], labels: &[u8]) -> String {
        parse_bytes(images, labels)
            .expect_err("bad input is refused")
            .to_string()
    }

    #[test]
    fn plain_and_gzipped_files_hold_the_same() {
        for (images, labels) in [(images(), labels()), (gz(&images()), gz(&labels()))] {
            let data = parse_bytes(&images, &labels).unwrap();
            assert_eq!(
                (data.len(), data.shape(), data.n_classes()),
                (3, [1, 2, 4], 3)
            );
            assert_eq!([data.label(0), data.label(1), data.label(2)], [2, 0, 1]);
            let mut image = [0.0; 8];
            data.read(1, &mut image).unwrap();
            assert_eq!(image[0], -95.0 / 255.0);
            assert_eq!(data.item_name(1), "the-images, image 1");
        }
    }

    #[test]
    fn every_truncation_is_refused_by_name() {
        for (what, images, labels) in [
            ("plain", images(), labels()),
            ("gzip", gz(&images()), gz(&labels())),
        ] {
            for end in 0..images.len() {
                let text = message(&images[..end], &labels);
                assert!(
                    text.starts_with("the-images: got "),
                    "{what} images cut at {end}: {text}"
                );
            }
            for end in 0..labels.len() {
                let text = message(&images, &labels[..end]);
                assert!(
                    text.starts_with("the-labels: got "),
                    "{what} labels cut at {end}: {text}"
                );
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_gzip_stream_never_changes_the_data() {
        let (whole, labels) = (gz(&images()), labels());
        let levels = parse_bytes(&whole, &labels).unwrap().levels;
        let mut n_refused = 0;
        for bit in 0..whole.len() * 8 {
            let mut images = whole.clone();
            images[bit / 8] ^= 1 << (bit % 8);
            // Some bits carry no data: time, system, and the rest of the last byte of the deflate stream.
            match parse_bytes(&images, &labels) {
                Ok(data) => assert_eq!(data.levels, levels, "bit {bit}"),
                Err(_) => n_refused += 1,
            }
        }
        assert!(n_refused > whole.len() * 4, "{n_refused}");
    }

    #[test]
    fn bad_headers_are_refused() {
        let cases = [
            (
                idx(0x802, &[3, 2, 4], &[0; 24]),
                labels(),
                "the-images: got magic number 0x802, expected 0x803 (IDX, 3 dimensions of u8)",
            ),
            (
                images(),
                images(),
                "the-labels: got magic number 0x803, expected 0x801 (IDX, 1 dimensions of u8)",
            ),
            (
                idx(IMAGES_MAGIC, &[0, 2, 4], &[]),
                labels(),
                "the-images: got the dimensions 0x2x4, expected dimensions of at least 1 and a size of less than 2^64",
            ),
            (
                idx(IMAGES_MAGIC, &[3, 2, 4], &[0; 25]),
                labels(),
                "the-images: got more than 24 bytes of data, expected 24 for the dimensions 3x2x4",
            ),
            (
                images(),
                idx(LABELS_MAGIC, &[4], &[0; 4]),
                "the-labels: got 4 labels, expected 3, one for each image of the-images",
            ),
        ];
        for (images, labels, expected) in cases {
            assert_eq!(message(&images, &labels), expected);
        }
    }

    #[test]
    fn a_huge_declared_size_allocates_nothing() {
        for dims in [
            [u32::MAX; 3],
            [1 << 31, 1 << 16, 1 << 16],
            [u32::MAX, 1 << 15, 1],
        ] {
            for images in [
                idx(IMAGES_MAGIC, &dims, &[1, 2, 3]),
                gz(&idx(IMAGES_MAGIC, &dims, &[1, 2, 3])),
            ] {
                assert!(message(&images, &labels()).starts_with("the-images: got "));
            }
        }
    }

    #[test]
    fn labels_beyond_n_classes_are_refused_and_0_classes_drop_them() {
        let data = || parse_bytes(&images(), &labels()).unwrap();
        let text = data().with_n_classes(Some(2)).unwrap_err().to_string();
        assert_eq!(
            text,
            "the-labels: label 2 of image 0 is out of range, expected 0 to 1 (data.n_classes = 2)"
        );
        assert_eq!(data().with_n_classes(Some(7)).unwrap().n_classes(), 7);
        let unconditional = data().with_n_classes(Some(0)).unwrap();
        assert_eq!((unconditional.n_classes(), unconditional.label(0)), (0, 0));
    }

    #[test]
    fn folders_are_searched_by_split() {
        let folder = tempfile::tempdir().unwrap();
        let text = open(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(
            text.ends_with("expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
            "{text}"
        );
        fs::write(folder.path().join("train-images.idx3-ubyte"), images()).unwrap();
        fs::write(
            folder.path().join("train-labels-idx1-ubyte.gz"),
            gz(&labels()),
        )
        .unwrap();
        assert_eq!(open(folder.path(), Split::Train).unwrap().len(), 3);
        assert!(open(folder.path(), Split::Test).is_err());
        let missing = folder.path().join("missing");
        assert!(
            open(&missing, Split::Train)
                .unwrap_err()
                .to_string()
                .starts_with(&missing.display().to_string())
        );
        let file = folder.path().join("train-images.idx3-ubyte");
        assert!(
            open(&file, Split::Train)
                .unwrap_err()
                .to_string()
                .ends_with("got a file, expected a folder with IDX files")
        );
    }
}
