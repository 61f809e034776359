//! The lanes' distributions at the time shown: distances and histograms, of two lanes and of the data.

use super::{Scene, likelihood_ui, nearest_ui};
use crate::findings::{Along, Distance, LEVEL, Side, are_alike};
use crate::look;
use crate::stats::Band;
use crate::stats::histogram::Histogram;
use egui::{Color32, ComboBox, DragValue, Grid, RichText, Ui};
use egui_plot::{Bar, BarChart, Legend, Line, LineStyle, Plot, PlotPoints};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let state = scene.state;
    let lead = state.lead();
    let lanes = state.pair().map_or(vec![lead], Vec::from);
    ui.label("At every t the ODE and the SDE should have one distribution, that of x_t = α x₁ + σ x₀ with data x₁ and noise x₀.");
    ui.separator();
    distances(ui, scene, &lanes);
    ui.separator();
    along(ui, scene);
    histogram(ui, scene, &lanes);
    ui.separator();
    likelihood_ui::show(ui, scene);
    ui.separator();
    nearest_ui::show(ui, scene, &lanes);
}

fn distances(ui: &mut Ui, scene: &mut Scene<'_>, lanes: &[usize]) {
    let state = scene.state;
    let now = ui.input(|input| input.time);
    let all = &mut scene.findings.distances;
    let has_data = all.known(state).is_some();
    let mut rows = Vec::new();
    let same_time = |a, b| {
        let t = |lane: usize| state.records[lane].t(state.position(lane));
        (t(a) - t(b)).abs() < crate::state::TIME_EPS
    };
    let mut other_paths = false;
    if let &[a, b] = lanes
        && same_time(a, b)
    {
        match are_alike(state, [a, b]) {
            true => rows.push((a, Side::Lane(b), format!("lanes {} – {}", a + 1, b + 1))),
            false => other_paths = true,
        }
    }
    if has_data {
        let row = |&lane: &usize| (lane, Side::Data, format!("lane {} – data", lane + 1));
        rows.extend(lanes.iter().map(row));
    }
    Grid::new("distances")
        .num_columns(3)
        .striped(true)
        .show(ui, |ui| {
            ui.label("");
            ui.strong("sliced W₁").on_hover_text(SLICED);
            ui.strong("energy").on_hover_text(ENERGY);
            ui.end_row();
            let mut missing = false;
            for (lane, side, name) in rows {
                ui.label(name);
                match all.distance(state, lane, side, now) {
                    Some((distance, fresh)) => row(ui, &distance, fresh),
                    None => {
                        ui.weak("…");
                        ui.weak("…");
                    }
                }
                missing |= !matches!(all.distance(state, lane, side, now), Some((_, true)));
                ui.end_row();
            }
            if missing {
                ui.ctx().request_repaint();
            }
        });
    if other_paths {
        ui.small("These lanes follow different paths: between the ends their distributions should not agree, and they are not compared.");
    }
    ui.small(format!(
        "In brackets: {:.0} % of bootstrap resamples of the energy distance.",
        100.0 * LEVEL
    ));
    ui.small(SLICED);
    ui.small(ENERGY);
    if !has_data {
        ui.small("What this network learned from is not known here, so there is no distance from the data.");
    }
}

const SLICED: &str = "Sliced Wasserstein: how far values must be moved, on average over directions, to make one crowd the other; \
after \"chance\" is what two crowds of one distribution have.";

const ENERGY: &str =
    "Energy: 2 E|X − Y| − E|X − X'| − E|Y − Y'|; about 0, of either sign, for one distribution.";

fn row(ui: &mut Ui, distance: &Distance, fresh: bool) {
    let Band {
        estimate,
        low,
        high,
        ..
    } = distance.energy;
    let sliced = format!("{:.3}, chance {:.3}", distance.sliced, distance.chance);
    for text in [sliced, format!("{estimate:.3} [{low:.3}, {high:.3}]")] {
        let text = RichText::new(text).small();
        let label = ui.label(if fresh { text } else { text.weak() });
        label.on_hover_text(format!("At t = {:.3}", distance.t));
    }
}

/// Menu of the histogram's direction.
fn along(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(model) = &scene.state.model else {
        return;
    };
    let len = model.io.image_len();
    let (value, values) = match (model.is_plane(), model.io.image[1]) {
        (true, _) => ("coordinate", 0),
        // A pixel of the middle: the corners of digits are empty.
        (false, side) => ("pixel", len / 2 + side / 2),
    };
    let along = &mut scene.findings.distances.along;
    ui.horizontal(|ui| {
        let label = ui.label("Histogram along").id;
        let name = match along {
            Along::Principal => "first principal component",
            Along::Value(_) => value,
            Along::Random(_) => "random direction",
        };
        let inner = ComboBox::from_id_salt("along")
            .selected_text(name)
            .show_ui(ui, |ui| {
                for (choice, name) in [
                    (Along::Principal, "first principal component"),
                    (Along::Value(values), value),
                    (Along::Random(0), "random direction"),
                ] {
                    ui.selectable_value(along, choice, name);
                }
            });
        inner.response.labelled_by(label);
        match along {
            Along::Principal => {}
            Along::Value(k) => {
                ui.add(DragValue::new(k).range(0..=len - 1))
                    .labelled_by(label);
            }
            Along::Random(k) => {
                ui.add(DragValue::new(k).range(0..=999)).labelled_by(label);
            }
        }
    });
}

fn histogram(ui: &mut Ui, scene: &mut Scene<'_>, lanes: &[usize]) {
    let Some(histogram) = scene.findings.distances.histogram(scene.state, lanes) else {
        ui.weak("Computing …");
        return;
    };
    let plot = Plot::new("histogram")
        .height(150.0)
        .legend(Legend::default())
        .y_axis_label("density")
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false)
        .include_y(0.0);
    let gray = Color32::from_gray(128);
    let response = plot.show(ui, |plot| {
        for (i, densities) in histogram.densities.iter().enumerate() {
            // The data come after the lanes. Styles differ where colors cannot be told apart.
            let (name, color, style) = match lanes.get(i) {
                Some(lane) if i == 0 => {
                    plot.bar_chart(bars(*lane, histogram, densities));
                    continue;
                }
                Some(lane) => (
                    lane_name(*lane),
                    look::LANES[*lane],
                    LineStyle::dashed_loose(),
                ),
                None => ("data".to_owned(), gray, LineStyle::dotted_dense()),
            };
            let steps: PlotPoints<'_> = outline(histogram, densities).into();
            plot.line(Line::new(name, steps).color(color).style(style).width(2.0));
        }
    });
    let name = "Histograms of the lanes and of the data";
    let info = || egui::WidgetInfo::labeled(egui::Role::Image, true, name);
    response.response.widget_info(info);
}

fn bars(lane: usize, histogram: &Histogram, densities: &[f64]) -> BarChart {
    let bar = |(bin, y): (usize, &f64)| Bar::new(histogram.middle(bin), *y).width(histogram.width);
    let bars = densities.iter().enumerate().map(bar).collect();
    BarChart::new(lane_name(lane), bars).color(look::LANES[lane].gamma_multiply(0.6))
}

/// The outline of a histogram, down to 0 at both ends and without points that repeat.
fn outline(histogram: &Histogram, densities: &[f64]) -> Vec<[f64; 2]> {
    let end = |bin: usize| histogram.start + bin as f64 * histogram.width;
    let steps = densities.iter().enumerate();
    let mut points = vec![[end(0), 0.0]];
    points.extend(steps.flat_map(|(bin, y)| [[end(bin), *y], [end(bin + 1), *y]]));
    points.push([end(densities.len()), 0.0]);
    points.dedup();
    points
}

fn lane_name(lane: usize) -> String {
    format!("lane {}", lane + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_has_no_point_twice() {
        let histogram = Histogram::new(&[&[0.0, 0.5, 1.5, 4.0]], 4);
        let points = outline(&histogram, &histogram.densities[0]);
        let expected = [
            [0.0, 0.0],
            [0.0, 0.5],
            [1.0, 0.5],
            [1.0, 0.25],
            [2.0, 0.25],
            [2.0, 0.0],
            [3.0, 0.0],
            [3.0, 0.25],
            [4.0, 0.25],
            [4.0, 0.0],
        ];
        assert_eq!(points, expected);
    }
}
