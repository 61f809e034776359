//! Which images are sampled: labels, and where the noise comes from.

use super::args::Args;
use crate::commands::values::Classes;
use crate::error::{Failure, Result};
use crate::run;
use crate::sampling::Start;
use sit_engine::model::ModelConfig;
use std::iter;
use std::path::Path;

impl Args {
    /// Labels of all images, and where the noise comes from.
    pub fn images(&self, model: &ModelConfig) -> Result<Images> {
        let init = self
            .init
            .as_deref()
            .map(|path| read_init(path, model))
            .transpose()?;
        if self.classes.is_some() {
            let why = match &init {
                _ if model.n_classes == 0 => "this model has no classes",
                Some(Init { y: Some(_), .. }) => "the file of --init has labels y",
                _ => "",
            };
            if !why.is_empty() {
                return Err(Failure::Input(format!("--classes: {why}")));
            }
        }
        let classes = match &self.classes {
            Some(Classes(classes)) => classes.clone(),
            None => (0..model.n_classes.clamp(1, 10) as u32).collect(),
        };
        if let Some(class) = classes
            .iter()
            .find(|&&class| class as usize > model.n_classes)
        {
            return Err(Failure::Input(format!(
                "--classes {class}: this model has {0} classes, 0 to {1}, and {0} for none",
                model.n_classes,
                model.n_classes - 1
            )));
        }
        let per_class = self.per_class as usize;
        let (labels, columns, x) = match init {
            None => {
                let labels: Vec<u32> = classes
                    .iter()
                    .flat_map(|&class| iter::repeat_n(class, per_class))
                    .collect();
                let columns = if model.n_classes == 0 {
                    columns(per_class)
                } else {
                    per_class
                };
                (labels, columns, None)
            }
            Some(Init { n, x, y }) => {
                let in_turn = || classes.iter().copied().cycle().take(n).collect();
                (y.unwrap_or_else(in_turn), columns(n), Some(x))
            }
        };
        if labels.len() > MAX_IMAGES {
            return Err(Failure::Input(format!(
                "--per-class: {} images are too many for a grid, expected at most {MAX_IMAGES}; take several seeds",
                labels.len()
            )));
        }
        let seed = self.seed;
        Ok(Images {
            start: Start { labels, x, seed },
            columns,
        })
    }
}

/// Columns of a grid of `n` images that is about square.
fn columns(n: usize) -> usize {
    n.isqrt().max(1)
}

/// More than that is a data set, not a grid.
const MAX_IMAGES: usize = 1_000_000;

pub struct Images {
    pub start: Start,
    /// Columns of the grid.
    pub columns: usize,
}

struct Init {
    n: usize,
    x: Vec<f32>,
    y: Option<Vec<u32>>,
}

fn read_init(path: &Path, model: &ModelConfig) -> Result<Init> {
    let mut file = run::open(path)?;
    let size = model.input_size;
    let n = match file.shape("x").as_deref() {
        Some(&[n, c, h, w]) if n > 0 && [c, h, w] == [model.channels, size, size] => n,
        Some(shape) => {
            return Err(Failure::Input(format!(
                "{}: x is {shape:?}, expected [B, {}, {size}, {size}]",
                path.display(),
                model.channels
            )));
        }
        None => {
            return Err(Failure::Input(format!(
                "{}: has no tensor x",
                path.display()
            )));
        }
    };
    let y = match file.shape("y").as_deref() {
        None => None,
        Some(&[m]) if m == n => Some(file.read_labels("y")?),
        Some(shape) => {
            return Err(Failure::Input(format!(
                "{}: y is {shape:?}, expected [{n}]",
                path.display()
            )));
        }
    };
    if let Some(label) = y
        .iter()
        .flatten()
        .find(|&&label| label as usize > model.n_classes)
    {
        return Err(Failure::Input(format!(
            "{}: y holds {label}, expected 0 to {}",
            path.display(),
            model.n_classes
        )));
    }
    Ok(Init {
        n,
        x: file.read("x")?,
        y,
    })
}
