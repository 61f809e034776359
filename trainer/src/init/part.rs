//! How the parameters of a DiT are made of the tensors of another one.

use crate::error::Result;
use crate::weights::WeightFile;
use sit_engine::model::{Condition, Dit};
use sit_engine::nn::ParamSpec;

/// The table of the labels.
pub(crate) const LABEL_TABLE: &str = "y_embedder.embedding_table.weight";
const TIME_BIAS: &str = "t_embedder.mlp.2.bias";
/// The layer that reads patches, without and with a bottleneck.
pub(super) const PATCHES: [&str; 2] = ["x_embedder.proj.weight", "x_embedder.proj1.weight"];
const LAST: [&str; 2] = ["final_layer.linear.weight", "final_layer.linear.bias"];

/// How a parameter is made.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Copied from the file's tensor of this name.
    Kept,
    /// Initialized as in a run without the file.
    New,
    /// Each row copied from the given row of the file's tensor, or initialized as without the file.
    Rows(Vec<Option<usize>>),
    /// The file's tensor plus the embedding of its null class, which a model without classes always adds.
    PlusNull,
}

/// Whether the file's null class becomes a part of the time: the network added the two, and has no classes now.
pub(super) fn adds_null(old: &Dit, new: &Dit) -> bool {
    let adds = matches!(old.condition, Condition::AdaLn | Condition::AdaLnZero);
    adds && old.n_classes > 0 && new.n_classes == 0
}

impl Part {
    /// Of the parameter `name`, when the file's model is `old` and the run's `new`; `rows` are those of the label table.
    pub fn of(name: &str, old: &Dit, new: &Dit, rows: Option<&[Option<usize>]>) -> Part {
        let same_patches = (old.patch, old.channels) == (new.patch, new.channels);
        match name {
            LABEL_TABLE => match rows {
                None => Part::New,
                Some(rows) if rows.iter().copied().eq((0..=old.n_classes).map(Some)) => Part::Kept,
                Some(rows) => Part::Rows(rows.to_vec()),
            },
            TIME_BIAS if adds_null(old, new) => Part::PlusNull,
            _ if PATCHES.contains(&name) && !same_patches => Part::New,
            _ if LAST.contains(&name) && !same_patches => Part::New,
            _ if LAST.contains(&name) && old.learn_sigma != new.learn_sigma => {
                Part::Rows(pixel_rows(old, new))
            }
            _ => Part::Kept,
        }
    }
}

impl Part {
    /// The values of the parameter of `spec`, with those of `initial` where the file has none; `None` for [`Part::New`].
    ///
    /// # Errors
    /// [`crate::error::Failure::Input`] naming the tensor that cannot be read or is not finite.
    pub fn read(
        &self,
        file: &mut WeightFile,
        spec: &ParamSpec,
        initial: impl FnOnce() -> Vec<f32>,
    ) -> Result<Option<Vec<f32>>> {
        Ok(match self {
            Part::New => None,
            Part::Kept => Some(file.read_param(spec)?),
            Part::Rows(rows) => {
                let mut values = initial();
                put_rows(&mut values, &file.read(&spec.name)?, rows);
                Some(values)
            }
            Part::PlusNull => {
                let mut values = file.read(&spec.name)?;
                let table = file.read(LABEL_TABLE)?;
                let null = &table[table.len() - values.len()..];
                values.iter_mut().zip(null).for_each(|(x, null)| *x += null);
                Some(values)
            }
        })
    }
}

/// Maps rows of the last layer to those of a model with or without the sigma half; in both, the channels come first.
fn pixel_rows(old: &Dit, new: &Dit) -> Vec<Option<usize>> {
    let row = |i: usize| {
        let (pixel, channel) = (i / new.out_channels(), i % new.out_channels());
        (channel < new.channels).then_some(pixel * old.out_channels() + channel)
    };
    (0..new.patch.pow(2) * new.out_channels())
        .map(row)
        .collect()
}

/// Copies rows of `from` into those of `into`.
fn put_rows(into: &mut [f32], from: &[f32], rows: &[Option<usize>]) {
    let len = into.len() / rows.len();
    for (row, old) in into.chunks_exact_mut(len).zip(rows) {
        if let Some(old) = old {
            row.copy_from_slice(&from[old * len..][..len]);
        }
    }
}
