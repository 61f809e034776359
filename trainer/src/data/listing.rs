//! Which files of a folder are images, and the class of each.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

use super::decode::is_image;
use super::item::{Item, Source};
use super::labels::Labels;
use super::names::{class_order, is_system};
use super::{ClassOrder, DataError};
use sit_engine::text::{count, shown};

const EXPECTED: &str = "images (.png, .jpg, .jpeg, .webp), or one folder of them per class";

/// The pictures below a folder, or in archives.
pub struct Listing {
    /// The folder or archive whose name the names of the pictures begin with.
    pub root: PathBuf,
    /// In order: by class, then by path; those of archives as they lie there.
    pub files: Vec<Item>,
    /// How they are read.
    pub source: Source,
    /// The subfolders' names in order, or the names in a file of labels; empty for a flat folder without one.
    pub class_names: Vec<String>,
    /// The file whose numbers are the labels, if the classes do not come from folders.
    pub numbers: Option<PathBuf>,
    /// Class folders without an image; they have no number.
    pub empty: Vec<PathBuf>,
    /// What is not an image.
    pub left_out: LeftOut,
}

/// Entries of a folder of images that are not images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Files of other formats by extension in lower case; the empty one for files without.
    pub formats: BTreeMap<String, usize>,
    /// Hidden entries and those that operating systems create: `.DS_Store`, `__MACOSX`, `Thumbs.db`, `desktop.ini`, `@eaDir`.
    pub system: usize,
    /// Images that a file of labels does not name.
    pub unlabelled: usize,
    /// Pipes, sockets and devices.
    pub special: usize,
    /// Links in an archive to another of its entries.
    pub entry_links: usize,
    /// Run folders.
    pub runs: Vec<PathBuf>,
    /// Links to a folder that contains the link, or that the class already contains.
    pub links: Vec<PathBuf>,
}

impl LeftOut {
    /// Adds what another part of the data has.
    pub fn add(&mut self, other: Self) {
        for (format, n) in other.formats {
            *self.formats.entry(format).or_default() += n;
        }
        self.system += other.system;
        self.unlabelled += other.unlabelled;
        self.special += other.special;
        self.entry_links += other.entry_links;
        self.runs.extend(other.runs);
        self.links.extend(other.links);
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Display for LeftOut {
    /// `3 .gif, 2 .heic, 1 run folder (runs/one)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let mut formats: Vec<_> = self.formats.iter().collect();
        formats.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let mut parts: Vec<String> = formats
            .iter()
            .take(SHOWN)
            .map(|(extension, n)| match &extension[..] {
                "" => format!("{n} without extension"),
                extension => format!("{n} .{extension}"),
            })
            .collect();
        if formats.len() > SHOWN {
            let rest: usize = formats[SHOWN..].iter().map(|(_, n)| **n).sum();
            parts.push(format!("{rest} of {} other formats", formats.len() - SHOWN));
        }
        if self.system > 0 {
            parts.push(format!("{} hidden or of the system", self.system));
        }
        if self.unlabelled > 0 {
            parts.push(format!(
                "{} without a label",
                count(self.unlabelled, "image")
            ));
        }
        if self.special > 0 {
            let n = self.special;
            parts.push(format!(
                "{n} that {} no file",
                if n == 1 { "is" } else { "are" }
            ));
        }
        if self.entry_links > 0 {
            parts.push(count(self.entry_links, "link"));
        }
        let mut paths = |paths: &[PathBuf], one: &str, many: &str| {
            if let Some(first) = paths.first() {
                let what = if paths.len() == 1 { one } else { many };
                let more = if paths.len() == 1 { "" } else { ", ..." };
                parts.push(format!("{} {what} ({}{more})", paths.len(), shown(first)));
            }
        };
        paths(&self.runs, "run folder", "run folders");
        let link = [
            "link to a folder listed already",
            "links to folders listed already",
        ];
        paths(&self.links, link[0], link[1]);
        f.write_str(&parts.join(", "))
    }
}

/// Lists the PNG, JPEG and WebP files (by extension) of `root`. Classes come from a file of labels if there is one and `use_labels`
/// is set, else from the subfolders with images. `skip_bad` leaves out images without a label.
///
/// Links are followed, but a folder counts once per class, and never if it contains the link. Run folders are left out.
///
/// # Errors
/// [`DataError`] if a folder cannot be read or holds no images, or `root` holds both images and class folders.
pub fn list(
    root: &Path,
    order: ClassOrder,
    use_labels: bool,
    skip_bad: bool,
) -> Result<Listing, DataError> {
    let metadata = fs::metadata(root).map_err(|source| DataError::io(root, source))?;
    if !metadata.is_dir() {
        let got = if metadata.is_file() {
            "a file"
        } else {
            "a pipe or device"
        };
        return Err(DataError::content(
            root,
            got,
            format!("a folder with {EXPECTED}"),
        ));
    }
    let mut walk = Walk {
        root: fs::canonicalize(root).map_err(|source| DataError::io(root, source))?,
        seen: HashSet::new(),
        left_out: LeftOut::default(),
    };
    let labels = if use_labels {
        Labels::read(root)?
    } else {
        None
    };
    if let Some(labels) = labels {
        let mut files = Vec::new();
        walk.inside(root, 0, &mut files)?;
        let n_found = files.len();
        let labelled = labels.apply(root, &mut files, skip_bad)?;
        walk.left_out.unlabelled = n_found - files.len();
        tracing::info!("labels are those of {}", shown(&labelled.source));
        return Ok(Listing {
            root: root.to_owned(),
            files,
            source: None,
            class_names: labelled.names,
            numbers: labelled.are_numbers.then_some(labelled.source),
            empty: Vec::new(),
            left_out: walk.left_out,
        });
    }
    let (flat, mut folders) = walk.entries(root)?;
    sort_classes(&mut folders, order);
    let mut listing = Listing {
        root: root.to_owned(),
        files: flat.into_iter().map(|path| Item::file(path, 0)).collect(),
        source: None,
        class_names: Vec::new(),
        numbers: None,
        empty: Vec::new(),
        left_out: LeftOut::default(),
    };
    let n_flat = listing.files.len();
    for folder in folders {
        walk.seen.clear();
        let (first, n_runs) = (listing.files.len(), walk.left_out.runs.len());
        let n_links = walk.left_out.links.len();
        let label = listing.class_names.len() as u32;
        walk.folder(&folder, label, &mut listing.files)?;
        if listing.files.len() > first {
            let name = folder.file_name().unwrap_or_default();
            listing.class_names.push(shown(Path::new(name)));
        } else if walk.left_out.runs.len() == n_runs && walk.left_out.links.len() == n_links {
            listing.empty.push(folder);
        }
    }
    let n_folders = listing.class_names.len();
    if n_flat > 0 && n_folders > 0 {
        let got = format!(
            "both {} and {} of images",
            count(n_flat, "image"),
            count(n_folders, "folder")
        );
        return Err(DataError::content(root, got, EXPECTED));
    }
    listing.left_out = walk.left_out;
    if listing.files.is_empty() {
        let got = match &listing.left_out {
            nothing if nothing.is_empty() => "no images".to_owned(),
            left_out => format!("no images, but {left_out}"),
        };
        return Err(DataError::content(root, got, EXPECTED));
    }
    if n_flat > 0 {
        listing.empty.clear();
    }
    Ok(listing)
}

/// Refuses class folders without images, or says that they are left out.
///
/// # Errors
/// [`DataError::Content`] unless `skip_bad`.
pub fn refuse_empty(root: &Path, empty: &[PathBuf], skip_bad: bool) -> Result<(), DataError> {
    let Some(first) = empty.first() else {
        return Ok(());
    };
    let names: Vec<String> = empty.iter().map(shown).collect();
    if skip_bad {
        let names = names.join(", ");
        tracing::warn!(
            "{}: left out class folders without images: {names}",
            shown(root)
        );
        return Ok(());
    }
    let more = match &names[1..] {
        [] => String::new(),
        others => format!(" (nor in {})", others.join(", ")),
    };
    Err(DataError::content(
        first,
        format!("no images{more}"),
        "at least one image (.png, .jpg, .jpeg, .webp) per class; data.skip_bad = true (or --skip-bad) leaves such folders out",
    ))
}

/// Sorts class folders by name.
fn sort_classes(folders: &mut [PathBuf], order: ClassOrder) {
    let name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let names: Vec<String> = folders.iter().map(name).collect();
    let compare = class_order(order, names.iter().map(|name| &name[..]));
    // Names that are not UTF-8 may have the same text; then the path decides.
    folders.sort_by(|a, b| compare(&name(a), &name(b)).then_with(|| a.cmp(b)));
}

struct Walk {
    root: PathBuf,
    /// The folders of this class so far, links resolved.
    seen: HashSet<PathBuf>,
    left_out: LeftOut,
}

impl Walk {
    fn folder(
        &mut self,
        folder: &Path,
        label: u32,
        files: &mut Vec<Item>,
    ) -> Result<(), DataError> {
        let real = fs::canonicalize(folder).map_err(|source| DataError::io(folder, source))?;
        if self.root.starts_with(&real) || !self.seen.insert(real) {
            self.left_out.links.push(folder.to_owned());
            return Ok(());
        }
        if is_run(folder) {
            self.left_out.runs.push(folder.to_owned());
            return Ok(());
        }
        self.inside(folder, label, files)
    }

    fn inside(
        &mut self,
        folder: &Path,
        label: u32,
        files: &mut Vec<Item>,
    ) -> Result<(), DataError> {
        let (images, folders) = self.entries(folder)?;
        files.extend(images.into_iter().map(|path| Item::file(path, label)));
        folders
            .iter()
            .try_for_each(|folder| self.folder(folder, label, files))
    }

    /// The images and the folders in `folder`, each sorted by name.
    fn entries(&mut self, folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
        let io_error = |source| DataError::io(folder, source);
        let (mut images, mut folders) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(io_error)? {
            let path = entry.map_err(io_error)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // The type of a link's target. A broken link named like an image is listed, so that it is reported as unreadable.
            let kind = fs::metadata(&path).map(|metadata| metadata.file_type());
            let is_folder = kind.as_ref().is_ok_and(|kind| kind.is_dir());
            if is_system(&name) {
                self.left_out.system += 1;
            } else if is_folder {
                folders.push(path);
            } else if kind.is_ok_and(|kind| !kind.is_file()) {
                self.left_out.special += 1;
            } else if is_image(&path) {
                images.push(path);
            } else {
                let extension = path.extension().unwrap_or_default();
                let extension = shown(Path::new(&extension.to_ascii_lowercase()));
                *self.left_out.formats.entry(extension).or_default() += 1;
            }
        }
        images.sort();
        folders.sort();
        Ok((images, folders))
    }
}

/// Whether `folder` is a run's: it holds metrics, a state, or a configuration with the tables of one.
fn is_run(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    if has("metrics.jsonl") || has("state.json") {
        return true;
    }
    if has("config.toml") {
        // A run that was killed before its first metrics has only this file.
        let tables = fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
        return tables.contains("[model]") && tables.contains("[data]");
    }
    let is_step = |name: &str| {
        let digits = name.strip_prefix("step-").unwrap_or_default();
        digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| {
        is_step(&entry.file_name().to_string_lossy()) && entry.path().join("state.json").is_file()
    })
}

#[cfg(test)]
mod tests;
