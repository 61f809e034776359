//! Draws egui's triangles with the CPU: the figures of files look as the window does, on every device and without one.

use egui::epaint::{ClippedPrimitive, ImageDelta, Mesh, Primitive, Vertex};
use egui::{Color32, ColorImage, Pos2, Rect, TextureFilter, TextureId, TexturesDelta, pos2};
use std::collections::HashMap;

/// The textures that egui has handed over.
#[derive(Default)]
pub struct Textures(HashMap<TextureId, (ColorImage, TextureFilter)>);

impl Textures {
    /// Takes over what a frame has changed.
    pub fn take(&mut self, mut delta: TexturesDelta) {
        for (id, deltas) in delta.set.drain() {
            for delta in deltas {
                self.set(id, &delta);
            }
        }
        for id in delta.free.drain() {
            self.0.remove(&id);
        }
    }

    fn set(&mut self, id: TextureId, delta: &ImageDelta) {
        let egui::ImageData::Color(image) = &delta.image;
        let filter = delta.options.magnification;
        match (delta.pos, self.0.get_mut(&id)) {
            (Some([left, top]), Some((whole, _))) => {
                let width = whole.size[0];
                for (y, row) in image.pixels.chunks_exact(image.size[0]).enumerate() {
                    let at = (top + y) * width + left;
                    whole.pixels[at..at + row.len()].copy_from_slice(row);
                }
            }
            _ => {
                self.0.insert(id, (ColorImage::clone(image), filter));
            }
        }
    }

    /// One of them, and whether its pixels are smoothed.
    pub fn get(&self, id: TextureId) -> Option<(&ColorImage, bool)> {
        let (image, filter) = self.0.get(&id)?;
        Some((image, *filter == TextureFilter::Linear))
    }
}

/// Draws on a background, `scale` pixels to a point.
pub fn draw(
    primitives: &[ClippedPrimitive],
    textures: &Textures,
    size: [usize; 2],
    scale: f32,
    background: Color32,
) -> ColorImage {
    let mut image = ColorImage::filled(size, background);
    for ClippedPrimitive {
        clip_rect,
        primitive,
    } in primitives
    {
        let Primitive::Mesh(mesh) = primitive else {
            continue;
        };
        let Some((texture, filter)) = textures.0.get(&mesh.texture_id) else {
            continue;
        };
        let clip = pixels(*clip_rect, scale, size);
        let sample = |uv: Pos2| match filter {
            TextureFilter::Nearest => nearest(texture, uv),
            TextureFilter::Linear => linear(texture, uv),
        };
        triangles(mesh, scale, clip, &mut image, sample);
    }
    image
}

/// The columns and rows of pixels in a rectangle: from, to.
fn pixels(rect: Rect, scale: f32, size: [usize; 2]) -> [[i32; 2]; 2] {
    let within = |x: f32, most: usize| ((scale * x).round() as i32).clamp(0, most as i32);
    [
        [within(rect.left(), size[0]), within(rect.right(), size[0])],
        [within(rect.top(), size[1]), within(rect.bottom(), size[1])],
    ]
}

/// Steps of a pixel in which vertices lie, so that neighboring triangles share their edges exactly.
const STEPS: f32 = 256.0;

fn triangles(
    mesh: &Mesh,
    scale: f32,
    clip: [[i32; 2]; 2],
    image: &mut ColorImage,
    sample: impl Fn(Pos2) -> [f32; 4],
) {
    let corners = mesh.indices.as_chunks::<3>().0;
    for corners in corners {
        let mut v = corners.map(|i| mesh.vertices[i as usize]);
        let mut p = v.map(|v| [v.pos.x, v.pos.y].map(|x| (x * scale * STEPS).round() as i64));
        let mut area = edge(p[0], p[1], p[2]);
        if area == 0 {
            continue;
        }
        if area < 0 {
            v.swap(1, 2);
            p.swap(1, 2);
            area = -area;
        }
        // Pixels whose middle may be inside.
        let [columns, rows] = [0, 1].map(|axis| {
            let of = p.map(|p| p[axis]);
            let [low, high] = [of.iter().min(), of.iter().max()]
                .map(|x| (*x.unwrap_or(&0) as f32 / STEPS - 0.5) as f64);
            let [from, to] = clip[axis];
            from.max(low.floor() as i32)..to.min(high.ceil() as i32 + 1)
        });
        // An edge's own pixels belong to the triangle on its left or above, and to no other.
        let bias = [(1, 2), (2, 0), (0, 1)].map(|(a, b)| {
            let [x, y] = [p[b][0] - p[a][0], p[b][1] - p[a][1]];
            i64::from(!(y < 0 || y == 0 && x > 0))
        });
        for row in rows {
            for column in columns.clone() {
                let half = STEPS as i64 / 2;
                let at = [column, row].map(|i| i64::from(i) * STEPS as i64 + half);
                let w = [
                    edge(p[1], p[2], at),
                    edge(p[2], p[0], at),
                    edge(p[0], p[1], at),
                ];
                if w.iter().zip(bias).any(|(w, bias)| *w < bias) {
                    continue;
                }
                let share = w.map(|w| w as f32 / area as f32);
                let pixel = &mut image.pixels[row as usize * image.size[0] + column as usize];
                *pixel = over(shade(&v, share, &sample), *pixel);
            }
        }
    }
}

/// Twice the area of a triangle, signed.
fn edge(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// The color at a place of a triangle, premultiplied, 0 to 255.
fn shade(v: &[Vertex; 3], share: [f32; 3], sample: impl Fn(Pos2) -> [f32; 4]) -> [f32; 4] {
    let mix = |of: [f32; 3]| of[0] * share[0] + of[1] * share[1] + of[2] * share[2];
    let uv = pos2(
        mix([0, 1, 2].map(|i| v[i].uv.x)),
        mix([0, 1, 2].map(|i| v[i].uv.y)),
    );
    let texel = sample(uv);
    std::array::from_fn(|k| {
        let own = mix([0, 1, 2].map(|i| f32::from(v[i].color.to_array()[k])));
        own * texel[k] / 255.0
    })
}

/// A premultiplied color over a pixel, in sRGB as egui blends.
fn over(color: [f32; 4], below: Color32) -> Color32 {
    let rest = 1.0 - color[3] / 255.0;
    let below = below.to_array();
    let [r, g, b, a] =
        std::array::from_fn(|k| (color[k] + rest * f32::from(below[k])).round() as u8);
    Color32::from_rgba_premultiplied(r, g, b, a)
}

fn texel(image: &ColorImage, x: f32, y: f32) -> [f32; 4] {
    let [width, height] = image.size;
    let at = |x: f32, size: usize| (x.max(0.0) as usize).min(size - 1);
    image.pixels[at(y, height) * width + at(x, width)]
        .to_array()
        .map(f32::from)
}

fn nearest(image: &ColorImage, uv: Pos2) -> [f32; 4] {
    let [width, height] = image.size.map(|s| s as f32);
    texel(image, uv.x * width, uv.y * height)
}

fn linear(image: &ColorImage, uv: Pos2) -> [f32; 4] {
    let [width, height] = image.size.map(|s| s as f32);
    let (x, y) = (uv.x * width - 0.5, uv.y * height - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let of = |dx: f32, dy: f32| texel(image, left + dx, top + dy);
    let [a, b, c, d] = [of(0.0, 0.0), of(1.0, 0.0), of(0.0, 1.0), of(1.0, 1.0)];
    std::array::from_fn(|k| {
        let upper = a[k] + fx * (b[k] - a[k]);
        let lower = c[k] + fx * (d[k] - c[k]);
        upper + fy * (lower - upper)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quad(rect: Rect, color: Color32, texture_id: TextureId) -> Mesh {
        let mut mesh = Mesh::with_texture(texture_id);
        mesh.add_rect_with_uv(
            rect,
            Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0)),
            color,
        );
        mesh
    }

    fn textures(pixels: Vec<Color32>, size: [usize; 2]) -> Textures {
        let image = ColorImage::new(size, pixels);
        let id = TextureId::Managed(1);
        Textures([(id, (image, TextureFilter::Nearest))].into())
    }

    #[test]
    fn two_triangles_of_a_rectangle_cover_every_pixel_once() {
        let white = textures(vec![Color32::WHITE], [1, 1]);
        // Half transparent: what is covered twice would be lighter.
        let color = Color32::from_white_alpha(128);
        let rect = Rect::from_min_max(pos2(1.0, 1.0), pos2(6.0, 4.0));
        let mesh = quad(rect, color, TextureId::Managed(1));
        let primitive = ClippedPrimitive {
            clip_rect: Rect::from_min_max(pos2(0.0, 0.0), pos2(5.0, 9.0)),
            primitive: Primitive::Mesh(mesh),
        };
        let image = draw(&[primitive], &white, [14, 10], 2.0, Color32::BLACK);
        for (i, pixel) in image.pixels.iter().enumerate() {
            let (x, y) = (i % 14, i / 14);
            let inside = (2..10).contains(&x) && (2..8).contains(&y);
            let expected = if inside { 128 } else { 0 };
            assert_eq!(pixel.r(), expected, "{x}, {y}");
        }
    }

    #[test]
    fn a_picture_keeps_its_pixels() {
        let pixels: Vec<Color32> = (0..6).map(|i| Color32::from_gray(40 * i)).collect();
        let textures = textures(pixels.clone(), [3, 2]);
        let rect = Rect::from_min_max(pos2(0.0, 0.0), pos2(6.0, 4.0));
        let mesh = quad(rect, Color32::WHITE, TextureId::Managed(1));
        let primitive = ClippedPrimitive {
            clip_rect: rect,
            primitive: Primitive::Mesh(mesh),
        };
        let image = draw(&[primitive], &textures, [6, 4], 1.0, Color32::RED);
        for (i, pixel) in image.pixels.iter().enumerate() {
            assert_eq!(*pixel, pixels[i / 12 * 3 + i % 6 / 2]);
        }
    }
}
