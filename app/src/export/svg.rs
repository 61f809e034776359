//! Figures as SVG: what egui draws, shape by shape, so that it stays sharp and can be edited.

use super::figure::{Figure, Figures, whole};
use super::png;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use egui::epaint::{ColorMode, PathShape, RectShape, Shape, TextShape, TextureId};
use egui::{Color32, Mesh, Pos2, Rect, Stroke};
use std::fmt::Write as _;

/// The figure as an SVG, with a link to its session as metadata.
///
/// # Errors
/// When a picture in it cannot be encoded.
pub fn encode(figures: &Figures, figure: &Figure, link: &str) -> Result<Vec<u8>, String> {
    let [width, height] = figure.size;
    let mut svg = Svg {
        figures,
        body: String::new(),
        clips: Vec::new(),
    };
    let fill = color("fill", figure.background);
    writeln!(svg.body, "<rect width=\"100%\" height=\"100%\"{fill}/>").ok();
    let all = whole(figure);
    for clipped in &figure.shapes {
        let clip = clipped.clip_rect.intersect(all);
        let has_clip = clip != all;
        if has_clip {
            let id = svg.clip(clip);
            writeln!(svg.body, "<g clip-path=\"url(#c{id})\">").ok();
        }
        svg.shape(&clipped.shape)?;
        if has_clip {
            svg.body += "</g>\n";
        }
    }
    let clips: String = (0..)
        .zip(&svg.clips)
        .map(|(id, clip): (usize, &Rect)| {
            format!("<clipPath id=\"c{id}\"><rect{}/></clipPath>", area(*clip))
        })
        .collect();
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <metadata>{}</metadata>\n<defs>{clips}</defs>\n{}</svg>\n",
        escaped(link),
        svg.body
    )
    .into_bytes())
}

struct Svg<'a> {
    figures: &'a Figures,
    body: String,
    /// Areas that shapes are cut to.
    clips: Vec<Rect>,
}

impl Svg<'_> {
    fn clip(&mut self, clip: Rect) -> usize {
        match self.clips.iter().position(|known| *known == clip) {
            Some(at) => at,
            None => {
                self.clips.push(clip);
                self.clips.len() - 1
            }
        }
    }

    fn shape(&mut self, shape: &Shape) -> Result<(), String> {
        match shape {
            Shape::Vec(all) => all.iter().try_for_each(|shape| self.shape(shape))?,
            Shape::Circle(c) => {
                let Pos2 { x, y } = c.center;
                let paint = paint(c.fill, c.stroke);
                writeln!(
                    self.body,
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"{}\"{paint}/>",
                    c.radius
                )
                .ok();
            }
            Shape::LineSegment { points, stroke } => {
                self.path(points, false, paint(Color32::TRANSPARENT, *stroke))
            }
            Shape::Path(PathShape {
                points,
                closed,
                fill,
                stroke,
            }) => {
                let color = match &stroke.color {
                    ColorMode::Solid(color) => *color,
                    ColorMode::UV(of) => of(Rect::from_points(points), points[0]),
                };
                self.path(
                    points,
                    *closed,
                    paint(*fill, Stroke::new(stroke.width, color)),
                );
            }
            Shape::Rect(rect) => self.rect(rect)?,
            Shape::Text(text) => self.text(text),
            Shape::Mesh(mesh) => self.mesh(mesh)?,
            // The lanes have none of the others.
            _ => {}
        }
        Ok(())
    }

    fn path(&mut self, points: &[Pos2], closed: bool, paint: String) {
        let name = if closed { "polygon" } else { "polyline" };
        let points: Vec<String> = points
            .iter()
            .map(|p| format!("{:.2},{:.2}", p.x, p.y))
            .collect();
        writeln!(
            self.body,
            "<{name} points=\"{}\"{paint}/>",
            points.join(" ")
        )
        .ok();
    }

    fn rect(&mut self, shape: &RectShape) -> Result<(), String> {
        if let Some(brush) = &shape.brush {
            return self.picture(brush.fill_texture_id, shape.rect);
        }
        let (area, radius) = (area(shape.rect), shape.corner_radius.nw);
        let paint = paint(shape.fill, shape.stroke);
        writeln!(self.body, "<rect{area} rx=\"{radius}\"{paint}/>").ok();
        Ok(())
    }

    fn picture(&mut self, id: TextureId, rect: Rect) -> Result<(), String> {
        let Some((image, is_smooth)) = self.figures.textures.get(id) else {
            return Ok(());
        };
        let data = BASE64.encode(png(image, None)?);
        let (area, how) = (area(rect), if is_smooth { "auto" } else { "pixelated" });
        writeln!(
            self.body,
            "<image{area} preserveAspectRatio=\"none\" style=\"image-rendering:{how}\" href=\"data:image/png;base64,{data}\"/>"
        )
        .ok();
        Ok(())
    }

    /// A picture, or triangles of one color each.
    fn mesh(&mut self, mesh: &Mesh) -> Result<(), String> {
        if mesh.texture_id != TextureId::default() {
            return self.picture(mesh.texture_id, mesh.calc_bounds());
        }
        for corners in mesh.indices.as_chunks::<3>().0 {
            let corners = corners.map(|i| mesh.vertices[i as usize]);
            let points = corners.map(|v| v.pos);
            self.path(&points, true, paint(corners[0].color, Stroke::NONE));
        }
        Ok(())
    }

    fn text(&mut self, text: &TextShape) {
        let format = text
            .galley
            .job
            .sections
            .first()
            .map(|section| &section.format);
        let Some(format) = format else {
            return;
        };
        let ink = match (text.override_text_color, format.color) {
            (Some(color), _) => color,
            (None, Color32::PLACEHOLDER) => text.fallback_color,
            (None, color) => color,
        };
        let family = match format.font_id.family {
            egui::FontFamily::Monospace => "Hack, monospace",
            _ => "Ubuntu, sans-serif",
        };
        let style = if format.italics {
            " font-style=\"italic\""
        } else {
            ""
        };
        let (size, fill) = (format.font_id.size, color("fill", ink));
        for placed in &text.galley.rows {
            let Some(first) = placed.row.glyphs.first() else {
                continue;
            };
            let line: String = placed.row.glyphs.iter().map(|g| g.chr).collect();
            let at = text.pos + placed.pos.to_vec2() + first.pos.to_vec2();
            let (Pos2 { x, y }, width) = (at, placed.row.size.x);
            let turn = match text.angle {
                0.0 => String::new(),
                angle => format!(
                    " transform=\"rotate({:.2} {:.2} {:.2})\"",
                    angle.to_degrees(),
                    text.pos.x,
                    text.pos.y
                ),
            };
            // The width keeps the layout where these fonts are not there.
            writeln!(
                self.body,
                "<text x=\"{x:.2}\" y=\"{y:.2}\" font-family=\"{family}\" font-size=\"{size}\"{style}{fill} textLength=\"{width:.2}\" \
                 lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\"{turn}>{}</text>",
                escaped(&line)
            )
            .ok();
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn area(rect: Rect) -> String {
    let (min, size) = (rect.min, rect.size());
    format!(
        " x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\"",
        min.x, min.y, size.x, size.y
    )
}

/// A color and its opacity as the attribute `name`.
fn color(name: &str, color: Color32) -> String {
    let [r, g, b, a] = color.to_srgba_unmultiplied();
    match a {
        0 => format!(" {name}=\"none\""),
        255 => format!(" {name}=\"#{r:02x}{g:02x}{b:02x}\""),
        _ => format!(
            " {name}=\"#{r:02x}{g:02x}{b:02x}\" {name}-opacity=\"{:.3}\"",
            f32::from(a) / 255.0
        ),
    }
}

fn paint(fill: Color32, stroke: Stroke) -> String {
    let mut paint = color("fill", fill);
    if stroke.width > 0.0 {
        paint += &color("stroke", stroke.color);
        write!(paint, " stroke-width=\"{}\"", stroke.width).ok();
    }
    paint
}
