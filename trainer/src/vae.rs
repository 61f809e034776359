//! Autoencoders of latent models: from files or a folder of diffusers to pictures.

use crate::config::WeightSet;
use crate::error::{Failure, Result};
use crate::run::{self, Checkpoint};
use crate::weights::{self, WeightFile};
use serde::Deserialize;
use sit_engine::autoencoder::{
    Autoencoder, AutoencoderConfig, AutoencoderKl, Decoder, Encoder, Half, Tiles, recognize,
};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Recipe;
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

/// An open autoencoder.
pub struct Vae {
    path: PathBuf,
    config: AutoencoderConfig,
    weights: WeightFile,
    budget: u64,
}

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
        Vae::open(path, budget).map(Some)
    }
}

impl Vae {
    /// Opens an autoencoder that may take `budget` bytes beside its weights.
    ///
    /// # Errors
    /// [`Failure::Input`] for a file that cannot be read or has no autoencoder.
    pub fn open(path: &Path, budget: u64) -> Result<Self> {
        let file = match path.is_dir() {
            true if run::is_run(path) => of_run(path)?,
            true => weights::of_diffusers(path, "vae").ok_or_else(|| {
                let file = weights::DIFFUSERS;
                Failure::Input(format!(
                    "--vae: {}: has no {file} or .bin, nor has its folder vae, and no checkpoint of a run",
                    shown(path)
                ))
            })?,
            false => path.to_owned(),
        };
        let weights = weights::open(&file).map_err(|e| e.context("--vae"))?;
        let of_vae = |e| Failure::from(e).context("--vae");
        let config = match weights.recipe().map_err(of_vae)? {
            Some(recipe) => recorded(&file, &recipe)
                .map_err(|e| e.context("--vae"))?
                .into(),
            None => recognized(&file, &weights)?,
        };
        config.validate().map_err(of_vae)?;
        Ok(Vae {
            path: file,
            config,
            weights,
            budget,
        })
    }

    /// The file of weights.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the decoder's weights, in f32.
    pub fn decoder_bytes(&self) -> u64 {
        let params = self.config.params(Half::Decoder).unwrap_or_default();
        params
            .iter()
            .map(|spec| 4 * spec.shape.numel() as u64)
            .sum()
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
                "--vae: {}: its latents have {}, those of the model have {z}",
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
                "--vae: {}: expected images of {} whose sides are multiples of {f}, got {channels} x {height} x {width}",
                shown(&self.path),
                count(expected, "channel")
            )));
        }
        Ok([self.config.latent_channels(), height / f, width / f])
    }

    /// Scale and shift of the latents, as a model sees them.
    pub fn scaling(&self) -> [f64; 2] {
        self.config.scaling()
    }

    /// Whether images have variances.
    pub fn has_variances(&self) -> bool {
        matches!(self.config, AutoencoderConfig::Kl(_))
    }

    /// Loads the encoder for images `[C, H, W]`.
    ///
    /// # Errors
    /// As of [`Self::decoder`].
    pub fn encoder(&mut self, device: &Device, image: [usize; 3]) -> Result<Encoder> {
        self.latent(image)?;
        let size = [image[1], image[2]];
        let (loaded, tiles) = self.load(device, Half::Encoder, size)?;
        let encoder = loaded.encoder(size, 1, tiles);
        encoder.map_err(|e| Failure::from(e).context("--vae"))
    }

    /// The weights on a device, and the tiles within the budget.
    fn load(
        &mut self,
        device: &Device,
        half: Half,
        size: [usize; 2],
    ) -> Result<(Autoencoder, Option<Tiles>)> {
        let of_vae = |e| Failure::from(e).context("--vae");
        let config = self.config.clone();
        let loaded = Autoencoder::load_half(device, config, half, &mut self.weights);
        let loaded = loaded.map_err(of_vae)?;
        let tiles = loaded.tiles_within(half, size, self.budget);
        let tiles = tiles.map_err(of_vae)?;
        if let Some(tiles) = &tiles {
            tracing::info!(
                "--vae: tiles of {} pixels of the latent, to stay within --vae-memory",
                tiles.side
            );
        }
        Ok((loaded, tiles))
    }

    /// Loads the decoder for the latents of a model.
    ///
    /// # Errors
    /// Tensors that are missing or do not fit, a budget that is too small, or a device that fails.
    pub fn decoder(&mut self, device: &Device, io: NetworkIo) -> Result<Pictures> {
        let [_, height, width] = self.pictures(io)?.image;
        let size = [height, width];
        let (loaded, tiles) = self.load(device, Half::Decoder, size)?;
        let decoder = loaded.decoder(size, 1, tiles);
        Ok(Pictures {
            decoder: decoder.map_err(|e| Failure::from(e).context("--vae"))?,
            scaling: self.config.scaling(),
            latents: Vec::new(),
        })
    }
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
    let of_vae = |e: Failure| e.context("--vae");
    let checkpoint = Checkpoint::open(path).map_err(of_vae)?;
    let config = &checkpoint.state.config;
    match config.trains_autoencoder() {
        true => checkpoint.weights(WeightSet::Ema).map_err(of_vae),
        false => Err(of_vae(other_model(path, &config.model))),
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
fn recognized(file: &Path, weights: &WeightFile) -> Result<AutoencoderConfig> {
    let mut config = recognize(weights).map_err(|e| Failure::from(e).context("--vae"))?;
    if let (AutoencoderConfig::Kl(kl), Some(found)) = (&mut config, beside(file)?) {
        kl.groups = found.norm_num_groups.unwrap_or(kl.groups);
        // diffusers' defaults.
        kl.scale = found.scaling_factor.unwrap_or(0.18215);
        kl.shift = found.shift_factor.unwrap_or(0.0);
    } else if let AutoencoderConfig::Kl(kl) = &config {
        tracing::info!(
            "--vae: no config.json beside {}: scale {} and shift {} of the latents are assumed",
            shown(file),
            kl.scale,
            kl.shift
        );
    }
    Ok(config)
}

/// The configuration beside a file of weights, if there is one.
fn beside(file: &Path) -> Result<Option<Config>> {
    let found = weights::beside(file).map_err(|e| e.context("--vae"))?;
    let Some((path, text)) = found else {
        return Ok(None);
    };
    let config = serde_json::from_str(&text);
    config.map(Some).map_err(|e| {
        let path = shown(path);
        Failure::Input(format!(
            "--vae: {path}: is no configuration of diffusers: {e}"
        ))
    })
}

/// Turns a model's latents into pictures.
pub struct Pictures {
    decoder: Decoder,
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
        pictures.map_err(|e| Failure::from(e).context("--vae"))
    }
}
