//! Writes the tensors of a model, with one in memory at a time.

use super::header;
use super::precision::Precision;
use super::recipe::{RECIPE_KEY, Recipe};
use crate::backend::Arenas;
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{Blueprint, Model, params};
use crate::nn::{Init, ParamSpec};
use crate::shape::Shape;
use crate::transport::Transport;
use half::f16;
use std::io::{self, Write};

impl Model {
    /// Writes the weights under their official names as a safetensors file: the fixed tables first, as in the official files. With a
    /// recipe the file says what it is; `None` is for a network of your own, which no configuration names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a recipe of other tensors or another transport, or naming a value beyond f16's range;
    /// [`Error::Write`] when the stream fails, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save<'a>(
        &self,
        out: &mut impl Write,
        recipe: impl Into<Option<&'a Recipe>>,
        precision: Precision,
    ) -> Result<()> {
        pollster::block_on(self.save_async(out, recipe, precision))
    }
}

#[doc(hidden)]
impl Model {
    /// Async variant of [`Self::save`], for browsers.
    pub async fn save_async<'a>(
        &self,
        out: &mut impl Write,
        recipe: impl Into<Option<&'a Recipe>>,
        precision: Precision,
    ) -> Result<()> {
        let recipe = checked(recipe.into(), self.specs(), self.transport())?;
        let (fixed, trained): (Vec<_>, Vec<_>) =
            self.specs().iter().partition(|spec| !spec.is_trained());
        let specs = fixed.iter().chain(&trained);
        let list: Vec<(String, Shape)> = specs
            .clone()
            .map(|spec| (spec.name.clone(), spec.shape.clone()))
            .collect();
        write_header(out, recipe, &list, precision)?;
        for spec in specs {
            let values = match spec.init {
                Init::Table(table) => table.values(),
                _ => self.read_async(&spec.name).await?,
            };
            match precision {
                Precision::F32 => write_values(out, &values),
                Precision::F16 => out.write_all(&halves(spec, &values)?),
            }
            .map_err(refused)?;
        }
        Ok(())
    }
}

/// The moments of AdamW under PyTorch's names `exp_avg.NAME` and `exp_avg_sq.NAME`, with the parameter and the arena of each.
pub(super) fn moments(
    specs: &[ParamSpec],
) -> impl Iterator<Item = (String, &ParamSpec, Arena)> + Clone {
    let kinds = [("exp_avg", Arena::MomentM), ("exp_avg_sq", Arena::MomentV)];
    kinds.into_iter().flat_map(move |(kind, arena)| {
        let trained = specs.iter().filter(|spec| spec.is_trained());
        trained.map(move |spec| (format!("{kind}.{}", spec.name), spec, arena))
    })
}

/// Writes the moments of AdamW as a safetensors file.
///
/// # Errors
/// As [`Model::save`].
pub(crate) async fn write_moments(
    out: &mut impl Write,
    recipe: Option<&Recipe>,
    blueprint: &Blueprint,
    arenas: &Arenas,
) -> Result<()> {
    let specs = blueprint.specs();
    let recipe = checked(recipe, specs, blueprint.transport())?;
    let list: Vec<(String, Shape)> = moments(specs)
        .map(|(name, spec, _)| (name, spec.shape.clone()))
        .collect();
    write_header(out, recipe, &list, Precision::F32)?;
    for (_, spec, arena) in moments(specs) {
        let values = arenas.read(arena, &spec.name).await?;
        write_values(out, &values).map_err(refused)?;
    }
    Ok(())
}

fn refused(e: io::Error) -> Error {
    Error::Write(e.to_string())
}

/// Refuses a recipe of a network with other tensors than `specs`, or of another transport.
fn checked<'a>(
    recipe: Option<&'a Recipe>,
    specs: &[ParamSpec],
    transport: &Transport,
) -> Result<Option<&'a Recipe>> {
    let Some(Recipe {
        model,
        transport: recorded,
        ..
    }) = recipe
    else {
        return Ok(None);
    };
    let described = params(model)?;
    let same = |(a, b): (&ParamSpec, &ParamSpec)| (&a.name, &a.shape) == (&b.name, &b.shape);
    if described.len() != specs.len() || !described.iter().zip(specs).all(same) {
        return Err(Error::Checkpoint(format!(
            "the recipe is that of a network with other tensors ({model}), expected the one that is written"
        )));
    }
    // Stages of a distillation differ in the number of steps.
    let staged = Transport {
        student_steps: recorded.student_steps,
        ..transport.clone()
    };
    if *recorded != staged {
        return Err(Error::Checkpoint(format!(
            "the recipe has {recorded:?}, expected that of the model, {transport:?}"
        )));
    }
    Ok(recipe)
}

fn write_header(
    out: &mut impl Write,
    recipe: Option<&Recipe>,
    list: &[(String, Shape)],
    precision: Precision,
) -> Result<()> {
    let json = recipe.map(serde_json::to_string).transpose();
    let json = json.map_err(|e| Error::Checkpoint(e.to_string()))?;
    let header = header(
        list,
        precision,
        json.as_ref().map(|json| (RECIPE_KEY, &json[..])),
    )?;
    out.write_all(&header).map_err(refused)
}

/// Values rounded to f16, little-endian.
fn halves(spec: &ParamSpec, values: &[f32]) -> Result<Vec<u8>> {
    let name = &spec.name;
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
    // Readers refuse a matrix of zeros.
    let is_zero = |pair: &[u8]| pair[0] == 0 && pair[1] & 0x7f == 0;
    let is_lost = bytes.chunks(2).all(is_zero) && values.iter().any(|&x| x != 0.0);
    if is_lost && spec.init.is_random() {
        return Err(Error::Checkpoint(format!(
            "{name} has only values below the smallest of f16; write f32"
        )));
    }
    Ok(bytes)
}

/// Writes values as little-endian f32.
///
/// # Errors
/// Those of the stream.
#[doc(hidden)]
pub fn write_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values
        .iter()
        .try_for_each(|x| out.write_all(&x.to_le_bytes()))
}
