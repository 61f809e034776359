//! Points in the plane: their positions and trajectories, and the field that moves them.

use super::Scene;
use crate::errors::{Errors, Ways};
use crate::look;
use crate::source::mixture;
use crate::state::{Layout, Quantity, Record, State, ViewAction, terms, total};
use egui::{Color32, ColorImage, Id, Response, TextureHandle, TextureId, TextureOptions, Ui, vec2};
use egui_plot::{
    Arrows, Line, Plot, PlotImage, PlotPoint, PlotPoints, PlotResponse, PlotUi, Points,
};
use sit_engine::analytic::{Marginal, Mixture};
use sit_engine::transport::Sampler;

/// Half the side of the plane that is shown at first.
const REACH: f64 = 2.5;

/// Pixels of a density's picture along a side.
const DENSITY_SIDE: usize = 48;

/// Arrows of a field along a side.
const FIELD_SIDE: usize = 13;

/// Points whose trajectories and arrows are drawn.
const WAYS: usize = 48;

/// The share of a velocity that an arrow is long, and the most that it is.
const ARROW_SHARE: f64 = 0.1;
const LONGEST_ARROW: f64 = 0.4;

/// How near to a point a click picks it, in points of the screen.
const NEAR: f32 = 12.0;

/// Height of what is said below a plot, and the least side of a plot.
const BELOW: f32 = 54.0;
const LEAST_SIDE: f32 = 150.0;

/// Plots of a film strip in a row.
const FILM_COLUMNS: usize = 5;

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

/// A plot of the plane. It can be moved and zoomed, with all others of its group.
fn plane(id: &str) -> Plot<'static> {
    Plot::new(id.to_owned())
        .data_aspect(1.0)
        .default_x_bounds(-REACH, REACH)
        .default_y_bounds(-REACH, REACH)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
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

/// A lane's points after `n` steps, in a plot whose side is at most `most`.
pub fn lane(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize, n: usize, most: f32) {
    let record = &scene.state.records[lane];
    if scene.state.view.layout == Layout::Film {
        film(ui, scene.state, lane, n);
        return;
    }
    if record.state(n).is_none() {
        return;
    }
    let drawn = Drawn::of(scene.state, lane, n);
    let side = ui.available_width().min((most - BELOW).max(LEAST_SIDE));
    let exact = drawn.exact();
    let background = exact.as_ref().map(|exact| density(ui, lane, exact));
    let group = Id::unique("planes");
    let plot = plane(&format!("plane {lane}"))
        .width(side)
        .height(side)
        .link_axis(group, true);
    let shown = plot.show(ui, |plot| drawn.all(plot, exact.as_ref(), background));
    pick(scene, &drawn, &shown);
    label(&shown.response, lane);
    below(ui, scene, lane, n);
}

/// What is drawn of a lane.
struct Drawn<'a> {
    state: &'a State,
    lane: usize,
    record: &'a Record,
    n: usize,
    /// What of the samples.
    quantity: Quantity,
    /// Where the points are: the states, or what is predicted of them.
    at: Vec<[f64; 2]>,
    labels: Vec<u32>,
    /// The exact distribution of the data, if it is known.
    mixture: Option<Mixture>,
    /// Whether the lane follows the velocity of its states' path.
    follows: bool,
}

impl<'a> Drawn<'a> {
    fn of(state: &'a State, lane: usize, n: usize) -> Self {
        let record = &state.records[lane];
        let settings = state.lanes[lane].settings_at(record.t(n));
        let model = state.model_of(lane);
        let quantity = state.view.quantity;
        let values = |quantity| total(&terms(record, n, quantity, &model?.transport));
        let predicted = match quantity {
            Quantity::Predicted => values(Quantity::Predicted),
            _ => None,
        };
        let states = record.state(n).map(|x| x.to_vec()).unwrap_or_default();
        Drawn {
            state,
            lane,
            record,
            n,
            quantity,
            at: points(&predicted.unwrap_or(states)).collect(),
            labels: state.labels(settings),
            mixture: model.and_then(|model| mixture(&model.source)),
            follows: matches!(settings.sampler, Sampler::Ode(_) | Sampler::Sde(_)),
        }
    }

    /// The exact distribution of the states, if it is known.
    fn exact(&self) -> Option<Marginal<'_>> {
        let (path, t) = self
            .record
            .place(self.n, &self.state.model_of(self.lane)?.transport);
        Some(self.mixture.as_ref()?.at(&path, t))
    }

    fn all(
        &self,
        plot: &mut PlotUi<'_>,
        exact: Option<&Marginal<'_>>,
        background: Option<TextureId>,
    ) {
        if let Some(texture) = background {
            let size = vec2(2.0 * REACH as f32, 2.0 * REACH as f32);
            let middle = PlotPoint::new(0.0, 0.0);
            plot.image(PlotImage::new("density", texture, middle, size));
        }
        let gray = Color32::from_gray(128);
        for sample in 0..self.at.len().min(WAYS) {
            let way: PlotPoints<'_> = self.way(sample).into();
            plot.line(
                Line::new("ways", way)
                    .color(gray.gamma_multiply(0.35))
                    .width(1.0),
            );
        }
        for class in 0..=self.labels.iter().copied().max().unwrap_or(0) {
            let of_class = self
                .at
                .iter()
                .zip(&self.labels)
                .filter(|(_, y)| **y == class);
            let series: PlotPoints<'_> = of_class.map(|(p, _)| *p).collect();
            let color = CLASS_COLORS[class as usize % CLASS_COLORS.len()];
            plot.points(
                Points::new(format!("class {class}"), series)
                    .radius(2.0)
                    .color(color),
            );
        }
        let (from, to) = self.arrows(exact);
        if !from.is_empty() {
            let (from, to): (PlotPoints<'_>, PlotPoints<'_>) =
                (from.into_iter().collect(), to.into_iter().collect());
            plot.add(Arrows::new("arrows", from, to).color(gray));
        }
        if let Some(sample) = self.state.view.sample.filter(|s| *s < self.at.len()) {
            let way: PlotPoints<'_> = self.way(sample).into();
            plot.line(Line::new("picked", way).color(look::PICKED).width(2.5));
            let point: PlotPoints<'_> = vec![self.at[sample]].into();
            plot.points(Points::new("picked", point).radius(5.0).color(look::PICKED));
        }
    }

    /// The trajectory of a sample so far; that of the predicted data ends where it leads.
    fn way(&self, sample: usize) -> Vec<[f64; 2]> {
        let at = |step: usize| {
            let x = self.record.state(step)?;
            let [a, b] = x.get(2 * sample..2 * sample + 2)? else {
                return None;
            };
            Some([f64::from(*a), f64::from(*b)])
        };
        let mut way: Vec<[f64; 2]> = (0..=self.n).filter_map(at).collect();
        if self.quantity == Quantity::Predicted {
            way.push(self.at[sample]);
        }
        way
    }

    /// The arrows of the chosen quantity, or else of the velocity.
    fn arrows(&self, exact: Option<&Marginal<'_>>) -> Field {
        let shown = match self.quantity {
            // The trajectories end in what is predicted.
            Quantity::Predicted if exact.is_none() => return Field::default(),
            Quantity::Predicted | Quantity::State => None,
            quantity => Some(quantity),
        };
        if !self.follows && shown.is_none_or(|q| q == Quantity::Velocity) {
            return Field::default();
        }
        match (exact, shown) {
            (Some(exact), None | Some(Quantity::Velocity)) => field(exact),
            (None, None) => self.of_points(Quantity::Velocity),
            (_, Some(quantity)) => self.of_points(quantity),
        }
    }

    fn of_points(&self, quantity: Quantity) -> Field {
        let (Some(model), Some(x)) = (self.state.model_of(self.lane), self.record.state(self.n))
        else {
            return Field::default();
        };
        let values = match quantity {
            Quantity::Difference => {
                let lead = self.state.lead_record();
                let at = lead.steps_until(self.record.t(self.n));
                let own = total(&terms(
                    self.record,
                    self.n,
                    Quantity::Predicted,
                    &model.transport,
                ));
                let other = total(&terms(lead, at, Quantity::Predicted, &model.transport));
                own.zip(other)
                    .map(|(own, other)| own.iter().zip(&other).map(|(a, b)| a - b).collect())
            }
            _ => total(&terms(self.record, self.n, quantity, &model.transport)),
        };
        let Some(values) = values else {
            return Field::default();
        };
        // Noise and differences are as long as they are.
        let share = match quantity {
            Quantity::Noise | Quantity::Difference => 1.0,
            _ => ARROW_SHARE,
        };
        let pairs = points(x).zip(points(&values)).take(WAYS);
        pairs.map(|(x, v)| (x, tip(x, v, share))).unzip()
    }
}

/// The tip of an arrow from `x`, `share` of `v` long and at most [`LONGEST_ARROW`].
fn tip(x: [f64; 2], v: [f64; 2], share: f64) -> [f64; 2] {
    let length = v[0].hypot(v[1]);
    let scale = share.min(LONGEST_ARROW / length.max(1e-12));
    [x[0] + scale * v[0], x[1] + scale * v[1]]
}

/// The exact velocity on a grid.
fn field(exact: &Marginal<'_>) -> Field {
    let at = |i: usize| REACH * (2.0 * (i as f64 + 0.5) / FIELD_SIDE as f64 - 1.0);
    let grid = (0..FIELD_SIDE * FIELD_SIDE).map(|i| [at(i % FIELD_SIDE), at(i / FIELD_SIDE)]);
    grid.map(|x| {
        let v = exact.velocity(&x);
        (x, tip(x, [v[0], v[1]], ARROW_SHARE))
    })
    .unzip()
}

/// Picks the sample at a click, or none if it is the picked one.
fn pick(scene: &mut Scene<'_>, drawn: &Drawn<'_>, shown: &PlotResponse<()>) {
    let (Some(at), true) = (
        shown.response.interact_pointer_pos(),
        shown.response.clicked(),
    ) else {
        return;
    };
    let distance = |p: &[f64; 2]| {
        let place = shown
            .transform
            .position_from_point(&PlotPoint::new(p[0], p[1]));
        (place - at).length()
    };
    let near = drawn.at.iter().map(distance).enumerate();
    let nearest = near.min_by(|(_, a), (_, b)| a.total_cmp(b));
    let sample = nearest.filter(|(_, d)| *d <= NEAR).map(|(i, _)| i);
    let again = sample == drawn.state.view.sample;
    scene.act(ViewAction::PickSample(sample.filter(|_| !again)));
}

fn label(response: &Response, lane: usize) {
    let name = format!("Points of lane {}", lane + 1);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &name));
}

/// Small plots of the steps so far.
fn film(ui: &mut Ui, state: &State, lane: usize, n: usize) {
    let steps = state.records[lane].film_steps(n);
    let spacing = ui.spacing().item_spacing.x;
    let columns = FILM_COLUMNS as f32;
    let side = ((ui.available_width() - spacing * (columns - 1.0)) / columns).max(40.0);
    for row in steps.chunks(FILM_COLUMNS) {
        ui.horizontal_top(|ui| {
            for &step in row {
                ui.vertical(|ui| {
                    ui.set_width(side);
                    ui.small(format!("t = {:.2}", state.records[lane].t(step)));
                    let drawn = Drawn::of(state, lane, step);
                    let plot = plane(&format!("film {lane} {step}"))
                        .width(side)
                        .height(side)
                        .show_axes(false)
                        .link_axis(Id::unique("film"), true);
                    let shown = plot.show(ui, |plot| drawn.all(plot, drawn.exact().as_ref(), None));
                    label(&shown.response, lane);
                });
            }
        });
    }
}

/// What is known about the errors of a lane of a known mixture.
fn below(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize, n: usize) {
    let state = scene.state;
    let record = &state.records[lane];
    let Some(model) = state.model_of(lane) else {
        return;
    };
    let Some(mixture) = mixture(&model.source) else {
        return;
    };
    let ways = &mut scene.pictures.ways;
    ways.resize_with(ways.len().max(lane + 1), Ways::default);
    let sampler = &state.lanes[lane].settings_at(record.t(n)).sampler;
    let follows = matches!(sampler, Sampler::Ode(_) | Sampler::Sde(_));
    match ways[lane].errors(record, n, &mixture, &model.transport) {
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
        None => {
            ui.label("With noise no single way is true: compare the crowds, in the tab Marginals.")
        }
    };
    let (path, t) = record.place(n, &model.transport);
    let Some(x) = record.state(n) else {
        return;
    };
    let exact = mixture.at(&path, t);
    let logs = points(x).map(|point| exact.log_density(&point));
    let mean = logs.sum::<f64>() / (x.len() / 2) as f64;
    ui.monospace(format!("mean log p(x_t) = {mean:.3} nats")).on_hover_text(
        "Of the lane's points under the exact distribution at this t. That of the distribution's own points is minus its entropy",
    );
}

/// A picture of the density of x_t.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arrow_is_longer_than_the_limit() {
        for (v, length) in [
            ([3.0, 4.0], LONGEST_ARROW),
            ([0.3, 0.4], 0.05),
            ([0.0, 0.0], 0.0),
        ] {
            let [a, b] = tip([1.0, 2.0], v, ARROW_SHARE);
            let got = (a - 1.0).hypot(b - 2.0);
            assert!((got - length).abs() < 1e-12, "{got} of {v:?}");
        }
    }
}
