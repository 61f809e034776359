//! A folder of images: one subfolder per class, or flat for unconditional data.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::decode::{Fit, decode, is_image};
use super::labels::Labels;
use super::{BadFile, DataConfig, DataError, Dataset, Progress, classes, scale};

/// The image files below a folder.
pub struct Listing {
    /// In order: by class, then by path.
    pub files: Vec<(PathBuf, u32)>,
    /// The subfolders' names in order, or the names in a file of labels; empty for a flat folder without one.
    pub class_names: Vec<String>,
    /// The file whose numbers the labels are, if it is not the folders that make the classes.
    pub numbers: Option<PathBuf>,
    /// The number of other files and hidden entries.
    pub n_ignored: usize,
}

/// Lists the PNG, JPEG and WebP files (by extension) of `root`; classes are those of a file of labels, else its subfolders sorted by
/// name. `skip_bad` goes on without the images that have no label.
///
/// # Errors
/// [`DataError`] if a folder cannot be read or is empty, or `root` holds both images and class folders.
pub fn list(root: &Path, use_labels: bool, skip_bad: bool) -> Result<Listing, DataError> {
    const EXPECTED: &str = "images (.png, .jpg, .jpeg, .webp), or one folder of them per class";
    if !fs::metadata(root)
        .map_err(|source| DataError::io(root, source))?
        .is_dir()
    {
        return Err(DataError::content(
            root,
            "a file",
            format!("a folder with {EXPECTED}"),
        ));
    }
    let mut n_ignored = 0;
    let labels = match use_labels {
        true => Labels::read(root)?,
        false => None,
    };
    if let Some(labels) = labels {
        let mut files = Vec::new();
        walk(root, 0, &mut files, &mut n_ignored)?;
        let labelled = labels.apply(root, &mut files, skip_bad)?;
        tracing::info!("labels are those of {}", labelled.source.display());
        return Ok(Listing {
            files,
            class_names: labelled.names,
            numbers: labelled.are_numbers.then_some(labelled.source),
            n_ignored,
        });
    }
    let (mut flat, class_folders) = entries(root, &mut n_ignored)?;
    if !flat.is_empty() && !class_folders.is_empty() {
        let got = format!(
            "both {} images and {} folders",
            flat.len(),
            class_folders.len()
        );
        return Err(DataError::content(root, got, EXPECTED));
    }
    let mut files: Vec<_> = flat.drain(..).map(|path| (path, 0)).collect();
    let mut class_names = Vec::new();
    for (label, folder) in (0..).zip(&class_folders) {
        let first = files.len();
        walk(folder, label, &mut files, &mut n_ignored)?;
        if files.len() == first {
            return Err(DataError::content(
                folder,
                "no images",
                "at least one image (.png, .jpg, .jpeg, .webp) per class",
            ));
        }
        class_names.extend(
            folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    if files.is_empty() {
        return Err(DataError::content(
            root,
            format!("no images, {n_ignored} other files"),
            EXPECTED,
        ));
    }
    Ok(Listing {
        files,
        class_names,
        numbers: None,
        n_ignored,
    })
}

fn walk(
    folder: &Path,
    label: u32,
    files: &mut Vec<(PathBuf, u32)>,
    n_ignored: &mut usize,
) -> Result<(), DataError> {
    let (images, folders) = entries(folder, n_ignored)?;
    files.extend(images.into_iter().map(|path| (path, label)));
    folders
        .iter()
        .try_for_each(|folder| walk(folder, label, files, n_ignored))
}

/// The images and the folders in `folder`, each sorted by name.
fn entries(
    folder: &Path,
    n_ignored: &mut usize,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let io_error = |source| DataError::io(folder, source);
    let (mut images, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            *n_ignored += 1;
        } else if path.is_dir() {
            folders.push(path);
        } else if is_image(&path) {
            images.push(path);
        } else {
            *n_ignored += 1;
        }
    }
    images.sort();
    folders.sort();
    Ok((images, folders))
}

/// The images of a folder, resized and cropped to one size.
pub struct Folder {
    name: String,
    files: Vec<(PathBuf, u32)>,
    class_names: Vec<String>,
    n_classes: usize,
    /// The label of class 0, where labels are numbers and it is not 0.
    first_label: Option<u32>,
    fit: Fit,
    /// `[N, C, H, W]`, if it fits in the budget.
    cache: Option<Vec<u8>>,
}

impl Folder {
    /// Lists the folder and decodes every image once, in parallel, keeping the results if they fit in the cache.
    ///
    /// # Errors
    /// Those of [`list`]; [`DataError::BadImages`] with every bad file, unless `skip_bad`, which warns of each.
    pub fn open(config: &DataConfig, progress: Progress) -> Result<Self, DataError> {
        let root = config.required_path()?;
        let mut listing = list(root, config.n_classes != Some(0), config.skip_bad)?;
        let numbered = match listing.numbers {
            Some(source) => {
                let mut labels: Vec<u32> = listing.files.iter().map(|file| file.1).collect();
                let numbered = classes::number(&mut labels, Vec::new(), config, &source)?;
                for (file, label) in listing.files.iter_mut().zip(labels) {
                    file.1 = label;
                }
                numbered
            }
            None => {
                let (numbered, labels) = classes::of_folders(root, listing.class_names, config)?;
                for file in &mut listing.files {
                    file.1 = labels.get(file.1 as usize).copied().unwrap_or(0);
                }
                numbered
            }
        };
        let mut folder = Self {
            name: root.display().to_string(),
            files: listing.files,
            class_names: numbered.names,
            n_classes: numbered.n,
            first_label: numbered.first_label,
            fit: Fit::new(config)?,
            cache: None,
        };
        if listing.n_ignored > 0 {
            tracing::info!(
                "{}: ignored {} files that are not PNG, JPEG or WebP, or hidden",
                folder.name,
                listing.n_ignored
            );
        }
        let cache_bytes = config.cache_mib.unwrap_or(1024).saturating_mul(1 << 20);
        let bad = folder.check(cache_bytes, progress);
        if !bad.is_empty() {
            folder.skip(bad, config.skip_bad)?;
        }
        Ok(folder)
    }

    /// Decodes every file, fills the cache if it fits, and returns the bad files with their indices.
    fn check(&mut self, cache_bytes: u64, progress: Progress) -> Vec<(usize, BadFile)> {
        let image_bytes = self.fit.bytes();
        let n_files = self.files.len();
        let total_bytes = n_files as u64 * image_bytes as u64;
        let mut cache = (total_bytes <= cache_bytes).then(|| vec![0; n_files * image_bytes]);
        let n_done = AtomicUsize::new(0);
        let check = |index: usize, levels: &mut [u8]| {
            let result = self.load(index, levels);
            progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, n_files);
            result.err().map(|bad| (index, bad))
        };
        let bad = match &mut cache {
            Some(cache) => {
                let slots = cache.par_chunks_exact_mut(image_bytes).enumerate();
                slots
                    .filter_map(|(index, levels)| check(index, levels))
                    .collect()
            }
            None => {
                let files = (0..n_files).into_par_iter();
                files
                    .map_init(
                        || vec![0; image_bytes],
                        |levels, index| check(index, levels),
                    )
                    .flatten()
                    .collect()
            }
        };
        self.cache = cache;
        bad
    }

    /// Drops the bad files, or fails with them.
    fn skip(&mut self, bad: Vec<(usize, BadFile)>, skip_bad: bool) -> Result<(), DataError> {
        let n_images = self.files.len();
        if !skip_bad || bad.len() == n_images {
            return Err(DataError::BadImages {
                bad: bad.into_iter().map(|(_, bad)| bad).collect(),
                n_images,
            });
        }
        tracing::warn!("{}: skipped {} of {n_images} images", self.name, bad.len());
        let mut is_good = vec![true; n_images];
        for (index, bad) in bad {
            tracing::warn!("skipped {bad}");
            is_good[index] = false;
        }
        let image_bytes = self.fit.bytes();
        if let Some(cache) = &mut self.cache {
            let good = (0..n_images).filter(|&index| is_good[index]);
            for (slot, index) in good.enumerate() {
                cache.copy_within(
                    index * image_bytes..(index + 1) * image_bytes,
                    slot * image_bytes,
                );
            }
        }
        let mut is_good = is_good.into_iter();
        self.files.retain(|_| is_good.next() == Some(true));
        Ok(())
    }

    /// Decodes, resizes and crops one file into `[C, H, W]` levels.
    fn load(&self, index: usize, levels: &mut [u8]) -> Result<(), BadFile> {
        let path = &self.files[index].0;
        let image = decode(path, File::open(path).map(BufReader::new))?;
        self.fit.levels(image, levels);
        Ok(())
    }
}

impl Dataset for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn shape(&self) -> [usize; 3] {
        [self.fit.channels, self.fit.image_size, self.fit.image_size]
    }

    fn max_level(&self) -> u8 {
        255
    }

    fn n_classes(&self) -> usize {
        self.n_classes
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn resolve(&self, config: &mut DataConfig) {
        config.n_classes = Some(self.n_classes);
        config.classes.clone_from(&self.class_names);
        config.first_label = self.first_label;
    }

    fn label(&self, index: usize) -> u32 {
        self.files[index].1
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        let image_bytes = self.fit.bytes();
        if let Some(cache) = &self.cache {
            scale(&cache[index * image_bytes..][..image_bytes], 255, image);
            return Ok(());
        }
        let mut levels = vec![0; image_bytes];
        self.load(index, &mut levels).map_err(DataError::Changed)?;
        scale(&levels, 255, image);
        Ok(())
    }

    fn item_name(&self, index: usize) -> String {
        self.files[index].0.display().to_string()
    }
}

#[cfg(test)]
mod tests;
