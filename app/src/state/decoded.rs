//! Latents as pictures: what an autoencoder that was opened makes of the lanes' samples.

use super::{Layout, Quantity, Record, State, terms, total};
use sit_engine::text::{count, shown};
use std::sync::Arc;

/// Bytes that the pictures of all lanes may take at a time. Those that were shown before are kept up to as much again.
const BUDGET: usize = if cfg!(target_arch = "wasm32") {
    32 << 20
} else {
    96 << 20
};

/// Samples of a film strip.
pub const FILM_SAMPLES: usize = 8;

/// Steps of a film strip.
pub const FILM_STEPS: usize = 10;

/// An autoencoder whose decoder is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Autoencoder {
    /// What its file is called.
    pub name: String,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of a picture.
    pub channels: usize,
    /// Pixels of a picture for one of a latent, along each axis.
    pub factor: usize,
    /// Scale and shift of its latents, for a network that does not say which ones it was trained on.
    pub scaling: [f64; 2],
}

impl Autoencoder {
    /// Shape `[C, H, W]` of the pictures of latents `[Z, h, w]`.
    pub fn picture(&self, latent: [usize; 3]) -> [usize; 3] {
        let [_, height, width] = latent;
        [self.channels, height * self.factor, width * self.factor]
    }
}

/// What is decoded: a quantity of a lane's samples after some steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The run of the lane.
    pub run: u64,
    /// The steps done.
    pub position: usize,
    /// Whether the network's output at this state was there.
    pub settled: bool,
    /// The state, or the predicted data.
    pub quantity: Quantity,
    /// Samples, from the first one on.
    pub n: usize,
}

/// Latents to be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// What they are.
    pub moment: Moment,
    /// Their values `[n, Z, h, w]` as the network has made them.
    pub x: Vec<f32>,
    /// Scale and shift of the latents that the network was trained on, if it says so; else the autoencoder's own are meant.
    pub scaling: Option<[f64; 2]>,
}

/// Pictures of a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// What they are of.
    pub moment: Moment,
    /// `[n, C, H, W]`
    pub pictures: Arc<[f32]>,
}

/// The decoder, and what it has made.
#[derive(Debug, Clone, Default)]
pub struct Decoding {
    /// The autoencoder that was opened last, if any.
    pub autoencoder: Option<Autoencoder>,
    /// Pictures, the newest at the end.
    pub done: Vec<Decoded>,
    /// Pictures and autoencoders that have come so far.
    pub news: u64,
    /// What `news` was when the autoencoder came.
    pub since: u64,
}

/// What can happen to the decoder.
#[derive(Debug, Clone, PartialEq)]
pub enum DecodingAction {
    /// An autoencoder is ready.
    Ready(Box<Autoencoder>),
    /// A moment was decoded.
    Done(Decoded),
    /// The decoder has failed and is given up.
    Failed(String),
}

impl State {
    /// The autoencoder, if the lanes' samples are latents of its kind.
    pub fn fitting_autoencoder(&self) -> Option<&Autoencoder> {
        let model = self.model.as_ref()?;
        let autoencoder = self.decoding.autoencoder.as_ref();
        let fits = |it: &&Autoencoder| it.latent_channels == model.io.channels();
        autoencoder.filter(fits).filter(|_| !model.of_images)
    }

    /// The autoencoder, if what is shown is decoded.
    pub fn decoder(&self) -> Option<&Autoencoder> {
        let is_data = !self.view.quantity.is_signed();
        let decodes = is_data && !self.view.latents;
        self.fitting_autoencoder().filter(|_| decodes)
    }

    /// How many samples of a lane are decoded: as many as the memory allows.
    pub fn n_decoded(&self, autoencoder: &Autoencoder) -> usize {
        let Some(model) = &self.model else {
            return 0;
        };
        let (most, strips) = match self.view.layout {
            Layout::Grid => (self.n_samples, 1),
            Layout::Film => (self.n_samples.min(FILM_SAMPLES), FILM_STEPS),
        };
        let numbers: usize = autoencoder.picture(model.io.image).iter().product();
        let bytes = 4 * numbers * strips * self.lanes.len();
        most.min((BUDGET / bytes.max(1)).max(1))
    }

    /// What is to be decoded of a lane after some steps; `None` before they are computed.
    pub fn moment(&self, lane: usize, position: usize) -> Option<Moment> {
        let (record, quantity) = (self.records.get(lane)?, self.view.quantity);
        let n = self.n_decoded(self.decoder()?);
        // Predicted data do not exist at a singular start.
        let transport = &self.model_of(lane)?.transport;
        if terms(record, position, quantity, transport).is_empty() {
            return None;
        }
        // The state is there at once; the predicted data follow from the next evaluation.
        let settled = quantity == Quantity::State || record.frames.len() > position;
        Some(Moment {
            run: record.run,
            position,
            settled,
            quantity,
            n,
        })
    }

    /// The pictures of a moment, if they are there.
    pub fn decoded(&self, moment: &Moment) -> Option<&Decoded> {
        let is_of = |done: &&Decoded| {
            let of = &done.moment;
            Moment { n: moment.n, ..*of } == *moment && of.n >= moment.n
        };
        self.decoding.done.iter().find(is_of)
    }

    /// The pictures of a lane at the steps that are shown or, before these are there, of the nearest steps of the same run.
    pub fn nearest_decoded(&self, moment: &Moment) -> Option<&Decoded> {
        let all = self.decoding.done.iter().filter(|done| {
            let of = &done.moment;
            of.run == moment.run && of.quantity == moment.quantity && of.n >= moment.n
        });
        let far = |done: &&Decoded| done.moment.position.abs_diff(moment.position);
        self.decoded(moment).or_else(|| all.min_by_key(far))
    }

    /// What is shown and not yet decoded, each with its lane.
    pub fn to_decode(&self) -> Vec<(usize, Moment)> {
        let lanes = 0..self.lanes.len();
        let moments = lanes.flat_map(|lane| {
            let (record, position) = (&self.records[lane], self.position(lane));
            let steps = match self.view.layout {
                Layout::Grid => vec![position],
                Layout::Film => record.film_steps(position),
            };
            steps.into_iter().map(move |step| (lane, step))
        });
        let moments = moments.filter_map(|(lane, step)| Some((lane, self.moment(lane, step)?)));
        let missing = moments.filter(|(_, moment)| self.decoded(moment).is_none());
        missing.collect()
    }

    /// The latents of a moment of a lane.
    pub fn latents(&self, lane: usize, moment: Moment) -> Option<Latents> {
        let model = self.model_of(lane)?;
        let Moment {
            position, quantity, ..
        } = moment;
        let x = total(&terms(
            &self.records[lane],
            position,
            quantity,
            &model.transport,
        ))?;
        let made = model.latents.as_ref();
        Some(Latents {
            moment,
            x: x.get(..moment.n * model.io.image_len())?.to_vec(),
            scaling: made.map(|made| [made.scale, made.shift]),
        })
    }

    /// What is said of a lane's pictures: who has decoded them, and what they are if not all that is asked for.
    pub fn about_decoded(&self, lane: usize) -> Option<String> {
        let name = &self.decoder()?.name;
        let position = self.position(lane);
        let mut text = format!("Decoded by {name}");
        let made = self.model_of(lane)?.latents.as_ref();
        if let Some(made) = made.filter(|made| made.autoencoder != *name) {
            text += &format!(" (latents of {})", shown(&made.autoencoder));
        }
        if let Some(moment) = self.moment(lane, position) {
            if moment.n < self.n_samples && self.view.layout == Layout::Grid {
                let n = count(moment.n, "sample");
                text += &format!(", the first {n} of {}", self.n_samples);
            }
            match self.nearest_decoded(&moment) {
                Some(done) if done.moment.position != position => {
                    text += &format!(", step {}", done.moment.position);
                }
                Some(_) => {}
                None => text += " …",
            }
        }
        Some(text)
    }

    /// Changes the decoder.
    pub(super) fn decode(&mut self, action: DecodingAction) {
        match action {
            DecodingAction::Ready(autoencoder) => {
                let news = self.decoding.news + 1;
                self.decoding = Decoding {
                    autoencoder: Some(*autoencoder),
                    done: Vec::new(),
                    news,
                    since: news,
                };
            }
            DecodingAction::Done(decoded) => {
                // Pictures of runs that are gone stay for an animation that is being made of them.
                let done = &mut self.decoding.done;
                done.retain(|old| old.moment != decoded.moment);
                done.push(decoded);
                let mut bytes: usize = done.iter().map(|d| 4 * d.pictures.len()).sum();
                // A strip of a single sample may be larger than the budget, and all of it is shown.
                let shown = 4 * done[done.len() - 1].pictures.len() * self.lanes.len();
                let strips = match self.view.layout {
                    Layout::Grid => 1,
                    Layout::Film => FILM_STEPS,
                };
                let most = 2 * BUDGET.max(shown * strips);
                while bytes > most && done.len() > 1 {
                    bytes -= 4 * done.remove(0).pictures.len();
                }
                self.decoding.news += 1;
            }
            DecodingAction::Failed(message) => {
                self.decoding.autoencoder = None;
                self.decoding.done.clear();
                self.notify(message);
            }
        }
    }
}

impl Record {
    /// Steps of a film strip: evenly spaced from the start to `position`.
    pub fn film_steps(&self, position: usize) -> Vec<usize> {
        let last = position.min(self.frames.len());
        let columns = last.min(FILM_STEPS - 1);
        let mut steps: Vec<usize> = (0..=columns)
            .map(|c| (c * last).checked_div(columns).unwrap_or(0))
            .collect();
        steps.dedup();
        steps
    }
}
