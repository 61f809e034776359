//! `sit convert`: weights as one file that says what it is, under the official names or those of diffusers.

use super::classes::Known;
use super::source::{self, Opened, SourceArgs};
use crate::data::classes;
use crate::error::{Failure, Result};
use crate::files;
use crate::init::part::Part;
use crate::outputs::Outputs;
use crate::pending::Pending;
use crate::progress::Progress;
use crate::weights;
use crate::{signals, stdout, vae};
use sit_engine::Error;
use sit_engine::checkpoint::{Names, Precision, Recipe, Writer};
use sit_engine::model::{self, Dit, ModelConfig, Network as _};
use sit_engine::nn::{Init, ParamSpec};
use sit_engine::text::shown;
use sit_engine::transport::Path as Interpolant;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Write the weights of a run or a file as one .safetensors file that says what it is, which `sit sample` takes without flags: with the
/// official names or those of diffusers, in f32 or half of that, for another resolution, for some of the classes. Values pass one tensor
/// at a time, so that memory is that of the largest one.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input_size", |arg| arg.help(INPUT_SIZE).help_heading(HEADING)),
    after_help = EXAMPLES
)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// File to write (.safetensors); with --to diffusers also an empty or a new folder, which gets diffusers' two files.
    #[arg(value_name = "OUT", help_heading = None::<&'static str>)]
    out: PathBuf,
    /// Names of the tensors: those of the official code of SiT and DiT, or of diffusers' DiTTransformer2DModel.
    #[arg(long, value_name = "official|diffusers", default_value_t = Names::Official, help_heading = HEADING)]
    to: Names,
    /// Type of the values, rounded: f32, f16 or bf16 [default: that of each tensor; f32 for f64].
    #[arg(long, value_name = "f32|f16|bf16", help_heading = HEADING)]
    dtype: Option<Precision>,
    /// Leave out the sigma half of the last layer, which a SiT does not use: 2C outputs a pixel become C.
    #[arg(long, help_heading = HEADING)]
    drop_sigma: bool,
    /// Keep only these classes, by number or by name as in 207,360 or cat,dog, in this order; the null class stays.
    #[arg(long, value_name = "LIST", help_heading = HEADING)]
    classes: Option<String>,
}

const HEADING: &str = "Output";

const INPUT_SIZE: &str =
    "Image side in pixels of OUT: positions are computed for it [default: that of CHECKPOINT]";

const EXAMPLES: &str = "\
Examples:
  sit convert runs/digits digits.safetensors --dtype f16
  sit convert SiT-XL-2-256x256.pt SiT-XL-2.safetensors --drop-sigma
  sit convert SiT-XL-2-256x256.pt SiT-XL-2-512.safetensors --input-size 64
  sit convert DiT-XL-2-256x256.pt DiT-XL-2 --path ddpm --prediction noise --to diffusers --dtype bf16
  sit convert DiT-XL-2/transformer DiT-XL-2.safetensors
  sit convert runs/autoencoder-f4 vae --to diffusers
  sit convert runs/pictures cats-and-dogs.safetensors --classes cat,dog";

/// The command line of `sit export CHECKPOINT --out OUT`, the earlier name of `convert`, in its present form.
pub fn from_export(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|word| word != "export") {
        return args;
    }
    args[1] = "convert".into();
    let is_out = |word: &OsString| word.to_string_lossy().starts_with("--out=");
    if let Some(at) = args.iter().position(|word| word == "--out") {
        args.remove(at);
        if at < args.len() {
            let out = args.remove(at);
            args.push(out);
        }
    } else if let Some(at) = args.iter().position(is_out) {
        let out = args.remove(at);
        args.push(out.to_string_lossy()["--out=".len()..].into());
    }
    args
}

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a value that the type cannot hold, or a file that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.open()?;
    let to_folder = args.is_folder();
    let mut outputs = Outputs::default();
    outputs.reads("CHECKPOINT", &args.source.checkpoint);
    match to_folder {
        true => {
            files::remove_partial(&args.out);
            outputs.fills("OUT", &args.out)?;
        }
        false => outputs.writes("OUT", &args.out, &["safetensors"])?,
    }
    let change = args.change(&source)?;
    args.describe(&source, &change)?;
    signals::catch();
    if !to_folder {
        write(&args.out, |out| put(args, &mut source, &change, out))?;
        return stdout::print(&format!("{}\n", shown(&args.out)));
    }
    let is_new = !args.out.exists();
    let unwritable = |e| Failure::Run(format!("{}: cannot be made: {e}", shown(&args.out)));
    fs::create_dir_all(&args.out).map_err(unwritable)?;
    let file = args.out.join(weights::DIFFUSERS);
    let written = write(&file, |out| put(args, &mut source, &change, out));
    let written = written.and_then(|()| {
        let json = match &change.recipe.model {
            ModelConfig::Dit(dit) => {
                serde_json::to_vec_pretty(&Names::config(dit)).map_err(Failure::input)?
            }
            ModelConfig::Autoencoder(net) => {
                vae::about(&args.source.checkpoint, net, &change.recipe)?.into_bytes()
            }
            _ => return Ok(()),
        };
        let config = args.out.join(weights::CONFIG);
        write(&config, |out| {
            out.write_all(&json)
                .map_err(|e| Failure::Run(e.to_string()).context(shown(&config)))
        })
    });
    if written.is_err() && is_new {
        // Without the file of weights it is empty.
        fs::remove_dir(&args.out).ok();
    }
    written?;
    stdout::print(&format!("{}\n", shown(&args.out)))
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut file = Pending::create(path)?;
    content(file.writer())?;
    file.finish()?;
    Ok(())
}

/// What the new file is, and how its tensors are made.
struct Change {
    recipe: Recipe,
    parts: Vec<(ParamSpec, Part)>,
}

impl Args {
    /// Whether OUT is a folder of diffusers.
    fn is_folder(&self) -> bool {
        let is_other = self.out.exists() && !self.out.is_dir();
        let extension = self.out.extension().unwrap_or_default();
        let is_file = ["safetensors", "pt", "pth", "bin", "ckpt"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known));
        self.to == Names::Diffusers && !is_other && (self.out.is_dir() || !is_file)
    }

    /// Names of the tensors: an autoencoder has those of diffusers here, too.
    fn names(&self, model: &ModelConfig) -> Names {
        match model {
            ModelConfig::Autoencoder(_) => Names::Official,
            _ => self.to,
        }
    }

    /// Opens the checkpoint. A file that tells its image size needs no flag for it, so that the flag is free to change it.
    fn open(&self) -> Result<Opened> {
        let mut source = self.source.clone();
        let file = &source.checkpoint;
        let knows_size = weights::is_run(file)? || {
            let found = weights::open(file)?.examine(source.file.n_heads, None);
            found.recognized.is_some_and(|found| found.knows_image)
        };
        if knows_size {
            source.file.input_size = None;
        }
        source.open()
    }

    fn change(&self, source: &Opened) -> Result<Change> {
        let mut recipe = source.recipe.clone();
        let size = self.source.file.input_size;
        let (old, mut new) = match recipe.model {
            ModelConfig::Dit(dit) => (dit, dit),
            ref other => {
                let flags = [
                    ("--drop-sigma", self.drop_sigma),
                    ("--classes", self.classes.is_some()),
                    ("--input-size", size.is_some()),
                ];
                if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
                    return Err(Failure::Input(format!(
                        "{flag}: {} is {other}, expected a DiT",
                        shown(&self.source.checkpoint)
                    )));
                }
                let named = self.names(other).check(other);
                named.map_err(|e| Failure::from(e).context("--to diffusers"))?;
                let parts = model::params(other)?.into_iter();
                let parts = parts.map(|spec| (spec, Part::Kept)).collect();
                return Ok(Change { recipe, parts });
            }
        };
        if self.drop_sigma {
            if !old.learn_sigma {
                return Err(Failure::Input(format!(
                    "--drop-sigma: the last layer of {} has no sigma half: its outputs a pixel are the image's {} channels",
                    shown(&self.source.checkpoint),
                    old.channels
                )));
            }
            new.learn_sigma = false;
            if let Interpolant::Ddpm(ddpm) = &recipe.transport.path
                && ddpm.variance.is_learned()
            {
                let path = recipe.transport.path.clone();
                recipe.transport.path = source::with_variance(path, &new.into())?;
            }
        }
        let mut rows: Vec<usize> = (0..=old.n_classes).collect();
        if let Some(list) = &self.classes {
            rows = self.rows(list, &old, &recipe.classes)?;
            let name = |&row: &usize| match recipe.classes.get(row) {
                Some(name) => name.clone(),
                None => row.to_string(),
            };
            recipe.classes = rows.iter().map(name).collect();
            // Its classes have other numbers.
            recipe.data = None;
            new.n_classes = rows.len();
            rows.push(old.n_classes);
        }
        if let Some(size) = size {
            new.input_size = size;
            let valid = new.validate(1);
            valid.map_err(|e| Failure::from(e).context("--input-size"))?;
        }
        recipe.model = new.into();
        recipe.validate()?;
        let named = self.to.check(&recipe.model);
        named.map_err(|e| Failure::from(e).context("--to diffusers"))?;
        let rows: Vec<_> = rows.into_iter().map(Some).collect();
        let part = |spec: ParamSpec| {
            let part = Part::of(&spec.name, &old, &new, Some(&rows));
            (spec, part)
        };
        let parts = model::params(&new)?.into_iter().map(part).collect();
        Ok(Change { recipe, parts })
    }

    /// The rows of the label table that `--classes` names.
    fn rows(&self, list: &str, old: &Dit, names: &[String]) -> Result<Vec<usize>> {
        let refuse = |what: String| Err(Failure::Input(format!("--classes: {what}")));
        if old.n_classes == 0 {
            let file = shown(&self.source.checkpoint);
            return refuse(format!("{file} has no classes"));
        }
        let known = Known {
            n: old.n_classes,
            names,
        };
        let found = known
            .parse(list)
            .map_err(|e| Failure::Input(format!("--classes {e}")))?;
        let rows: Vec<usize> = found.into_iter().map(|class| class as usize).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = rows.iter().find(|row| !seen.insert(**row)) {
            let twice = classes::name(names, *twice);
            return refuse(format!("{twice} stands in it twice"));
        }
        if rows.contains(&old.n_classes) {
            return refuse("none is the null class, which always stays".into());
        }
        Ok(rows)
    }

    /// Says what is recorded of a file that does not say it, and what diffusers makes of the new one.
    fn describe(&self, source: &Opened, change: &Change) -> Result<()> {
        let transport = &change.recipe.transport;
        let is_bare = source.run.is_none() && source.weights.recipe()?.is_none();
        let is_sit = source.weights.names() == Names::Official;
        if is_bare && is_sit && !self.source.file.states_transport() {
            tracing::warn!(
                "{} does not say what it was trained to predict: {} on the path {} is recorded; --prediction and --path say otherwise",
                shown(&self.source.checkpoint),
                transport.prediction,
                transport.path
            );
        }
        if self.drop_sigma && source.recipe.transport.path != transport.path {
            tracing::warn!(
                "--drop-sigma: the learned variance of the steps of DDPM goes with it; the largest fixed one is recorded"
            );
        }
        if self.names(&change.recipe.model) == Names::Official {
            return Ok(());
        }
        tracing::info!(
            "diffusers has frequencies of the time of its own: for the outputs of the official code set \
             block.norm1.emb.time_proj.downscale_freq_shift = 0 in each of model.transformer_blocks"
        );
        let n_classes = change.recipe.model.io().n_classes;
        if n_classes != 1000 {
            tracing::info!(
                "diffusers' DiTPipeline takes class 1000 for none; here it is class {n_classes}"
            );
        }
        if !matches!(transport.path, Interpolant::Ddpm(_)) {
            tracing::info!(
                "diffusers' DiTPipeline samples models that predict noise on DDPM's path; this one predicts {} on {}, and its time is \
                 from 0 to 1",
                transport.prediction,
                transport.path
            );
        }
        Ok(())
    }
}

/// Writes the new file, tensor by tensor.
fn put(args: &Args, source: &mut Opened, change: &Change, out: &mut dyn Write) -> Result<()> {
    let file = &mut source.weights;
    file.check_tables(&model::params(&source.recipe.model)?)?;
    let of = |spec: &ParamSpec| {
        file.entry(&spec.name)
            .map(|entry| Precision::of(entry.dtype))
    };
    // A table that the file lacks has the type of the first tensor of the weights.
    let usual = change.parts.iter().find_map(|(spec, _)| of(spec));
    let precision = |spec: &ParamSpec| {
        let own = of(spec).or(usual).unwrap_or_default();
        args.dtype.unwrap_or(own)
    };
    let (fixed, trained): (Vec<_>, Vec<_>) =
        (change.parts.iter()).partition(|(spec, _)| !spec.is_trained());
    let parts = fixed.into_iter().chain(trained);
    let specs: Vec<_> = { parts.clone() }
        .map(|(spec, _)| (spec.clone(), precision(spec)))
        .collect();
    let mut bar = Progress::new("converting", "tensors", 0, specs.len() as u64);
    let mut out = out;
    let unwritten = |e: Error| {
        let is_full = matches!(e, Error::Write(_));
        let failure = Failure::from(e);
        match is_full {
            true => failure.context(shown(&args.out)),
            false => failure,
        }
    };
    let names = args.names(&change.recipe.model);
    let writer = Writer::new(&mut out, Some(&change.recipe), names, specs);
    let mut writer = writer.map_err(unwritten)?;
    for (at, (spec, part)) in parts.enumerate() {
        if signals::interrupted() {
            return Err(Failure::Interrupted);
        }
        if writer.next().is_none_or(|next| next.name != spec.name) {
            // Diffusers computes its tables.
            continue;
        }
        let values = match spec.init {
            Init::Table(table) => Some(table.values()),
            _ => part.read(file, spec, || vec![0.0; spec.shape.numel()])?,
        };
        let missing = || Failure::Input(format!("the checkpoint has no values of {}", spec.name));
        let values = values.ok_or_else(missing)?;
        writer.put(&values).map_err(unwritten)?;
        bar.set(at as u64 + 1, String::new);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_is_convert() {
        let of = |words: &str| -> String {
            let args = words.split(' ').map(OsString::from).collect();
            let args = from_export(args).into_iter();
            let words: Vec<String> = args.map(|word| word.into_string().unwrap()).collect();
            words.join(" ")
        };
        let new = "sit convert run --dtype f16 a.safetensors";
        for old in [
            "sit export run --out a.safetensors --dtype f16",
            "sit export --out a.safetensors run --dtype f16",
            "sit export run --dtype f16 --out=a.safetensors",
            new,
        ] {
            assert_eq!(of(old), new);
        }
    }
}
