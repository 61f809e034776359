//! Numbers of the step that led to what is shown, lane by lane, and their course over time.

use super::Scene;
use crate::findings::Row;
use crate::look;
use crate::state::State;
use egui::{Grid, Rangef, RichText, Sense, Stroke, Ui, pos2, vec2};
use egui_plot::{
    AxisHints, GridInput, GridMark, Line, LineStyle, Plot, VLine, uniform_grid_spacer,
};

/// What a line of the table is: its name, what it means, and its number in a lane.
type Entry = (
    &'static str,
    &'static str,
    fn(&Column<'_>) -> Option<String>,
);

/// A lane's column.
struct Column<'a> {
    state: &'a State,
    lane: usize,
    /// Number of the step.
    step: usize,
    row: &'a Row,
}

const TABLE: &[Entry] = &[
    (
        "step",
        "The step that led to what is shown; at the start the numbers of the next one",
        |c| {
            let total = c.state.records[c.lane].steps.total();
            Some(match c.state.position(c.lane) {
                0 => format!("0 of {total}, next"),
                step => format!("{step} of {total}"),
            })
        },
    ),
    ("t", "Time before and after it", |c| {
        Some(format!("{:.3} – {:.3}", c.row.t[0], c.row.t[1]))
    }),
    ("dt", "Its size", |c| {
        Some(format!("{:.4}", c.row.t[1] - c.row.t[0]))
    }),
    (
        "NFE",
        "Network evaluations in this step, and up to here; guidance doubles them",
        |c| {
            let record = &c.state.records[c.lane];
            let (before, after) = (record.nfe(c.step), record.nfe(c.step + 1));
            Some(format!("{} ({after})", after - before))
        },
    ),
    ("ms", "Time it took to compute, in milliseconds", |c| {
        Some(format!("{:.1}", c.state.records[c.lane].frames[c.step].ms))
    }),
    (
        "velocity",
        "rms of v(x, t), as guided; for EDM and DDPM lanes that of the model's own path at the same noise level",
        |c| number(c.row.norms?.velocity),
    ),
    (
        "score",
        "rms of s(x, t), which follows from v; infinite at t = 1",
        |c| number(c.row.norms?.score?),
    ),
    (
        "drift",
        "rms of v for the ODE, of v + D s for the SDE; EDM and DDPM lanes do not integrate over t",
        |c| number(c.row.norms?.drift?),
    ),
    (
        "noise",
        "rms of what the step added, √(2D dt) ε in an SDE; unknown where the network chooses its size",
        |c| number(c.row.norms?.noise?),
    ),
    (
        "v(class) − v(∅)",
        "rms of what guidance enlarges; only where it is active",
        |c| number(c.row.guide?),
    ),
    (
        "Heun − Euler",
        "Estimated local error dt/2 |v(t + dt) − v(t)| of an Euler step, rms. Not for steps with noise, which changes v more than \
         the step's size does, nor for the last one, after which v is not computed, nor for EDM and DDPM lanes",
        |c| number(c.row.error?),
    ),
    (
        "of the mean",
        "Estimated local error dt/2 E[f(t + dt) − f(t)] of the mean of all samples in a step with noise, rms over values, with f = v + D s: \
         what an Euler-Maruyama step does to the crowd. What chance alone gives the mean is subtracted",
        |c| number(c.row.weak?),
    ),
    (
        "length / chord",
        "Length of the way so far over that of the straight line, mean over samples: 1 is straight. An SDE's grows without end as \
         its steps shrink",
        |c| number(c.row.length_ratio?),
    ),
    (
        "bend",
        "Rectified flow's straightness E∫|chord velocity − v|² dt of the way so far, relative to the chord's: 0 is straight and even",
        |c| number(c.row.bend?),
    ),
];

fn number(x: f64) -> Option<String> {
    // Small ones keep digits that say something.
    let small = x != 0.0 && x.abs() < 1e-3;
    Some(if small {
        format!("{x:.1e}")
    } else {
        format!("{x:.4}")
    })
}

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let state = scene.state;
    let mut lanes: Vec<(usize, Vec<Row>)> = Vec::new();
    for lane in 0..state.lanes.len() {
        let (rows, all) = scene.findings.traces.rows(state, lane);
        lanes.push((lane, rows.to_vec()));
        if !all {
            ui.ctx().request_repaint();
        }
    }
    axis(ui, state);
    table(ui, state, &lanes);
    ui.small("rms: root mean square over all samples and values. Hold the pointer over a name to read what it is.");
    ui.separator();
    let velocity = |row: &Row| row.norms.map(|norms| norms.velocity);
    curves(ui, state, "velocity (rms)", &lanes, velocity);
    curves(ui, state, "Heun − Euler (rms)", &lanes, |row| {
        row.error.or(row.weak)
    });
}

/// Height of a lane's row on the axis of time, in points.
const AXIS_ROW: f32 = 16.0;

/// The steps of every lane on the axis of time: where they end, and where an adaptive solver's rejected attempts would have.
fn axis(ui: &mut Ui, state: &State) {
    let n = state.lanes.len();
    ui.label("Steps over t").on_hover_text(
        "A line where each step ends. An adaptive solver chooses its steps; a cross is where an attempt would have ended whose error was too \
         large, so that a smaller one was taken.",
    );
    let size = vec2(ui.available_width(), AXIS_ROW * n as f32);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let rejected = |lane: usize| state.records[lane].frames.iter().flat_map(|f| &f.rejected);
    let count: usize = (0..n).map(|lane| rejected(lane).count()).sum();
    let name = format!("Steps of every lane over t, {count} rejected");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &name));
    let (painter, ink) = (ui.painter(), ui.visuals().text_color());
    for lane in 0..n {
        let y = rect.top() + AXIS_ROW * lane as f32;
        let range = Rangef::new(y + 2.0, y + AXIS_ROW - 2.0);
        let x = |t: f64| rect.left() + rect.width() * t as f32;
        let record = &state.records[lane];
        for k in 0..=record.frames.len() {
            let stroke = Stroke::new(1.5, look::LANES[lane]);
            painter.vline(x(record.t(k)), range, stroke);
        }
        let middle = range.center();
        for t in rejected(lane) {
            let at = pos2(x(*t), middle);
            let stroke = Stroke::new(1.5, ui.visuals().warn_fg_color);
            for side in [vec2(3.0, 3.0), vec2(3.0, -3.0)] {
                painter.line_segment([at - side, at + side], stroke);
            }
        }
        let now = record.t(state.position(lane));
        painter.vline(x(now), Rangef::new(y, y + AXIS_ROW), Stroke::new(1.0, ink));
    }
}

fn table(ui: &mut Ui, state: &State, lanes: &[(usize, Vec<Row>)]) {
    let columns = lanes.iter().map(|(lane, rows)| {
        let step = state.position(*lane).saturating_sub(1);
        let row = rows.get(step)?;
        Some(Column {
            state,
            lane: *lane,
            step,
            row,
        })
    });
    let columns: Vec<Option<Column<'_>>> = columns.collect();
    Grid::new("step")
        .num_columns(1 + lanes.len())
        .striped(true)
        .show(ui, |ui| {
            ui.label("");
            for (lane, _) in lanes {
                ui.horizontal(|ui| {
                    ui.colored_label(look::LANES[*lane], "●");
                    ui.strong(format!("lane {}", lane + 1));
                });
            }
            ui.end_row();
            for (name, what, value) in TABLE {
                ui.label(*name).on_hover_text(*what);
                for column in &columns {
                    let text = column.as_ref().and_then(value);
                    let text = text.unwrap_or_else(|| "–".to_owned());
                    ui.label(RichText::new(text).monospace().size(11.0));
                }
                ui.end_row();
            }
        });
}

/// The largest step of 1, 2, 5, 10 … that fits twice, so that a small plot has numbers.
fn ticks(input: GridInput) -> [f64; 3] {
    let half = (0.5 * (input.bounds.1 - input.bounds.0)).max(1e-30);
    let power = 10_f64.powf(half.log10().floor());
    let fits = |step: &f64| *step <= half;
    let step = [5.0 * power, 2.0 * power].into_iter().find(fits);
    let step = step.unwrap_or(power);
    [step, 10.0 * step, 100.0 * step]
}

/// A tick with the digits of its step.
fn tick(mark: GridMark) -> String {
    let digits = (-mark.step_size.log10().floor()).max(0.0) as usize;
    format!("{:.digits$}", mark.value)
}

fn curves(
    ui: &mut Ui,
    state: &State,
    name: &str,
    lanes: &[(usize, Vec<Row>)],
    value: impl Fn(&Row) -> Option<f64>,
) {
    ui.label(format!("{name} over t"));
    let ink = ui.visuals().text_color();
    let y_axis = AxisHints::new_y()
        .label_spacing(Rangef::new(12.0, 16.0))
        .formatter(|mark, _| tick(mark));
    let plot = Plot::new(name.to_owned())
        .height(110.0)
        .x_axis_label("t")
        .default_x_bounds(-0.02, 1.02)
        .include_x(-0.02)
        .include_x(1.02)
        .include_y(0.0)
        .y_grid_spacer(uniform_grid_spacer(ticks))
        .custom_y_axes(vec![y_axis])
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false);
    let shown = plot.show(ui, |plot| {
        for (i, (lane, rows)) in lanes.iter().enumerate() {
            let points = rows.iter().filter_map(|row| Some([row.t[0], value(row)?]));
            let points: Vec<[f64; 2]> = points.collect();
            // Styles differ where colors cannot be told apart.
            let style = match i {
                0 => LineStyle::Solid,
                1 => LineStyle::dashed_loose(),
                2 => LineStyle::dashed_dense(),
                _ => LineStyle::dotted_dense(),
            };
            let line = Line::new(format!("lane {}", lane + 1), points);
            plot.line(line.color(look::LANES[*lane]).style(style).width(2.0));
        }
        plot.vline(VLine::new("now", state.t()).color(ink).width(1.5));
    });
    let label = format!("Curves of {name}");
    let info = || egui::WidgetInfo::labeled(egui::Role::Image, true, &label);
    shown.response.widget_info(info);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_fit_twice_and_say_their_digits() {
        for (top, expected, name) in [
            (1.1, 0.5, "0.5"),
            (0.0083, 0.002, "0.002"),
            (30.0, 10.0, "10"),
        ] {
            let input = GridInput {
                bounds: (0.0, top),
                base_step_size: 0.1,
            };
            let [step_size, ..] = ticks(input);
            assert!(
                (step_size / expected - 1.0).abs() < 1e-9,
                "{top}: {step_size}"
            );
            let value = step_size;
            assert_eq!(tick(GridMark { value, step_size }), name);
        }
    }
}
