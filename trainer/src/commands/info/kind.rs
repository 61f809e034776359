//! What a file of weights is: what differs from the official ones, and what to pass to sample it.

use crate::error::Result;
use crate::weights::WeightFile;
use sit_engine::autoencoder::{self, AutoencoderConfig, Half};
use sit_engine::checkpoint::Names;
use sit_engine::model::{Dit, ModelConfig, PRESETS, Preset, Recognized};
use sit_engine::nn::Activation;
use sit_engine::ops::adaln::Norm;
use sit_engine::text::{count, shown};
use sit_engine::transport::Transport;
use std::path::Path;

/// What is said of a file.
#[derive(Default)]
struct Said {
    what: String,
    differs: Vec<String>,
    /// Commands, each with what it is for.
    next: Vec<(String, &'static str)>,
}

impl Said {
    fn text(self) -> String {
        let mut text = format!("\nit is {}\n", self.what);
        for line in self.differs {
            text += &format!("  differs: {line}\n");
        }
        let wide = self.next.iter().map(|(command, _)| command.len()).max();
        let wide = wide.unwrap_or(0);
        for (command, note) in self.next {
            let line = format!("  next: {command:wide$}  {note}");
            text += &format!("{}\n", line.trim_end());
        }
        text
    }
}

/// What a file is: its format and what it holds.
pub fn file(path: &Path, file: &WeightFile) -> String {
    let mut text = format!("{}: {}", shown(path), file.format());
    if file.n_parts() > 1 {
        text += &format!(" in {} files", file.n_parts());
    }
    let sets: Vec<&str> = file.sets().collect();
    if !sets.is_empty() {
        text += &format!(" with the sets {}", sets.join(", "));
    }
    if let Some(place) = file.place().filter(|place| !sets.contains(place)) {
        text += &format!(", weights of {place}");
    }
    if file.n_left_out() > 0 && !file.is_reversed() {
        text += &format!(", beside {} tensors of something else", file.n_left_out());
    }
    text + "\n"
}

/// Of a file whose network is known. `asked` are the flags that were given for it, as in ` --n-heads 2`.
pub fn network(path: &Path, file: &WeightFile, known: &Recognized, asked: &str) -> Result<String> {
    let mut said = Said::default();
    let recipe = file.recipe()?;
    let mut flags = asked.to_owned();
    if !known.knows_heads {
        flags += " --n-heads N";
    }
    if !known.knows_image {
        flags += " --input-size PIXELS";
    }
    let io = known.model.io();
    // Pictures have one channel or three.
    let vae = match io.channels() {
        1 | 3 => "",
        _ => " --vae VAE",
    };
    let sample = |more: &str| format!("sit sample {}{flags}{more}{vae}", shown(path));
    if let ModelConfig::Classifier(classifier) = &known.model {
        said.what = format!("a classifier of noisy images: {classifier}");
        let path = shown(path);
        said.next.push((
            format!("sit sample CHECKPOINT --classifier {path} --classifier-scale 1"),
            "guides by it",
        ));
        return Ok(said.text());
    }
    if let Some(recipe) = &recipe {
        let Transport {
            path, prediction, ..
        } = &recipe.transport;
        said.what = format!("a file that sit wrote: it predicts {prediction} on the path {path}");
        said.next.push((sample(""), ""));
        if file.names() == Names::Diffusers {
            said.what += ", under the names of diffusers";
            said.differs.push(CONSTANTS.to_owned());
        }
        return Ok(said.text());
    }
    match &known.model {
        ModelConfig::Dit(dit) => of_dit(&mut said, file, dit, known, &sample),
        other => {
            said.what = format!("a U-Net with the names of guided-diffusion: {other}");
            said.next.push((sample(DDPM), "of noise, as in DDPM"));
            said.next.push((sample(""), "of a velocity"));
        }
    }
    let sets: Vec<&str> = file.sets().collect();
    if sets.contains(&"ema") && sets.contains(&"model") {
        said.differs.push(
            "a checkpoint of a training: the moving average ema is taken, --weights raw takes the weights as trained"
                .to_owned(),
        );
    }
    Ok(said.text())
}

const CONSTANTS: &str = "diffusers itself computes it with other constants (time frequencies 10000^(-i/127) for 10000^(-i/128), and a norm_eps \
     of 1e-5 for 1e-6), so its images are others; sit uses the official ones, with which the published weights were trained";

const DDPM: &str = " --path ddpm --prediction noise --ddpm ancestral --respacing 250";

fn of_dit(
    said: &mut Said,
    file: &WeightFile,
    dit: &Dit,
    known: &Recognized,
    sample: &impl Fn(&str) -> String,
) {
    let size = size(dit, known);
    if file.names() == Names::Diffusers {
        said.what = format!("a DiT under the names of diffusers{size}");
        said.differs.push(CONSTANTS.to_owned());
        said.next
            .push((sample(" --ddpm ancestral --respacing 250"), ""));
    } else if file.is_reversed() {
        said.what = format!("a SiT that was trained with REPA{size}");
        said.differs.push(format!(
            "{} of its projectors, which only training needs, are left out",
            count(file.n_left_out(), "tensor")
        ));
        said.differs.push(
            "its time runs from data to noise; it is turned when it is read, so that all flags are those of a SiT"
                .to_owned(),
        );
        said.next.push((sample(""), ""));
    } else if dit.bottleneck > 0 {
        said.what = format!("a JiT, which predicts pixels{size}");
        if known.knows_image && dit.input_size >= 512 {
            said.differs.push(
                "the official one for 512x512 was trained from noise of deviation 2; sampling here starts from 1"
                    .to_owned(),
            );
        }
        let flags = " --prediction data --guidance-interval 0.1..1 --ode-last-step euler";
        said.next.push((sample(flags), "as its authors sample"));
    } else if dit.rope && dit.norm == Norm::Rms && dit.mlp == Activation::SwiGlu {
        said.what = format!("a LightningDiT{size}");
        said.differs.push(
            "its latents are normalized by channel, by statistics that are not in this file; --vae does not know them"
                .to_owned(),
        );
        said.next.push((sample(""), ""));
    } else if dit.design() == Dit::SIT.design() {
        of_sit(said, dit, &size, sample);
    } else {
        said.what = format!(
            "a DiT with other blocks than the official one: {}",
            dit.design()
        );
        said.next.push((sample(""), "of a velocity"));
        said.next.push((sample(DDPM), "of noise, as in DDPM"));
    }
}

/// The blocks of SiT and DiT, which have the same tensors.
fn of_sit(said: &mut Said, dit: &Dit, size: &str, sample: &impl Fn(&str) -> String) {
    if dit.n_classes == 0 {
        said.differs
            .push("no classes, and so no label table; the official ones have 1000".to_owned());
    } else if dit.n_classes != 1000 {
        said.differs.push(format!(
            "{}, the official ones have 1000; the null class is {}",
            count(dit.n_classes, "class"),
            dit.n_classes
        ));
    }
    if !dit.learn_sigma {
        said.what = format!("a SiT or a DiT without a sigma half{size}");
        said.next
            .push((sample(""), "a SiT: velocity on the path Linear"));
        return;
    }
    said.what = format!("a SiT or a DiT, which have the same tensors{size}");
    said.differs.push(
        "2C outputs a pixel: of a DiT the second half is a variance, a SiT does not use it (sit convert --drop-sigma)"
            .to_owned(),
    );
    said.next
        .push((sample(""), "a SiT: velocity on the path Linear"));
    said.next
        .push((sample(DDPM), "a DiT: noise on the path DDPM"));
}

/// Which published sizes these are.
fn size(dit: &Dit, known: &Recognized) -> String {
    let is = |name: &String| {
        let published = Dit::preset(name);
        published.is_some_and(|published| {
            let same = Dit {
                n_classes: published.n_classes,
                learn_sigma: published.learn_sigma,
                input_size: match known.knows_image {
                    true => dit.input_size,
                    false => published.input_size,
                },
                ..*dit
            };
            same == published
        })
    };
    let names = PRESETS.iter().flat_map(Preset::names);
    match { names }.find(is) {
        Some(name) => format!(", of the sizes of {name}"),
        None => String::new(),
    }
}

/// Of a file that is no network to sample; `None` for one that is not known.
pub fn other(path: &Path, file: &WeightFile) -> Option<String> {
    let mut said = Said::default();
    let path = shown(path);
    let has = |name: &str| file.entry(name).is_some();
    if file.tensors().next().is_some()
        && file.tensors().all(|(name, _)| name.starts_with("exp_avg"))
    {
        said.what = "the moments of AdamW; the weights are in the file beside it".to_owned();
        said.next.push((
            "sit train --resume RUN".to_owned(),
            "goes on with the run that it belongs to",
        ));
        return Some(said.text());
    }
    if has("Mixed_5b.branch1x1.conv.weight") {
        said.what =
            "the Inception network of FID, under the names of pytorch-fid and torch-fidelity"
                .to_owned();
        said.next.push((
            format!("sit eval SAMPLES --reference REF --inception {path}"),
            "judges samples by FID and others",
        ));
        return Some(said.text());
    }
    let config = autoencoder::recognize(file).ok()?;
    let halves = autoencoder::halves(file, &config);
    let has = |half| halves.contains(&half);
    let half = match (has(Half::Encoder), has(Half::Decoder)) {
        (true, true) => "an autoencoder",
        (true, false) => "the encoder of an autoencoder",
        (false, true) => "the decoder of an autoencoder",
        (false, false) => return None,
    };
    let [scale, shift] = config.scaling();
    let name = match &config {
        AutoencoderConfig::Kl(_) => "AutoencoderKL of diffusers",
        _ => "TAESD and its like",
    };
    said.what = format!(
        "{half} ({name}): {}, f{}, latents of {}, scale {scale}, shift {shift}",
        count(config.channels(), "channel"),
        config.factor(),
        count(config.latent_channels(), "channel")
    );
    if matches!(config, AutoencoderConfig::Kl(_)) {
        said.differs.push(
            "scale and shift are those of a config.json beside the file where it has them; else they are assumed"
                .to_owned(),
        );
    }
    if has(Half::Decoder) {
        said.next.push((
            format!("sit sample CHECKPOINT --vae {path}"),
            "latents to pictures",
        ));
    }
    if has(Half::Encoder) {
        said.next.push((
            format!("sit data encode FOLDER --vae {path} --out LATENTS"),
            "pictures to latents",
        ));
    }
    Some(said.text())
}
