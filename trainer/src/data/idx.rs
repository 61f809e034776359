//! IDX files, plain or gzipped: the format of MNIST, Fashion-MNIST, EMNIST, QMNIST and the like.
//!
//! A file is a big-endian u32 magic number (0x803 for images, 0x801 for labels), one u32 per dimension, then u8 values. QMNIST's
//! labels are rows of i32 (0xc02), whose first column is the class.

#[cfg(not(target_arch = "wasm32"))]
mod names;

use sit_engine::text::shown;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::memory::InMemory;
use super::{DataConfig, DataError};

#[cfg(not(target_arch = "wasm32"))]
pub(super) use names::{Found, find};

const IMAGES_MAGIC: u32 = 0x803;
const LABELS_MAGIC: u32 = 0x801;
const LABEL_ROWS_MAGIC: u32 = 0xc02;

/// The most bytes of images that are held in memory, whatever a header declares: a page has 4 GiB in all.
const MOST_BYTES: u64 = if cfg!(target_arch = "wasm32") {
    1 << 30
} else {
    1 << 36
};

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

/// Whether a folder has IDX files of a part.
///
/// # Errors
/// A folder that cannot be read.
#[cfg(not(target_arch = "wasm32"))]
pub fn has_idx(path: &Path, split: super::Split) -> Result<bool, DataError> {
    find(path, split).map(|found| found.is_some())
}

/// Opens a pair of IDX files by the `[data]` table: those that [`find`] finds.
///
/// The number of classes is the greatest label plus one, minus the first label.
///
/// # Errors
/// A missing file, one that [`parse`] refuses, or a label out of range.
#[cfg(not(target_arch = "wasm32"))]
pub fn open(config: &DataConfig) -> Result<InMemory, DataError> {
    use std::fs::File;
    let Found { images, labels, .. } = names::pair(config.required_path()?, config.split)?;
    let open = |path: &Path| File::open(path).map_err(|source| DataError::io(path, source));
    let name = format!(
        "{} ({})",
        shown(images.parent().unwrap_or(&images)),
        names::prefix(config.split)
    );
    let data = parse(
        &name,
        (&images, open(&images)?),
        (&labels, open(&labels)?),
        255,
    )?;
    finish(data, config)
}

/// Names and numbers the classes, and turns the images of EMNIST upright.
///
/// # Errors
/// A label out of range.
pub(super) fn finish(mut data: InMemory, config: &DataConfig) -> Result<InMemory, DataError> {
    let path = data.source.to_string_lossy().to_lowercase();
    let file = data
        .source
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    data.class_names = known_names(&path, &file, data.n_classes);
    let is_emnist = file.contains("emnist-");
    if config.transpose.unwrap_or(is_emnist) {
        data.transpose();
    }
    data.transpose = config.transpose.or(is_emnist.then_some(true));
    data.with_classes(config)
}

/// Names of the labels 0 to `n_labels - 1` of data sets known by their file names; empty for others.
fn known_names(path: &str, file: &str, n_labels: usize) -> Vec<String> {
    let letters = |first: char, last: char| (first..=last).map(String::from);
    let merged = "abdefghnqrt".chars().map(String::from);
    let names: Vec<String> = if path.contains("fashion") {
        FASHION.map(String::from).into()
    } else if file.contains("emnist-letters") {
        // There is no label 0.
        std::iter::once("0".to_owned())
            .chain(letters('A', 'Z'))
            .collect()
    } else if file.contains("emnist-balanced") || file.contains("emnist-bymerge") {
        letters('0', '9')
            .chain(letters('A', 'Z'))
            .chain(merged)
            .collect()
    } else if file.contains("emnist-byclass") {
        letters('0', '9')
            .chain(letters('A', 'Z'))
            .chain(letters('a', 'z'))
            .collect()
    } else {
        Vec::new()
    };
    match names.len() == n_labels {
        true => names,
        false => Vec::new(),
    }
}

/// Reads a pair of IDX streams, each with the path that messages name; `max_level` is the brightest possible level.
///
/// # Errors
/// [`DataError::Content`] for a truncated stream, a wrong magic number, no images, too many for the memory, or counts that differ.
pub fn parse(
    name: &str,
    (images_path, images): (&Path, impl Read),
    (labels_path, labels): (&Path, impl Read),
    max_level: u8,
) -> Result<InMemory, DataError> {
    let (_, dims, levels) = read(images_path, images, &[(IMAGES_MAGIC, 3)])?;
    let kinds = [(LABELS_MAGIC, 1), (LABEL_ROWS_MAGIC, 2)];
    let (magic, label_dims, labels) = read(labels_path, labels, &kinds)?;
    if label_dims[0] != dims[0] {
        return Err(DataError::content(
            labels_path,
            format!("{} labels", label_dims[0]),
            format!("{}, one for each image of {}", dims[0], shown(images_path)),
        ));
    }
    let labels: Vec<u32> = match magic {
        LABEL_ROWS_MAGIC => first_column(labels_path, &labels, label_dims[1])?,
        _ => labels.into_iter().map(u32::from).collect(),
    };
    let n_classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    Ok(InMemory {
        name: name.to_owned(),
        source: images_path.to_owned(),
        labels_source: labels_path.to_owned(),
        shape: [1, dims[1], dims[2]],
        max_level,
        levels,
        labels,
        n_classes,
        class_names: Vec::new(),
        first_label: None,
        transpose: None,
    })
}

/// The first of each row of `columns` big-endian i32.
fn first_column(path: &Path, bytes: &[u8], columns: usize) -> Result<Vec<u32>, DataError> {
    let rows = bytes.chunks_exact(4 * columns).enumerate();
    rows.map(|(index, row)| {
        let label = i32::from_be_bytes([row[0], row[1], row[2], row[3]]);
        u32::try_from(label).map_err(|_| {
            let got = format!("the label {label} of image {index}");
            DataError::content(path, got, "labels of at least 0")
        })
    })
    .collect()
}

/// Reads one IDX stream: the magic number, which must be one of `kinds` (each with its number of dimensions), the dimensions and
/// the values. Memory grows with the data that arrives, not with the declared size, and stays within the free memory.
fn read(
    path: &Path,
    stream: impl Read,
    kinds: &[(u32, usize)],
) -> Result<(u32, Vec<usize>, Vec<u8>), DataError> {
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
    read_up_to(path, &mut stream, 4, &mut header)?;
    let word = |word: &[u8]| u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
    let magic = (header.len() == 4).then(|| word(&header));
    let kind = match magic {
        Some(got) => kinds.iter().find(|(magic, _)| *magic == got),
        None => kinds.first(),
    };
    let Some(&(magic, n_dims)) = kind else {
        let expected: Vec<String> = kinds.iter().map(|&(magic, n)| describe(magic, n)).collect();
        let got = format!("magic number {:#x}", magic.unwrap_or_default());
        return Err(DataError::content(path, got, expected.join(" or ")));
    };
    let header_bytes = 4 * (1 + n_dims);
    read_up_to(
        path,
        &mut stream,
        header_bytes as u64 - header.len() as u64,
        &mut header,
    )?;
    if header.len() < header_bytes {
        return Err(DataError::content(
            path,
            format!("{} bytes", header.len()),
            format!("an IDX header of {header_bytes} bytes"),
        ));
    }

    let dims: Vec<usize> = header[4..]
        .chunks_exact(4)
        .map(|dim| word(dim) as usize)
        .collect();
    let value_bytes = if magic == LABEL_ROWS_MAGIC { 4 } else { 1 };
    let size = dims
        .iter()
        .try_fold(value_bytes, |size: u64, &dim| size.checked_mul(dim as u64))
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
    let most = MOST_BYTES.min(free_bytes());
    if size > most {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        return Err(DataError::content(
            path,
            format!("the dimensions {declared}, {} MiB", mib(size)),
            format!(
                "at most the {} MiB of memory that there are for it",
                mib(most)
            ),
        ));
    }
    let mut values = Vec::new();
    read_up_to(path, &mut stream, size + 1, &mut values)?;
    if values.len() as u64 == size {
        return Ok((magic, dims, values));
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

/// Bytes of memory that are free, where the system tells.
fn free_bytes() -> u64 {
    #[cfg(not(target_arch = "wasm32"))]
    let free = crate::host::free_memory();
    #[cfg(target_arch = "wasm32")]
    let free: Option<u64> = None;
    free.unwrap_or(u64::MAX)
}

fn describe(magic: u32, n_dims: usize) -> String {
    let kind = if magic == LABEL_ROWS_MAGIC {
        "i32"
    } else {
        "u8"
    };
    format!("{magic:#x} (IDX, {n_dims} dimensions of {kind})")
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
mod tests;
