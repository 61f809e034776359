//! Figures: the lanes as the window shows them, under a title, drawn by egui without a window.

use super::raster::{self, Textures};
use crate::findings::Findings;
use crate::look;
use crate::panels::{Scene, lanes};
use crate::state::State;
use crate::train::Form;
use crate::view::Pictures;
use egui::epaint::ClippedShape;
use egui::{
    Color32, ColorImage, Context, Frame, Margin, Pos2, RawInput, Rect, RichText, ThemePreference,
    ViewportId, pos2, vec2,
};
use sit_engine::text::count;

/// Width of a lane, and of what is around all of them, in points.
const LANE: f32 = 400.0;
const MARGIN: i8 = 16;

/// The most that a lane is high: a film strip of few steps would be as high as it is long.
const MOST_HEIGHT: f32 = 520.0;

/// More than any figure is high.
const TALLEST: f32 = 8000.0;

/// What draws figures, of one look.
pub struct Figures {
    ctx: Context,
    pictures: Pictures,
    findings: Findings,
    pub(super) textures: Textures,
    scale: f32,
    frames: u32,
}

/// A figure, not yet in pixels.
pub struct Figure {
    /// What egui draws, in its order.
    pub shapes: Vec<ClippedShape>,
    /// Width and height in points.
    pub size: [f32; 2],
    /// The color behind all of it.
    pub background: Color32,
}

impl Figures {
    /// Draws with `scale` pixels to a point, on dark or light.
    pub fn new(scale: f32, dark: bool) -> Self {
        let ctx = Context::default();
        look::set(&ctx);
        look::still(&ctx);
        ctx.set_theme(match dark {
            true => ThemePreference::Dark,
            false => ThemePreference::Light,
        });
        Figures {
            ctx,
            pictures: Pictures::default(),
            findings: Findings::default(),
            textures: Textures::default(),
            scale,
            frames: 0,
        }
    }

    /// The lanes as the state has them.
    pub fn draw(&mut self, state: &State) -> Figure {
        let columns = state.lanes.len();
        let width = LANE * columns as f32 + 2.0 * f32::from(MARGIN);
        // Plots know their place from the frame before.
        let passes = if self.frames == 0 { 2 } else { 1 };
        let mut figure = None;
        for _ in 0..passes {
            figure = Some(self.frame(state, columns, width));
        }
        figure.expect("at least one pass")
    }

    fn frame(&mut self, state: &State, columns: usize, width: f32) -> Figure {
        let mut input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(width, TALLEST))),
            time: Some(f64::from(self.frames) / 60.0),
            ..RawInput::default()
        };
        let viewport = input.viewports.entry(ViewportId::ROOT).or_default();
        viewport.native_pixels_per_point = Some(self.scale);
        self.frames += 1;
        let (mut actions, mut requests) = (Vec::new(), Vec::new());
        let (mut form, mut height) = (Form::default(), 0.0);
        let (pictures, findings) = (&mut self.pictures, &mut self.findings);
        let output = self.ctx.run_ui(input, |ui| {
            let mut scene = Scene {
                state,
                actions: &mut actions,
                requests: &mut requests,
                form: &mut form,
                pictures: &mut *pictures,
                findings: &mut *findings,
                card: None,
                device: "",
            };
            let frame = Frame::new().inner_margin(Margin::same(MARGIN));
            let shown = frame.show(ui, |ui| {
                ui.label(RichText::new(title(state)).strong().size(18.0));
                ui.add_space(6.0);
                lanes(ui, &mut scene, columns, MOST_HEIGHT);
            });
            height = shown.response.rect.bottom();
        });
        self.textures.take(output.textures_delta);
        let visuals = self.ctx.global_style().visuals.clone();
        Figure {
            shapes: output.shapes,
            size: [width, height],
            background: look::background(&visuals),
        }
    }

    /// Its pixels; in place of its own size another one, in points, which cuts it off or leaves room.
    pub fn pixels(&self, figure: Figure, size: Option<[f32; 2]>) -> ColorImage {
        let size = size
            .unwrap_or(figure.size)
            .map(|s| (s * self.scale).ceil() as usize);
        let primitives = self.ctx.tessellate(figure.shapes, self.scale);
        raster::draw(
            &primitives,
            &self.textures,
            size,
            self.scale,
            figure.background,
        )
    }
}

/// What all lanes have in common.
fn title(state: &State) -> String {
    let seed = state.seed;
    let samples = count(state.n_samples, "sample");
    let shown = state.view.quantity.name();
    let by = match state.decoder() {
        Some(autoencoder) => format!(", decoded by {}", autoencoder.name),
        None => String::new(),
    };
    format!(
        "{} · {samples}, seed {seed} · {shown}{by}",
        state.source.title()
    )
}

/// A rectangle of the whole figure.
pub fn whole(figure: &Figure) -> Rect {
    let [width, height] = figure.size;
    Rect::from_min_max(Pos2::ZERO, pos2(width, height))
}
