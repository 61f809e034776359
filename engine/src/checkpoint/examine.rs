//! What model a file's tensors make, and every tensor that does not fit it, from the header alone.

use super::{POS_EMBED, Reader};
use crate::error::{Error, Result};
use crate::model::{ModelConfig, PRESETS, params};
use crate::shape::Shape;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Seek};

/// A tensor that does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The model has it, the file does not.
    Missing {
        /// Its name.
        name: String,
        /// Its shape in the model.
        expected: Shape,
    },
    /// The file has it, the model does not.
    Extra {
        /// Its name.
        name: String,
        /// Its shape in the file.
        got: Shape,
    },
    /// It has another shape.
    Shape {
        /// Its name.
        name: String,
        /// Its shape in the file.
        got: Shape,
        /// Its shape in the model.
        expected: Shape,
    },
    /// Its values cannot be read as f32.
    Unreadable {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => write!(f, "has no tensor {name} {expected}"),
            Self::Extra { name, got } => {
                write!(f, "has a tensor {name} {got} that this model does not have")
            }
            Self::Shape {
                name,
                got,
                expected,
            } => write!(f, "{name} is {got}, expected {expected}"),
            Self::Unreadable { name, why } => write!(f, "{name} {why}"),
        }
    }
}

/// What a file is, told before any value is read.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The model that its recipe states or its tensors make; or what is missing to tell.
    pub model: Result<ModelConfig>,
    /// Every tensor that does not fit that model: those of the model in its order, then those it does not have.
    pub mismatches: Vec<Mismatch>,
}

impl<R: Read + Seek> Reader<R> {
    /// Tells the model and lists every tensor that does not fit it; arguments as in [`Reader::model`].
    pub fn examine(&self, n_heads: Option<usize>, input_size: Option<usize>) -> Examination {
        let model = self.model(n_heads, input_size);
        let mismatches = match &model {
            Ok(model) => self.mismatches(model),
            Err(_) => Vec::new(),
        };
        Examination { model, mismatches }
    }

    /// The model that the file states, or else that its tensors make, whether or not all of them are there and fit.
    ///
    /// Shapes do not tell the number of heads, nor the image size when there is no position embedding; they come from
    /// `n_heads` and `input_size`, from the recipe, or for the published widths from the published sizes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that is missing or the number that must be given.
    pub fn model(&self, n_heads: Option<usize>, input_size: Option<usize>) -> Result<ModelConfig> {
        let mut model = match self.recipe()? {
            Some(recipe) => recipe.model,
            None => self.model_of_shapes(n_heads, input_size)?,
        };
        model.n_heads = n_heads.unwrap_or(model.n_heads);
        model.input_size = input_size.unwrap_or(model.input_size);
        model.validate().or_else(|e| self.refuse(e))?;
        Ok(model)
    }

    fn model_of_shapes(
        &self,
        n_heads: Option<usize>,
        input_size: Option<usize>,
    ) -> Result<ModelConfig> {
        let proj = match self.shape("x_embedder.proj.weight") {
            Some(shape) if shape.len() == 4 && shape.iter().all(|&n| n > 0) => shape,
            Some(shape) => {
                return self.refuse(format_args!(
                    "x_embedder.proj.weight is {shape}, expected 4 axes"
                ));
            }
            None => {
                return self.refuse(
                    "has no tensor x_embedder.proj.weight; is it a SiT with the official names?",
                );
            }
        };
        let (dim, channels, patch) = (proj[0], proj[1], proj[2]);
        let first = |name: &str| Some(*self.shape(name)?.first()?);
        // What is neither C nor 2C outputs a pixel is a mismatch of the usual 2C.
        let plain = patch
            .checked_mul(patch)
            .and_then(|n| n.checked_mul(channels));
        let learn_sigma = first("final_layer.linear.weight") != plain;
        let block = |name: &str| {
            name.strip_prefix("blocks.")?
                .split('.')
                .next()?
                .parse()
                .ok()
        };
        let depth: BTreeSet<usize> = self.tensors().filter_map(|(name, _)| block(name)).collect();
        let table = first("y_embedder.embedding_table.weight");
        let input_size = match (self.shape(POS_EMBED), input_size) {
            (_, Some(size)) => size,
            (Some(shape), None) if shape.len() == 3 => shape[1].isqrt().saturating_mul(patch),
            _ => {
                return self.refuse(
                    "has no pos_embed [1, T, D] to tell the image size; give --input-size",
                );
            }
        };
        let published = PRESETS.iter().find(|p| p.dim == dim).map(|p| p.n_heads);
        let Some(n_heads) = n_heads.or(published) else {
            return self.refuse(format_args!(
                "its tensors do not tell the number of heads of width {dim}; give --n-heads"
            ));
        };
        Ok(ModelConfig {
            input_size,
            channels,
            patch,
            dim,
            depth: depth.last().map_or(0, |last| last.saturating_add(1)),
            n_heads,
            n_classes: table.map_or(0, |rows| rows.saturating_sub(1)),
            learn_sigma,
        })
    }

    /// Every tensor that does not fit `config`, with an optional position embedding.
    pub fn mismatches(&self, config: &ModelConfig) -> Vec<Mismatch> {
        let wanted = params(config);
        let mut list = Vec::new();
        let mut compare = |name: &str, expected: &Shape| {
            let name = name.to_owned();
            let Some(entry) = self.entry(&name) else {
                let expected = expected.clone();
                return list.push(Mismatch::Missing { name, expected });
            };
            if entry.shape != *expected {
                let (got, expected) = (entry.shape.clone(), expected.clone());
                list.push(Mismatch::Shape {
                    name,
                    got,
                    expected,
                });
            } else if let Some(why) = entry.unreadable() {
                list.push(Mismatch::Unreadable { name, why });
            }
        };
        wanted.iter().for_each(|(name, shape)| compare(name, shape));
        if self.entry(POS_EMBED).is_some() {
            compare(POS_EMBED, &[1, config.tokens(), config.dim].into());
        }
        let known: BTreeSet<&str> = wanted.iter().map(|(name, _)| &name[..]).collect();
        for (name, entry) in self.tensors() {
            if name != POS_EMBED && !known.contains(name) {
                let (name, got) = (name.to_owned(), entry.shape.clone());
                list.push(Mismatch::Extra { name, got });
            }
        }
        list
    }

    /// Checks that the file has exactly the tensors of `config`, with an optional position embedding, in their shapes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the first of [`Reader::mismatches`] and how many there are.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let list = self.mismatches(config);
        match &list[..] {
            [] => Ok(()),
            [only] => self.refuse(only),
            [first, more @ ..] => {
                self.refuse(format_args!("{first}, and {} more do not fit", more.len()))
            }
        }
    }

    pub(super) fn refuse<T>(&self, what: impl fmt::Display) -> Result<T> {
        Err(Error::Checkpoint(format!("{}: {what}", self.name)))
    }
}
