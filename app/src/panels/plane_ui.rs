//! Points in the plane: their positions and trajectories, the field that moves them, and a canvas to draw on.

use super::Scene;
use crate::errors::{Errors, Ways};
use crate::source::mixture;
use crate::state::{Quantity, Record, State, terms, total};
use egui::{
    Color32, ColorImage, Pos2, Rect, Sense, Stroke, TextureHandle, TextureId, TextureOptions, Ui,
    pos2, vec2,
};
use egui_plot::{Arrows, Line, Plot, PlotImage, PlotPoint, PlotPoints, Points};
use sit_engine::analytic::Marginal;
use sit_engine::transport::Sampler;

/// Half the side of the plane that is shown.
const REACH: f64 = 2.5;

/// Pixels of a density's picture along a side.
const DENSITY_SIDE: usize = 48;

/// Arrows of a field along a side.
const FIELD_SIDE: usize = 13;

/// Points whose trajectories are drawn.
const WAYS: usize = 48;

/// Okabe and Ito's colors, which people with any color vision can tell apart, without those of the velocity scale's ends.
const CLASS_COLORS: [Color32; 6] = [
    Color32::from_rgb(0, 158, 115),
    Color32::from_rgb(204, 121, 167),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(86, 180, 233),
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(213, 94, 0),
];

/// Feet and tips of arrows.
type Field = (Vec<[f64; 2]>, Vec<[f64; 2]>);

/// The plot's frame, the same at every step: points outside of it are cut off.
fn plane(id: &str) -> Plot<'static> {
    Plot::new(id.to_owned())
        .data_aspect(1.0)
        .default_x_bounds(-REACH, REACH)
        .default_y_bounds(-REACH, REACH)
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false)
        .show_axes(false)
}

fn points(x: &[f32]) -> impl Iterator<Item = [f64; 2]> + '_ {
    x.as_chunks::<2>().0.iter().map(|p| p.map(f64::from))
}

/// Points `[N, 2]` alone.
pub fn scatter(ui: &mut Ui, id: &str, x: &[f32]) {
    let side = ui.available_width();
    let series: PlotPoints<'_> = points(x).collect();
    plane(id).width(side).height(side).show(ui, |plot| {
        plot.points(Points::new("samples", series).radius(1.5));
    });
}

/// A lane's points after `n` steps, with trajectories and velocities of some of them.
pub fn lane(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize, n: usize) {
    let state = scene.state;
    let record = &state.records[lane];
    let Some(x) = record.state(n) else {
        return;
    };
    let labels = state.labels(state.lanes[lane].settings_at(record.t(n)));
    let mixture = state.model.as_ref().and_then(|m| mixture(&m.source));
    let exact = mixture.as_ref().zip(state.model.as_ref());
    let exact = exact.map(|(mixture, model)| {
        let (path, t) = record.place(n, &model.transport);
        mixture.at(&path, t)
    });
    // The others do not follow the velocity of their states' path.
    let sampler = &state.lanes[lane].settings_at(record.t(n)).sampler;
    let follows = matches!(sampler, Sampler::Ode(_) | Sampler::Sde(_));
    let side = ui.available_width();
    let background = exact.as_ref().map(|exact| density(ui, lane, exact));
    let plot = plane(&format!("plane {lane}")).width(side).height(side);
    plot.show(ui, |plot| {
        if let Some(texture) = &background {
            let size = vec2(2.0 * REACH as f32, 2.0 * REACH as f32);
            let middle = PlotPoint::new(0.0, 0.0);
            plot.image(PlotImage::new("density", *texture, middle, size));
        }
        for way in ways(record, n) {
            let series: PlotPoints<'_> = way.into_iter().collect();
            let color = Color32::from_gray(128).gamma_multiply(0.35);
            plot.line(Line::new("ways", series).color(color).width(1.0));
        }
        for class in 0..=labels.iter().copied().max().unwrap_or(0) {
            let of_class = points(x).zip(&labels).filter(|(_, y)| **y == class);
            let series: PlotPoints<'_> = of_class.map(|(p, _)| p).collect();
            let color = CLASS_COLORS[class as usize % CLASS_COLORS.len()];
            plot.points(
                Points::new(format!("class {class}"), series)
                    .radius(2.0)
                    .color(color),
            );
        }
        let (from, to) = match &exact {
            _ if !follows => Field::default(),
            Some(exact) => field(exact),
            None => arrows(state, record, n).unwrap_or_default(),
        };
        if !from.is_empty() {
            let (from, to): (PlotPoints<'_>, PlotPoints<'_>) =
                (from.into_iter().collect(), to.into_iter().collect());
            plot.add(Arrows::new("velocity", from, to).color(Color32::from_gray(128)));
        }
    });
    if let (Some(mixture), Some(model)) = (&mixture, &state.model) {
        let ways = &mut scene.pictures.ways;
        ways.resize_with(ways.len().max(lane + 1), Ways::default);
        match ways[lane].errors(record, n, mixture, &model.transport) {
            Some(Errors {
                total,
                solver,
                network,
            }) => ui.monospace(format!(
                "error {total:.4} = solver {solver:.4} and network {network:.4} (rms; they may cancel)"
            )),
            None if !follows => {
                ui.label("Its steps are no ODE in t: compare the crowds, in the tab Marginals.")
            }
            None => ui.label("With noise no single way is true: compare the crowds, in the tab Marginals."),
        };
    }
}

/// A picture of the density of x_t, made again when it has changed.
fn density(ui: &Ui, lane: usize, exact: &Marginal<'_>) -> TextureId {
    let at = |i: usize| REACH * (2.0 * (i as f64 + 0.5) / DENSITY_SIDE as f64 - 1.0);
    let mut values = Vec::with_capacity(DENSITY_SIDE * DENSITY_SIDE);
    for row in (0..DENSITY_SIDE).rev() {
        values.extend((0..DENSITY_SIDE).map(|column| exact.density(&[at(column), at(row)])));
    }
    let most = values.iter().copied().fold(0.0, f64::max).max(1e-12);
    let ink = ui.visuals().selection.bg_fill;
    // The square root shows tails.
    let pixel = |v: &f64| ink.gamma_multiply(0.8 * (v / most).sqrt() as f32);
    let image = ColorImage::new(
        [DENSITY_SIDE, DENSITY_SIDE],
        values.iter().map(pixel).collect(),
    );
    let id = ui.scope_id().with(("density", lane));
    let cached = ui.data(|data| data.get_temp::<TextureHandle>(id));
    match cached {
        Some(mut texture) => {
            texture.set(image, TextureOptions::LINEAR);
            texture.id()
        }
        None => {
            let texture = ui
                .ctx()
                .load_texture("density", image, TextureOptions::LINEAR);
            let of_texture = texture.id();
            ui.data_mut(|data| data.insert_temp(id, texture));
            of_texture
        }
    }
}

/// The exact velocity on a grid, a tenth of its length.
fn field(exact: &Marginal<'_>) -> Field {
    let at = |i: usize| REACH * (2.0 * (i as f64 + 0.5) / FIELD_SIDE as f64 - 1.0);
    let grid = (0..FIELD_SIDE * FIELD_SIDE).map(|i| [at(i % FIELD_SIDE), at(i / FIELD_SIDE)]);
    grid.map(|x| {
        let v = exact.velocity(&x);
        (x, [x[0] + 0.1 * v[0], x[1] + 0.1 * v[1]])
    })
    .unzip()
}

/// The trajectories of the first points so far.
fn ways(record: &Record, n: usize) -> Vec<Vec<[f64; 2]>> {
    let count = record.start.len() / 2;
    (0..count.min(WAYS))
        .map(|i| {
            let at = |step: usize| {
                let x = record.state(step)?;
                Some([f64::from(x[2 * i]), f64::from(x[2 * i + 1])])
            };
            (0..=n).filter_map(at).collect()
        })
        .collect()
}

/// Velocities of the points whose trajectories are drawn, a tenth of their length.
fn arrows(state: &State, record: &Record, n: usize) -> Option<Field> {
    let model = state.model.as_ref()?;
    let x = record.state(n)?;
    let terms = terms(record, n, Quantity::Velocity, &model.transport);
    let v = total(&terms)?;
    let from: Vec<[f64; 2]> = points(x).take(WAYS).collect();
    let to: Vec<[f64; 2]> = from
        .iter()
        .zip(points(&v))
        .map(|(x, v)| [x[0] + 0.1 * v[0], x[1] + 0.1 * v[1]])
        .collect();
    Some((from, to))
}

/// A sheet from -1 to 1 to draw lines on.
pub fn draw(ui: &mut Ui, strokes: &mut Vec<Vec<[f32; 2]>>) {
    let side = ui.available_width().min(260.0);
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::drag());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Canvas, true, "Drawing"));
    ui.painter()
        .rect_filled(rect, 4.0, ui.visuals().extreme_bg_color);
    if response.drag_started() {
        strokes.push(Vec::new());
    }
    if let (Some(at), Some(stroke)) = (response.interact_pointer_pos(), strokes.last_mut()) {
        let point = from_sheet(rect, at);
        if stroke.last() != Some(&point) {
            stroke.push(point);
        }
    }
    let line = Stroke::new(3.0, ui.visuals().text_color());
    for stroke in strokes.iter() {
        let points: Vec<Pos2> = stroke.iter().map(|p| to_sheet(rect, *p)).collect();
        ui.painter().line(points, line);
    }
    if ui.button("Clear the drawing").clicked() {
        strokes.clear();
    }
}

fn from_sheet(rect: Rect, at: Pos2) -> [f32; 2] {
    let at = rect.clamp(at);
    [
        2.0 * (at.x - rect.left()) / rect.width() - 1.0,
        1.0 - 2.0 * (at.y - rect.top()) / rect.height(),
    ]
}

fn to_sheet(rect: Rect, [x, y]: [f32; 2]) -> Pos2 {
    pos2(
        rect.left() + 0.5 * (x + 1.0) * rect.width(),
        rect.top() + 0.5 * (1.0 - y) * rect.height(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_is_from_minus_one_to_one() {
        let rect = Rect::from_min_size(pos2(10.0, 20.0), vec2(200.0, 200.0));
        for point in [[-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]] {
            let [x, y] = from_sheet(rect, to_sheet(rect, point));
            assert!((x - point[0]).abs() < 1e-5 && (y - point[1]).abs() < 1e-5);
        }
        assert_eq!(from_sheet(rect, pos2(0.0, 1000.0)), [-1.0, -1.0]);
    }
}
