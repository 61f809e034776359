//! Animations: a figure for each recorded step, encoded a few at a time, so that the window goes on.

use super::figure::Figures;
use super::{KEY, rgb};
use crate::state::{Decoding, PlaybackAction, State};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Display time of a frame, and of the last one, in hundredths of a second.
const DELAYS: [u16; 2] = [6, 150];

/// The speed of the search for a GIF's colors, 1 to 30: higher is faster.
const SPEED: i32 = 28;

/// The file formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 256 colors a frame; shown everywhere.
    Gif,
    /// All colors; shown by browsers and by slides of most programs.
    Apng,
}

/// An animation that is being made.
pub struct Animation {
    /// The session as it was when this began.
    state: State,
    /// A link to it.
    link: String,
    figures: Figures,
    /// Width and height of every frame, in points: those of the last one, once that can be drawn.
    size: Option<[f32; 2]>,
    format: Format,
    /// Frames that are drawn, and all of them.
    done: usize,
    n: usize,
    encoder: Encoder,
    file: Sink,
}

/// What writes the frames.
enum Encoder {
    Gif(gif::Encoder<Sink>),
    Apng(png::Writer<Sink>),
    /// Nothing is begun, or all are written.
    Over,
}

/// The bytes of the file, which the encoder and the animation share.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // A writer that panicked leaves bytes all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Animation {
    /// One of all steps that are recorded.
    ///
    /// # Errors
    /// When nothing is recorded, or a format cannot hold it.
    pub fn new(format: Format, state: &State, dark: bool) -> Result<Self, String> {
        let last = state.records[state.lead()].frames.len();
        if !state.records[state.lead()].is_started() {
            return Err("There is nothing to draw yet".into());
        }
        let state_link = state.link().encode();
        let mut state = state.clone();
        state.apply(PlaybackAction::Seek(last));
        Ok(Animation {
            link: state_link,
            state,
            figures: Figures::new(1.0, dark),
            size: None,
            format,
            done: 0,
            n: last + 1,
            encoder: Encoder::Over,
            file: Sink::default(),
        })
    }

    /// Begins the file, when the last frame can be drawn. It has the size of that one.
    fn begin(&mut self) -> Result<[f32; 2], String> {
        let figure = self.figures.draw(&self.state);
        let size = figure.size;
        let pixels = self.figures.pixels(figure, Some(size)).size;
        let file = self.file.clone();
        self.encoder = match self.format {
            Format::Gif => gif(file, pixels, &self.link)?,
            Format::Apng => apng(file, pixels, &self.link, self.n)?,
        };
        self.size = Some(size);
        Ok(size)
    }

    /// Frames that are drawn, and all of them.
    pub fn progress(&self) -> (usize, usize) {
        (self.done, self.n)
    }

    /// The state of the next frame, if its latents are not decoded yet.
    pub fn waits_for(&self) -> Option<&State> {
        let is_waiting = self.done < self.n && !self.state.to_decode().is_empty();
        is_waiting.then_some(&self.state)
    }

    /// Takes what was decoded meanwhile.
    ///
    /// # Errors
    /// When the autoencoder is another one or gone: the frames would not go together.
    pub fn take(&mut self, decoding: &Decoding) -> Result<(), String> {
        let before = self.state.decoder().cloned();
        self.state.decoding.clone_from(decoding);
        match self.state.decoder() == before.as_ref() {
            true => Ok(()),
            false => Err("The animation was given up: the autoencoder has changed".into()),
        }
    }

    /// Draws one more frame, unless its latents are not decoded yet. Returns the file when all are drawn.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn work(&mut self) -> Result<Option<Vec<u8>>, String> {
        let size = match self.size {
            Some(size) => size,
            // The state is at the last frame.
            None if self.waits_for().is_some() => return Ok(None),
            None => self.begin()?,
        };
        self.state.apply(PlaybackAction::Seek(self.done));
        if self.waits_for().is_some() {
            return Ok(None);
        }
        let figure = self.figures.draw(&self.state);
        let image = self.figures.pixels(figure, Some(size));
        let is_last = self.done + 1 == self.n;
        let delay = DELAYS[usize::from(is_last)];
        match &mut self.encoder {
            Encoder::Gif(encoder) => {
                let [width, height] = image.size.map(|side| side as u16);
                let mut frame = gif::Frame::from_rgb_speed(width, height, &rgb(&image), SPEED);
                frame.delay = delay;
                encoder.write_frame(&frame).map_err(|e| e.to_string())?;
            }
            Encoder::Apng(writer) => {
                let words = |e: png::EncodingError| e.to_string();
                writer.set_frame_delay(delay, 100).map_err(words)?;
                writer.write_image_data(&rgb(&image)).map_err(words)?;
            }
            Encoder::Over => return Ok(None),
        }
        self.done += 1;
        if !is_last {
            return Ok(None);
        }
        // Both write their ends when they are dropped.
        self.encoder = Encoder::Over;
        Ok(Some(std::mem::take(&mut *self.file.bytes())))
    }
}

fn gif(file: Sink, size: [usize; 2], link: &str) -> Result<Encoder, String> {
    let side = |side: usize| {
        u16::try_from(side).map_err(|_| format!("a GIF of {side} pixels: take fewer samples"))
    };
    let words = |e: gif::EncodingError| e.to_string();
    let (width, height) = (side(size[0])?, side(size[1])?);
    let mut encoder = gif::Encoder::new(file, width, height, &[]).map_err(words)?;
    encoder.set_repeat(gif::Repeat::Infinite).map_err(words)?;
    let recipe = format!("{KEY} {link}");
    let parts: Vec<&[u8]> = recipe.as_bytes().chunks(255).collect();
    let comment = gif::AnyExtension(gif::Extension::Comment as u8);
    encoder
        .write_raw_extension(comment, &parts)
        .map_err(words)?;
    Ok(Encoder::Gif(encoder))
}

fn apng(file: Sink, size: [usize; 2], link: &str, n: usize) -> Result<Encoder, String> {
    let words = |e: png::EncodingError| e.to_string();
    let [width, height] = size.map(|side| side as u32);
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(n as u32, 0).map_err(words)?;
    encoder
        .add_text_chunk(KEY.into(), link.into())
        .map_err(words)?;
    Ok(Encoder::Apng(encoder.write_header().map_err(words)?))
}
