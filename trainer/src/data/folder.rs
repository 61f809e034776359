//! Pictures: a folder of them, one subfolder per class or flat for unconditional data, or archives.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::archive::list;
use super::decode::Fit;
use super::disk::{self, Cache};
use super::item::{Item, Source, load};
use super::listing::refuse_empty;
use super::{BadFile, DataConfig, DataError, Dataset, Progress, classes, scale};
use sit_engine::text::{count, shown};

/// The images of a folder or of archives, resized and cropped to one size.
pub struct Folder {
    name: String,
    files: Vec<Item>,
    source: Source,
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
    /// Memory: at most `data.cache_mib` for what is kept, and for each thread the image that it decodes (see [`decode`]).
    ///
    /// # Errors
    /// Those of [`list`]; [`DataError::BadImages`] with every bad file, unless `skip_bad`, which warns of each.
    pub fn open(config: &DataConfig, progress: Progress) -> Result<Self, DataError> {
        let place = disk::place().filter(|_| config.disk_cache.unwrap_or(true));
        Self::open_with(config, progress, |folder, root| {
            // What is pixels already is read as fast from its archive.
            let decodes = folder
                .source
                .as_ref()
                .is_none_or(|reader| reader.has_files());
            let place = place.filter(|_| decodes)?;
            Some(Cache::new(
                &place,
                root,
                &folder.fit,
                &folder.files,
                &folder.source,
            ))
        })
    }

    fn open_with(
        config: &DataConfig,
        progress: Progress,
        disk: impl FnOnce(&Self, &Path) -> Option<Cache>,
    ) -> Result<Self, DataError> {
        let listing = list(config)?;
        let root = &listing.root;
        refuse_empty(root, &listing.empty, config.skip_bad)?;
        let mut folder = Self {
            name: shown(root),
            files: listing.files,
            source: listing.source,
            class_names: listing.class_names,
            n_classes: 0,
            first_label: None,
            fit: Fit::new(config)?,
            cache: None,
        };
        if !config.skip_bad {
            // Report errors in the classes before the images are decoded, which may take long.
            folder.number(config, listing.numbers.as_deref())?;
        }
        if !listing.left_out.is_empty() {
            tracing::info!("{}: left out {}", folder.name, listing.left_out);
        }
        let cache_bytes = config.cache_mib.unwrap_or(1024).saturating_mul(1 << 20);
        let disk = disk(&folder, root);
        let bad = folder.check(cache_bytes, disk.as_ref(), progress);
        if !bad.is_empty() {
            folder.skip(bad, config.skip_bad, listing.numbers.is_some())?;
        }
        if config.skip_bad {
            folder.number(config, listing.numbers.as_deref())?;
        }
        if folder.cache.is_some() {
            // What an archive was unpacked to is not needed any more.
            folder.source = None;
        }
        Ok(folder)
    }

    /// Turns the labels, of folders or of the file `numbers`, into classes.
    fn number(&mut self, config: &DataConfig, numbers: Option<&Path>) -> Result<(), DataError> {
        let numbered = if let Some(source) = numbers {
            let mut labels: Vec<u32> = self.files.iter().map(|file| file.label).collect();
            let numbered = if classes::are_numbers(&self.class_names) {
                classes::number(&mut labels, Vec::new(), config, source)?
            } else {
                // The names say how many classes there are.
                let names = std::mem::take(&mut self.class_names);
                let n = names.len().max(config.classes.len());
                let config = DataConfig {
                    n_classes: config.n_classes.or(Some(n)),
                    first_label: config.first_label.or(Some(0)),
                    ..config.clone()
                };
                let mut numbered = classes::number(&mut labels, names, &config, source)?;
                numbered.first_label = numbered.first_label.filter(|first| *first > 0);
                numbered
            };
            for (file, label) in self.files.iter_mut().zip(labels) {
                file.label = label;
            }
            numbered
        } else {
            let found = std::mem::take(&mut self.class_names);
            let root = config.required_path()?;
            let (numbered, labels) = classes::of_folders(root, found, config)?;
            for file in &mut self.files {
                file.label = labels.get(file.label as usize).copied().unwrap_or(0);
            }
            numbered
        };
        self.class_names = numbered.names;
        self.n_classes = numbered.n;
        self.first_label = numbered.first_label;
        Ok(())
    }

    /// Decodes every file that the disk cache does not have, fills the memory cache if it fits, and returns the bad files by index.
    fn check(
        &mut self,
        cache_bytes: u64,
        disk: Option<&Cache>,
        progress: Progress,
    ) -> Vec<(usize, BadFile)> {
        let image_bytes = self.fit.bytes();
        let n_files = self.files.len();
        let total_bytes = n_files as u64 * image_bytes as u64;
        let n_done = AtomicUsize::new(0);
        let tell = || progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, n_files);
        let check = |index: usize, levels: &mut [u8]| {
            let result = self.load(index, levels);
            tell();
            result.err().map(|bad| (index, bad))
        };
        if total_bytes > cache_bytes {
            let files = (0..n_files).into_par_iter();
            return files
                .map_init(
                    || vec![0; image_bytes],
                    |levels, index| check(index, levels),
                )
                .flatten()
                .collect();
        }
        let mut cache = vec![0; n_files * image_bytes];
        let mut found = match disk {
            Some(disk) => disk.read(&mut cache),
            None => vec![false; n_files],
        };
        let slots = cache.par_chunks_exact_mut(image_bytes).zip(&found);
        let bad: Vec<_> = slots
            .enumerate()
            .filter_map(|(index, (levels, &is_found))| {
                if is_found {
                    tell();
                    return None;
                }
                check(index, levels)
            })
            .collect();
        if let Some(disk) = disk
            && n_files - found.iter().filter(|&&found| found).count() > bad.len()
        {
            found.fill(true);
            bad.iter().for_each(|&(index, _)| found[index] = false);
            disk.write(&cache, &found);
        }
        self.cache = Some(cache);
        bad
    }

    /// Drops the bad files, and classes that are left without an image, or fails with the bad files.
    fn skip(
        &mut self,
        bad: Vec<(usize, BadFile)>,
        skip_bad: bool,
        classes_are_numbers: bool,
    ) -> Result<(), DataError> {
        let n_images = self.files.len();
        if !skip_bad || bad.len() == n_images {
            return Err(DataError::BadImages {
                bad: bad.into_iter().map(|(_, bad)| bad).collect(),
                n_images,
            });
        }
        tracing::warn!(
            "{}: skipped {} of {}",
            self.name,
            bad.len(),
            count(n_images, "image")
        );
        let mut is_good = vec![true; n_images];
        const SHOWN: usize = 20;
        for (number, (index, bad)) in bad.iter().enumerate() {
            is_good[*index] = false;
            if number < SHOWN {
                tracing::warn!("skipped {bad}");
            }
        }
        if bad.len() > SHOWN {
            let more = count(bad.len() - SHOWN, "more image");
            tracing::warn!("skipped {more}; sit data inspect names them all");
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
        if !classes_are_numbers {
            self.drop_empty_classes();
        }
        Ok(())
    }

    fn drop_empty_classes(&mut self) {
        if self.class_names.is_empty() {
            return;
        }
        let mut has_images = vec![false; self.class_names.len()];
        for item in &self.files {
            if let Some(has_images) = has_images.get_mut(item.label as usize) {
                *has_images = true;
            }
        }
        let names = std::mem::take(&mut self.class_names);
        let mut new_label = Vec::new();
        for (name, has_images) in names.into_iter().zip(has_images) {
            new_label.push(self.class_names.len() as u32);
            if has_images {
                self.class_names.push(name);
            } else {
                tracing::warn!(
                    "{}: left out class {name}, no image of it can be read",
                    self.name
                );
            }
        }
        for item in &mut self.files {
            item.label = new_label.get(item.label as usize).copied().unwrap_or(0);
        }
    }

    /// Decodes, resizes and crops one picture into `[C, H, W]` levels.
    fn load(&self, index: usize, levels: &mut [u8]) -> Result<(), BadFile> {
        let image = load(&self.source, &self.files[index], self.fit.rules)?;
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
        self.files[index].label
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
        shown(&self.files[index].path)
    }
}

#[cfg(test)]
mod tests;
