//! Animations: a figure for each recorded step, encoded a few at a time, so that the window goes on.

use super::figure::Figures;
use super::{KEY, rgb};
use crate::state::{PlaybackAction, State};
use egui::ColorImage;

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
    format: Format,
    /// The session as it was when this began.
    state: State,
    link: String,
    figures: Figures,
    /// Width and height of every frame, in points: those of the last one.
    size: [f32; 2],
    frames: Vec<ColorImage>,
    n: usize,
    bytes: Vec<u8>,
}

impl Animation {
    /// One of all steps that are recorded.
    ///
    /// # Errors
    /// When nothing is recorded.
    pub fn new(format: Format, state: &State, dark: bool) -> Result<Self, String> {
        let last = state.records[state.lead()].frames.len();
        if !state.records[state.lead()].is_started() {
            return Err("There is nothing to draw yet".into());
        }
        let link = state.link().encode();
        let mut state = state.clone();
        state.apply(PlaybackAction::Seek(last));
        let mut figures = Figures::new(1.0, dark);
        let size = figures.draw(&state).size;
        Ok(Animation {
            format,
            state,
            link,
            figures,
            size,
            frames: Vec::new(),
            n: last + 1,
            bytes: Vec::new(),
        })
    }

    /// Frames that are drawn, and all of them.
    pub fn progress(&self) -> (usize, usize) {
        (self.frames.len(), self.n)
    }

    /// Draws one more frame. Returns the file when all are drawn.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn work(&mut self) -> Result<Option<Vec<u8>>, String> {
        let at = self.frames.len();
        if at < self.n {
            self.state.apply(PlaybackAction::Seek(at));
            let figure = self.figures.draw(&self.state);
            self.frames
                .push(self.figures.pixels(figure, Some(self.size)));
            return Ok(None);
        }
        match self.format {
            Format::Gif => self.gif()?,
            Format::Apng => self.apng()?,
        }
        Ok(Some(std::mem::take(&mut self.bytes)))
    }

    fn delay(&self, frame: usize) -> u16 {
        DELAYS[usize::from(frame + 1 == self.n)]
    }

    fn gif(&mut self) -> Result<(), String> {
        let side = |side: usize| {
            u16::try_from(side).map_err(|_| format!("a GIF of {side} pixels: take fewer samples"))
        };
        let [width, height] = self.frames[0].size;
        let (width, height) = (side(width)?, side(height)?);
        let words = |e: gif::EncodingError| e.to_string();
        let mut bytes = Vec::new();
        let mut encoder = gif::Encoder::new(&mut bytes, width, height, &[]).map_err(words)?;
        encoder.set_repeat(gif::Repeat::Infinite).map_err(words)?;
        let recipe = format!("{KEY} {}", self.link);
        let parts: Vec<&[u8]> = recipe.as_bytes().chunks(255).collect();
        encoder
            .write_raw_extension(gif::AnyExtension(gif::Extension::Comment as u8), &parts)
            .map_err(words)?;
        for (i, image) in self.frames.iter().enumerate() {
            let mut frame = gif::Frame::from_rgb_speed(width, height, &rgb(image), SPEED);
            frame.delay = self.delay(i);
            encoder.write_frame(&frame).map_err(words)?;
        }
        drop(encoder);
        self.bytes = bytes;
        Ok(())
    }

    fn apng(&mut self) -> Result<(), String> {
        let words = |e: png::EncodingError| e.to_string();
        let [width, height] = self.frames[0].size.map(|side| side as u32);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_animated(self.n as u32, 0).map_err(words)?;
        encoder
            .add_text_chunk(KEY.into(), self.link.clone())
            .map_err(words)?;
        let mut writer = encoder.write_header().map_err(words)?;
        for (i, image) in self.frames.iter().enumerate() {
            writer.set_frame_delay(self.delay(i), 100).map_err(words)?;
            writer.write_image_data(&rgb(image)).map_err(words)?;
        }
        writer.finish().map_err(words)?;
        self.bytes = bytes;
        Ok(())
    }
}
