//! Sets of images to evaluate: as they are, one after another.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sit_engine::text::{count, shown};

use super::decode::{Header, Rules, to_pixels};
use super::item::{self, Item};
use super::numpy::{Array, Npz};
use super::{BadFile, DataConfig, DataError, Dataset, Kind, archive};
use crate::png::level;

/// Images of one size in levels of 8 bits, that need not fit into memory.
///
/// They are not resized, cropped or turned: samples are what they are. Transparent pixels show white, as in training.
pub struct ImageSet {
    name: String,
    /// `[H, W, C]`.
    shape: [usize; 3],
    source: Source,
    /// Numbers of the images that are taken, ascending.
    taken: Vec<u32>,
    /// The label of each image of the source.
    labels: Option<Vec<u32>>,
    class_names: Vec<String>,
}

enum Source {
    /// An array of an archive.
    Npz(PathBuf, Array),
    Pictures(Pictures),
    Data(Arc<dyn Dataset>),
    /// `[N, H, W, C]`.
    Levels(Vec<u8>),
}

struct Pictures {
    files: Vec<Item>,
    source: item::Source,
    config: DataConfig,
}

impl ImageSet {
    /// Opens an `.npz` file with images as `arr_0`, uint8 `[N, H, W, C]`, and labels as `label` or `arr_1`; or pictures of one size in a folder or
    /// in archives, whose labels are those that a training would find.
    ///
    /// # Errors
    /// What cannot be read or has no images; an array of another type or shape; labels of another number; pictures of several sizes.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let is_npz = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("npz"));
        if is_npz && path.is_file() {
            let mut npz = Npz::open(path)?;
            if let Some(images) = npz.array("arr_0")? {
                return Self::of_array(path, npz, images);
            }
        }
        Self::of_pictures(path)
    }

    /// Opens a data set, whose images have the size that they are trained on.
    ///
    /// # Errors
    /// Data without levels.
    pub fn of_data(data: Arc<dyn Dataset>) -> Result<Self, DataError> {
        let [channels, height, width] = data.shape();
        if !data.has_levels() || ![1, 3].contains(&channels) {
            let got = format!("values of {channels} channels that are no levels");
            let expected = "pictures, grey or RGB";
            return Err(DataError::content(Path::new(data.name()), got, expected));
        }
        let n = data.len();
        let has_classes = data.n_classes() > 0;
        Ok(ImageSet {
            name: data.name().to_owned(),
            shape: [height, width, channels],
            taken: (0..n as u32).collect(),
            labels: has_classes.then(|| (0..n).map(|i| data.label(i)).collect()),
            class_names: data.class_names().to_vec(),
            source: Source::Data(data),
        })
    }

    /// Takes levels `[N, H, W, C]` in memory, with a label for each image, and what labels are called where that is known.
    ///
    /// # Panics
    /// Without images, with a part of one, or with labels of another number.
    pub fn of_levels(
        name: &str,
        shape: [usize; 3],
        levels: Vec<u8>,
        labels: Option<Vec<u32>>,
        class_names: &[String],
    ) -> Self {
        let len: usize = shape.iter().product();
        assert!(
            !levels.is_empty() && levels.len().is_multiple_of(len),
            "whole images"
        );
        let n = levels.len() / len;
        assert!(
            labels.as_ref().is_none_or(|labels| labels.len() == n),
            "a label for each image"
        );
        ImageSet {
            name: name.to_owned(),
            shape,
            taken: (0..n as u32).collect(),
            labels,
            class_names: class_names.to_vec(),
            source: Source::Levels(levels),
        }
    }

    fn of_array(path: &Path, mut npz: Npz, images: Array) -> Result<Self, DataError> {
        let refuse = |got: String, expected: &str| {
            DataError::content(path, format!("{} {got}", images.name), expected)
        };
        if images.descr != "|u1" {
            let got = format!("of the type {}", shown(&images.descr));
            return Err(refuse(got, "levels as uint8 (|u1)"));
        }
        let &[n, height, width, channels @ (1 | 3)] = &images.shape[..] else {
            let expected = "[N, H, W, C] with 1 or 3 channels";
            return Err(refuse(format!("of {:?}", images.shape), expected));
        };
        let most = u32::MAX as usize;
        if images.n_bytes == 0 || n > most {
            let got = format!("of {:?}", images.shape);
            return Err(refuse(got, "at least one image, and fewer than 2^32"));
        }
        let mut labels = None;
        for name in ["label", "labels", "arr_1"] {
            let Some(array) = npz.array(name)? else {
                continue;
            };
            if !matches!(array.shape[..], [m] | [m, 1] if m == n) {
                let got = format!("{name} of {:?}", array.shape);
                let expected = format!("[{n}], a label for each image");
                return Err(DataError::content(path, got, expected));
            }
            let numbers = npz.integers(&array)?.into_iter();
            let numbers = numbers.map(|label| u32::try_from(label).map_err(|_| label));
            labels = Some(
                numbers
                    .collect::<Result<Vec<u32>, i64>>()
                    .map_err(|label| {
                        DataError::content(
                            path,
                            format!("{name} with {label}"),
                            "labels of 0 to 4294967295 (2^32 - 1)",
                        )
                    })?,
            );
            break;
        }
        Ok(ImageSet {
            name: shown(path),
            shape: [height, width, channels],
            taken: (0..n as u32).collect(),
            labels,
            class_names: Vec::new(),
            source: Source::Npz(path.to_owned(), images),
        })
    }

    fn of_pictures(path: &Path) -> Result<Self, DataError> {
        let mut config = DataConfig {
            kind: Kind::Folder,
            path: Some(path.to_owned()),
            split: super::splits(path)?.first().copied().unwrap_or_default(),
            ..DataConfig::digits()
        };
        config.settle();
        let listing = archive::list(&config)?;
        if !listing.left_out.is_empty() {
            tracing::info!("{}: left out {}", shown(path), listing.left_out);
        }
        let headers = listing.files.par_iter();
        let headers = headers.map(|item| item::header(&listing.source, item));
        let headers: Vec<Option<Header>> = headers.collect();
        let has_color = headers.iter().flatten().any(|header| header.has_color);
        one_size(&listing.files, &headers)?;
        config.channels = Some(if has_color { 3 } else { 1 });
        let has_labels = !listing.class_names.is_empty() || listing.numbers.is_some();
        let files = listing.files.iter();
        let labels = has_labels.then(|| files.map(|item| item.label).collect());
        let n = listing.files.len();
        let pictures = Pictures {
            files: listing.files,
            source: listing.source,
            config,
        };
        let Some(first) = pictures.files.first() else {
            return Err(DataError::content(path, "no pictures", "pictures"));
        };
        let (size, _) = pictures.read(first)?;
        Ok(ImageSet {
            name: shown(path),
            shape: [size[0], size[1], pictures.config.channels()],
            taken: (0..n as u32).collect(),
            labels,
            class_names: listing.class_names,
            source: Source::Pictures(pictures),
        })
    }

    /// What it is, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many images are taken, at least 1.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty set is refused when it is opened"
    )]
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// `[H, W, C]` of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Bytes of an image.
    pub fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether images have labels.
    pub fn has_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// The label of each image, in their order.
    pub fn labels(&self) -> Option<Vec<u32>> {
        let labels = self.labels.as_ref()?;
        let label = |image: &u32| labels[*image as usize];
        Some(self.taken.iter().map(label).collect())
    }

    /// What the labels are called; empty where they are numbers alone.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Takes only these images, by their numbers among those taken now.
    ///
    /// # Panics
    /// If there are not so many, or none is left.
    pub fn take(&mut self, mut numbers: Vec<u32>) {
        numbers.sort_unstable();
        self.taken = numbers.iter().map(|i| self.taken[*i as usize]).collect();
        assert!(!self.taken.is_empty(), "some images");
    }

    /// Calls `visit` with the number of the first of at most `batch` images, and their levels `[n, H, W, C]`, until there are no more.
    ///
    /// # Errors
    /// Images that cannot be read, or a picture of another size than the first one; those of `visit`.
    pub fn each<E: From<DataError>>(
        &self,
        batch: usize,
        visit: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.visit(&self.taken, batch, visit)
    }

    /// The levels `[n, H, W, C]` of some images, by their ascending numbers among those taken.
    ///
    /// # Errors
    /// As of [`ImageSet::each`].
    ///
    /// # Panics
    /// For a number that is not there.
    pub fn some<E: From<DataError>>(
        &self,
        numbers: &[u32],
        mut go_on: impl FnMut() -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let taken: Vec<u32> = numbers.iter().map(|i| self.taken[*i as usize]).collect();
        let mut all = Vec::with_capacity(taken.len() * self.image_len());
        self.visit(&taken, 256, |_, levels| {
            all.extend_from_slice(levels);
            go_on()
        })?;
        Ok(all)
    }

    /// As [`ImageSet::each`], of these images of the source, ascending.
    fn visit<E: From<DataError>>(
        &self,
        taken: &[u32],
        batch: usize,
        mut visit: impl FnMut(usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let len = self.image_len();
        let mut levels = vec![0; batch.min(taken.len()) * len];
        let batches = taken.chunks(batch);
        let firsts = (0..).step_by(batch);
        match &self.source {
            Source::Npz(path, array) => {
                let broken = |got: String| DataError::content(path, got, "a whole array");
                let cut =
                    |e: std::io::Error| broken(format!("{} that cannot be read ({e})", array.name));
                let mut npz = Npz::open(path)?;
                // The file may have been replaced since it was opened.
                if npz.array(&array.name)?.as_ref() != Some(array) {
                    return Err(broken(format!("another {} than before", array.name)).into());
                }
                let mut stream = npz.stream(array)?;
                let mut next = 0;
                for (first, numbers) in firsts.zip(batches) {
                    let levels = &mut levels[..numbers.len() * len];
                    for (image, number) in levels.chunks_exact_mut(len).zip(numbers) {
                        let skipped = u64::from(number - next) * len as u64;
                        let skipped = (&mut stream).take(skipped);
                        let mut skipped = std::io::BufReader::new(skipped);
                        std::io::copy(&mut skipped, &mut std::io::sink()).map_err(cut)?;
                        stream.read_exact(image).map_err(cut)?;
                        next = number + 1;
                    }
                    visit(first, levels)?;
                }
                if next as usize == array.shape[0] {
                    // At the end the checksum is compared.
                    stream.read(&mut [0]).map_err(cut)?;
                }
                Ok(())
            }
            Source::Pictures(pictures) => {
                for (first, numbers) in firsts.zip(batches) {
                    let levels = &mut levels[..numbers.len() * len];
                    let images = levels.par_chunks_exact_mut(len).zip(numbers);
                    let read = images.map(|(image, number)| {
                        pictures.image(&pictures.files[*number as usize], self.shape, image)
                    });
                    read.collect::<Result<(), DataError>>()?;
                    visit(first, levels)?;
                }
                Ok(())
            }
            Source::Levels(all) => {
                for (first, numbers) in firsts.zip(batches) {
                    let levels = &mut levels[..numbers.len() * len];
                    for (image, number) in levels.chunks_exact_mut(len).zip(numbers) {
                        image.copy_from_slice(&all[*number as usize * len..][..len]);
                    }
                    visit(first, levels)?;
                }
                Ok(())
            }
            Source::Data(data) => {
                let mut values = vec![0.0; len];
                let [height, width, channels] = self.shape;
                for (first, numbers) in firsts.zip(batches) {
                    let levels = &mut levels[..numbers.len() * len];
                    for (image, number) in levels.chunks_exact_mut(len).zip(numbers) {
                        data.read(*number as usize, &mut values)?;
                        for (i, out) in image.iter_mut().enumerate() {
                            let at = i % channels * height * width + i / channels;
                            *out = level(values[at]);
                        }
                    }
                    visit(first, levels)?;
                }
                Ok(())
            }
        }
    }

    /// A line about it: `50000 images of 32x32x3 in samples.npz`.
    pub fn described(&self) -> String {
        let [height, width, channels] = self.shape;
        let n = count(self.len(), "image");
        format!("{n} of {height}x{width}x{channels} in {}", self.name)
    }
}

impl Pictures {
    /// Height and width of a picture, and its levels.
    fn read(&self, item: &Item) -> Result<([usize; 2], Vec<u8>), DataError> {
        let image = item::load(&self.source, item, Rules::new(&self.config));
        let image = image.map_err(|bad: BadFile| {
            DataError::content(&bad.path, bad.reason, "a picture that can be decoded")
        })?;
        let pixels = to_pixels(image, self.config.channels(), self.config.background());
        Ok(([pixels.height, pixels.width], pixels.levels))
    }

    /// Writes the levels of a picture of a known size.
    fn image(&self, item: &Item, shape: [usize; 3], out: &mut [u8]) -> Result<(), DataError> {
        let ([height, width], levels) = self.read(item)?;
        if [height, width] != shape[..2] {
            return Err(another_size(item, [height, width], [shape[0], shape[1]]));
        }
        out.copy_from_slice(&levels);
        Ok(())
    }
}

/// Refuses pictures of several sizes by what their files say, before the first one is decoded. A picture that will be turned may have its sides
/// the other way round.
fn one_size(files: &[Item], headers: &[Option<Header>]) -> Result<(), DataError> {
    let sides = |header: &Header| {
        let (width, height) = header.size;
        [height.min(width), height.max(width)]
    };
    let mut known = files
        .iter()
        .zip(headers)
        .filter_map(|(item, header)| Some((item, header.as_ref()?)));
    let Some((_, first)) = known.next() else {
        return Ok(());
    };
    match known.find(|(_, header)| sides(header) != sides(first)) {
        None => Ok(()),
        Some((item, header)) => {
            let of = |header: &Header| [header.size.1, header.size.0];
            Err(another_size(item, of(header), of(first)))
        }
    }
}

fn another_size(item: &Item, [height, width]: [usize; 2], first: [usize; 2]) -> DataError {
    let got = format!("{height}x{width} pixels");
    let expected = format!(
        "{}x{} as the first picture has: images are not resized here",
        first[0], first[1]
    );
    DataError::content(&item.path, got, expected)
}

#[cfg(test)]
mod tests;
