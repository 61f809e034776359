//! Writing tensors of a model, one in memory at a time.

use super::recipe::{RECIPE_KEY, Recipe};
use super::{POS_EMBED, header};
use crate::backend::Arenas;
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{ModelConfig, params, pos_embed};
use crate::shape::Shape;
use half::f16;
use std::io::{self, Write};
use std::str::FromStr;

/// Type of the values of a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to the nearest half, half the bytes. A model that is trained on or compared bit for bit stays f32.
    F16,
}

impl Precision {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err(Error::Config(format!("got {text:?}, expected f32 or f16"))),
        }
    }
}

/// Tensors to write: name, shape and where the values are.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub shape: Shape,
    /// Arena and parameter; `None` is the fixed position embedding.
    pub source: Option<(Arena, String)>,
}

/// The tensors of a model under their official names, the position embedding first as in the official files.
pub fn model_tensors(config: &ModelConfig, arena: Arena) -> Vec<Tensor> {
    let pos = Tensor {
        name: POS_EMBED.into(),
        shape: [1, config.tokens(), config.dim].into(),
        source: None,
    };
    let of = |(name, shape): (String, Shape)| Tensor {
        source: Some((arena, name.clone())),
        name,
        shape,
    };
    std::iter::once(pos)
        .chain(params(config).into_iter().map(of))
        .collect()
}

/// The moments of AdamW: `exp_avg.NAME` and `exp_avg_sq.NAME`, PyTorch's terms.
pub fn moment_tensors(config: &ModelConfig) -> Vec<Tensor> {
    let kinds = [("exp_avg", Arena::MomentM), ("exp_avg_sq", Arena::MomentV)];
    let of = |(kind, arena): (&str, Arena)| {
        params(config)
            .into_iter()
            .map(|(name, shape)| Tensor {
                name: format!("{kind}.{name}"),
                shape,
                source: Some((arena, name)),
            })
            .collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(of).collect()
}

/// Writes `tensors` of the model of `recipe` as a safetensors file, which then says what it is.
///
/// # Errors
/// [`Error::Write`] when the stream refuses, [`Error::Checkpoint`] naming the value that f16 cannot hold, [`Error::Device`]
/// when the device fails.
pub async fn write(
    out: &mut impl Write,
    recipe: &Recipe,
    tensors: &[Tensor],
    precision: Precision,
    arenas: &Arenas,
) -> Result<()> {
    let io = |e: io::Error| Error::Write(e.to_string());
    let json = serde_json::to_string(recipe).map_err(|e| Error::Checkpoint(e.to_string()))?;
    let shapes: Vec<(String, Shape)> = tensors
        .iter()
        .map(|t| (t.name.clone(), t.shape.clone()))
        .collect();
    out.write_all(&header(&shapes, precision, Some((RECIPE_KEY, &json)))?)
        .map_err(io)?;
    for tensor in tensors {
        let values = match &tensor.source {
            None => pos_embed(&recipe.model),
            Some((arena, name)) => arenas.read(*arena, name).await?,
        };
        match precision {
            Precision::F32 => write_values(out, &values).map_err(io)?,
            Precision::F16 => out.write_all(&halves(&tensor.name, &values)?).map_err(io)?,
        }
    }
    Ok(())
}

/// Values rounded to f16, little-endian.
fn halves(name: &str, values: &[f32]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for (at, &x) in values.iter().enumerate() {
        let half = f16::from_f32(x);
        if !half.is_finite() {
            return Err(Error::Checkpoint(format!(
                "{name}[{at}] is {x}, expected at most {} for f16; write f32",
                f16::MAX
            )));
        }
        bytes.extend(half.to_le_bytes());
    }
    Ok(bytes)
}

/// Writes values as little-endian f32.
///
/// # Errors
/// Those of the stream.
pub fn write_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values
        .iter()
        .try_for_each(|x| out.write_all(&x.to_le_bytes()))
}
