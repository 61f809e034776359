//! What a folder of data holds, for `sit data inspect`.

mod command;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::ColorType;
use rayon::prelude::*;

use super::archive::list;
use super::decode::{Rules, to_pixels};
use super::item::load;
use super::listing::LeftOut;
use super::memory::InMemory;
use super::names::class_order;
use super::suggest::{is_idx, suggested_size};
use super::{
    BadFile, ClassOrder, DataConfig, DataError, Dataset, Kind, Progress, Split, classes, digits,
    idx,
};
use sit_engine::text::{count, shown};

/// Levels of one channel over all images, transparent pixels composited on white.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelStats {
    /// The darkest level.
    pub min: u8,
    /// The brightest level.
    pub max: u8,
    /// The mean level.
    pub mean: f64,
    /// The standard deviation of the level.
    pub std: f64,
}

/// What [`inspect`] found; `Display` prints it.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was inspected.
    pub name: String,
    /// The number of readable images of each split; one nameless split for an image folder.
    pub splits: Vec<(String, usize)>,
    /// How many images have each (width, height).
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// How many images have each kind of pixel: "grey", "RGB with alpha", ...
    pub colors: BTreeMap<String, usize>,
    /// The number of readable images of each class; empty for unconditional data.
    pub classes: Vec<(String, usize)>,
    /// Grey, or red, green, blue.
    pub channels: Vec<ChannelStats>,
    /// The level that is scaled to 1; level 0 is scaled to -1.
    pub max_level: u8,
    /// The images that cannot be decoded.
    pub bad: Vec<BadFile>,
    /// Class folders without images.
    pub empty: Vec<PathBuf>,
    /// What is not an image.
    pub left_out: LeftOut,
    /// A `[data]` table that opens this data.
    pub suggestion: DataConfig,
}

/// Reads all of the data at `path`: a folder of IDX files or of images, archives, or the word `digits` for the embedded ones.
///
/// # Errors
/// A missing or empty folder, or an invalid IDX file; an image that cannot be decoded is part of the report.
pub fn inspect(path: &Path, progress: Progress) -> Result<Report, DataError> {
    if path == Path::new("digits") && !path.exists() {
        return Ok(inspect_memory(
            "digits",
            &[("train", digits::train()), ("test", digits::held_out())],
            DataConfig::digits(),
        ));
    }
    let is_idx_file = path.is_file() && is_idx(&path.to_string_lossy());
    let has_idx = |split| Ok((path.is_dir() || is_idx_file) && idx::find(path, split)?.is_some());
    let mut splits = Vec::new();
    let config = |split| DataConfig {
        kind: Kind::Idx,
        path: Some(path.to_owned()),
        split,
        ..DataConfig::digits()
    };
    for (name, split) in [("train", Split::Train), ("test", Split::Test)] {
        if has_idx(split)? {
            splits.push((name, idx::open(&config(split))?));
        }
    }
    if splits.is_empty() {
        return inspect_folder(path, progress);
    }
    let config = config(match splits[0].0 {
        "test" => Split::Test,
        _ => Split::Train,
    });
    Ok(inspect_memory(&shown(path), &splits, config))
}

fn inspect_memory(name: &str, splits: &[(&str, InMemory)], suggestion: DataConfig) -> Report {
    let mut sums = Sums::default();
    let mut sizes = BTreeMap::new();
    let mut classes: Vec<(String, usize)> = Vec::new();
    for (_, data) in splits {
        sums.add(data.levels.iter().copied());
        let [_, height, width] = data.shape;
        *sizes.entry((width, height)).or_default() += data.len();
        for class in classes.len()..data.n_classes {
            classes.push((classes::name(&data.class_names, class), 0));
        }
        data.labels
            .iter()
            .for_each(|&label| classes[label as usize].1 += 1);
    }
    let n_images = sizes.values().sum();
    Report {
        name: name.to_owned(),
        splits: splits
            .iter()
            .map(|(name, data)| (name.to_string(), data.len()))
            .collect(),
        sizes,
        colors: BTreeMap::from([("grey".to_owned(), n_images)]),
        classes,
        channels: vec![sums.stats()],
        max_level: splits[0].1.max_level,
        bad: Vec::new(),
        empty: Vec::new(),
        left_out: LeftOut::default(),
        suggestion,
    }
}

fn inspect_folder(path: &Path, progress: Progress) -> Result<Report, DataError> {
    let parts = super::splits(path)?;
    let mut suggestion = DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        skip_bad: true,
        split: parts[0],
        ..DataConfig::digits()
    };
    suggestion.settle();
    let rules = Rules::new(&suggestion);
    let mut classes: Vec<(String, usize)> = Vec::new();
    let (mut sizes, mut colors, mut bad) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let (mut splits, mut empty, mut left_out) = (Vec::new(), Vec::new(), LeftOut::default());
    let mut has_color = false;
    let mut sums = [Sums::default(); 3];
    for &split in &parts {
        let listing = list(&DataConfig {
            split,
            ..suggestion.clone()
        })?;
        let n_files = listing.files.len();
        let n_done = AtomicUsize::new(0);
        let files = listing.files.par_iter().map(|item| {
            let image = load(&listing.source, item, rules).map(|image| {
                let color = image.color();
                let image = to_pixels(image, 3, [255; 3]);
                let channels = [0, 1, 2].map(|channel| {
                    let mut sums = Sums::default();
                    sums.add(image.levels.iter().skip(channel).step_by(3).copied());
                    sums
                });
                ((image.width, image.height), color, channels, item.label)
            });
            progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, n_files);
            image
        });
        let files: Vec<_> = files.collect();
        for name in &listing.class_names {
            if !classes.iter().any(|(known, _)| known == name) {
                classes.push((name.clone(), 0));
            }
        }
        let numbers: Vec<Option<usize>> = listing
            .class_names
            .iter()
            .map(|name| classes.iter().position(|(known, _)| known == name))
            .collect();
        let n_bad = bad.len();
        for file in files {
            match file {
                Ok((size, color, channels, label)) => {
                    *sizes.entry(size).or_default() += 1;
                    *colors.entry(color_name(color)).or_default() += 1;
                    has_color |= color.has_color();
                    sums.iter_mut()
                        .zip(channels)
                        .for_each(|(sums, channel)| sums.merge(channel));
                    if let Some(Some(class)) = numbers.get(label as usize) {
                        classes[*class].1 += 1;
                    }
                }
                Err(file) => bad.push(file),
            }
        }
        let name = match (parts.len(), split) {
            (1, _) => "",
            (_, Split::Train) => "train",
            (_, Split::Test) => "test",
        };
        splits.push((name.to_owned(), n_files + n_bad - bad.len()));
        empty.extend(listing.empty);
        left_out.add(listing.left_out);
    }
    let n_images: usize = sizes.values().sum();
    if n_images == 0 {
        return Err(DataError::BadImages {
            n_images: bad.len(),
            bad,
        });
    }
    let channels: Vec<_> = sums
        .iter()
        .take(if has_color { 3 } else { 1 })
        .map(Sums::stats)
        .collect();
    let suggestion = DataConfig {
        image_size: Some(suggested_size(&sizes)),
        channels: Some(channels.len()),
        skip_bad: !bad.is_empty() || !empty.is_empty() || left_out.unlabelled > 0,
        ..suggestion
    };
    Ok(Report {
        name: shown(path),
        splits,
        sizes,
        colors,
        classes,
        channels,
        max_level: 255,
        bad,
        empty,
        left_out,
        suggestion,
    })
}

fn color_name(color: ColorType) -> String {
    let name = if color.has_color() { "RGB" } else { "grey" };
    let alpha = if color.has_alpha() { " with alpha" } else { "" };
    let bits = 8 * color.bytes_per_pixel() / color.channel_count();
    let depth = if bits == 8 {
        String::new()
    } else {
        format!(", {bits} bits")
    };
    format!("{name}{alpha}{depth}")
}

/// Exact integer sums of levels, so that the result does not depend on the order.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: u64,
    sum: u64,
    sum_of_squares: u64,
    /// The range, if there is a value.
    range: Option<(u8, u8)>,
}

impl Sums {
    fn add(&mut self, levels: impl Iterator<Item = u8>) {
        for level in levels {
            self.n += 1;
            self.sum += u64::from(level);
            self.sum_of_squares += u64::from(level) * u64::from(level);
            self.widen((level, level));
        }
    }

    fn merge(&mut self, other: Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.sum_of_squares += other.sum_of_squares;
        other.range.into_iter().for_each(|range| self.widen(range));
    }

    fn widen(&mut self, (min, max): (u8, u8)) {
        self.range = Some(
            self.range
                .map_or((min, max), |range| (range.0.min(min), range.1.max(max))),
        );
    }

    fn stats(&self) -> ChannelStats {
        let n = self.n as f64;
        let mean = self.sum as f64 / n;
        let (min, max) = self.range.unwrap_or_default();
        ChannelStats {
            min,
            max,
            mean,
            std: (self.sum_of_squares as f64 / n - mean * mean)
                .max(0.0)
                .sqrt(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let n_images: usize = self.splits.iter().map(|split| split.1).sum();
        writeln!(f, "{}: {}", self.name, count(n_images, "image"))?;
        for (name, n) in self.splits.iter().filter(|split| !split.0.is_empty()) {
            writeln!(f, "  {name:<8}{n:>9}")?;
        }

        writeln!(f, "sizes (width x height)")?;
        let mut sizes: Vec<_> = self.sizes.iter().collect();
        sizes.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        for ((width, height), n) in sizes.iter().take(SHOWN) {
            writeln!(f, "  {:<16}{n:>9}", format!("{width}x{height}"))?;
        }
        if sizes.len() > SHOWN {
            let short_sides = || self.sizes.keys().map(|&(width, height)| width.min(height));
            let (least, most) = (
                short_sides().min().unwrap_or(0),
                short_sides().max().unwrap_or(0),
            );
            writeln!(
                f,
                "  and {} more sizes; short sides {least} to {most}",
                sizes.len() - SHOWN
            )?;
        }

        writeln!(f, "pixels")?;
        for (color, n) in &self.colors {
            writeln!(f, "  {color:<24}{n:>9}")?;
        }
        writeln!(
            f,
            "levels, scaled to [-1, 1] by 2 · level / {} - 1",
            self.max_level
        )?;
        let names: &[&str] = if self.channels.len() == 1 {
            &["grey"]
        } else {
            &["red", "green", "blue"]
        };
        for (name, stats) in names.iter().zip(&self.channels) {
            let ChannelStats {
                min,
                max,
                mean,
                std,
            } = *stats;
            let unit = f64::from(self.max_level) / 2.0;
            let (scaled_mean, scaled_std) = (mean / unit - 1.0, std / unit);
            writeln!(
                f,
                "  {name:<6} {min} to {max}, mean {mean:.2} ({scaled_mean:.4}), std {std:.2} ({scaled_std:.4})"
            )?;
        }

        if self.classes.is_empty() {
            writeln!(f, "no classes")?;
        } else {
            writeln!(
                f,
                "{}: number, name, images",
                count(self.classes.len(), "class")
            )?;
        }
        for (number, (name, n)) in self.classes.iter().enumerate() {
            writeln!(f, "  {number:>6} {:<24}{n:>9}", shown(name))?;
        }
        let names = || self.classes.iter().map(|class| &class.0[..]);
        let is_sorted = |order| {
            let compare = class_order(order, names());
            names().is_sorted_by(|a, b| compare(a, b).is_le())
        };
        if self.suggestion.kind == Kind::Folder
            && is_sorted(ClassOrder::Natural)
            && !is_sorted(ClassOrder::Text)
        {
            writeln!(
                f,
                "classes are in the order of their numbers; data.class_order = \"text\" has the reference's"
            )?;
        }
        if !self.empty.is_empty() {
            writeln!(
                f,
                "{} without images",
                count(self.empty.len(), "class folder")
            )?;
        }
        for folder in &self.empty {
            writeln!(f, "  {}", shown(folder))?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "left out: {}", self.left_out)?;
        }
        if !self.bad.is_empty() {
            writeln!(f, "{} cannot be read", count(self.bad.len(), "image"))?;
        }
        for file in &self.bad {
            writeln!(f, "  {file}")?;
        }
        // Leave out the keys that a run sets by itself.
        let suggestion = DataConfig {
            class_order: None,
            exif_orientation: None,
            ..self.suggestion.clone()
        };
        write!(
            f,
            "for a configuration file of one's own, beside [model] and [train]:\n\n[data]\n"
        )?;
        match toml::to_string(&suggestion) {
            Ok(text) => f.write_str(&text)?,
            // Only the path can fail: TOML is UTF-8, and so is the rest of the table.
            Err(_) => writeln!(
                f,
                "# {} is not UTF-8: a configuration cannot name it; a link of another name can stand for it",
                self.name
            )?,
        }
        match self.command() {
            Some(command) => {
                let larger = match self.suggestion.kind {
                    Kind::Folder => {
                        " (--preset image-folder-64 makes images of 64x64, and wants a GPU)"
                    }
                    _ => "",
                };
                writeln!(f, "\nto train on it{larger}:\n\n{command}")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
