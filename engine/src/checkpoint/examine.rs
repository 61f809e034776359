//! Infers the model from a file's tensors and lists every tensor that does not match it, from the header alone.

use super::{Reader, shown};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::{LANDMARKS, ModelConfig, Network, Recognized, params};
use crate::nn::ParamSpec;
use crate::shape::Shape;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Seek};

/// A tensor that does not match a model.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// In the model, but not in the file.
    Missing {
        /// Its name.
        name: String,
        /// Its shape in the model.
        expected: Shape,
    },
    /// In the file, but not in the model.
    Extra {
        /// Its name.
        name: String,
        /// Its shape in the file.
        got: Shape,
    },
    /// The shapes differ.
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
                let name = shown(name);
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

/// The result of examining a file's header.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Examination {
    /// The model given by its recipe or inferred from its tensors; or what information is missing.
    pub model: Result<ModelConfig>,
    /// The sizes that could be inferred, even if some are unknown.
    pub recognized: Option<Recognized>,
    /// Every tensor that does not match that model: first those of the model, in its order, then extra ones.
    pub mismatches: Vec<Mismatch>,
}

/// Name components in files of other models, with the name of the model.
const OTHERS: [(&str, &str); 10] = [
    (
        "transformer_blocks.",
        "another transformer under diffusers' names than DiT",
    ),
    (
        "down_blocks.",
        "a UNet or an autoencoder under diffusers' names",
    ),
    (
        "up_blocks.",
        "a UNet or an autoencoder under diffusers' names",
    ),
    ("model.diffusion_model.", "a UNet of Stable Diffusion"),
    ("encoder.down.", "an autoencoder of latent diffusion"),
    ("decoder.up.", "an autoencoder of latent diffusion"),
    ("double_blocks.", "a Flux transformer"),
    ("joint_blocks.", "a Stable Diffusion 3 transformer"),
    ("lora_", "a LoRA, which is a change of another file"),
    (
        "exp_avg.",
        "the moments of an optimizer; the weights are in the file beside it",
    ),
];

impl<R: Read + Seek> Reader<R> {
    /// The model that the file states, or else that its tensors imply, even if some are missing or do not match.
    ///
    /// Shapes determine neither the number of heads nor, without a position embedding, the image size. These come from `n_heads`
    /// and `input_size`, from the recipe, or, for published widths, from the published sizes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that is missing or the argument that must be given.
    pub fn model(&self, n_heads: Option<usize>, input_size: Option<usize>) -> Result<ModelConfig> {
        self.known(self.recognized(n_heads, input_size)?)
    }

    fn known(&self, recognized: Recognized) -> Result<ModelConfig> {
        if !recognized.knows_image {
            return self.refuse(match &recognized.model {
                ModelConfig::Dit(_) => {
                    "has no pos_embed [1, T, D] to tell the image size; give `input_size`"
                }
                _ => "its tensors do not tell the image size; give `input_size`",
            });
        }
        if !recognized.knows_heads {
            return self.refuse(format_args!(
                "its tensors do not tell the number of heads of width {}; give `n_heads`",
                recognized.model.heads_divide()
            ));
        }
        Ok(recognized.model)
    }

    fn recognized(&self, n_heads: Option<usize>, input_size: Option<usize>) -> Result<Recognized> {
        if self.records_sizes()? && n_heads.or(input_size).is_some() {
            return self.refuse("records its own sizes, expected no `n_heads` and `input_size`");
        }
        let mut recognized = match self.recipe()? {
            Some(recipe) => Recognized::all(recipe.model),
            None => self.recognize()?,
        };
        if let Some(sizes) = self.sizes {
            recognized.add(Some(sizes.n_heads), Some(sizes.input_size));
        }
        recognized.add(n_heads, input_size);
        let valid = recognized.model.validate(1);
        valid.or_else(|e| self.refuse(e))?;
        Ok(recognized)
    }

    pub(super) fn recognize(&self) -> Result<Recognized> {
        let tensors = self.tensors().map(|(name, entry)| (name, &entry.shape));
        match ModelConfig::recognize(&tensors.collect()) {
            Some(recognized) => recognized.or_else(|what| self.refuse(what)),
            None => {
                for (part, what) in OTHERS {
                    if let Some((name, _)) = self.tensors().find(|(name, _)| name.contains(part)) {
                        return self.refuse(format_args!(
                            "has {}: {what}; expected a SiT or a DiT, with {}",
                            shown(name),
                            self.called(LANDMARKS[0])
                        ));
                    }
                }
                self.refuse(format_args!(
                    "has no tensor {}; is it a SiT with the official names?",
                    self.called(LANDMARKS[0])
                ))
            }
        }
    }

    pub(super) fn check_specs(&self, specs: &[ParamSpec]) -> Result<()> {
        let list = self.mismatches(specs);
        match &list[..] {
            [] => Ok(()),
            [only] => self.refuse(only),
            [first, more @ ..] => {
                self.refuse(format_args!("{first}, and {} more do not fit", more.len()))
            }
        }
    }

    pub(crate) fn refuse<T>(&self, what: impl fmt::Display) -> Result<T> {
        Err(super::refuse(&self.name, what))
    }
}

#[doc(hidden)]
impl<R: Read + Seek> Reader<R> {
    /// Checks that the file has exactly the tensors of `network` with their shapes; fixed tables may be missing.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the first of [`Reader::mismatches`] and their number.
    pub fn check(&self, network: &dyn Network) -> Result<()> {
        self.check_specs(&params(network)?)
    }

    /// Every tensor that does not match `specs`; fixed tables may be missing.
    pub fn mismatches(&self, specs: &[ParamSpec]) -> Vec<Mismatch> {
        let mut list = Vec::new();
        let mut compare = |official: &str, expected: &Shape| {
            let name = self.called(official);
            let Some(entry) = self.entry(official) else {
                let expected = expected.clone();
                return list.push(Mismatch::Missing { name, expected });
            };
            if let Some(why) = entry.unreadable() {
                list.push(Mismatch::Unreadable { name, why });
            } else if entry.shape != *expected {
                let (got, expected) = (entry.shape.clone(), expected.clone());
                list.push(Mismatch::Shape {
                    name,
                    got,
                    expected,
                });
            }
        };
        let (trained, fixed): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| spec.is_trained());
        let fixed = fixed.iter().filter(|spec| self.entry(&spec.name).is_some());
        for spec in trained.iter().chain(fixed) {
            compare(&spec.name, &spec.shape);
        }
        let known: BTreeSet<&str> = specs.iter().map(|spec| &spec.name[..]).collect();
        for (name, entry) in self.tensors() {
            if !known.contains(name) {
                let (name, got) = (name.to_owned(), entry.shape.clone());
                list.push(Mismatch::Extra { name, got });
            }
        }
        list
    }

    /// Determines the model and lists every tensor that does not match it; arguments as in [`Reader::model`].
    pub fn examine(&self, n_heads: Option<usize>, input_size: Option<usize>) -> Examination {
        let recognized = self.recognized(n_heads, input_size);
        let mismatches = match &recognized {
            // The sizes are valid.
            Ok(recognized) => self.mismatches(&params(&recognized.model).unwrap_or_default()),
            Err(_) => Vec::new(),
        };
        Examination {
            recognized: recognized.as_ref().ok().cloned(),
            model: recognized.and_then(|recognized| self.known(recognized)),
            mismatches,
        }
    }
}
