//! A folder of images: one subfolder per class, or flat for unconditional data.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::crop::center_crop;
use super::decode::{decode, to_pixels};
use super::{BadFile, DataConfig, DataError, Dataset, Progress, scale};

/// The image files below a folder.
pub struct Listing {
    /// In order: by class, then by path.
    pub files: Vec<(PathBuf, u32)>,
    /// The subfolders' names in order; empty for a flat folder.
    pub class_names: Vec<String>,
    /// The number of other files and hidden entries.
    pub n_ignored: usize,
}

/// Lists the PNG, JPEG and WebP files (by extension) of `root`; classes are its subfolders sorted by name.
///
/// # Errors
/// [`DataError`] if a folder cannot be read or is empty, or `root` holds both images and class folders.
pub fn list(root: &Path) -> Result<Listing, DataError> {
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
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase());
        if is_hidden {
            *n_ignored += 1;
        } else if path.is_dir() {
            folders.push(path);
        } else if matches!(extension.as_deref(), Some("png" | "jpg" | "jpeg" | "webp")) {
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
    channels: usize,
    image_size: usize,
    background: [u8; 3],
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
        let listing = list(root)?;
        let n_found = listing.class_names.len();
        let n_classes = config.n_classes.unwrap_or(n_found);
        let has_labels = n_classes > 0;
        if has_labels && n_found == 0 {
            return Err(DataError::config(
                "n_classes",
                n_classes,
                format!("0, {} has no class folders", root.display()),
            ));
        }
        if has_labels && n_classes < n_found {
            let expected = format!(
                "at least {n_found}, the class folders of {}, or 0",
                root.display()
            );
            return Err(DataError::config("n_classes", n_classes, expected));
        }
        let mut folder = Self {
            name: root.display().to_string(),
            files: listing.files,
            class_names: listing.class_names,
            n_classes,
            channels: config.channels(),
            image_size: config.required_image_size()?,
            background: config.background(),
            cache: None,
        };
        if !has_labels {
            folder.class_names.clear();
            folder.files.iter_mut().for_each(|file| file.1 = 0);
        }
        if listing.n_ignored > 0 {
            tracing::info!(
                "{}: ignored {} files that are not PNG, JPEG or WebP, or hidden",
                folder.name,
                listing.n_ignored
            );
        }
        let bad = folder.check(config.cache_bytes(), progress);
        if !bad.is_empty() {
            folder.skip(bad, config.skip_bad)?;
        }
        Ok(folder)
    }

    /// Decodes every file, fills the cache if it fits, and returns the bad files with their indices.
    fn check(&mut self, cache_bytes: u64, progress: Progress) -> Vec<(usize, BadFile)> {
        let image_bytes = self.image_bytes();
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
        let image_bytes = self.image_bytes();
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

    fn image_bytes(&self) -> usize {
        self.channels * self.image_size * self.image_size
    }

    /// Decodes, resizes and crops one file into `[C, H, W]` levels.
    fn load(&self, index: usize, levels: &mut [u8]) -> Result<(), BadFile> {
        let image = decode(&self.files[index].0)?;
        let image = center_crop(
            to_pixels(image, self.channels, self.background),
            self.image_size,
        );
        for (channel, plane) in levels
            .chunks_exact_mut(self.image_size * self.image_size)
            .enumerate()
        {
            for (level, pixel) in plane
                .iter_mut()
                .zip(image.levels.chunks_exact(self.channels))
            {
                *level = pixel[channel];
            }
        }
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
        [self.channels, self.image_size, self.image_size]
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

    fn label(&self, index: usize) -> u32 {
        self.files[index].1
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        let image_bytes = self.image_bytes();
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
mod tests {
    use image::{DynamicImage, GrayImage, Rgb, RgbImage, RgbaImage};
    use tempfile::TempDir;

    use super::*;
    use crate::data::Kind;

    const QUIET: Progress = &|_, _| ();

    fn config(root: &Path) -> DataConfig {
        DataConfig {
            kind: Kind::Folder,
            path: Some(root.to_owned()),
            image_size: Some(8),
            ..DataConfig::digits()
        }
    }

    fn save(root: &Path, name: &str, image: impl Into<DynamicImage>) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.into().save(path).unwrap();
    }

    fn flat_color(color: [u8; 3]) -> RgbImage {
        RgbImage::from_pixel(20, 12, Rgb(color))
    }

    /// Two classes, three formats, four kinds of pixel.
    fn mixed() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        save(root.path(), "b/one.png", flat_color([255, 0, 51]));
        save(root.path(), "b/two.webp", flat_color([0, 102, 255]));
        save(root.path(), "a/deeper/three.JPG", flat_color([128; 3]));
        save(
            root.path(),
            "a/grey.png",
            GrayImage::from_pixel(9, 9, [204].into()),
        );
        save(
            root.path(),
            "a/alpha.png",
            RgbaImage::from_pixel(8, 8, [0, 0, 0, 0].into()),
        );
        fs::write(root.path().join("b/notes.txt"), "x").unwrap();
        fs::write(root.path().join(".hidden.png"), "x").unwrap();
        root
    }

    /// The first pixel of every image, as levels.
    fn first_pixels(folder: &Folder) -> Vec<[f32; 3]> {
        let mut image = [0.0; 3 * 64];
        (0..folder.len())
            .map(|index| {
                folder.read(index, &mut image).unwrap();
                [image[0], image[64], image[128]].map(|x| (x + 1.0) * 127.5)
            })
            .collect()
    }

    #[test]
    fn classes_formats_and_kinds_of_pixel() {
        let root = mixed();
        let folder = Folder::open(&config(root.path()), QUIET).unwrap();
        assert_eq!(
            (folder.len(), folder.shape(), folder.n_classes()),
            (5, [3, 8, 8], 2)
        );
        assert_eq!(folder.class_names(), ["a", "b"]);
        let labels: Vec<u32> = (0..5).map(|index| folder.label(index)).collect();
        assert_eq!(labels, [0, 0, 0, 1, 1]);
        let pixels = first_pixels(&folder);
        let expected = [
            [255.0; 3],
            [204.0; 3],
            [128.0; 3],
            [255.0, 0.0, 51.0],
            [0.0, 102.0, 255.0],
        ];
        for (got, want) in pixels.iter().flatten().zip(expected.iter().flatten()) {
            assert!((got - want).abs() < 1e-3, "{pixels:?}");
        }
        let blue = DataConfig {
            background: Some([0, 0, 255]),
            ..config(root.path())
        };
        assert_eq!(
            first_pixels(&Folder::open(&blue, QUIET).unwrap())[0],
            [0.0, 0.0, 255.0]
        );
        let listing = list(root.path()).unwrap();
        assert_eq!(listing.n_ignored, 2);
    }

    #[test]
    fn the_cache_changes_nothing_but_a_file_that_vanishes_is_named() {
        let root = mixed();
        let cached = Folder::open(&config(root.path()), QUIET).unwrap();
        let decoded = Folder::open(
            &DataConfig {
                cache_mib: Some(0),
                ..config(root.path())
            },
            QUIET,
        )
        .unwrap();
        assert!(cached.cache.is_some() && decoded.cache.is_none());
        assert_eq!(first_pixels(&cached), first_pixels(&decoded));
        let path = root.path().join("a/grey.png");
        fs::remove_file(&path).unwrap();
        let error = decoded.read(1, &mut [0.0; 192]).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        cached.read(1, &mut [0.0; 192]).unwrap();
    }

    #[test]
    fn a_corrupt_file_is_reported_by_path_or_skipped() {
        let root = mixed();
        let good = first_pixels(&Folder::open(&config(root.path()), QUIET).unwrap());
        let png = fs::read(root.path().join("b/one.png")).unwrap();
        fs::write(root.path().join("a/cut.png"), &png[..png.len() / 2]).unwrap();
        fs::write(root.path().join("b/not-an-image.jpg"), "hello").unwrap();
        for cache_mib in [None, Some(0)] {
            let config = DataConfig {
                cache_mib,
                ..config(root.path())
            };
            let error = Folder::open(&config, QUIET).err().unwrap().to_string();
            assert!(
                error.starts_with("2 of 7 images cannot be read:"),
                "{error}"
            );
            for name in ["a/cut.png", "b/not-an-image.jpg", "--skip-bad"] {
                assert!(error.contains(name), "{error}");
            }
            let folder = Folder::open(
                &DataConfig {
                    skip_bad: true,
                    ..config
                },
                QUIET,
            )
            .unwrap();
            assert_eq!(first_pixels(&folder), good);
            assert_eq!(folder.label(3), 1);
        }
    }

    #[test]
    fn nothing_but_bad_files_is_an_error_even_when_they_are_skipped() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("one.png"), "").unwrap();
        let config = DataConfig {
            skip_bad: true,
            ..config(root.path())
        };
        let error = Folder::open(&config, QUIET).err().unwrap().to_string();
        assert!(
            error.starts_with("1 of 1 images cannot be read:"),
            "{error}"
        );
    }

    #[test]
    fn a_flat_folder_is_unconditional() {
        let root = tempfile::tempdir().unwrap();
        save(root.path(), "one.png", flat_color([9; 3]));
        let folder = Folder::open(
            &DataConfig {
                channels: Some(1),
                ..config(root.path())
            },
            QUIET,
        )
        .unwrap();
        assert_eq!(
            (folder.n_classes(), folder.label(0), folder.shape()),
            (0, 0, [1, 8, 8])
        );
        let error = Folder::open(
            &DataConfig {
                n_classes: Some(2),
                ..config(root.path())
            },
            QUIET,
        )
        .err()
        .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("data.n_classes: got 2, expected 0, "),
            "{error}"
        );
    }

    #[test]
    fn classes_of_the_folder_and_of_the_configuration() {
        let root = mixed();
        let open = |n_classes| {
            Folder::open(
                &DataConfig {
                    n_classes: Some(n_classes),
                    ..config(root.path())
                },
                QUIET,
            )
        };
        assert_eq!(open(5).unwrap().n_classes(), 5);
        let unconditional = open(0).unwrap();
        assert_eq!((unconditional.n_classes(), unconditional.label(4)), (0, 0));
        let error = open(1).err().unwrap().to_string();
        assert!(
            error.starts_with("data.n_classes: got 1, expected at least 2, the class folders of "),
            "{error}"
        );
    }

    #[test]
    fn folders_without_images_are_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let message = |path: &Path| {
            let error = list(path).err().unwrap().to_string();
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
            error
        };
        message(&root.path().join("missing"));
        fs::write(root.path().join("notes.txt"), "x").unwrap();
        assert!(message(root.path()).contains("got no images, 1 other files"));
        assert!(message(&root.path().join("notes.txt")).contains("got a file"));
        save(root.path(), "a/one.png", flat_color([0; 3]));
        fs::create_dir(root.path().join("b")).unwrap();
        let error = list(root.path()).err().unwrap().to_string();
        assert!(
            error.starts_with(root.path().join("b").to_str().unwrap()),
            "{error}"
        );
        save(root.path(), "two.png", flat_color([0; 3]));
        assert!(message(root.path()).contains("both 1 images and 2 folders"));
    }
}
