//! Points in the plane: where they are and how they came there, the field that moves them, and a sheet to draw on.

use crate::state::{Record, State};
use egui::{Color32, Pos2, Rect, Sense, Stroke, Ui, pos2, vec2};
use egui_plot::{Arrows, Line, Plot, PlotPoints, Points};

/// Half the side of the plane that is shown.
const REACH: f64 = 2.5;

/// Points whose ways are drawn.
const WAYS: usize = 48;

/// Okabe and Ito's colors, which people with any color vision tell apart, without those of the velocity scale's ends.
const CLASS_COLORS: [Color32; 6] = [
    Color32::from_rgb(0, 158, 115),
    Color32::from_rgb(204, 121, 167),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(86, 180, 233),
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(213, 94, 0),
];

fn plane(id: &str) -> Plot<'static> {
    Plot::new(id.to_owned())
        .data_aspect(1.0)
        .include_x(-REACH)
        .include_x(REACH)
        .include_y(-REACH)
        .include_y(REACH)
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

/// A lane's points after `n` steps, the ways of some of them and the velocities there.
pub fn lane(ui: &mut Ui, state: &State, lane: usize, n: usize) {
    let record = &state.records[lane];
    let Some(x) = record.state(n) else {
        return;
    };
    let labels = state.labels(state.lanes[lane].settings_at(record.t(n)));
    let side = ui.available_width();
    let plot = plane(&format!("plane {lane}")).width(side).height(side);
    plot.show(ui, |plot| {
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
        if let Some((from, to)) = arrows(state, record, n) {
            plot.add(Arrows::new("velocity", from, to).color(Color32::from_gray(128)));
        }
    });
}

/// The ways of the first points so far.
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

/// Velocities of the points whose ways are drawn, a tenth of their length.
fn arrows(
    state: &State,
    record: &Record,
    n: usize,
) -> Option<(PlotPoints<'static>, PlotPoints<'static>)> {
    let model = state.model.as_ref()?;
    let x = record.state(n)?;
    let terms = crate::state::terms(
        record,
        n,
        crate::state::Quantity::Velocity,
        &model.transport,
    );
    let v = crate::state::total(&terms)?;
    let from: Vec<[f64; 2]> = points(x).take(WAYS).collect();
    let to: Vec<[f64; 2]> = from
        .iter()
        .zip(points(&v))
        .map(|(x, v)| [x[0] + 0.1 * v[0], x[1] + 0.1 * v[1]])
        .collect();
    Some((from.into_iter().collect(), to.into_iter().collect()))
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
