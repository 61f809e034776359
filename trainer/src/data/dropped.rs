//! Files in memory: those dropped on a web page, where there are no folders to open.

use sit_engine::text::shown;
use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use zip::ZipArchive;

use super::decode::{Fit, decode, is_image};
use super::memory::InMemory;
use super::names::{LABEL_FILES, class_of_each, class_order, is_system};
use super::{BadFile, DataConfig, DataError, Kind, Split, classes, idx};

/// A file: its path inside what was dropped, with `/` between folders, and its content.
pub type File = (String, Arc<[u8]>);

/// Archives that unpack to more than this are refused.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// Bytes of a `.gz` file that are unpacked between two calls of `progress`.
const PIECE_BYTES: u64 = 1 << 18;

/// Opens files in memory as [`super::open`] opens a folder; `config.path` is their common name in messages.
///
/// `data.kind = "folder"` takes the images among them. Folders that all of them share are dropped; the first one after
/// that is an image's class, and without one the data is unconditional. `"idx"` takes the pair of IDX files, by name. The
/// embedded digits need no files. `progress` is awaited after each image with (images decoded, images in all), so that a page
/// may draw in between.
///
/// # Errors
/// Any [`DataError`]: invalid or unused keys, no images, images that cannot be decoded, corrupt IDX files.
pub async fn open_files(
    config: &DataConfig,
    files: &[File],
    progress: impl AsyncFn(usize, usize),
) -> Result<InMemory, DataError> {
    config.check()?;
    match config.kind {
        kind @ (Kind::Digits | Kind::Latents | Kind::Toy) => {
            Err(DataError::config("kind", kind, "folder or idx"))
        }
        Kind::Folder => images(config, files, progress).await,
        Kind::Idx => pair(config, files),
    }
}

/// Replaces a `.zip` file by the files in it and unpacks `.gz` files. Other files stay as they are, and so does a corrupt `.gz`
/// file: its reader reports the error. `progress` is awaited after each file and each piece of a `.gz` file.
///
/// # Errors
/// [`DataError::Content`] for an archive that is corrupt or too large.
pub async fn unpack(
    files: Vec<File>,
    progress: impl AsyncFn(usize, usize),
) -> Result<Vec<File>, DataError> {
    let mut unpacked = Vec::new();
    let n_files = files.len();
    for (i, (name, bytes)) in files.into_iter().enumerate() {
        let is = |ending: &str| {
            let extension = Path::new(&name).extension();
            extension.is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
        };
        if is("zip") {
            unpack_one(Path::new(&name), &bytes, &mut unpacked, &progress).await?;
        } else if is("gz") {
            let content = inflate(&bytes, async || progress(i, n_files).await).await;
            unpacked.push((name, content.map_or(bytes, Arc::from)));
        } else {
            unpacked.push((name, bytes));
        }
    }
    Ok(unpacked)
}

/// The content of a `.gz` file; `None` if it is corrupt or too large.
async fn inflate(bytes: &[u8], progress: impl AsyncFn()) -> Option<Vec<u8>> {
    let (mut stream, mut content) = (GzDecoder::new(bytes), Vec::new());
    loop {
        let piece = (&mut stream).take(PIECE_BYTES).read_to_end(&mut content);
        if piece.ok()? == 0 {
            return Some(content);
        }
        if content.len() as u64 > MAX_UNPACKED_BYTES {
            return None;
        }
        progress().await;
    }
}

async fn unpack_one(
    path: &Path,
    bytes: &[u8],
    files: &mut Vec<File>,
    progress: &impl AsyncFn(usize, usize),
) -> Result<(), DataError> {
    let refuse = |got: String| DataError::content(path, got, "a whole zip archive");
    let bad = |e: zip::result::ZipError| refuse(e.to_string());
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(bad)?;
    let (n_files, mut left) = (archive.len(), MAX_UNPACKED_BYTES);
    for i in 0..n_files {
        let file = archive.by_index(i).map_err(bad)?;
        let name = file.name().map_err(bad)?.into_owned();
        if file.is_dir() {
            continue;
        }
        let mut bytes = Vec::new();
        let n = file.take(left + 1).read_to_end(&mut bytes);
        let n = n.map_err(|e| refuse(format!("{name} that cannot be unpacked ({e})")))? as u64;
        left = left.checked_sub(n).ok_or_else(|| {
            let got = format!("more than {MAX_UNPACKED_BYTES} bytes");
            DataError::content(path, got, "less in an archive")
        })?;
        files.push((name, bytes.into()));
        progress(i + 1, n_files).await;
    }
    Ok(())
}

fn pair(config: &DataConfig, files: &[File]) -> Result<InMemory, DataError> {
    let root = config.required_path()?;
    let split = match config.split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let find = |what: &str| {
        let named: Vec<&File> = files.iter().filter(|f| f.0.contains(what)).collect();
        let of_split = named.iter().find(|f| f.0.contains(split));
        match (of_split, &named[..]) {
            (Some(file), _) | (None, [file]) => Ok((Path::new(&file.0), &file.1[..])),
            _ => Err(DataError::content(
                root,
                format!("{} files called {what}", named.len()),
                format!("{split}-{what}-ubyte or {split}-{what}-ubyte.gz"),
            )),
        }
    };
    let name = shown(root);
    let data = idx::parse(&name, find("images")?, find("labels")?, 255)?;
    idx::finish(data, config)
}

/// The images among the files, in order, without hidden files, system files and files of run folders.
pub(super) fn images_of(files: &[File]) -> Vec<&File> {
    let run_folders: Vec<&str> = files
        .iter()
        .filter_map(|(name, _)| {
            let (folder, file) = name.rsplit_once('/')?;
            ["metrics.jsonl", "state.json"]
                .contains(&file)
                .then_some(folder)
        })
        .collect();
    let is_of_run = |name: &str| {
        let below = |folder: &&str| {
            name.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        run_folders.iter().any(below)
    };
    let is_data = |name: &str| !name.split('/').any(is_system) && !is_of_run(name);
    let mut files: Vec<&File> = files
        .iter()
        .filter(|(name, _)| is_image(Path::new(name)) && is_data(name))
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

async fn images(
    config: &DataConfig,
    files: &[File],
    progress: impl AsyncFn(usize, usize),
) -> Result<InMemory, DataError> {
    let root = config.required_path()?;
    refuse_labels(config, root, files)?;
    let files = images_of(files);
    let class_of = class_of_each(files.iter().map(|file| &file.0[..]));
    let found: BTreeSet<Option<&str>> = class_of.iter().copied().collect();
    let expected = "images (.png, .jpg, .jpeg, .webp), or one folder of them per class";
    if files.is_empty() || found.len() > 1 && found.contains(&None) {
        let got = match files.len() {
            0 => "no images".to_owned(),
            n => format!("{n} images, some in folders and some not"),
        };
        return Err(DataError::content(root, got, expected));
    }
    let mut folders: Vec<String> = found.into_iter().flatten().map(str::to_owned).collect();
    let order = config.class_order.unwrap_or_default();
    let compare = class_order(order, folders.iter().map(|name| &name[..]));
    folders.sort_by(|a, b| compare(a, b));
    let (classes, labels_of) = classes::of_folders(root, folders.clone(), config)?;

    let fit = Fit::new(config)?;
    let (mut levels, mut labels, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (name, bytes)) in files.iter().enumerate() {
        match decode(Path::new(name), Ok(Cursor::new(bytes)), fit.rules) {
            Err(file) => bad.push(file),
            Ok(image) => {
                let start = levels.len();
                levels.resize(start + fit.bytes(), 0);
                fit.levels(image, &mut levels[start..]);
                let folder =
                    class_of[i].and_then(|class| folders.iter().position(|name| name == class));
                let label = folder.and_then(|folder| labels_of.get(folder));
                labels.push(label.copied().unwrap_or(0));
            }
        }
        progress(i + 1, files.len()).await;
    }
    refuse_bad(bad, files.len(), config.skip_bad)?;
    Ok(InMemory {
        name: shown(root),
        source: root.to_owned(),
        labels_source: PathBuf::from(root),
        shape: [fit.channels, fit.image_size, fit.image_size],
        max_level: 255,
        levels,
        labels,
        n_classes: classes.n,
        class_names: classes.names,
        first_label: None,
        transpose: None,
    })
}

/// Refuses data with a file of labels: its folders are not classes.
fn refuse_labels(config: &DataConfig, root: &Path, files: &[File]) -> Result<(), DataError> {
    let has_labels = |(name, bytes): &&File| {
        let name = name.rsplit('/').next().unwrap_or(name);
        // StyleGAN writes null if there are no labels.
        let has_some = || {
            let json = String::from_utf8_lossy(bytes);
            json.split_once("\"labels\"").is_some_and(|(_, rest)| {
                let value = rest.trim_start().trim_start_matches(':');
                !value.trim_start().starts_with("null")
            })
        };
        LABEL_FILES.contains(&name) && (name != "dataset.json" || has_some())
    };
    match files.iter().find(has_labels) {
        Some((name, _)) if config.n_classes != Some(0) => Err(DataError::content(
            root,
            format!(
                "the labels of {}, which are read from folders alone",
                shown(name)
            ),
            "the unpacked folder, a folder for each class in it, or no classes (data.n_classes = 0)",
        )),
        _ => Ok(()),
    }
}

fn refuse_bad(bad: Vec<BadFile>, n_images: usize, skip_bad: bool) -> Result<(), DataError> {
    if bad.is_empty() || skip_bad && bad.len() < n_images {
        return Ok(());
    }
    Err(DataError::BadImages { bad, n_images })
}

#[cfg(test)]
mod tests;
