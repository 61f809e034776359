//! Pictures in archives: tar files (WebDataset), NumPy's `.npz`, the binaries of CIFAR-10 and CIFAR-100, Parquet with a column of images.
//!
//! An archive is never unpacked. Opening it makes a list of the pictures and where they lie; each is read there when it is needed.

mod cifar;
mod npz;
#[cfg(feature = "parquet")]
mod parquet;
mod tar;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sit_engine::text::{count, shown};

use super::decode::is_image;
use super::item::{At, Item, Reader};
use super::labels::{Label, Labels};
use super::listing::{self, LeftOut, Listing};
use super::names::is_system;
use super::{DataConfig, DataError, Split};

/// The longest file of a picture: it is read into memory.
const MAX_FILE_BYTES: u32 = 1 << 28;

/// The most files that a pattern such as `train-{000000..000999}.tar` names.
const MAX_FILES: usize = 100_000;

/// Lists the pictures of `data.path`: those in archives, or in a folder.
///
/// # Errors
/// An archive or folder that cannot be read, is damaged or has no pictures; labels as of [`Labels`]; `data.split = "test"` of data without
/// a test part.
pub fn list(config: &DataConfig) -> Result<Listing, DataError> {
    let path = config.required_path()?;
    let no_test = |what: &str| DataError::config("split", "test", format!("train: {what}"));
    let Some(archives) = Archives::at(path)? else {
        if config.split == Split::Test {
            return Err(no_test("a folder of pictures has no test part"));
        }
        let order = config.class_order.unwrap_or_default();
        let use_labels = config.n_classes != Some(0);
        return listing::list(path, order, use_labels, config.skip_bad);
    };
    let files = match config.split {
        Split::Train => &archives.train,
        Split::Test => &archives.test,
    };
    match (&files[..], config.split) {
        ([], Split::Test) => {
            let what = format!("{} has no test part", shown(path));
            return Err(no_test(&what));
        }
        ([], Split::Train) => {
            let expected = format!("test: {} has no part to train on", shown(path));
            return Err(DataError::config("split", "train", expected));
        }
        _ => {}
    }
    let found = match archives.format {
        Format::Tar => tar::list(files, config)?,
        Format::Npz => npz::list(files, config)?,
        Format::Cifar => cifar::list(files, config)?,
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::list(files, config)?,
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            let got = "a Parquet file, which this program was built without";
            let expected = "a program built with it: cargo build --release --features parquet";
            return Err(DataError::content(&files[0], got, expected));
        }
    };
    found.listing(archives.root, config)
}

/// The parts of the pictures at a path: archives may have two, a folder is to train on.
///
/// # Errors
/// A path that cannot be read.
pub fn splits(path: &Path) -> Result<Vec<Split>, DataError> {
    Ok(match Archives::at(path)? {
        None => vec![Split::Train],
        Some(archives) => {
            let parts = [
                (Split::Train, &archives.train),
                (Split::Test, &archives.test),
            ];
            let parts = parts.into_iter().filter(|part| !part.1.is_empty());
            parts.map(|part| part.0).collect()
        }
    })
}

/// Whether something is at a path or, for a pattern, at the first that it names.
pub fn is_there(path: &Path) -> bool {
    path.exists() || expand(path).is_ok_and(|paths| paths.is_some_and(|paths| paths[0].exists()))
}

/// Whether archives are at a path.
///
/// # Errors
/// As [`splits`].
pub fn is_archive(path: &Path) -> Result<bool, DataError> {
    Ok(Archives::at(path)?.is_some())
}

/// A format of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Tar,
    Npz,
    Cifar,
    Parquet,
}

impl Format {
    /// That of a file, by its name and, for the common names of CIFAR-100, the file beside it.
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        let is_batch = |name: &str| {
            let number = name.strip_prefix("data_batch_");
            let number = number.and_then(|name| name.strip_suffix(".bin"));
            name == "test_batch.bin" || number.is_some_and(|n| n.parse::<u32>().is_ok())
        };
        let has_names = || path.with_file_name(cifar::FINE_NAMES).is_file();
        match name.rsplit_once('.')?.1 {
            "tar" => Some(Format::Tar),
            "npz" => Some(Format::Npz),
            "parquet" => Some(Format::Parquet),
            "bin" if is_batch(&name) => Some(Format::Cifar),
            "bin" if ["train.bin", "test.bin"].contains(&&name[..]) && has_names() => {
                Some(Format::Cifar)
            }
            _ => None,
        }
    }
}

/// The archives at a path.
struct Archives {
    /// What the names of the pictures begin with: the path, or the folder of the files that a pattern names.
    root: PathBuf,
    format: Format,
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
}

impl Archives {
    /// Those at a path: one, a folder of them and nothing else, or the files of a pattern. `None` for anything else.
    fn at(path: &Path) -> Result<Option<Self>, DataError> {
        let (root, train, test) = if path.is_dir() {
            let Some((train, test)) = in_folder(path)? else {
                return Ok(None);
            };
            (path, train, test)
        } else if path.exists() {
            if Format::of(path).is_none() {
                return refuse_compressed(path).map(|()| None);
            }
            (path, vec![path.to_owned()], Vec::new())
        } else {
            let Some(files) = expand(path)? else {
                return Ok(None);
            };
            let n = count(files.len(), "file");
            if let Some(missing) = files.iter().find(|file| !file.exists()) {
                let expected = format!("the {n} of {}", shown(path));
                return Err(DataError::content(missing, "no such file", expected));
            }
            (path.parent().unwrap_or(path), files, Vec::new())
        };
        let mut formats = train
            .iter()
            .chain(&test)
            .map(|file| (file, Format::of(file)));
        let Some((file, Some(format))) = formats.next() else {
            return Ok(None);
        };
        if let Some((other, _)) = formats.find(|(_, other)| *other != Some(format)) {
            let got = format!("{} and {}", shown(file), shown(other));
            let expected = "archives of one format, or the path of one of them";
            return Err(DataError::content(path, got, expected));
        }
        // Reading a pipe would wait for a writer.
        let mut files = train.iter().chain(&test);
        if let Some(other) = files.find(|file| !file.is_file()) {
            let got = "a pipe, a device or a folder";
            return Err(DataError::content(other, got, "a regular file"));
        }
        let mut archives = Self {
            root: root.to_owned(),
            format,
            train,
            test,
        };
        if format == Format::Npz && archives.test.is_empty() {
            archives.test = npz::with_test(&archives.train)?;
        }
        Ok(Some(archives))
    }
}

/// The archives of a folder, to train on and to test with by their names; `None` if it has pictures or folders as well.
#[expect(clippy::type_complexity, reason = "a pair of lists, used once")]
fn in_folder(folder: &Path) -> Result<Option<(Vec<PathBuf>, Vec<PathBuf>)>, DataError> {
    let io_error = |e| DataError::io(folder, e);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_system(&name) {
            continue;
        }
        if is_image(&path) || path.is_dir() {
            return Ok(None);
        }
        if name == "data_batch_1" {
            let expected = "its binary version, data_batch_1.bin and so on";
            let got = "CIFAR's pickles for Python";
            return Err(DataError::content(folder, got, expected));
        }
        files.extend(Format::of(&path).map(|_| path));
    }
    if files.is_empty() {
        return Ok(None);
    }
    files.sort();
    let words = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let words = name.split(|c: char| !c.is_alphanumeric());
        words.map(str::to_lowercase).collect::<Vec<_>>()
    };
    let is = |path: &Path, known: &[&str]| {
        let words = words(path);
        words.iter().any(|word| known.contains(&&word[..]))
    };
    let (mut test, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| is(path, &["test"]));
    let (validation, train): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|path| is(path, &["val", "valid", "validation"]));
    if test.is_empty() {
        test = validation;
    }
    Ok(Some((train, test)))
}

/// Says of a compressed tar file why it is not read.
fn refuse_compressed(path: &Path) -> Result<(), DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let endings = [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"];
    match endings.iter().any(|ending| name.ends_with(ending)) {
        false => Ok(()),
        true => Err(DataError::content(
            path,
            "a compressed tar file",
            "a plain one (gunzip and the like), where pictures are read as they lie",
        )),
    }
}

/// The paths that a pattern such as `train-{000000..000009}.tar` names; `None` for a path without one.
fn expand(path: &Path) -> Result<Option<Vec<PathBuf>>, DataError> {
    let mut texts = vec![path.to_str().unwrap_or_default().to_owned()];
    let mut is_pattern = false;
    while let Some((before, range, after)) = braces(&texts[0]) {
        let refuse = |got: String| {
            let expected = format!("whole numbers from low to high, at most {MAX_FILES}");
            DataError::config("path", format!("{got} in {}", shown(path)), expected)
        };
        let (first, last) = range;
        let width = first.len();
        let numbers = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
        let numbers = numbers.filter(|(first, last)| first <= last);
        let (first, last) = numbers.ok_or_else(|| refuse(format!("{{{first}..{last}}}")))?;
        let n = (u128::from(last - first) + 1) * texts.len() as u128;
        if n > MAX_FILES as u128 {
            return Err(refuse(count(n.try_into().unwrap_or(usize::MAX), "file")));
        }
        let (n_before, end) = (before.len(), texts[0].len() - after.len());
        texts = texts
            .iter()
            .flat_map(|text| {
                let (before, after) = (&text[..n_before], &text[end..]);
                (first..=last).map(move |n| format!("{before}{n:0width$}{after}"))
            })
            .collect();
        is_pattern = true;
    }
    Ok(is_pattern.then(|| texts.into_iter().map(PathBuf::from).collect()))
}

/// What stands before the last `{A..B}` of a text, A and B, and what stands after it.
fn braces(text: &str) -> Option<(&str, (&str, &str), &str)> {
    let (before, rest) = text.rsplit_once('{')?;
    let (range, after) = rest.split_once('}')?;
    Some((before, range.split_once("..")?, after))
}

/// What a reader has found in archives.
struct Found {
    items: Vec<Item>,
    /// Labels by [`Item::path`]; empty without any.
    labels: HashMap<PathBuf, Label>,
    /// Names of the labels that are numbers, where they are known.
    names: Vec<String>,
    left_out: LeftOut,
    reader: Box<dyn Reader>,
}

impl Found {
    /// Numbers the classes: by label, else by the folders in the archives.
    fn listing(self, root: PathBuf, config: &DataConfig) -> Result<Listing, DataError> {
        let Found {
            mut items,
            labels,
            names,
            mut left_out,
            reader,
        } = self;
        if items.is_empty() {
            let got = match left_out.is_empty() {
                true => "no pictures".to_owned(),
                false => format!("no pictures, but {left_out}"),
            };
            let expected = "pictures (.png, .jpg, .jpeg, .webp)";
            return Err(DataError::content(&root, got, expected));
        }
        let (mut class_names, mut numbers) = (Vec::new(), None);
        let n_found = items.len();
        if config.n_classes == Some(0) {
            // Labels are ignored.
        } else if !labels.is_empty() {
            let labels = Labels::of(&root, labels);
            let labelled = labels.apply(&root, &mut items, config.skip_bad)?;
            left_out.unlabelled = n_found - items.len();
            class_names = labelled.names;
            if labelled.are_numbers {
                numbers = Some(labelled.source);
                if !names.is_empty() {
                    class_names = names;
                }
            }
        } else {
            class_names = tar::folders(&root, reader.archives(), &mut items, config)?;
        }
        if config.split == Split::Test && numbers.is_none() && !class_names.is_empty() {
            // A part to test with need not have every class of the data.
            let missing = config.classes.iter();
            let missing: Vec<_> = missing.filter(|name| !class_names.contains(name)).collect();
            class_names.extend(missing.into_iter().cloned());
        }
        Ok(Listing {
            root,
            files: items,
            source: Some(reader),
            class_names,
            numbers,
            empty: Vec::new(),
            left_out,
        })
    }
}

/// Reads the bytes of a picture from an archive.
fn read_bytes(archives: &[PathBuf], at: At) -> Result<Vec<u8>, String> {
    if at.bytes > MAX_FILE_BYTES {
        return Err(format!("more than {MAX_FILE_BYTES} bytes"));
    }
    let mut bytes = vec![0; at.bytes as usize];
    // Thousands of archives would exceed the open files of a process.
    let read = |bytes: &mut [u8]| -> io::Result<()> {
        let mut file = File::open(&archives[at.archive as usize])?;
        file.seek(SeekFrom::Start(at.first))?;
        file.read_exact(bytes)
    };
    match read(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests;
