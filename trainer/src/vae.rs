//! Autoencoders of latent models: from files or a folder of diffusers to pictures.

use crate::config::WeightSet;
use crate::error::{Failure, Result};
use crate::files;
use crate::run::{self, Checkpoint};
use crate::weights::{self, WeightFile};
use serde::Deserialize;
use sit_engine::autoencoder::{
    self, Autoencoder, AutoencoderConfig, AutoencoderKl, Decoder, Encoder, Fit, Half, recognize,
};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Latents, Recipe};
use sit_engine::model::{AutoencoderNet, ModelConfig, NetworkIo};
use sit_engine::text::{count, shown};
use std::path::{Path, PathBuf};

/// Which autoencoder a command uses.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VaeArgs {
    /// Turn the latents of the model into pictures with this autoencoder: a run with model.family = "autoencoder", a folder or a file of
    /// diffusers' AutoencoderKL, or TAESD's decoder.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Output",
        conflicts_with = "reverse"
    )]
    pub vae: Option<PathBuf>,
    /// Memory that the autoencoder may take for an image, in MiB; larger images are decoded in tiles that overlap.
    #[arg(long, value_name = "MIB", help_heading = "Output", default_value_t = 2048, requires = "vae", value_parser = clap::value_parser!(u32).range(1..))]
    pub vae_memory: u32,
}

/// Pixels that go through an autoencoder at a time, about: small images in batches, large ones one by one.
const PIXELS: usize = 1 << 16;

/// An open autoencoder.
pub struct Vae {
    /// The flag or the key that names it.
    flag: &'static str,
    path: PathBuf,
    config: AutoencoderConfig,
    /// Scale and shift of its latents, as a model sees them.
    scaling: [f64; 2],
    weights: WeightFile,
    budget: u64,
}

/// Memory that the autoencoder of previews may take beside its weights.
pub const PREVIEW_BYTES: u64 = 1 << 30;

/// What diffusers' `config.json` says that the tensors do not.
#[derive(Deserialize)]
struct Config {
    norm_num_groups: Option<usize>,
    scaling_factor: Option<f64>,
    shift_factor: Option<f64>,
}

impl VaeArgs {
    /// Opens the autoencoder, if one is named, and checks its sizes.
    ///
    /// # Errors
    /// [`Failure::Input`] for a file that cannot be read or has no autoencoder.
    pub fn open(&self) -> Result<Option<Vae>> {
        let Some(path) = &self.vae else {
            return Ok(None);
        };
        let budget = u64::from(self.vae_memory) << 20;
        Vae::open("--vae", path, budget).map(Some)
    }
}

impl Vae {
    /// Opens an autoencoder that may take `budget` bytes beside its weights; `flag` names it in messages.
    ///
    /// # Errors
    /// [`Failure::Input`] for a file that cannot be read or has no autoencoder.
    pub fn open(flag: &'static str, path: &Path, budget: u64) -> Result<Self> {
        Self::found(flag, path, budget).map_err(|e| e.context(flag))
    }

    fn found(flag: &'static str, path: &Path, budget: u64) -> Result<Self> {
        let path = match path.is_dir() {
            true if run::is_run(path) => of_run(path)?,
            true => weights::of_diffusers(path, "vae").ok_or_else(|| {
                let file = weights::DIFFUSERS;
                Failure::Input(format!(
                    "{}: has no {file} or .bin, nor has its folder vae, and no checkpoint of a run",
                    shown(path)
                ))
            })?,
            false => path.to_owned(),
        };
        let weights = weights::open(&path)?;
        let config = match weights.recipe()? {
            Some(recipe) => recorded(&path, &recipe)?.into(),
            None => recognized(flag, &path, &weights)?,
        };
        config.validate()?;
        Ok(Vae {
            flag,
            path,
            scaling: config.scaling(),
            config,
            weights,
            budget,
        })
    }

    /// A failure of the engine, with the name of the autoencoder.
    fn failure(&self, e: sit_engine::Error) -> Failure {
        Failure::from(e).context(self.flag)
    }

    /// Takes over the scale and shift of the latents that a model was trained on, and warns where another autoencoder has made them.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn adopt(&mut self, latents: Option<&Latents>) -> Result<()> {
        let Some(latents) = latents else {
            return Ok(());
        };
        let (flag, path) = (self.flag, shown(&self.path));
        let made = [latents.scale, latents.shift];
        if made != self.scaling {
            let [scale, shift] = self.scaling;
            tracing::warn!(
                "{flag}: {path}: has scale {scale} and shift {shift}; the model was trained on {}, whose numbers are taken",
                said(Some(latents))
            );
            self.scaling = made;
        }
        // The halves of TAESD are files of their own.
        let is_whole = autoencoder::halves(&self.weights, &self.config).len() == 2;
        if is_whole && format!("{:08x}", files::checksum(&self.path)?) != latents.weights {
            tracing::warn!(
                "{flag}: {path}: is not the file {} ({}) that made the latents which the model was trained on; the pictures are right if its \
                 weights are the same",
                shown(&latents.autoencoder),
                latents.weights
            );
        }
        Ok(())
    }

    /// The file of weights.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pictures of a model whose images are latents.
    ///
    /// # Errors
    /// [`Failure::Input`] for latents of another number of channels.
    pub fn pictures(&self, mut io: NetworkIo) -> Result<NetworkIo> {
        let [z, height, width] = io.image;
        let expected = self.config.latent_channels();
        if z != expected {
            return Err(Failure::Input(format!(
                "{}: {}: its latents have {}, those of the model have {z}",
                self.flag,
                shown(&self.path),
                count(expected, "channel")
            )));
        }
        let f = self.config.factor();
        io.image = [self.config.channels(), height * f, width * f];
        Ok(io)
    }

    /// `[Z, h, w]` of the latents of images `[C, H, W]`.
    ///
    /// # Errors
    /// [`Failure::Input`] for another number of channels, or a size that the latents do not divide.
    pub fn latent(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3]> {
        let (expected, f) = (self.config.channels(), self.config.factor());
        if channels != expected || height % f != 0 || width % f != 0 {
            return Err(Failure::Input(format!(
                "{}: {}: expected images of {} whose sides are multiples of {f}, got {channels} x {height} x {width}",
                self.flag,
                shown(&self.path),
                count(expected, "channel")
            )));
        }
        Ok([self.config.latent_channels(), height / f, width / f])
    }

    /// Scale and shift of the latents, as a model sees them.
    pub fn scaling(&self) -> [f64; 2] {
        self.scaling
    }

    /// Whether images have variances.
    pub fn has_variances(&self) -> bool {
        matches!(self.config, AutoencoderConfig::Kl(_))
    }

    /// How images `[H, W]`, of which `n` come at a time, go through a half, within the budget.
    fn fit(&self, half: Half, size: [usize; 2], n: usize) -> Result<Fit> {
        let most = (PIXELS / (size[0] * size[1])).clamp(1, n.max(1));
        let fit = self.config.fit(half, size, most, self.budget);
        fit.map_err(|e| self.failure(e))
    }

    /// Bytes that the decoder takes on a device for the latents of a model, `n` of them at a time, weights included.
    ///
    /// # Errors
    /// As of [`Self::decoder`], but for those of a device.
    pub fn decoder_bytes(&self, io: NetworkIo, n: usize) -> Result<u64> {
        let [_, height, width] = self.pictures(io)?.image;
        let fit = self.fit(Half::Decoder, [height, width], n)?;
        Ok(fit.weights.saturating_add(fit.program))
    }

    /// The weights on a device, and how images go through them.
    fn load(
        &mut self,
        device: &Device,
        half: Half,
        size: [usize; 2],
        n: usize,
    ) -> Result<(Autoencoder, Fit)> {
        let fit = self.fit(half, size, n)?;
        let config = self.config.clone();
        let loaded = Autoencoder::load_half(device, config, half, &mut self.weights);
        if let Some(tiles) = &fit.tiles {
            tracing::info!(
                "{}: tiles of {} pixels of the latent, to stay within {} MiB",
                self.flag,
                tiles.side,
                self.budget >> 20
            );
        }
        Ok((loaded.map_err(|e| self.failure(e))?, fit))
    }

    /// Loads the encoder for images `[C, H, W]`, `n` of them at a time.
    ///
    /// # Errors
    /// As of [`Self::decoder`].
    pub fn encoder(&mut self, device: &Device, image: [usize; 3], n: usize) -> Result<Encoder> {
        self.latent(image)?;
        let size = [image[1], image[2]];
        let (loaded, fit) = self.load(device, Half::Encoder, size, n)?;
        let encoder = loaded.encoder(size, fit.batch, fit.tiles);
        encoder.map_err(|e| self.failure(e))
    }

    /// Loads the decoder for the latents of a model, `n` of them at a time.
    ///
    /// # Errors
    /// Tensors that are missing or do not fit, a budget that is too small, or a device that fails.
    pub fn decoder(&mut self, device: &Device, io: NetworkIo, n: usize) -> Result<Pictures> {
        let pictures = self.pictures(io)?;
        let size = [pictures.image[1], pictures.image[2]];
        let (loaded, fit) = self.load(device, Half::Decoder, size, n)?;
        let decoder = loaded.decoder(size, fit.batch, fit.tiles);
        Ok(Pictures {
            flag: self.flag,
            decoder: decoder.map_err(|e| self.failure(e))?,
            io: pictures,
            scaling: self.scaling,
            latents: Vec::new(),
        })
    }
}

/// Refuses to go on with latents of another autoencoder, scale or shift than a run was trained on. Runs that were made before latents were
/// recorded have none.
///
/// # Errors
/// [`Failure::Input`] with both.
pub fn check_same(saved: Option<&Latents>, now: Option<&Latents>) -> Result<()> {
    let numbers = |made: &Latents| (made.weights.clone(), made.scale, made.shift);
    if saved.is_none() || saved.map(numbers) == now.map(numbers) {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "was trained on {}, these are {}",
        said(saved),
        said(now)
    )))
}

/// Latents in messages.
fn said(latents: Option<&Latents>) -> String {
    let Some(latents) = latents else {
        return "images".to_owned();
    };
    format!(
        "latents of {} ({}) with scale {} and shift {}",
        shown(&latents.autoencoder),
        latents.weights,
        latents.scale,
        latents.shift
    )
}

/// The configuration of an autoencoder as diffusers' `AutoencoderKL` has it; `from` is where its recipe is from.
///
/// # Errors
/// [`Failure::Input`] for a recipe without a scale of the latents.
pub fn about(from: &Path, net: &AutoencoderNet, recipe: &Recipe) -> Result<String> {
    let AutoencoderKl { scale, .. } = recorded(from, recipe)?;
    let each_level = |block: &str| vec![block.to_owned(); net.widths.len()];
    let about = serde_json::json!({
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": net.widths,
        "down_block_types": each_level("DownEncoderBlock2D"),
        "in_channels": net.channels,
        "latent_channels": net.latent_channels,
        "layers_per_block": net.blocks,
        "mid_block_add_attention": net.middle_attention,
        "norm_num_groups": net.groups,
        "out_channels": net.channels,
        "sample_size": net.input_size,
        "scaling_factor": scale,
        "up_block_types": each_level("UpDecoderBlock2D"),
        "use_post_quant_conv": true,
        "use_quant_conv": true,
    });
    Ok(format!("{about:#}\n"))
}

/// The moving average of a run that trains an autoencoder.
fn of_run(path: &Path) -> Result<PathBuf> {
    let checkpoint = Checkpoint::open(path)?;
    let config = &checkpoint.state.config;
    match config.trains_autoencoder() {
        true => checkpoint.weights(WeightSet::Ema),
        false => Err(other_model(path, &config.model)),
    }
}

fn other_model(path: &Path, model: &ModelConfig) -> Failure {
    Failure::Input(format!(
        "{}: has a model of {model}, expected an autoencoder, such as a run with model.family = \"autoencoder\"",
        shown(path)
    ))
}

/// The autoencoder of a file that was written here.
fn recorded(file: &Path, recipe: &Recipe) -> Result<AutoencoderKl> {
    match (&recipe.model, recipe.latent_scale) {
        (ModelConfig::Autoencoder(net), Some(scale)) => Ok(AutoencoderKl { scale, ..net.kl() }),
        (ModelConfig::Autoencoder(_), None) => Err(Failure::Input(format!(
            "{}: records no scale of its latents, whose standard deviation was not a finite number above 0",
            shown(file)
        ))),
        (other, _) => Err(other_model(file, other)),
    }
}

/// The autoencoder of another file, and what is beside it.
fn recognized(flag: &str, file: &Path, weights: &WeightFile) -> Result<AutoencoderConfig> {
    let mut config = recognize(weights)?;
    if let (AutoencoderConfig::Kl(kl), Some(found)) = (&mut config, beside(file)?) {
        kl.groups = found.norm_num_groups.unwrap_or(kl.groups);
        // diffusers' defaults.
        kl.scale = found.scaling_factor.unwrap_or(0.18215);
        kl.shift = found.shift_factor.unwrap_or(0.0);
    } else if let AutoencoderConfig::Kl(kl) = &config {
        tracing::info!(
            "{flag}: no config.json beside {}: scale {} and shift {} of the latents are assumed",
            shown(file),
            kl.scale,
            kl.shift
        );
    }
    Ok(config)
}

/// The configuration beside a file of weights, if there is one.
fn beside(file: &Path) -> Result<Option<Config>> {
    let Some((path, text)) = weights::beside(file)? else {
        return Ok(None);
    };
    let config = serde_json::from_str(&text);
    config.map(Some).map_err(|e| {
        let path = shown(path);
        Failure::Input(format!("{path}: is no configuration of diffusers: {e}"))
    })
}

/// Turns a model's latents into pictures.
#[derive(Debug)]
pub struct Pictures {
    flag: &'static str,
    decoder: Decoder,
    /// Shapes of the pictures.
    io: NetworkIo,
    /// Scale and shift of the latents.
    scaling: [f64; 2],
    latents: Vec<f32>,
}

impl Pictures {
    /// Latents `[B, Z, h, w]` as the model makes them to pictures `[B, C, H, W]`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn of(&mut self, latents: &[f32]) -> Result<Vec<f32>> {
        let [scale, shift] = self.scaling;
        self.latents.clear();
        let unscaled = latents
            .iter()
            .map(|x| (f64::from(*x) / scale + shift) as f32);
        self.latents.extend(unscaled);
        let pictures = self.decoder.decode(&self.latents);
        pictures.map_err(|e| Failure::from(e).context(self.flag))
    }

    /// Shapes of the pictures.
    pub fn io(&self) -> NetworkIo {
        self.io
    }
}
