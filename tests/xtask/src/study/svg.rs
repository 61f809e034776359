//! A picture of lines, circles and text, written as SVG and drawn as PNG.

use anyhow::{Context, Result};
use resvg::{tiny_skia, usvg};
use std::fmt::Write;
use std::sync::Arc;

/// Pixels of the PNG for each unit of the picture.
const ZOOM: f32 = 2.0;

/// Color of text and of the frame's lines.
pub const INK: &str = "#222";
const FAINT: &str = "#ddd";

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture on a white ground, so that it can be read on a dark page, too.
pub struct Svg {
    size: [f64; 2],
    body: String,
}

impl Svg {
    pub fn new(size: [f64; 2]) -> Self {
        let body = String::new();
        let mut svg = Svg { size, body };
        svg.push(format_args!(
            r#"<rect width="100%" height="100%" fill="white"/>"#
        ));
        svg
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // A String takes all that is written.
        let _ = writeln!(self.body, "{element}");
    }

    pub fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], color: &str, width: f64) {
        self.push(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{color}" stroke-width="{width}"/>"#
        ));
    }

    /// A faint line behind the data.
    pub fn grid_line(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.line(from, to, FAINT, 0.8);
    }

    pub fn circle(&mut self, [x, y]: [f64; 2], color: &str) {
        self.push(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.6" fill="{color}"/>"#
        ));
    }

    pub fn text(&mut self, [x, y]: [f64; 2], text: &str, anchor: Anchor) {
        self.styled(x, y, text, anchor, "");
    }

    pub fn title(&mut self, [x, y]: [f64; 2], text: &str) {
        self.styled(x, y, text, Anchor::Start, r#" font-size="14""#);
    }

    /// From below to above, centered.
    pub fn upright(&mut self, [x, y]: [f64; 2], text: &str) {
        let turned = format!(r#" transform="rotate(-90 {x:.1} {y:.1})""#);
        self.styled(x, y, text, Anchor::Middle, &turned);
    }

    fn styled(&mut self, x: f64, y: f64, text: &str, anchor: Anchor, more: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.push(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" stroke="white" stroke-width="5"{more}>{text}</text>"#
        ));
    }

    /// The file of the picture.
    pub fn source(&self) -> String {
        let [width, height] = self.size;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\" paint-order=\"stroke\" stroke-linejoin=\"round\">\n{}</svg>\n",
            self.body
        )
    }

    /// The picture as PNG, with the window's font: a machine may have none.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut options = usvg::Options::default();
        let fonts = options.fontdb_mut();
        let bytes = Arc::new(epaint_default_fonts::UBUNTU_LIGHT);
        fonts.load_font_source(usvg::fontdb::Source::Binary(bytes));
        let family = fonts.faces().next().context("no face in the font")?;
        let family = family
            .families
            .first()
            .context("a face without a name")?
            .0
            .clone();
        fonts.set_sans_serif_family(family);

        let tree = usvg::Tree::from_str(&self.source(), &options)?;
        let [width, height] = self.size.map(|x| (x as f32 * ZOOM) as u32);
        let mut pixels = tiny_skia::Pixmap::new(width, height).context("a picture of no size")?;
        let zoom = tiny_skia::Transform::from_scale(ZOOM, ZOOM);
        resvg::render(&tree, zoom, &mut pixels.as_mut());
        Ok(pixels.encode_png()?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Anchor, Svg};

    #[test]
    fn text_is_drawn_without_fonts_of_the_system() {
        let png = |text: &str| {
            let mut svg = Svg::new([60.0, 20.0]);
            svg.text([2.0, 15.0], text, Anchor::Start);
            svg.png().unwrap()
        };
        assert_ne!(png("a < b & c"), png(""));
    }
}
