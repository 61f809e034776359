//! The diffusion D(t) of the SDE lanes: its curve, its form, and drawing one by hand.

use super::{Scene, bound_ui};
use crate::look;
use crate::state::{LanesAction, Settings, diffusion as diffusion_of, title};
use egui::{ComboBox, Response, Sense, Slider, Ui};
use egui_plot::{Line, Plot, PlotPoint, PlotTransform, VLine};
use sit_engine::transport::{Curve, Diffusion, DiffusionForm, Path, Sampler, Sde};

/// Points of a plotted curve.
const POINTS: usize = 128;

/// Top of the axis for small values, and the most it can be; infinite forms are cut off there.
const TOPS: [f64; 2] = [1.5, 4.0];

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.label("dX = (v + D s) dt + √(2D) dW has the same distribution at every t for every D(t) ≥ 0: D says how much noise is added and taken back.");
    let mut any = false;
    for lane in 0..scene.state.lanes.len() {
        let old = scene.state.lanes[lane].settings().clone();
        if diffusion_of(&old.sampler).is_none() {
            continue;
        }
        any = true;
        let Some(model) = scene.state.model_of(lane) else {
            continue;
        };
        ui.separator();
        ui.strong(format!("Lane {}: {}", lane + 1, title(&old)));
        let mut new = old.clone();
        let (path, _) = model.transport.place_of(&old.sampler, 0.0);
        ui.push_id(("diffusion", lane), |ui| {
            edit(ui, scene, lane, &path, &mut new)
        });
        if new != old {
            scene.act(LanesAction::SetLane(lane, new));
        }
    }
    if !any {
        ui.label("No lane has a D(t): make one an SDE in the tab Lanes.");
    }
}

fn edit(ui: &mut Ui, scene: &Scene<'_>, lane: usize, path: &Path, new: &mut Settings) {
    let Sampler::Sde(Sde {
        diffusion,
        noise_window: window,
        ..
    }) = &mut new.sampler
    else {
        return;
    };
    form(ui, diffusion);
    norm(ui, diffusion);
    ui.horizontal(|ui| {
        let drawn = diffusion.curve.is_some();
        let draw = ui.add_enabled(!drawn, egui::Button::new("Draw D(t)"));
        if draw
            .on_hover_text("Go on from this curve by hand")
            .clicked()
        {
            by_hand(diffusion, path);
        }
        if drawn {
            let back = format!("Back to {}", diffusion.form);
            if ui.button(back).clicked() {
                diffusion.curve = None;
            }
            ui.weak("Drag in the plot.");
        }
    });
    plot(ui, scene, lane, (path, *window), diffusion);
    if is_zero(diffusion, path) {
        ui.label("D = 0: this SDE is the ODE now.");
    }
    let record = &scene.state.records[lane];
    let now = record.t(scene.state.position(lane));
    bound_ui::show(ui, lane, path, *window, diffusion, now);
    if let Some(failure) = &scene.state.records[lane].failure {
        ui.colored_label(ui.visuals().error_fg_color, failure);
    }
}

/// Menu of the named forms; choosing one discards a curve drawn by hand.
pub fn form(ui: &mut Ui, diffusion: &mut Diffusion) {
    ui.horizontal(|ui| {
        let id = ui.label("Diffusion D(t)").id;
        let combo = ComboBox::from_id_salt("form").selected_text(diffusion.to_string());
        let inner = combo.show_ui(ui, |ui| {
            // That form needs the model's loss over time, which only a link can carry.
            let is_known =
                |form: &DiffusionForm| *form != DiffusionForm::WKlEta || diffusion.kl.is_some();
            let forms: Vec<_> = DiffusionForm::ALL
                .iter()
                .copied()
                .filter(is_known)
                .collect();
            for form in forms {
                let chosen = diffusion.curve.is_none() && diffusion.form == form;
                if ui.selectable_label(chosen, form.name()).clicked() {
                    (diffusion.form, diffusion.curve) = (form, None);
                }
            }
        });
        inner.response.labelled_by(id);
    });
}

/// Slider of the size.
pub fn norm(ui: &mut Ui, diffusion: &mut Diffusion) {
    ui.horizontal(|ui| {
        let label = ui.label("Norm of D").id;
        let slider = Slider::new(&mut diffusion.norm, 0.0..=4.0).max_decimals(2);
        ui.add(slider)
            .labelled_by(label)
            .on_hover_text("With 0 the SDE is the ODE, but for the form decreasing");
    });
}

/// Converts the diffusion to a curve of norm 1, to continue by hand.
fn by_hand(diffusion: &mut Diffusion, path: &Path) {
    diffusion.curve = Some(diffusion.to_curve(path));
    diffusion.norm = 1.0;
}

fn is_zero(diffusion: &Diffusion, path: &Path) -> bool {
    (0..=POINTS).all(|i| diffusion.at(path, i as f64 / POINTS as f64) == 0.0)
}

/// The curve; D is 0 outside of the noise window.
fn plot(
    ui: &mut Ui,
    scene: &Scene<'_>,
    lane: usize,
    (path, [from, to]): (&Path, [f64; 2]),
    diffusion: &mut Diffusion,
) {
    let at = |i: usize| {
        let t = i as f64 / POINTS as f64;
        let d = diffusion.at(path, t).min(1e6);
        [t, if (from..=to).contains(&t) { d } else { 0.0 }]
    };
    let curve: Vec<[f64; 2]> = (0..=POINTS).map(at).collect();
    let most = curve.iter().map(|[_, d]| *d).fold(0.0, f64::max);
    let top = match diffusion.curve {
        Some(_) => drawing_top(ui, lane, most),
        None => (1.1 * most).clamp(TOPS[0], TOPS[1]),
    };
    let record = &scene.state.records[lane];
    let cursor = record.t(scene.state.position(lane));
    let drawn = diffusion.curve.is_some();
    let sense = if drawn { Sense::drag() } else { Sense::hover() };
    let plot = Plot::new("curve")
        .height(170.0)
        .x_axis_label("t")
        .y_axis_label("D(t)")
        .default_x_bounds(-0.02, 1.02)
        .default_y_bounds(0.0, top)
        .auto_bounds(false)
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .sense(sense);
    let ink = ui.visuals().text_color();
    let shown = plot.show(ui, |plot| {
        plot.set_plot_bounds_y(0.0..=top);
        plot.line(Line::new("D(t)", curve).color(look::LANES[lane]).width(2.0));
        plot.vline(VLine::new("now", cursor).color(ink).width(1.5));
    });
    let name = format!("Curve of D(t) of lane {}", lane + 1);
    let info = || egui::WidgetInfo::labeled(egui::Role::Canvas, true, &name);
    shown.response.widget_info(info);
    if let Some(curve) = &mut diffusion.curve
        && let Some([from, to]) = stroke(ui, &shown.response, &shown.transform)
    {
        // The plot shows the curve times the norm, so divide by the norm.
        let scale = diffusion.norm.max(1e-3);
        *curve = draw(curve, [from, to].map(|[t, d]| [t, d / scale]));
    }
}

/// The top of the axis while a curve is drawn by hand: at least twice the curve, and fixed while the button is down, so that the curve stays under the pointer.
fn drawing_top(ui: &Ui, lane: usize, most: f64) -> f64 {
    let id = ui.scope_id().with(("top", lane));
    let held = ui.input(|input| input.pointer.any_down());
    if let Some(top) = ui.data(|data| data.get_temp(id)).filter(|_| held) {
        return top;
    }
    let mut top = TOPS[1] / 2.0;
    while top < 1.25 * most && top < 1e6 {
        top *= 2.0;
    }
    ui.data_mut(|data| data.insert_temp(id, top));
    top
}

/// The pointer's movement since the last frame, in the plot's units, while it is dragged.
fn stroke(ui: &Ui, response: &Response, transform: &PlotTransform) -> Option<[[f64; 2]; 2]> {
    if !response.dragged() {
        return None;
    }
    let to = response.interact_pointer_pos()?;
    // Ignore the movement before the button was pressed.
    let from = if response.drag_started() {
        to
    } else {
        to - ui.input(|input| input.pointer.delta())
    };
    Some([from, to].map(|at| {
        let PlotPoint { x, y } = transform.value_from_position(at);
        [x, y]
    }))
}

/// `curve`, with its values between the two points of a stroke set to the line between them; at least the nearest value is set.
fn draw(curve: &Curve, [from, to]: [[f64; 2]; 2]) -> Curve {
    let index = |t: f64| (t.clamp(0.0, 1.0) * (Curve::POINTS - 1) as f64).round() as usize;
    let (first, last) = (index(from[0].min(to[0])), index(from[0].max(to[0])));
    let mut values = curve.values();
    for (i, value) in values.iter_mut().enumerate().take(last + 1).skip(first) {
        let part = (Curve::time(i) - from[0]) / (to[0] - from[0]);
        let part = if part.is_finite() {
            part.clamp(0.0, 1.0)
        } else {
            1.0
        };
        *value = (from[1] + part * (to[1] - from[1])).max(0.0) as f32;
    }
    Curve::new(values).unwrap_or_else(|_| curve.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stroke_sets_what_it_passes_and_nothing_else() {
        let flat = Curve::new([1.0; Curve::POINTS]).unwrap();
        let slope = draw(&flat, [[0.75, 2.0], [0.25, 0.0]]);
        for (i, &value) in slope.values().iter().enumerate() {
            let t = Curve::time(i);
            let expected = if (0.25..=0.75).contains(&t) {
                4.0 * (t - 0.25)
            } else {
                1.0
            };
            assert!((f64::from(value) - expected).abs() < 1e-6, "{value} at {t}");
        }
        // A pointer that does not move sets the nearest value; a position below the axis counts as 0, one beside it as the end.
        let point = draw(&flat, [[0.49, 3.0], [0.49, 3.0]]);
        assert_eq!(point.values()[8], 3.0);
        assert_eq!(point.values().iter().filter(|v| **v == 1.0).count(), 16);
        assert_eq!(draw(&flat, [[1.5, -2.0]; 2]).values()[16], 0.0);
    }

    #[test]
    fn drawing_goes_on_from_the_form() {
        let mut diffusion = Diffusion::new(DiffusionForm::Linear, 2.0);
        by_hand(&mut diffusion, &Path::Linear);
        assert_eq!(diffusion.norm, 1.0);
        assert!((diffusion.at(&Path::Linear, 0.25) - 1.5).abs() < 1e-6);
    }

    #[test]
    fn zero_is_told() {
        for &form in DiffusionForm::ALL {
            let zero = is_zero(&Diffusion::new(form, 0.0), &Path::Linear);
            // With norm 0 that form is 1/4.
            assert_eq!(zero, form != DiffusionForm::Decreasing, "{form}");
        }
    }
}
