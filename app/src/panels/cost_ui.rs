//! The value of network evaluations: the distance from a reference with many steps, lane by lane.

use super::Scene;
use crate::look;
use crate::state::{
    CostAction, Curve, Kind, Lane, Point, REFERENCE_STEPS, RUNGS, State, height, price, slope,
};
use egui::{Button, Rangef, Ui};
use egui_plot::{
    AxisHints, GridInput, GridMark, HLine, Legend, Line, LineStyle, MarkerShape, Plot, PlotPoints,
    Points,
};

/// Shapes of the lanes' points, where colors cannot be told apart.
const SHAPES: [MarkerShape; 4] = [
    MarkerShape::Circle,
    MarkerShape::Square,
    MarkerShape::Up,
    MarkerShape::Diamond,
];

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.label(format!(
        "More steps cost more network evaluations (NFE). What do they buy? Each lane's sampler in {} to {} steps, against \
         {REFERENCE_STEPS} steps.",
        RUNGS[0],
        RUNGS[RUNGS.len() - 1],
    ));
    let state = scene.state;
    let is_chain = |lane: &Lane| Kind::of(&lane.settings().sampler) == Kind::Ddpm;
    if state.lanes.iter().any(is_chain) {
        ui.label("A chain is measured against itself with all of its noise levels, the most steps that it has.");
    }
    let is_adaptive = |lane: &Lane| lane.settings().sampler.is_adaptive();
    if state.lanes.iter().any(is_adaptive) {
        ui.label("An adaptive solver chooses its steps: it is measured with rtol from 0.1 to 6e-6 and a thousandth of it as atol.");
    }
    buttons(ui, scene);
    let lanes = 0..state.lanes.len();
    let curves: Vec<(usize, &Curve)> = lanes
        .filter_map(|lane| Some((lane, state.curve(lane)?)))
        .collect();
    for (lane, curve) in &curves {
        progress(ui, *lane, curve);
    }
    if curves.iter().all(|(_, curve)| curve.points.is_empty()) {
        return;
    }
    ui.separator();
    ui.label("Path: E|x − x_ref| at t = 1");
    plot(ui, state, "path", &curves, |point| point.path);
    ui.small(PATH);
    ui.separator();
    ui.label("Distribution: sliced W₁ at t = 1");
    plot(ui, state, "distribution", &curves, |point| point.sliced);
    ui.small(DISTRIBUTION);
}

const PATH: &str = "x_ref starts from the same noise and takes many steps: Heun's method for an ODE, the lane's own for an SDE, along \
the same Brownian path. Slope −1 is order 1: twice the steps, half the error. Ring: the lane as it is now.";

const NO_PATH: &str = "other numbers of steps draw other noise, so only its crowds are compared";

const DISTRIBUTION: &str = "Distance of the crowds. Dashed: what chance gives as many samples from other noise; below it they cannot be \
told apart. A branch is measured from t = 0, with its last settings.";

fn buttons(ui: &mut Ui, scene: &mut Scene<'_>) {
    let state = scene.state;
    let missing = (0..state.lanes.len()).any(|lane| state.curve(lane).is_none());
    let measuring = !state.measuring().is_empty();
    ui.horizontal(|ui| {
        let can = state.model.is_some() && missing;
        let button = ui.add_enabled(can, Button::new("Measure"));
        if button
            .on_hover_text("In the background, when lanes and training have nothing to do")
            .on_disabled_hover_text("Every lane is measured already")
            .clicked()
        {
            scene.act(CostAction::Measure);
        }
        if measuring && ui.button("Stop measuring").clicked() {
            scene.act(CostAction::Stop);
        }
    });
}

/// How far a curve is, unless it is there.
fn progress(ui: &mut Ui, lane: usize, curve: &Curve) {
    let text = match (&curve.failure, curve.points.len()) {
        (Some(failure), _) => failure.clone(),
        (None, 0) => match Kind::of(&curve.of.settings.sampler) {
            Kind::Ddpm => format!("reference, step {} of all levels", curve.reference),
            _ => format!("reference, step {} of {REFERENCE_STEPS}", curve.reference),
        },
        (None, n) if n < RUNGS.len() => format!("{n} of {} points", RUNGS.len()),
        (None, _) => {
            let lost = curve.points.iter().filter(|p| p.sliced.is_none());
            let lost: Vec<String> = lost.map(|p| p.n_steps.to_string()).collect();
            match lost.is_empty() {
                true if curve.of.has_path() => return,
                true => NO_PATH.to_owned(),
                false => format!("not finite in {} steps", lost.join(", ")),
            }
        }
    };
    ui.horizontal_wrapped(|ui| {
        ui.colored_label(look::LANES[lane], "●");
        ui.small(format!("lane {}: {text}", lane + 1));
    });
}

/// A distance over network evaluations on logarithmic axes. The plot has only linear axes, so it gets logarithms (base 2 and 10).
fn plot(
    ui: &mut Ui,
    state: &State,
    name: &str,
    curves: &[(usize, &Curve)],
    distance: fn(&Point) -> Option<f64>,
) {
    let points = curves.iter().flat_map(|(_, curve)| &curve.points);
    let most = points.map(|point| point.nfe as f64);
    let most = most.fold(2.0 * f64::from(RUNGS[RUNGS.len() - 1]), f64::max);
    let x_axis = AxisHints::new_x()
        .label("NFE")
        .label_spacing(Rangef::new(16.0, 24.0))
        .formatter(|mark, _| format!("{}", mark.value.exp2().round()));
    let plot = Plot::new(name.to_owned())
        .height(190.0)
        .legend(Legend::default())
        .default_x_bounds(-0.4, most.log2() + 0.4)
        .x_grid_spacer(|input| marks(&input, &[0.0]))
        .y_grid_spacer(|input| marks(&input, &[0.0, 2_f64.log10(), 5_f64.log10()]))
        .custom_x_axes(vec![x_axis])
        .y_axis_formatter(|mark, _| decimal(mark.value))
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false);
    let shown = plot.show(ui, |plot| {
        for &(lane, curve) in curves {
            let color = look::LANES[lane];
            let line = curve.line(distance);
            let place = |p: &[f64; 2]| [p[0].log2(), p[1].log10()];
            let places: Vec<[f64; 2]> = line.iter().map(place).collect();
            let mut title = format!("lane {}", lane + 1);
            if name == "path"
                && let Some(slope) = slope(&line)
            {
                title += &format!(", slope {slope:.2}").replace('-', "−");
            }
            let marks = PlotPoints::from(places.clone());
            plot.line(Line::new(&title, places).color(color).width(1.5));
            let points = Points::new(&title, marks).color(color).radius(3.5);
            plot.points(points.shape(SHAPES[lane % SHAPES.len()]));
            if let Some(at) = present(state, lane, &line) {
                let ring = Points::new("", vec![place(&at)]).color(color).radius(7.0);
                plot.points(ring.filled(false));
            }
            if name == "distribution"
                && let Some(chance) = curve.chance.filter(|c| *c > 0.0)
            {
                let line = HLine::new("", chance.log10()).color(color).width(1.0);
                plot.hline(line.style(LineStyle::dashed_loose()));
            }
        }
    });
    let name = format!("Distance of {name} over network evaluations");
    let info = || egui::WidgetInfo::labeled(egui::Role::Image, true, &name);
    shown.response.widget_info(info);
}

/// Where a lane is on its line with the steps it takes now.
fn present(state: &State, lane: usize, line: &[[f64; 2]]) -> Option<[f64; 2]> {
    let model = state.model.as_ref()?;
    let record = &state.records[lane];
    let nfe = match price(state.lanes[lane].settings(), &model.transport).ok()? {
        Some(nfe) => nfe,
        None if record.is_whole() && record.settings.len() == 1 => record.nfe(record.steps.len()),
        None => return None,
    };
    let nfe = nfe as f64;
    Some([nfe, height(line, nfe)?])
}

/// Grid marks at whole numbers, and at these offsets from them.
fn marks(input: &GridInput, parts: &[f64]) -> Vec<GridMark> {
    let (from, to) = (input.bounds.0.floor() as i32, input.bounds.1.ceil() as i32);
    let wholes = (from..=to).map(f64::from);
    wholes
        .flat_map(|whole| parts.iter().map(move |part| (whole, *part)))
        .filter(|(whole, part)| (input.bounds.0..=input.bounds.1).contains(&(whole + part)))
        .map(|(whole, part)| GridMark {
            value: whole + part,
            step_size: if part == 0.0 { 1.0 } else { 0.3 },
        })
        .collect()
}

/// A power of ten as a short number.
fn decimal(exponent: f64) -> String {
    let x = 10_f64.powf(exponent);
    let digits = (-exponent.floor()).max(0.0) as usize;
    if digits > 3 {
        format!("{x:.0e}")
    } else {
        format!("{x:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_one_two_and_five_of_each_decade() {
        let input = GridInput {
            bounds: (-1.2, 0.1),
            base_step_size: 0.1,
        };
        let parts = [0.0, 2_f64.log10(), 5_f64.log10()];
        let names = marks(&input, &parts)
            .iter()
            .map(|mark| decimal(mark.value))
            .collect::<Vec<_>>();
        assert_eq!(names, ["0.1", "0.2", "0.5", "1"]);
        assert_eq!(decimal(-5.0), "1e-5");
    }
}
