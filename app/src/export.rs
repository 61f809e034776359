//! Pictures and animations of the lanes. Each contains a link to its session: dropping it on the window restores the session.

use crate::state::{Export, Link, PlaybackAction, Quantity, State};
use crate::view::picture;
use egui::{Color32, ColorImage};
use std::borrow::Cow;
use std::io::Cursor;

/// Keyword of the PNG's text, and first word of the GIF's comment.
const KEY: &str = "sit-link";

/// A sample is enlarged by a whole factor to at least this side, in pixels.
const LEAST_SIDE: usize = 32;

/// Display time of an animation's frame, and of its last one, in hundredths of a second.
const DELAYS: [u16; 2] = [6, 150];

/// Name of the file.
pub fn file_name(export: Export, state: &State) -> String {
    let seed = state.seed;
    match export {
        Export::Picture => format!("sit-{seed}-t{:.3}.png", state.t()),
        Export::Animation => format!("sit-{seed}.gif"),
    }
}

/// The file.
///
/// # Errors
/// Says why there is nothing to draw.
pub fn encode(export: Export, state: &State) -> Result<Vec<u8>, String> {
    match export {
        Export::Picture => png(state),
        Export::Animation => gif(state),
    }
}

fn png(state: &State) -> Result<Vec<u8>, String> {
    let image = lanes(state).ok_or("There is nothing to draw yet")?;
    let [width, height] = image.size.map(|side| side as u32);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let words = |e: png::EncodingError| e.to_string();
    encoder
        .add_text_chunk(KEY.into(), state.link().encode())
        .map_err(words)?;
    let mut writer = encoder.write_header().map_err(words)?;
    writer.write_image_data(&rgb(&image)).map_err(words)?;
    writer.finish().map_err(words)?;
    Ok(bytes)
}

fn gif(state: &State) -> Result<Vec<u8>, String> {
    let last = state.records[state.lead()].frames.len();
    let mut frames = Vec::new();
    let mut at = state.clone();
    for cursor in 0..=last {
        at.apply(PlaybackAction::Seek(cursor));
        // Skip steps that lack the quantity, such as the noise of the first state.
        frames.extend(lanes(&at));
    }
    let [width, height] = frames.last().ok_or("There is nothing to draw yet")?.size;
    let side = |side: usize| {
        u16::try_from(side).map_err(|_| format!("a GIF of {side} pixels: take fewer samples"))
    };
    let (width, height) = (side(width)?, side(height)?);
    let words = |e: gif::EncodingError| e.to_string();
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &[]).map_err(words)?;
    encoder.set_repeat(gif::Repeat::Infinite).map_err(words)?;
    let recipe = format!("{KEY} {}", state.link().encode());
    let parts: Vec<&[u8]> = recipe.as_bytes().chunks(255).collect();
    encoder
        .write_raw_extension(gif::AnyExtension(gif::Extension::Comment as u8), &parts)
        .map_err(words)?;
    let n = frames.len();
    for (i, image) in frames.iter().enumerate() {
        if image.size != [usize::from(width), usize::from(height)] {
            continue;
        }
        let mut frame = gif::Frame::from_rgb_speed(width, height, &rgb(image), 10);
        frame.delay = DELAYS[usize::from(i + 1 == n)];
        encoder.write_frame(&frame).map_err(words)?;
    }
    drop(encoder);
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

/// The lanes side by side, enlarged. The difference leaves out the lead lane.
fn lanes(state: &State) -> Option<ColorImage> {
    let shown = (0..state.lanes.len())
        .filter(|&lane| state.view.quantity != Quantity::Difference || lane != state.lead());
    let pictures: Vec<_> = shown.filter_map(|lane| picture(state, lane)).collect();
    let side = pictures.first()?.0.side;
    let factor = LEAST_SIDE.div_ceil(side);
    let gap = 2 * pictures[0].0.gap;
    let width: usize = pictures.iter().map(|(_, p)| p.width() + gap).sum();
    let width = width - gap;
    let height = pictures.iter().map(|(_, p)| p.height()).max()?;
    let mut image = ColorImage::filled([factor * width, factor * height], Color32::WHITE);
    let mut left = 0;
    for (_, picture) in &pictures {
        for y in 0..factor * picture.height() {
            for x in 0..factor * picture.width() {
                let pixel = picture.pixels[y / factor * picture.width() + x / factor];
                if pixel.a() > 0 {
                    image.pixels[y * factor * width + factor * left + x] = pixel;
                }
            }
        }
        left += picture.width() + gap;
    }
    Some(image)
}

fn rgb(image: &ColorImage) -> Cow<'static, [u8]> {
    let pixels = image.pixels.iter();
    pixels.flat_map(|p| [p.r(), p.g(), p.b()]).collect()
}
