//! The paths from noise to data over t: their coefficients, and what they are at the time shown.

use super::Scene;
use super::controls::choose;
use crate::findings::Row;
use crate::look;
use crate::state::{State, diffusion};
use egui::{Grid, Id, RichText, Ui};
use egui_plot::{Legend, Line, LineStyle, Plot, PlotPoints, VLine};
use sit_engine::transport::Path;

/// The paths that are drawn.
const PATHS: [Path; 4] = [Path::Linear, Path::Gvp, Path::VP, Path::OU];

/// Points of a curve, and the ends that are left out: some coefficients are infinite there.
const POINTS: usize = 200;
const INSIDE: f64 = 1e-3;

/// What is drawn over t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Plotted {
    #[default]
    Shares,
    Derivatives,
    Snr,
    OfVelocity,
    OfNoise,
    OfScore,
}

/// A curve: its name, whether it is dashed, and its value on a path at a time.
type Curve = (&'static str, bool, fn(&Path, f64) -> f64);

impl Plotted {
    const ALL: [Plotted; 6] = [
        Plotted::Shares,
        Plotted::Derivatives,
        Plotted::Snr,
        Plotted::OfVelocity,
        Plotted::OfNoise,
        Plotted::OfScore,
    ];

    fn name(self) -> &'static str {
        match self {
            Plotted::Shares => "α (line) and σ (dashes)",
            Plotted::Derivatives => "α′ (line) and σ′ (dashes)",
            Plotted::Snr => "log₁₀ α² / σ²",
            Plotted::OfVelocity => "log₁₀ weight, loss of v",
            Plotted::OfNoise => "log₁₀ weight, loss of the noise",
            Plotted::OfScore => "log₁₀ weight, loss of the score",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Plotted::Shares => {
                "x_t = α x₁ + σ x₀ with data x₁ and noise x₀: how much there is of each."
            }
            Plotted::Derivatives => "v = α′ x₁ + σ′ x₀: how fast the shares change.",
            Plotted::Snr => {
                "The signal-to-noise ratio: where it is small, only the coarsest of the data can be told."
            }
            Plotted::OfVelocity => {
                "How much an error of the predicted data counts in |v − v_θ|²: ((α′σ − ασ′) / σ)²."
            }
            Plotted::OfNoise => {
                "How much an error of the predicted data counts in the loss of the noise: (α / σ)²."
            }
            Plotted::OfScore => {
                "How much an error of the predicted data counts in the loss of the score: (α / σ²)²."
            }
        }
    }

    fn curves(self) -> Vec<Curve> {
        match self {
            Plotted::Shares => vec![("α", false, Path::alpha), ("σ", true, Path::sigma)],
            Plotted::Derivatives => vec![("α′", false, Path::d_alpha), ("σ′", true, Path::d_sigma)],
            Plotted::Snr => vec![("", false, |path, t| {
                2.0 * (path.alpha(t) / path.sigma(t)).log10()
            })],
            Plotted::OfVelocity => vec![("", false, |path, t| 2.0 * speed(path, t).abs().log10())],
            Plotted::OfNoise => vec![("", false, |path, t| {
                2.0 * (path.alpha(t) / path.sigma(t)).log10()
            })],
            Plotted::OfScore => vec![("", false, |path, t| {
                2.0 * (path.alpha(t) / path.sigma(t).powi(2)).log10()
            })],
        }
    }
}

/// What an error of the predicted data is in the velocity: `(α′σ − ασ′) / σ`.
fn speed(path: &Path, t: f64) -> f64 {
    let sigma = path.sigma(t);
    path.d_alpha(t) - path.alpha(t) * path.sigma_d_sigma(t) / (sigma * sigma)
}

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.label("A path says how data and noise are mixed at each t: x_t = α(t) x₁ + σ(t) x₀. The network learns its velocity, and all else follows.");
    let id = Id::unique("plotted");
    let mut plotted: Plotted = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    choose(ui, "Plot", &mut plotted, Plotted::ALL, Plotted::name);
    ui.data_mut(|data| data.insert_temp(id, plotted));
    plot(ui, scene.state, plotted);
    ui.label(plotted.about());
    ui.separator();
    table(ui, scene);
    ui.separator();
    for formula in FORMULAS {
        ui.label(formula);
    }
}

/// What follows from the velocity.
const FORMULAS: [&str; 4] = [
    "v = α′ E[x₁|x] + σ′ E[x₀|x], the velocity of the ODE dX = v dt.",
    "s = −E[x₀|x] / σ, the score: where the noisy data are denser.",
    "E[x₁|x] = (x + σ² s) / α, the predicted data.",
    "D(t) ≥ 0 is free: dX = (v + D s) dt + √(2D) dW has the same distribution at every t.",
];

fn plot(ui: &mut Ui, state: &State, plotted: Plotted) {
    let own = state
        .model
        .as_ref()
        .map(|model| model.transport.path.clone());
    let plot = Plot::new(("paths", plotted.name()))
        .height(200.0)
        .legend(Legend::default())
        .x_axis_label("t")
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false);
    let ink = ui.visuals().text_color();
    let shown = plot.show(ui, |plot| {
        for (path, color) in PATHS.iter().zip(look::LANES) {
            let is_own = own.as_ref() == Some(path);
            for (_, dashed, value) in plotted.curves() {
                let at = |i: usize| {
                    let t = INSIDE + (1.0 - 2.0 * INSIDE) * i as f64 / POINTS as f64;
                    [t, value(path, t)]
                };
                let points = (0..=POINTS).map(at).filter(|[_, y]| y.is_finite());
                let points: PlotPoints<'_> = points.collect();
                let name = match is_own {
                    true => format!("{path} (the model's)"),
                    false => path.to_string(),
                };
                let style = if dashed {
                    LineStyle::dashed_dense()
                } else {
                    LineStyle::Solid
                };
                let width = if is_own { 3.0 } else { 1.5 };
                plot.line(
                    Line::new(name, points)
                        .color(color)
                        .style(style)
                        .width(width),
                );
            }
        }
        plot.vline(VLine::new("now", state.t()).color(ink).width(1.5));
    });
    let name = format!("Curves of {} of every path", plotted.name());
    let info = || egui::WidgetInfo::labeled(egui::Role::Image, true, &name);
    shown.response.widget_info(info);
}

/// A row of the table: its name, what it is, and its value for a lane.
type Entry = (&'static str, &'static str, fn(&Now<'_>) -> Option<f64>);

/// A lane at the time shown.
struct Now<'a> {
    path: Path,
    /// The time on that path.
    t: f64,
    row: Option<&'a Row>,
    d: Option<f64>,
}

const ROWS: [Entry; 9] = [
    ("t", "On the path of the lane", |now| Some(now.t)),
    ("α", "Share of the data", |now| Some(now.path.alpha(now.t))),
    ("σ", "Share of the noise", |now| {
        Some(now.path.sigma(now.t))
    }),
    ("α′", "Its change", |now| Some(now.path.d_alpha(now.t))),
    ("σ′", "Its change", |now| Some(now.path.d_sigma(now.t))),
    ("α² / σ²", "The signal-to-noise ratio", |now| {
        Some((now.path.alpha(now.t) / now.path.sigma(now.t)).powi(2))
    }),
    ("|v|", "rms of the velocity in the next step", |now| {
        Some(now.row?.norms?.velocity)
    }),
    ("|s|", "rms of the score in the next step", |now| {
        now.row?.norms?.score
    }),
    ("D", "The diffusion of an SDE lane", |now| now.d),
];

/// The values of every lane at the time shown.
fn table(ui: &mut Ui, scene: &mut Scene<'_>) {
    let state = scene.state;
    let mut rows: Vec<Vec<Row>> = Vec::new();
    for lane in 0..state.lanes.len() {
        let (known, all) = scene.findings.traces.rows(state, lane);
        rows.push(known.to_vec());
        if !all {
            ui.ctx().request_repaint();
        }
    }
    let lanes = rows.iter().enumerate().map(|(lane, rows)| {
        let (record, position) = (&state.records[lane], state.position(lane));
        let (path, t) = match state.model_of(lane) {
            Some(model) => record.place(position, &model.transport),
            None => (Path::Linear, record.t(position)),
        };
        let settings = state.lanes[lane].settings_at(record.t(position));
        let d = diffusion(&settings.sampler).map(|d| d.at(&path, t));
        let row = rows.get(position);
        Now { path, t, row, d }
    });
    let lanes: Vec<Now<'_>> = lanes.collect();
    Grid::new("now")
        .num_columns(1 + lanes.len())
        .striped(true)
        .show(ui, |ui| {
            ui.label("");
            for lane in 0..lanes.len() {
                ui.strong(format!("lane {}", lane + 1));
            }
            ui.end_row();
            for (name, what, value) in ROWS {
                ui.label(name).on_hover_text(what);
                for now in &lanes {
                    let text = match value(now) {
                        Some(x) if x.is_finite() => format!("{x:.3}"),
                        Some(_) => "∞".to_owned(),
                        None => "–".to_owned(),
                    };
                    ui.label(RichText::new(text).monospace());
                }
                ui.end_row();
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_data_counts_as_its_factor_in_the_velocity() {
        // On the linear path v = (x₁ − x) / (1 − t), so an error of x₁ is divided by σ.
        for t in [0.1, 0.5, 0.9] {
            assert!((speed(&Path::Linear, t) - 1.0 / (1.0 - t)).abs() < 1e-12);
            // On any path v = α′ x₁ + σ′ (x − α x₁) / σ.
            for path in PATHS {
                let expected = path.d_alpha(t) - path.d_sigma(t) * path.alpha(t) / path.sigma(t);
                assert!((speed(&path, t) / expected - 1.0).abs() < 1e-9, "{path}");
            }
        }
    }
}
