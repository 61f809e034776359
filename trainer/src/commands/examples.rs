//! Real images for a checkpoint, with the model's classes: the argument `--data` of the commands that measure a model.

mod npz;

use crate::commands::values::whole;
use crate::data::{self, Dataset, Split, classes};
use crate::error::{Failure, Result};
use crate::memory;
use crate::real::{dataset, is_digits};
use sit_engine::analytic::Toy;
use sit_engine::checkpoint::Recipe;
use sit_engine::rng::permutation;
use sit_engine::text::{count, shown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the images come from.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// Real images: a folder of pictures (a folder for each class), tar files (WebDataset), a folder with IDX files or one of them, CIFAR's
    /// binary files, Parquet, an .npz file with arr_0 [N, H, W, C] of uint8 (of latents float32, as they are) and label [N], digits for
    /// those that come with the program, or points such as toy:moons. Values are 0 to 255, whatever the number of levels.
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    #[command(flatten)]
    pub which: WhichArgs,
}

/// Which of the images are taken, and their classes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct WhichArgs {
    /// Of --data take only N images, chosen at random, the same ones each time [default: all].
    #[arg(long, value_name = "N", requires = "data", value_parser = whole::<u32>(1..=10_000_000))]
    pub count: Option<u32>,
    #[command(flatten)]
    pub part: PartArgs,
}

/// Which part of the data is taken, and its classes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Data")]
pub struct PartArgs {
    /// Part of IDX files, of archives of pictures, of the digits or of a toy [default: test, where there is one].
    #[arg(long, value_name = "train|test", requires = "data", value_parser = parse_split)]
    pub split: Option<Split>,
    /// Give the model no class with any image, whatever the data says.
    #[arg(long, requires = "data")]
    pub no_class: bool,
}

fn parse_split(text: &str) -> std::result::Result<Split, String> {
    match text {
        "train" => Ok(Split::Train),
        "test" => Ok(Split::Test),
        _ => Err("expected train or test".into()),
    }
}

/// Real images in memory.
pub struct Examples {
    /// What they are, for messages.
    pub name: String,
    /// Numbers of the images in the data, in the order in which they are taken.
    pub numbers: Vec<u64>,
    /// `[N, C, H, W]`: in [-1, 1], or latents.
    pub x: Vec<f32>,
    /// Labels of the model `[N]`; 0 for a model without classes.
    pub y: Vec<u32>,
    /// Whether the values are levels of 8 bits, and not latents or points.
    pub has_levels: bool,
    /// The toy that the points are of.
    pub toy: Option<Toy>,
}

impl Examples {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Mean square of all values.
    pub fn mean_square(&self) -> f64 {
        let squares = self.x.iter().map(|x| f64::from(*x).powi(2));
        squares.sum::<f64>() / self.x.len() as f64
    }
}

impl DataArgs {
    /// Reads the images for a model.
    ///
    /// # Errors
    /// As of [`open`].
    pub fn open(&self, recipe: &Recipe) -> Result<Examples> {
        open(&self.data, &self.which, recipe)
    }
}

/// Reads the images at `path` for a model.
///
/// # Errors
/// [`Failure::Input`] naming `--data`: it cannot be read, its images have another shape, there are fewer than asked for, or a class is
/// not one of the model's.
pub fn open(path: &Path, which: &WhichArgs, recipe: &Recipe) -> Result<Examples> {
    read(path, which, recipe).map_err(|e| e.context("--data"))
}

fn read(path: &Path, which: &WhichArgs, recipe: &Recipe) -> Result<Examples> {
    let io = recipe.model.io();
    let is_npz = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    let npz = match is_npz && which.part.split.is_none() {
        true => npz::Archive::read(path)?,
        false => None,
    };
    let source = match npz {
        Some(archive) => Source::Npz(archive),
        None => Source::Data(dataset(
            path,
            which.part.split,
            Split::Test,
            which.count,
            &io,
        )?),
    };
    let (shape, n) = match &source {
        Source::Npz(archive) => (archive.shape, archive.n),
        Source::Data(data) => (data.shape(), data.len()),
    };
    if shape != io.image {
        return Err(Failure::Input(format!(
            "{}: got images of {shape:?}, expected {:?} ([C, H, W]) as the model has",
            shown(path),
            io.image
        )));
    }
    let taken = match which.count {
        None => (0..n as u32).collect(),
        Some(asked) if asked as usize > n => {
            return Err(Failure::Input(format!(
                "{}: got {}, expected at least {asked} for --count",
                shown(path),
                count(n, "image")
            )));
        }
        Some(asked) => {
            let mut taken = permutation(0, 0, n as u32);
            taken.truncate(asked as usize);
            taken.sort_unstable();
            taken
        }
    };
    let bytes = 4 * (taken.len() as u64).saturating_mul(io.image_len() as u64);
    memory::require_host(
        &format!("the images of {}", shown(path)),
        Some(bytes),
        "take fewer with --count",
    )?;
    let mut x = vec![0.0; taken.len() * io.image_len()];
    for (image, &index) in x.chunks_exact_mut(io.image_len()).zip(&taken) {
        match &source {
            Source::Npz(archive) => archive.image(index as usize, image),
            Source::Data(data) => data.read(index as usize, image)?,
        }
    }
    if let Some(at) = x.iter().position(|x| !x.is_finite()) {
        return Err(Failure::Input(format!(
            "{}: image {} has the value {}, expected finite ones",
            shown(path),
            taken[at / io.image_len()],
            x[at]
        )));
    }
    let toy = data::toy(path)?;
    if let Some(data) = &recipe.data {
        let top = f32::from(data.max_level) / 127.5 - 1.0;
        let is_dark = x.iter().all(|x| *x <= top + 1e-4);
        let has_levels = match &source {
            Source::Npz(archive) => archive.has_levels(),
            Source::Data(data) => data.has_levels(),
        };
        if data.max_level < 255 && is_dark && has_levels && !is_digits(path) {
            return Err(Failure::Input(format!(
                "{}: no value is above {}, expected 0 to 255 as in every file; the model was trained on {} levels, of which level k is 255 k / {}",
                shown(path),
                data.max_level,
                u32::from(data.max_level) + 1,
                data.max_level
            )));
        }
    }
    let y = labels(path, which, recipe, &source, &taken)?;
    Ok(Examples {
        name: format!("{} of {}", count(taken.len(), "image"), shown(path)),
        numbers: taken.into_iter().map(u64::from).collect(),
        x,
        y,
        has_levels: match &source {
            Source::Npz(archive) => archive.has_levels(),
            Source::Data(data) => data.has_levels(),
        },
        toy,
    })
}

/// Opened data.
enum Source {
    Npz(npz::Archive),
    Data(Arc<dyn Dataset>),
}

/// The model's labels of the images: classes are matched by name where the data has names, else by number.
fn labels(
    path: &Path,
    which: &WhichArgs,
    recipe: &Recipe,
    source: &Source,
    taken: &[u32],
) -> Result<Vec<u32>> {
    let refuse = |what: String| Err(Failure::Input(format!("{}: {what}", shown(path))));
    let n_classes = recipe.model.io().n_classes;
    let Some(null) = recipe.model.io().null_class() else {
        return Ok(vec![0; taken.len()]);
    };
    if which.part.no_class {
        if recipe.class_dropout == Some(0.0) {
            return Err(Failure::Input(
                "--no-class: the model was trained with train.class_dropout = 0, so it has never seen images without a class".into(),
            ));
        }
        return Ok(vec![null; taken.len()]);
    }
    let by_name = |name: &str| {
        let is = |class: &usize| classes::name(&recipe.classes, *class) == name;
        (0..n_classes).find(is).map(|class| class as u32)
    };
    let unknown = |name: &str| {
        let known = (0..n_classes).map(|class| classes::name(&recipe.classes, class));
        refuse(format!(
            "got the class {name}, expected one of the model's: {}; --no-class measures without",
            classes::list(known)
        ))
    };
    let mut labels = Vec::with_capacity(taken.len());
    for &index in taken {
        let label = match source {
            Source::Npz(archive) => archive.label(index as usize),
            Source::Data(data) if data.n_classes() == 0 => None,
            Source::Data(data) => {
                let class = data.label(index as usize);
                let name = classes::name(data.class_names(), class as usize);
                match data.class_names().is_empty() {
                    true => Some(i64::from(class)),
                    false => match by_name(&name) {
                        Some(label) => Some(i64::from(label)),
                        None => return unknown(&name),
                    },
                }
            }
        };
        match label {
            Some(label) if (0..n_classes as i64).contains(&label) => labels.push(label as u32),
            // An image without a class, as `sit sample --npz` writes it.
            Some(label) if label == i64::from(null) && recipe.class_dropout != Some(0.0) => {
                labels.push(null);
            }
            Some(label) => return unknown(&label.to_string()),
            None => {
                return refuse(format!(
                    "has no classes, and the model has {n_classes}; --no-class measures without"
                ));
            }
        }
    }
    Ok(labels)
}
