//! Files that lie in memory: what was dropped on a page, where there are no folders to open.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use zip::ZipArchive;

use super::decode::{Fit, decode, is_image};
use super::memory::InMemory;
use super::{BadFile, DataConfig, DataError, Kind, Split, classes, idx};

/// A file: its path inside what was dropped, with `/` between folders, and its content.
pub type File = (String, Arc<[u8]>);

/// Archives that unpack to more than this are refused.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// Bytes of a `.gz` file that are unpacked between two calls of `progress`.
const PIECE_BYTES: u64 = 1 << 18;

/// Opens files that lie in memory as [`super::open`] opens a folder; `config.path` is what messages call them together.
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
        Kind::Digits => Err(DataError::config("kind", "digits", "folder or idx")),
        Kind::Folder => images(config, files, progress).await,
        Kind::Idx => pair(config, files),
    }
}

/// Puts the files in a `.zip` file in its place and unpacks `.gz` files; others stay as they are, and so does a `.gz` file that is
/// corrupt: who reads it says why. `progress` is awaited after each file and each piece of a `.gz` file.
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
    let name = root.display().to_string();
    let data = idx::parse(&name, find("images")?, find("labels")?, 255)?;
    idx::finish(data, config)
}

/// The images among files, in order.
pub(super) fn images_of(files: &[File]) -> Vec<&File> {
    let is_hidden = |name: &str| name.rsplit('/').next().is_some_and(|n| n.starts_with('.'));
    let mut files: Vec<&File> = files
        .iter()
        .filter(|(name, _)| is_image(Path::new(name)) && !is_hidden(name))
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
    let files = images_of(files);
    let n_shared = n_shared_folders(files.iter().map(|file| &file.0[..]));
    let class = |name: &str| {
        let inside = name.splitn(n_shared + 1, '/').last()?;
        inside.split_once('/').map(|(class, _)| class.to_owned())
    };
    let found: BTreeSet<Option<String>> = files.iter().map(|file| class(&file.0)).collect();
    let expected = "images (.png, .jpg, .jpeg, .webp), or one folder of them per class";
    if files.is_empty() || found.len() > 1 && found.contains(&None) {
        let got = match files.len() {
            0 => "no images".to_owned(),
            n => format!("{n} images, some in folders and some not"),
        };
        return Err(DataError::content(root, got, expected));
    }
    let folders: Vec<String> = found.into_iter().flatten().collect();
    let (classes, labels_of) = classes::of_folders(root, folders.clone(), config)?;

    let fit = Fit::new(config)?;
    let (mut levels, mut labels, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (name, bytes)) in files.iter().enumerate() {
        match decode(Path::new(name), Ok(Cursor::new(bytes))) {
            Err(file) => bad.push(file),
            Ok(image) => {
                let start = levels.len();
                levels.resize(start + fit.bytes(), 0);
                fit.levels(image, &mut levels[start..]);
                let folder = class(name).and_then(|class| folders.binary_search(&class).ok());
                let label = folder.and_then(|folder| labels_of.get(folder));
                labels.push(label.copied().unwrap_or(0));
            }
        }
        progress(i + 1, files.len()).await;
    }
    refuse_bad(bad, files.len(), config.skip_bad)?;
    Ok(InMemory {
        name: root.display().to_string(),
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

fn refuse_bad(bad: Vec<BadFile>, n_images: usize, skip_bad: bool) -> Result<(), DataError> {
    if bad.is_empty() || skip_bad && bad.len() < n_images {
        return Ok(());
    }
    Err(DataError::BadImages { bad, n_images })
}

/// How many leading folders all names share.
fn n_shared_folders<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let folders = |name: &'a str| {
        let mut parts: Vec<&str> = name.split('/').collect();
        parts.pop();
        parts
    };
    let shared = names.map(folders).reduce(|a, b| {
        let both = a.into_iter().zip(b);
        both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    shared.map_or(0, |shared| shared.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};

    use super::*;
    use crate::data::Dataset;

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let image: DynamicImage = image.into();
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// Archives among them unpacked, as a page does it.
    fn open_files(config: &DataConfig, files: Vec<File>) -> Result<InMemory, DataError> {
        let quiet = async |_, _| ();
        pollster::block_on(async {
            let files = unpack(files, quiet).await?;
            super::open_files(config, &files, quiet).await
        })
    }

    #[test]
    fn gz_files_are_unpacked_in_pieces() {
        let content: Vec<u8> = (0..600_000u32).map(|i| (i / 7) as u8).collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&content).unwrap();
        let gz = gz.finish().unwrap();
        let torn = gz[..gz.len() / 2].to_vec();
        let files = vec![
            ("a.gz".to_owned(), gz.into()),
            ("b.GZ".to_owned(), torn.clone().into()),
        ];
        let calls = std::cell::Cell::new(0);
        let progress = async |_, _| calls.set(calls.get() + 1);
        let files = pollster::block_on(unpack(files, progress)).unwrap();
        assert_eq!(&files[0].1[..], &content[..]);
        assert_eq!(&files[1].1[..], &torn[..]);
        assert!(calls.get() >= 3, "{} calls", calls.get());
    }

    fn files() -> Vec<File> {
        let file = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes.into());
        vec![
            file(
                "pets/dog/b.png",
                png(RgbImage::from_pixel(20, 12, Rgb([255, 0, 51]))),
            ),
            file(
                "pets/cat/deep/a.png",
                png(GrayImage::from_pixel(9, 9, [204].into())),
            ),
            file(
                "pets/dog/a.PNG",
                png(RgbImage::from_pixel(8, 8, Rgb([0, 102, 255]))),
            ),
            file("pets/dog/._b.png", b"hidden".to_vec()),
            file("pets/notes.txt", b"x".to_vec()),
        ]
    }

    fn config(kind: Kind) -> DataConfig {
        DataConfig {
            kind,
            path: Some("dropped".into()),
            image_size: (kind == Kind::Folder).then_some(8),
            ..DataConfig::digits()
        }
    }

    fn message(config: &DataConfig, files: &[File]) -> String {
        let opened = open_files(config, files.to_vec());
        opened.map(drop).unwrap_err().to_string()
    }

    fn levels(data: &InMemory) -> (&[u8], &[u32], &[String]) {
        (&data.levels, &data.labels, &data.class_names)
    }

    #[test]
    fn an_archive_stands_for_its_files() {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        zip.add_directory("pets/", options).unwrap();
        for (name, bytes) in files() {
            let method = match name.ends_with("png") {
                true => zip::CompressionMethod::Stored,
                false => zip::CompressionMethod::Deflated,
            };
            zip.start_file(name, options.compression_method(method))
                .unwrap();
            zip.write_all(&bytes).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        let config = config(Kind::Folder);
        let zipped = open_files(&config, vec![("pets.ZIP".into(), bytes.clone().into())]).unwrap();
        let plain = open_files(&config, files()).unwrap();
        assert_eq!(levels(&zipped), levels(&plain));
        let cut = [("pets.zip".into(), bytes[..bytes.len() / 2].into())];
        let text = message(&config, &cut);
        assert!(
            text.starts_with("pets.zip: got ") && text.ends_with("expected a whole zip archive"),
            "{text}"
        );
        let mut changed = bytes;
        // In the first image, after the headers of its folder and its own: the archive's sum of it no longer holds.
        changed[100] ^= 1;
        let text = message(&config, &[("pets.zip".into(), changed.into())]);
        assert!(
            text.starts_with("pets.zip: got ") && text.contains("pets/dog/b.png"),
            "{text}"
        );
    }

    /// The same images on a disk give the same data.
    #[test]
    fn dropped_images_are_those_of_a_folder() {
        let files = files();
        let data = open_files(&config(Kind::Folder), files.clone()).unwrap();
        let root = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let on_disk = DataConfig {
            path: Some(root.path().join("pets")),
            ..config(Kind::Folder)
        };
        std::fs::remove_file(root.path().join("pets/notes.txt")).unwrap();
        let folder = crate::data::open(&on_disk, &|_, _| ()).unwrap();
        assert_eq!(data.class_names(), ["cat", "dog"]);
        assert_eq!(data.class_names(), folder.class_names());
        assert_eq!((data.len(), data.shape()), (folder.len(), folder.shape()));
        for index in 0..data.len() {
            let mut images = [[0.0; 3 * 64]; 2];
            data.read(index, &mut images[0]).unwrap();
            folder.read(index, &mut images[1]).unwrap();
            assert!(images[0] == images[1], "{index}");
            assert_eq!(data.label(index), folder.label(index));
        }
    }

    #[test]
    fn images_without_folders_have_no_classes() {
        let flat: Vec<File> = files().into_iter().take(1).collect();
        let data = open_files(&config(Kind::Folder), flat.clone()).unwrap();
        assert_eq!((data.len(), data.n_classes()), (1, 0));
        let with_classes = DataConfig {
            n_classes: Some(2),
            ..config(Kind::Folder)
        };
        assert_eq!(
            message(&with_classes, &flat),
            "data.n_classes: got 2, expected 0, dropped has no class folders"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut mixed = files();
        mixed[0].0 = "pets/b.png".to_owned();
        let folder = config(Kind::Folder);
        assert!(message(&folder, &mixed).contains("some in folders and some not"));
        assert!(message(&folder, &[]).contains("got no images"));
        let mut bad = files();
        bad[0].1 = bad[0].1[..30].into();
        let text = message(&folder, &bad);
        assert!(
            text.contains("1 of 3 images") && text.contains("pets/dog/b.png"),
            "{text}"
        );
        let skip = DataConfig {
            skip_bad: true,
            ..folder
        };
        assert_eq!(open_files(&skip, bad).unwrap().len(), 2);
        assert!(message(&DataConfig::digits(), &[]).starts_with("data.kind: got digits"));
    }

    #[test]
    fn a_pair_of_idx_files_is_found_by_name() {
        let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.into());
        let images = [
            &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2][..],
            &[0, 255],
        ]
        .concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 1, 4];
        let pair = [
            file("t10k-labels-idx1-ubyte", &labels),
            file("t10k-images-idx3-ubyte", &images),
            file("train-images-idx3-ubyte", &images[..16]),
            file("train-labels-idx1-ubyte", &labels),
        ];
        let test = DataConfig {
            split: Split::Test,
            ..config(Kind::Idx)
        };
        let data = open_files(&test, pair.to_vec()).unwrap();
        assert_eq!(
            (data.shape(), data.n_classes(), data.label(0)),
            ([1, 1, 2], 5, 4)
        );
        let text = message(&config(Kind::Idx), &pair);
        assert!(text.starts_with("train-images-idx3-ubyte: got "), "{text}");
        let one = open_files(&config(Kind::Idx), pair[..2].to_vec()).unwrap();
        assert_eq!(one.len(), 1, "a pair alone needs no name of a split");
        let text = message(&config(Kind::Idx), &pair[2..3]);
        assert!(
            text.starts_with("dropped: got 0 files called labels"),
            "{text}"
        );
    }
}
