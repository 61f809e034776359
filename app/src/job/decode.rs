//! The decoder of an autoencoder that was opened: latents of lanes to pictures, a few at a time.

use crate::source::WeightStream;
use crate::state::{Decoded, Latents};
use sit_engine::autoencoder::{Autoencoder, AutoencoderConfig, Decoder, Half};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::error::Result;

/// Pixels of the pictures that are decoded in one piece, about: the window has its turn after each.
const PIXELS: usize = if cfg!(target_arch = "wasm32") {
    1 << 12
} else {
    1 << 15
};

/// Memory that a piece may take beside the weights.
const BUDGET: u64 = if cfg!(target_arch = "wasm32") {
    256 << 20
} else {
    1 << 30
};

/// A decoder, and what it is to decode.
pub struct Decoding {
    autoencoder: Autoencoder,
    /// The program for pictures of a side.
    program: Option<Program>,
    waiting: Vec<Latents>,
    /// The place of the list that was taken last.
    turn: usize,
    /// Latents that are being decoded, and the pictures so far. They are decoded to their end, even if others are asked for: else a
    /// cursor that moves on would never show any.
    at: Option<(Latents, Vec<f32>)>,
}

struct Program {
    decoder: Decoder,
    /// Side of a picture, values of a latent and of a picture, and pictures in a piece.
    side: usize,
    len: usize,
    batch: usize,
}

impl Decoding {
    /// Loads the decoder of a file.
    ///
    /// # Errors
    /// As of [`Autoencoder::load_half`].
    pub fn load(
        device: &Device,
        config: AutoencoderConfig,
        mut weights: Reader<Box<dyn WeightStream>>,
    ) -> Result<Self> {
        Ok(Decoding {
            autoencoder: Autoencoder::load_half(device, config, Half::Decoder, &mut weights)?,
            program: None,
            waiting: Vec::new(),
            turn: 0,
            at: None,
        })
    }

    /// Decodes these and no others.
    pub fn want(&mut self, list: Vec<Latents>) {
        let at = self.at.as_ref().map(|(latents, _)| latents.moment);
        self.waiting = list;
        self.waiting.retain(|latents| Some(latents.moment) != at);
    }

    /// Decodes a piece. Returns the pictures when they are complete, and `None` when there is nothing to do.
    pub async fn work(&mut self) -> Option<Result<Option<Decoded>>> {
        if self.at.is_none() && !self.waiting.is_empty() {
            // While lanes play, each list is a new one: every place of it has its turn, not always the first.
            self.turn = (self.turn + 1) % self.waiting.len();
            self.at = Some((self.waiting.remove(self.turn), Vec::new()));
        }
        let (latents, mut pictures) = self.at.take()?;
        match self.piece(&latents, &mut pictures).await {
            Ok(true) => {
                self.at = Some((latents, pictures));
                Some(Ok(None))
            }
            Ok(false) => Some(Ok(Some(Decoded {
                moment: latents.moment,
                pictures: pictures.into(),
            }))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Decodes a piece, and tells whether there is more to do.
    async fn piece(&mut self, latents: &Latents, pictures: &mut Vec<f32>) -> Result<bool> {
        let config = self.autoencoder.config();
        let (channels, factor) = (config.channels(), config.factor());
        let [scale, shift] = latents.scaling.unwrap_or(config.scaling());
        let (n, len) = (latents.moment.n, latents.x.len() / latents.moment.n);
        if self.program.as_ref().is_none_or(|it| it.len != len) {
            // Latents of the lanes are squares.
            let side = (len / config.latent_channels()).isqrt() * factor;
            self.program = None;
            self.program = Some(self.program(side, len, n)?);
        }
        let Some(program) = &mut self.program else {
            return Ok(false);
        };
        let done = pictures.len() / (channels * program.side * program.side);
        let end = n.min(done + program.batch);
        let some = latents.x[done * len..end * len].iter();
        let z: Vec<f32> = some
            .map(|x| (f64::from(*x) / scale + shift) as f32)
            .collect();
        pictures.extend(program.decoder.decode_async(&z).await?);
        Ok(end < n)
    }

    fn program(&self, side: usize, len: usize, n: usize) -> Result<Program> {
        let most = (PIXELS / (side * side)).clamp(1, n);
        let config = self.autoencoder.config();
        let fit = config.fit(Half::Decoder, [side, side], most, BUDGET)?;
        let batch = if fit.tiles.is_some() { 1 } else { fit.batch };
        Ok(Program {
            decoder: self.autoencoder.decoder([side, side], batch, fit.tiles)?,
            side,
            len,
            batch,
        })
    }
}
