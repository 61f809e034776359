//! The picture that shows samples: a grid of images, or a scatter plot of points.

use sit_engine::analytic::Toy;
use std::io::{self, Write};

use super::scatter::{REACH, Scatter};
use super::{Canvas, Grid, LATENT_RANGE, is_picture, is_plane};

/// A picture of samples that is filled as they are made.
#[derive(Debug)]
pub enum Sheet {
    /// Each sample is an image of its own.
    Grid(Canvas),
    /// Each sample is a point in the plane.
    Scatter(Scatter),
}

impl Sheet {
    /// Bytes that it takes in memory with the PNG that is made of it; `None` when no PNG can hold it.
    ///
    /// # Panics
    /// As [`Canvas::new`].
    pub fn forecast(n_images: usize, shape: [usize; 3], place: Grid) -> Option<u64> {
        match is_plane(shape) {
            true => Some(Scatter::BYTES),
            false => Canvas::forecast(n_images, shape, place),
        }
    }

    /// An empty sheet for `n_images` images of `shape` `[C, H, W]`: a grid laid out by `place`, or the plane with the points of a toy.
    ///
    /// # Panics
    /// As [`Canvas::new`].
    pub fn new(n_images: usize, shape: [usize; 3], place: Grid, toy: Option<Toy>) -> Self {
        match is_plane(shape) {
            true => Sheet::Scatter(Scatter::new(toy)),
            false => Sheet::Grid(Canvas::new(n_images, shape, place)),
        }
    }

    /// Draws the images `[B, C, H, W]` with these labels at the places `first..`.
    ///
    /// # Panics
    /// As [`Canvas::put`].
    pub fn put(&mut self, first: usize, images: &[f32], labels: &[u32]) {
        match self {
            Sheet::Grid(canvas) => canvas.put(first, images),
            Sheet::Scatter(plot) => plot.put(images, labels),
        }
    }

    /// Writes it as a PNG.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        match self {
            Sheet::Grid(canvas) => canvas.write(out),
            Sheet::Scatter(plot) => plot.write(out),
        }
    }
}

/// What a sheet shows that is no grid of pictures, as text; `None` for pictures.
pub fn shows(shape: [usize; 3], toy: Option<Toy>) -> Option<String> {
    let [channels, ..] = shape;
    match toy {
        _ if is_picture(channels) => None,
        Some(toy) if is_plane(shape) => Some(format!(
            "a scatter plot from -{REACH} to {REACH}: a color for each class, over points of the data in grey ({})",
            toy.name()
        )),
        None if is_plane(shape) => Some(format!(
            "a scatter plot from -{REACH} to {REACH}: a color for each class"
        )),
        _ => Some(format!(
            "the grid shows each of the {channels} channels of a latent by itself, side by side, black at -{LATENT_RANGE} and white \
             at {LATENT_RANGE}; it is no picture without the decoder"
        )),
    }
}
