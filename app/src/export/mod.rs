//! What is kept of the lanes: figures, animations and tables. A figure or an animation contains a link to its session: dropping it on the
//! window restores the session.

mod animation;
mod figure;
mod raster;
mod svg;
mod table;

use crate::state::{Decoding, Export, Link, State};
use animation::{Animation, Format};
use egui::ColorImage;
use figure::Figures;
use std::borrow::Cow;
use std::io::Cursor;

/// Keyword of the PNG's text, and first word of the GIF's comment.
const KEY: &str = "sit-link";

/// Pixels to a point of a PNG, which slides enlarge.
const SCALE: f32 = 2.0;

/// Name of the file.
pub fn file_name(export: Export, state: &State) -> String {
    let (seed, t) = (state.seed, state.t());
    match export {
        Export::Png => format!("sit-{seed}-t{t:.3}.png"),
        Export::Svg => format!("sit-{seed}-t{t:.3}.svg"),
        Export::Gif => format!("sit-{seed}.gif"),
        Export::Apng => format!("sit-{seed}.apng"),
        Export::Csv => format!("sit-{seed}-steps.csv"),
        Export::CostCsv => format!("sit-{seed}-cost.csv"),
        Export::Tour => "sit-tour.json".to_owned(),
        Export::Npz => format!("sit-{seed}-t{t:.3}.npz"),
    }
}

/// A file that is being made.
pub enum Making {
    /// It is there.
    Done(Vec<u8>),
    /// An animation, whose frames are drawn one by one.
    Animation(Box<Animation>),
}

impl Making {
    /// Begins a file.
    ///
    /// # Errors
    /// Says why there is nothing to keep.
    pub fn new(export: Export, state: &State, dark: bool) -> Result<Self, String> {
        let animation = |format| {
            let animation = Animation::new(format, state, dark)?;
            Ok(Making::Animation(Box::new(animation)))
        };
        match export {
            Export::Gif => animation(Format::Gif),
            Export::Apng => animation(Format::Apng),
            Export::Png => picture(state, dark).map(Making::Done),
            Export::Svg => {
                is_there(state)?;
                let mut figures = Figures::new(1.0, dark);
                let figure = figures.draw(state);
                svg::encode(&figures, &figure, &state.link().encode()).map(Making::Done)
            }
            Export::Csv => table::csv(state).map(Making::Done),
            Export::CostCsv => Ok(Making::Done(table::cost(state).into_bytes())),
            Export::Tour => Ok(Making::Done(state.tour.to_json())),
            Export::Npz => table::npz(state).map(Making::Done),
        }
    }

    /// Parts that are done, and all of them.
    pub fn progress(&self) -> (usize, usize) {
        match self {
            Making::Done(_) => (1, 1),
            Making::Animation(animation) => animation.progress(),
        }
    }

    /// The state that an animation shows next, if it waits for its latents to be decoded.
    pub fn waits_for(&self) -> Option<&State> {
        match self {
            Making::Done(_) => None,
            Making::Animation(animation) => animation.waits_for(),
        }
    }

    /// Takes what was decoded meanwhile.
    ///
    /// # Errors
    /// As of [`Animation::take`].
    pub fn take(&mut self, decoding: &Decoding) -> Result<(), String> {
        match self {
            Making::Done(_) => Ok(()),
            Making::Animation(animation) => animation.take(decoding),
        }
    }

    /// Does one more part. Returns the file when it is done.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn work(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Making::Done(bytes) => Ok(Some(std::mem::take(bytes))),
            Making::Animation(animation) => animation.work(),
        }
    }
}

fn is_there(state: &State) -> Result<(), String> {
    match state.lead_record().is_started() {
        true => Ok(()),
        false => Err("There is nothing to draw yet".into()),
    }
}

fn picture(state: &State, dark: bool) -> Result<Vec<u8>, String> {
    is_there(state)?;
    let mut figures = Figures::new(SCALE, dark);
    let figure = figures.draw(state);
    let image = figures.pixels(figure, None);
    png(&image, Some(state.link().encode()))
}

/// A PNG of an image, with a link if it is a session's.
fn png(image: &ColorImage, link: Option<String>) -> Result<Vec<u8>, String> {
    let [width, height] = image.size.map(|side| side as u32);
    let words = |e: png::EncodingError| e.to_string();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    if let Some(link) = link {
        encoder.add_text_chunk(KEY.into(), link).map_err(words)?;
    }
    let mut writer = encoder.write_header().map_err(words)?;
    writer.write_image_data(&rgb(image)).map_err(words)?;
    writer.finish().map_err(words)?;
    Ok(bytes)
}

/// The link in a picture; `None` for another file, or one without.
pub fn link(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(b"\x89PNG") {
        let reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
        let texts = &reader.info().uncompressed_latin1_text;
        return texts
            .iter()
            .find(|t| t.keyword == KEY)
            .map(|t| t.text.clone());
    }
    if bytes.starts_with(b"<svg") {
        let text = std::str::from_utf8(bytes).ok()?;
        let (_, rest) = text.split_once("<metadata>")?;
        return rest
            .split_once("</metadata>")
            .map(|(link, _)| link.replace("&amp;", "&"));
    }
    if bytes.starts_with(b"GIF8") {
        // The comment follows the header. It is stored in chunks of at most 255 bytes, each after its length.
        let start = [0x21, gif::Extension::Comment as u8];
        let at = bytes.windows(2).position(|w| w == start)?;
        let mut rest = &bytes[at + 2..];
        let mut text = Vec::new();
        while let Some((&len, tail)) = rest.split_first().filter(|(len, _)| **len > 0) {
            text.extend_from_slice(tail.get(..len.into())?);
            rest = &tail[len.into()..];
        }
        let text = String::from_utf8(text).ok()?;
        return text.strip_prefix(KEY).map(|link| link.trim().to_owned());
    }
    None
}

/// The state that a picture contains.
///
/// # Errors
/// A link that cannot be read, in words.
pub fn restore(bytes: &[u8]) -> Option<Result<Box<Link>, String>> {
    let text = link(bytes)?;
    Some(Link::decode(&text).map(Box::new).map_err(|e| e.to_string()))
}

fn rgb(image: &ColorImage) -> Cow<'static, [u8]> {
    let pixels = image.pixels.iter();
    pixels.flat_map(|p| [p.r(), p.g(), p.b()]).collect()
}
