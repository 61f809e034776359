//! Which images are sampled: labels, and where the noise comes from.

use super::args::Args;
use crate::commands::classes::Known;
use crate::data::classes::{self, count};
use crate::error::{Failure, Result};
use crate::png::Grid;
use crate::run;
use crate::sampling::Start;
use sit_engine::model::ModelConfig;
use std::iter;
use std::path::Path;

impl Args {
    /// Labels of all images, and where the noise comes from.
    pub fn images(&self, model: &ModelConfig, names: &[String]) -> Result<Images> {
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
        let n = model.n_classes;
        let classes = match &self.classes {
            Some(text) => Known { n, names }
                .parse(text)
                .map_err(|e| Failure::Input(format!("--classes {e}")))?,
            None => (0..n.clamp(1, 10) as u32).collect(),
        };
        let per_class = self.per_class as usize;
        let n_images = classes.len().saturating_mul(per_class);
        if init.is_none() && n_images > MAX_IMAGES {
            return Err(Failure::Input(format!(
                "--per-class: {n_images} images are too many for a grid, expected at most {MAX_IMAGES}; take several seeds"
            )));
        }
        let (labels, layout, x) = match init {
            None => {
                let labels: Vec<u32> = classes
                    .iter()
                    .flat_map(|&class| iter::repeat_n(class, per_class))
                    .collect();
                let layout = match n {
                    0 => Grid::square(per_class),
                    _ => Grid::by_class(classes.len(), per_class),
                };
                (labels, layout, None)
            }
            Some(Init { n, x, y }) => {
                let in_turn = || classes.iter().copied().cycle().take(n).collect();
                (y.unwrap_or_else(in_turn), Grid::square(n), Some(x))
            }
        };
        let said = match (n, &x) {
            (0, _) | (_, Some(_)) => String::new(),
            _ => {
                let numbers = classes.iter().map(|&class| class as usize);
                let all = match self.classes.is_none() && n > classes.len() {
                    true => format!(" of {}", count(n)),
                    false => String::new(),
                };
                format!("{}{all}: {}\n", layout.say(), numbered(names, n, numbers))
            }
        };
        let seed = self.seed;
        Ok(Images {
            start: Start { labels, x, seed },
            layout,
            said,
        })
    }

    /// Refuses guidance of a model that knows no null class, and says that its samples without a class mean nothing.
    pub fn check_null_class(
        &self,
        model: &ModelConfig,
        class_dropout: Option<f64>,
        labels: &[u32],
    ) -> Result<()> {
        let Some(null) = model.null_class().filter(|_| class_dropout == Some(0.0)) else {
            return Ok(());
        };
        if self.guidance != 1.0 {
            return Err(Failure::Input(format!(
                "--guidance: got {}, expected 1 (none): the model was trained with train.class_dropout = 0, so it has never seen the null \
                 class that guidance compares with",
                self.guidance
            )));
        }
        if labels.contains(&null) {
            tracing::warn!(
                "the model was trained with train.class_dropout = 0: it has never seen the null class (none), whose samples mean nothing"
            );
        }
        Ok(())
    }
}

/// Classes by number and name, the null class by its name.
fn numbered(names: &[String], n: usize, classes: impl ExactSizeIterator<Item = usize>) -> String {
    classes::list(classes.map(|class| match class == n {
        true => "none".to_owned(),
        false => classes::numbered(names, iter::once(class)),
    }))
}

/// More than that is a data set, not a grid.
const MAX_IMAGES: usize = 1_000_000;

pub struct Images {
    pub start: Start,
    /// Where the images lie in the grid.
    pub layout: Grid,
    /// Which classes lie where in it, a line; nothing without classes.
    pub said: String,
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
