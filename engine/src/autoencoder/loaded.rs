//! An autoencoder with its weights on a device.

use super::programs::{Source, Tiled};
use super::weights::{Weights, load, names};
use super::{AutoencoderConfig, Decoder, Encoder, Half, Tiles};
use crate::backend::Device;
use crate::checkpoint::{Reader, shown};
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::io::{Read, Seek};

/// An autoencoder with weights on a device, of one half or both.
#[derive(Debug)]
pub struct Autoencoder {
    config: AutoencoderConfig,
    device: Device,
    encoder: Option<Weights>,
    decoder: Option<Weights>,
}

impl Autoencoder {
    /// Loads what a file has of an autoencoder: its encoder, its decoder, or both. Names of attention before diffusers 0.13 and those
    /// of `AutoencoderTiny` are known, too.
    ///
    /// # Errors
    /// [`Error::Setting`] for sizes that do not fit together; [`Error::Checkpoint`] naming a tensor that is missing, that this network does
    /// not have, or that has another shape or values that are not finite; [`Error::Limit`] and [`Error::Device`] when the weights do not
    /// fit on the device.
    pub fn load<R: Read + Seek>(
        device: &Device,
        config: impl Into<AutoencoderConfig>,
        reader: &mut Reader<R>,
    ) -> Result<Self> {
        Self::load_halves(
            device,
            config.into(),
            &[Half::Encoder, Half::Decoder],
            reader,
        )
    }

    /// Loads one half alone.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_half<R: Read + Seek>(
        device: &Device,
        config: impl Into<AutoencoderConfig>,
        half: Half,
        reader: &mut Reader<R>,
    ) -> Result<Self> {
        Self::load_halves(device, config.into(), &[half], reader)
    }

    fn load_halves<R: Read + Seek>(
        device: &Device,
        config: AutoencoderConfig,
        halves: &[Half],
        reader: &mut Reader<R>,
    ) -> Result<Self> {
        check_names(&config, reader)?;
        let mut of = |half: Half| match halves.contains(&half) {
            true => load(device, &config, half, reader),
            false => Ok(None),
        };
        let (encoder, decoder) = (of(Half::Encoder)?, of(Half::Decoder)?);
        if encoder.is_none() && decoder.is_none() {
            let half = match halves {
                [Half::Encoder] => "no encoder",
                [Half::Decoder] => "no decoder",
                _ => "neither an encoder nor a decoder",
            };
            return reader.refuse(format_args!("has {half} of an autoencoder"));
        }
        Ok(Autoencoder {
            config,
            device: device.clone(),
            encoder,
            decoder,
        })
    }

    /// Adds the half that this one lacks, for the files of TAESD.
    ///
    /// # Errors
    /// [`Error::Config`] for halves of different sizes, or two of the same half.
    pub fn with(self, other: Autoencoder) -> Result<Self> {
        if self.config != other.config {
            return Err(Error::Config(format!(
                "the halves of the autoencoder do not fit together: {:?} and {:?}",
                self.config, other.config
            )));
        }
        let both = |a: &Option<Weights>, b: &Option<Weights>| a.is_some() && b.is_some();
        for (half, twice) in [
            ("encoders", both(&self.encoder, &other.encoder)),
            ("decoders", both(&self.decoder, &other.decoder)),
        ] {
            if twice {
                return Err(Error::Config(format!("got two {half}, expected one")));
            }
        }
        Ok(Autoencoder {
            encoder: self.encoder.or(other.encoder),
            decoder: self.decoder.or(other.decoder),
            ..self
        })
    }

    /// The network and its sizes.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// Whether it has a half.
    pub fn has(&self, half: Half) -> bool {
        self.weights(half).is_some()
    }

    /// A program that encodes images `[C, H, W]` of the size `[H, W]`, `batch` images or tiles at a time.
    ///
    /// # Errors
    /// [`Error::Config`] without an encoder, [`Error::Setting`] for a size that the latents do not divide or for wrong tiles,
    /// [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn encoder(&self, size: [usize; 2], batch: usize, tiles: Option<Tiles>) -> Result<Encoder> {
        let half = Half::Encoder;
        Tiled::new(self.source(half)?, half, size, batch, tiles).map(Encoder)
    }

    /// A program that decodes to images of the size `[H, W]`, `batch` images or tiles at a time.
    ///
    /// # Errors
    /// As [`Self::encoder`].
    pub fn decoder(&self, size: [usize; 2], batch: usize, tiles: Option<Tiles>) -> Result<Decoder> {
        let half = Half::Decoder;
        Tiled::new(self.source(half)?, half, size, batch, tiles).map(Decoder)
    }

    fn weights(&self, half: Half) -> Option<&Weights> {
        match half {
            Half::Encoder => self.encoder.as_ref(),
            Half::Decoder => self.decoder.as_ref(),
        }
    }

    fn source(&self, half: Half) -> Result<Source<'_>> {
        let weights = self.weights(half).ok_or_else(|| {
            let half = match half {
                Half::Encoder => "an encoder, expected one to make latents",
                Half::Decoder => "a decoder, expected one to make images of latents",
            };
            Error::Config(format!("the file of the autoencoder does not have {half}"))
        })?;
        Ok(Source {
            config: &self.config,
            device: &self.device,
            weights,
        })
    }
}

/// Refuses tensors of parts that are not known here, such as attention in levels, which would be left out without a word.
fn check_names<R: Read + Seek>(config: &AutoencoderConfig, reader: &Reader<R>) -> Result<()> {
    let mut known = BTreeSet::new();
    for half in [Half::Encoder, Half::Decoder] {
        for spec in config.params(half)? {
            known.extend(names(half, &spec.name));
        }
    }
    let is_of_half = |name: &str| name.starts_with("encoder.") || name.starts_with("decoder.");
    let mut own = reader.tensors().map(|(name, _)| name);
    match own.find(|name| is_of_half(name) && !known.contains(*name)) {
        None => Ok(()),
        Some(name) => reader.refuse(format_args!(
            "has {}, which the autoencoder that is known here has not",
            shown(name)
        )),
    }
}
