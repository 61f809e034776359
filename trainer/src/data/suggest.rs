//! Suggests how to open data, from names and headers alone.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use super::decode::Header;
use super::dropped::{File, images_of};
use super::{DataConfig, Kind, Split};

/// The most pictures of archives whose headers are read.
#[cfg(not(target_arch = "wasm32"))]
const MOST_HEADERS: usize = 1000;

/// A `[data]` table for what lies at `path`: a folder of images or of IDX files, one of the IDX files, archives, or a toy such as
/// `toy:moons`.
///
/// An image whose header cannot be read does not count; opening the data names it.
///
/// # Errors
/// A folder that cannot be read or holds no images.
#[cfg(not(target_arch = "wasm32"))]
pub fn suggest(path: &Path) -> Result<DataConfig, super::DataError> {
    use rayon::prelude::*;
    if super::toy(path)?.is_some() {
        return Ok(DataConfig {
            kind: Kind::Toy,
            path: Some(path.to_owned()),
            ..DataConfig::digits()
        });
    }
    if super::About::read(path)?.is_some() {
        return Ok(DataConfig {
            kind: Kind::Latents,
            path: Some(path.to_owned()),
            ..DataConfig::digits()
        });
    }
    let config = DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        split: super::splits(path)?.first().copied().unwrap_or_default(),
        skip_bad: true,
        ..DataConfig::digits()
    };
    let headers = |found: &super::listing::Listing, most: usize| {
        let step = found.files.len().div_ceil(most).max(1);
        let files = found.files.par_iter().step_by(step);
        files
            .filter_map(|item| super::item::header(&found.source, item))
            .collect::<Vec<_>>()
    };
    if super::is_archive(path)? {
        let headers = headers(&super::archive::list(&config)?, MOST_HEADERS);
        let split = config.split;
        return Ok(DataConfig {
            split,
            ..folder(path, &headers)
        });
    }
    let metadata = std::fs::metadata(path).map_err(|source| super::DataError::io(path, source))?;
    if metadata.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_test = name.contains("t10k") || name.contains("test-");
        let split = if is_test { Split::Test } else { Split::Train };
        let of_several = super::idx::find(path, split)?.is_some_and(|found| !found.set.is_empty());
        let folder = if of_several {
            path
        } else {
            path.parent().unwrap_or(path)
        };
        return Ok(idx(folder, is_test));
    }
    for split in [Split::Train, Split::Test] {
        if super::idx::find(path, split)?.is_some() {
            return Ok(idx(path, split == Split::Test));
        }
    }
    let headers = headers(&super::archive::list(&config)?, usize::MAX);
    Ok(folder(path, &headers))
}

/// The same for files in memory, which messages call `name`.
pub fn suggest_files(name: &str, files: &[File]) -> DataConfig {
    let path = Path::new(name);
    let images = images_of(files);
    if images.is_empty() && files.iter().any(|(name, _)| is_idx(name)) {
        return idx(path, false);
    }
    let headers: Vec<Header> = images
        .iter()
        .filter_map(|(_, bytes)| Header::read(Cursor::new(bytes)))
        .collect();
    folder(path, &headers)
}

/// Whether a file is an IDX file, by its name: `train-images-idx3-ubyte.gz` and the like.
pub fn is_idx(name: &str) -> bool {
    name.contains("-idx") || name.contains(".idx") || name.contains("-ubyte")
}

fn idx(path: &Path, is_test: bool) -> DataConfig {
    DataConfig {
        kind: Kind::Idx,
        path: Some(path.to_owned()),
        split: if is_test { Split::Test } else { Split::Train },
        ..DataConfig::digits()
    }
}

fn folder(path: &Path, headers: &[Header]) -> DataConfig {
    let mut sizes = BTreeMap::new();
    for header in headers {
        *sizes.entry(header.size).or_default() += 1;
    }
    let has_color = headers.iter().any(|header| header.has_color);
    let mut config = DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        image_size: Some(suggested_size(&sizes)),
        channels: Some(if has_color { 3 } else { 1 }),
        ..DataConfig::digits()
    };
    config.settle();
    config
}

/// The largest power of two from 8 to 512 for which at most half of the images must be enlarged.
pub(super) fn suggested_size(sizes: &BTreeMap<(usize, usize), usize>) -> usize {
    let n_images: usize = sizes.values().sum();
    let is_common = |size: &usize| {
        let n_larger: usize = sizes
            .iter()
            .filter(|&(&(w, h), _)| w.min(h) >= *size)
            .map(|(_, n)| n)
            .sum();
        2 * n_larger >= n_images
    };
    [512, 256, 128, 64, 32, 16]
        .into_iter()
        .find(is_common)
        .unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{GrayImage, RgbImage};

    use super::*;
    use crate::data::inspect;

    /// Headers alone and all pixels lead to the same suggestion.
    #[test]
    fn a_folder_is_suggested_as_inspection_does() {
        let root = tempfile::tempdir().unwrap();
        let save = |name: &str, width, height| {
            let image = RgbImage::new(width, height);
            image.save(root.path().join(name)).unwrap();
        };
        GrayImage::new(70, 50)
            .save(root.path().join("grey.png"))
            .unwrap();
        let grey = suggest(root.path()).unwrap();
        assert_eq!((grey.image_size, grey.channels), (Some(32), Some(1)));
        save("a.png", 40, 20);
        save("b.webp", 17, 33);
        let told = suggest(root.path()).unwrap();
        assert_eq!(told, inspect(root.path(), &|_, _| ()).unwrap().suggestion);
        assert_eq!((told.image_size, told.channels), (Some(16), Some(3)));
        let files: Vec<File> = ["a.png", "b.webp", "grey.png"]
            .map(|name| {
                let bytes = fs::read(root.path().join(name)).unwrap();
                (name.to_owned(), bytes.into())
            })
            .into();
        let path = Some("dropped".into());
        assert_eq!(
            suggest_files("dropped", &files),
            DataConfig { path, ..told }
        );
        // A broken image among them changes nothing.
        fs::write(root.path().join("c.png"), "no").unwrap();
        assert_eq!(suggest(root.path()).unwrap().image_size, Some(16));
    }

    #[test]
    fn idx_files_are_told_by_name() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("t10k-images-idx3-ubyte.gz");
        fs::write(&file, "").unwrap();
        for path in [root.path(), &file] {
            let config = suggest(path).unwrap();
            assert_eq!((config.kind, config.split), (Kind::Idx, Split::Test));
            assert_eq!(config.path.as_deref(), Some(root.path()));
        }
        let dropped = [("train-images-idx3-ubyte".to_owned(), [].into())];
        assert_eq!(suggest_files("dropped", &dropped).kind, Kind::Idx);
    }

    #[test]
    fn a_folder_without_images_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let text = suggest(root.path()).unwrap_err().to_string();
        assert!(text.contains("got no images, expected"), "{text}");
        let missing = root.path().join("missing");
        let text = suggest(&missing).unwrap_err().to_string();
        assert!(text.starts_with(&missing.display().to_string()), "{text}");
    }
}
