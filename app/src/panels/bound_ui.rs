//! What an error of the network costs an SDE lane: the factor of Girsanov's bound over time, beside the least one.

use crate::look;
use egui::Ui;
use egui_plot::{Legend, Line, LineStyle, Plot, VLine};
use sit_engine::transport::{Diffusion, Path, girsanov_factor};

/// Points of a curve; none is at an end, where a factor may be 0 or infinite.
const POINTS: usize = 127;

/// Powers of ten that are shown.
const POWERS: [f64; 2] = [-2.0, 3.0];

const TEXT: &str = "What an error of the velocity costs: the KL divergence of the samples is at most the integral of this factor times \
the squared error. Lower is safer.";

const FORMULA: &str = "Girsanov's bound, in nats: KL(exact | model) ≤ ∫ (1 + D / S)² / (4 D) · E|v − v_θ|² dt, with S the D of the form \
SBDM. It is least for D = S, then 1 / S. Little noise cannot hide an error, much noise lets a wrong score push more. It is about the \
network's error v − v_θ, not about the error of the steps, and without noise (D = 0) it is infinite and says nothing.";

/// The plot of a lane whose diffusion is 0 outside of the noise window.
pub fn show(
    ui: &mut Ui,
    lane: usize,
    path: &Path,
    window: [f64; 2],
    diffusion: &Diffusion,
    now: f64,
) {
    ui.label(TEXT).on_hover_text(FORMULA);
    let [own, least] = curves(path, window, diffusion);
    let plot = Plot::new("bound")
        .height(160.0)
        .legend(Legend::default().position(egui_plot::Corner::LeftTop))
        .x_axis_label("t")
        .y_axis_formatter(|mark, _| format!("{}", 10_f64.powf(mark.value)))
        .y_grid_spacer(egui_plot::uniform_grid_spacer(|_| [1.0, 2.0, 5.0]))
        .default_x_bounds(-0.02, 1.02)
        .default_y_bounds(POWERS[0], POWERS[1])
        .auto_bounds(false)
        .allow_drag(false)
        .allow_scroll(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false);
    let ink = ui.visuals().text_color();
    let is_endless = own.is_empty();
    let shown = plot.show(ui, |plot| {
        let style = LineStyle::dashed_loose();
        plot.line(Line::new("least: D of SBDM", least).color(ink).style(style));
        let line = Line::new("factor", own).color(look::LANES[lane]);
        plot.line(line.width(2.0));
        plot.vline(VLine::new("", now).color(ink).width(1.5));
    });
    let name = format!("Factor of Girsanov's bound of lane {}", lane + 1);
    let info = || egui::WidgetInfo::labeled(egui::Role::Image, true, &name);
    shown.response.widget_info(info);
    shown.response.on_hover_text(FORMULA);
    if is_endless {
        ui.label("Without noise this bound is infinite.");
    }
}

/// The logarithms (base 10) of the factor and of the least one over time, where they are finite.
fn curves(path: &Path, [from, to]: [f64; 2], diffusion: &Diffusion) -> [Vec<[f64; 2]>; 2] {
    let times = (1..=POINTS).map(|i| i as f64 / (POINTS + 1) as f64);
    let factors = times.map(|t| {
        let d = match (from..=to).contains(&t) {
            true => diffusion.at(path, t),
            false => 0.0,
        };
        (t, girsanov_factor(path, d, t))
    });
    let factors: Vec<(f64, [f64; 2])> = factors.collect();
    [0, 1].map(|k| {
        let point = |(t, factor): &(f64, [f64; 2])| [*t, factor[k].log10()];
        let points = factors.iter().map(point);
        points.filter(|[_, y]| y.is_finite()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::transport::DiffusionForm;

    #[test]
    fn the_least_factor_is_that_of_sbdm() {
        for path in [Path::Linear, Path::Gvp, Path::VP] {
            let of = |form, norm| {
                let diffusion = Diffusion::new(form, norm);
                curves(&path, [0.0, 1.0], &diffusion)
            };
            let [own, least] = of(DiffusionForm::Sbdm, 1.0);
            assert_eq!((own.len(), least.len()), (POINTS, POINTS));
            for (own, least) in own.iter().zip(&least) {
                assert!(
                    (own[1] - least[1]).abs() < 1e-9,
                    "{path}: {own:?}, {least:?}"
                );
            }
            for (form, norm) in [
                (DiffusionForm::Sigma, 1.0),
                (DiffusionForm::Constant, 0.3),
                (DiffusionForm::Sbdm, 2.0),
            ] {
                let [own, least] = of(form, norm);
                let pairs = own.iter().zip(&least);
                assert!(pairs.clone().all(|(own, least)| own[1] >= least[1] - 1e-9));
                assert!(pairs.clone().any(|(own, least)| own[1] > least[1] + 0.01));
            }
        }
    }

    #[test]
    fn there_is_no_factor_without_noise() {
        let none = Diffusion::new(DiffusionForm::Sigma, 0.0);
        assert!(curves(&Path::Linear, [0.0, 1.0], &none)[0].is_empty());
        let sigma = Diffusion::new(DiffusionForm::Sigma, 1.0);
        let [own, _] = curves(&Path::Linear, [0.25, 0.5], &sigma);
        assert!(own.iter().all(|[t, _]| (0.25..=0.5).contains(t)) && own.len() > 20);
        // (1 + D t / (1 - t))^2 / (4 D) = (1 + t)^2 / (4 (1 - t)) for D = 1 - t.
        let [t, y] = own[0];
        assert!((y - ((1.0 + t).powi(2) / (4.0 * (1.0 - t))).log10()).abs() < 1e-9);
    }
}
