//! Writes the tensors of a model, with one in memory at a time.

use super::header::header_of;
use super::index::Dtype;
use super::names::{Held, Names};
use super::precision::Precision;
use super::recipe::{RECIPE_KEY, Recipe};
use crate::backend::Arenas;
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{Blueprint, Model, params};
use crate::nn::{Init, ParamSpec};
use crate::shape::Shape;
use crate::transport::Transport;
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
        let specs = fixed.into_iter().chain(trained);
        let specs: Vec<_> = specs.map(|spec| (spec.clone(), precision)).collect();
        let mut writer = Writer::new(out, recipe, Names::Official, specs)?;
        while let Some(spec) = writer.next() {
            let values = match spec.init {
                Init::Table(table) => table.values(),
                _ => self.read_async(&spec.name).await?,
            };
            writer.put(&values)?;
        }
        Ok(())
    }
}

/// A file of weights that is written tensor by tensor.
#[doc(hidden)]
pub struct Writer<'a, W> {
    out: &'a mut W,
    specs: Vec<Written>,
    at: usize,
}

/// A tensor with its official name, and what holds it in the file.
struct Written {
    spec: ParamSpec,
    precision: Precision,
    held: Held,
}

impl<'a, W: Write> Writer<'a, W> {
    /// Writes the header of a file with these parameters in this order, under `names`. Diffusers computes fixed tables itself.
    ///
    /// # Errors
    /// [`Error::Write`] when the stream fails.
    pub fn new(
        out: &'a mut W,
        recipe: Option<&Recipe>,
        names: Names,
        specs: Vec<(ParamSpec, Precision)>,
    ) -> Result<Self> {
        let block = |name: &str| {
            let rest = name.strip_prefix("blocks.")?;
            rest.split('.').next()?.parse::<usize>().ok()
        };
        let last = specs.iter().filter_map(|(spec, _)| block(&spec.name)).max();
        let depth = last.map_or(0, |last| last + 1);
        let has = |spec: &ParamSpec| names == Names::Official || spec.is_trained();
        let specs = specs.into_iter().filter(|(spec, _)| has(spec));
        let specs: Vec<Written> = specs
            .map(|(spec, precision)| Written {
                held: names.held(&spec.name, depth),
                spec,
                precision,
            })
            .collect();
        let list: Vec<(String, Shape, Dtype)> = specs.iter().flat_map(Written::tensors).collect();
        write_header(out, recipe, names, &list)?;
        Ok(Writer { out, specs, at: 0 })
    }

    /// The parameter whose values come next; `None` at the end.
    #[allow(
        clippy::should_implement_trait,
        reason = "the values come between two calls"
    )]
    pub fn next(&mut self) -> Option<&ParamSpec> {
        self.specs.get(self.at).map(|written| &written.spec)
    }

    /// Writes the values of that parameter.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming a value that the type of the file cannot hold, [`Error::Write`] when the stream fails.
    pub fn put(&mut self, values: &[f32]) -> Result<()> {
        let Some(Written {
            spec,
            precision,
            held,
        }) = self.specs.get(self.at)
        else {
            return Err(Error::Config("all values are written".into()));
        };
        self.at += 1;
        let n = match held {
            Held::Copies(names) => names.len(),
            Held::Parts(_) => 1,
        };
        if *precision == Precision::F32 {
            let mut all = (0..n).map(|_| write_values(self.out, values));
            return all.try_for_each(|written| written.map_err(refused));
        }
        let bytes = rounded(spec, values, *precision)?;
        let mut all = (0..n).map(|_| self.out.write_all(&bytes));
        all.try_for_each(|written| written.map_err(refused))
    }
}

impl Written {
    /// The tensors in the file.
    fn tensors(&self) -> Vec<(String, Shape, Dtype)> {
        let (names, n) = match &self.held {
            Held::Copies(names) => (names, 1),
            Held::Parts(names) => (names, names.len()),
        };
        let mut sizes = self.spec.shape.to_vec();
        if let Some(rows) = sizes.first_mut() {
            *rows /= n;
        }
        let (shape, dtype) = (Shape::from(sizes), self.precision.dtype());
        let tensor = |name: &String| (name.clone(), shape.clone(), dtype);
        names.iter().map(tensor).collect()
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
    let list: Vec<(String, Shape, Dtype)> = moments(specs)
        .map(|(name, spec, _)| (name, spec.shape.clone(), Dtype::F32))
        .collect();
    write_header(out, recipe, Names::Official, &list)?;
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
    names: Names,
    list: &[(String, Shape, Dtype)],
) -> Result<()> {
    let json = recipe.map(serde_json::to_string).transpose();
    let json = json.map_err(|e| Error::Checkpoint(e.to_string()))?;
    let mut metadata = Vec::new();
    if names == Names::Diffusers {
        // Programs of Hugging Face look for it.
        metadata.push(("format", "pt"));
    }
    metadata.extend(json.as_ref().map(|json| (RECIPE_KEY, &json[..])));
    out.write_all(&header_of(list, &metadata)?).map_err(refused)
}

/// The bytes of rounded values.
fn rounded(spec: &ParamSpec, values: &[f32], precision: Precision) -> Result<Vec<u8>> {
    let name = &spec.name;
    let mut bytes = Vec::with_capacity(precision.bytes() * values.len());
    let mut is_lost = true;
    for (at, &x) in values.iter().enumerate() {
        let rounded = precision.rounded(x);
        if !rounded.is_finite() {
            return Err(Error::Checkpoint(format!(
                "{name}[{at}] is {x}, expected at most {} for {precision}; write f32",
                precision.max()
            )));
        }
        is_lost &= rounded == 0.0;
        precision.put(x, &mut bytes);
    }
    // Readers refuse a matrix of zeros.
    if is_lost && spec.init.is_random() && values.iter().any(|&x| x != 0.0) {
        return Err(Error::Checkpoint(format!(
            "{name} has only values below the smallest of {precision}; write f32"
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
