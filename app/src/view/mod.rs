//! Numbers to pictures: color scales, sheets of samples, and the textures that show them.
//!
//! A picture is a [`Figure`] until it is drawn. The GPU draws it if the engine computes on the GPU that draws the window and all
//! arrays have a twin there; otherwise the CPU does. Files, thumbnails and previews of a training are drawn by the CPU.

mod color;
mod figure;
mod paint;
mod sheet;
mod timeline;

pub use color::{Scale, range};
pub use figure::{Figure, Sum, picture};
pub use paint::Painter;
pub use sheet::{Sheet, sheet};
pub use timeline::{RowPicture, of_cells};

use crate::errors::Ways;
use crate::state::{Layout, Quantity, State};
use egui::load::SizedTexture;
use egui::{ColorImage, TextureHandle, TextureOptions};
use paint::Canvas;

/// Identifies the content of a lane's picture: while it is the same, so is the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key {
    run: u64,
    position: usize,
    /// Whether the network's output at this state was there.
    settled: bool,
    quantity: Quantity,
    layout: Layout,
    /// The lead lane's run and position, for the difference from it.
    lead: (u64, usize, bool),
    /// Pictures of latents that had come, if latents are decoded.
    decoded: Option<u64>,
}

/// A picture on the screen.
enum Shown {
    /// Drawn by the CPU and uploaded.
    Uploaded(TextureHandle),
    /// Drawn by the GPU from arrays there.
    Painted(Canvas),
}

impl Shown {
    fn texture(&self, sheet: &Sheet) -> SizedTexture {
        let id = match self {
            Shown::Uploaded(texture) => texture.id(),
            Shown::Painted(canvas) => canvas.id(),
        };
        let [width, height] = sheet.size().map(|side| side as f32);
        SizedTexture::new(id, [width, height])
    }
}

/// The lanes' pictures. A picture is drawn again only when its content has changed.
#[derive(Default)]
pub struct Pictures {
    /// The exact trajectories of each lane's points in the plane.
    pub(crate) ways: Vec<Ways>,
    lanes: Vec<Option<(Key, Sheet, Shown)>>,
    /// Set if the engine computes on the GPU that draws the window.
    pub(crate) painter: Option<Painter>,
    /// Bytes of pictures that the CPU has drawn and uploaded.
    uploaded_bytes: u64,
    /// The rows of a timeline.
    rows: Vec<Option<RowPicture>>,
}

impl Pictures {
    /// No pictures yet. `painter`, if there is one, draws those whose arrays are on its GPU.
    pub fn new(painter: Option<Painter>) -> Self {
        Pictures {
            painter,
            ..Pictures::default()
        }
    }

    /// Bytes of pictures that the CPU has drawn and uploaded so far.
    pub fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes
    }

    /// The picture of a lane as the state has it; `None` while there is nothing to show.
    pub fn lane(
        &mut self,
        ctx: &egui::Context,
        state: &State,
        lane: usize,
    ) -> Option<(Sheet, SizedTexture)> {
        self.lanes.resize_with(state.lanes.len(), || None);
        let settled = |lane: usize| state.records[lane].frames.len() > state.position(lane);
        let lead = state.lead();
        let key = Key {
            run: state.records[lane].run,
            position: state.position(lane),
            settled: settled(lane),
            quantity: state.view.quantity,
            layout: state.view.layout,
            lead: (state.records[lead].run, state.position(lead), settled(lead)),
            decoded: state.decoder().map(|_| state.decoding.news),
        };
        let slot = &mut self.lanes[lane];
        if slot.as_ref().is_none_or(|(old, ..)| *old != key) {
            let figure = Figure::of(state, lane)?;
            let (canvas, texture) = match slot.take() {
                Some((.., Shown::Painted(canvas))) => (Some(canvas), None),
                Some((.., Shown::Uploaded(texture))) => (None, Some(texture)),
                None => (None, None),
            };
            let painted = match &self.painter {
                Some(painter) => painter.paint(&figure, canvas),
                None => None,
            };
            let shown = match painted {
                Some(canvas) => Shown::Painted(canvas),
                None => {
                    let image = figure.image()?;
                    self.uploaded_bytes += 4 * image.pixels.len() as u64;
                    Shown::Uploaded(upload(ctx, lane, image, texture))
                }
            };
            *slot = Some((key, figure.sheet, shown));
        }
        slot.as_ref()
            .map(|(_, sheet, shown)| (*sheet, shown.texture(sheet)))
    }
}

fn upload(
    ctx: &egui::Context,
    lane: usize,
    image: ColorImage,
    texture: Option<TextureHandle>,
) -> TextureHandle {
    match texture {
        Some(mut texture) => {
            texture.set(image, TextureOptions::NEAREST);
            texture
        }
        None => ctx.load_texture(format!("lane {lane}"), image, TextureOptions::NEAREST),
    }
}
