//! Settings of the samplers that step through given noise levels: EDM's, and the chain of discrete diffusion.

use super::controls::{choose, number, steps};
use egui::{ComboBox, DragValue, Slider, Ui};
use sit_engine::transport::{
    DdpmMethod, DdpmSampler, DdpmSchedule, Edm, EdmMethod, Path, PathName, Respacing, Variance,
};

/// What the menu of the spacing calls a number of steps, all levels and DDIM's levels.
const SPACINGS: [&str; 3] = ["even", "all levels", "every k-th"];

/// The clip that is offered first: the range of pixels.
const CLIP: f64 = 1.0;

/// The settings of EDM's sampler that change what it does.
pub fn edm(ui: &mut Ui, edm: &mut Edm) {
    let methods = EdmMethod::ALL.iter().copied();
    choose(ui, "Method", &mut edm.method, methods, EdmMethod::name);
    steps(ui, &mut edm.n_steps, "");
    let drag = DragValue::new(&mut edm.churn)
        .range(0.0..=1000.0)
        .clamp_existing_to_range(false)
        .speed(0.2)
        .max_decimals(2);
    number(ui, "Churn", drag).on_hover_text(
        "Before each step noise raises the level σ to σ (1 + γ) with γ = min(churn / steps, 0.41). 0 gives the ODE",
    );
}

/// Those that are rarely changed.
pub fn more_edm(ui: &mut Ui, edm: &mut Edm) {
    range(ui, "Noise levels σ from", &mut edm.sigma, 1e-4, 1000.0);
    let drag = DragValue::new(&mut edm.rho)
        .range(1.0..=100.0)
        .clamp_existing_to_range(false)
        .speed(0.05)
        .max_decimals(2);
    number(ui, "Exponent ρ", drag).on_hover_text(
        "σ^(1/ρ) falls in equal steps: the larger ρ, the more of them are near data",
    );
    if edm.churn == 0.0 {
        return;
    }
    range(ui, "Churn from σ =", &mut edm.churn_window, 0.0, f64::MAX);
    let drag = DragValue::new(&mut edm.churn_noise)
        .range(0.5..=2.0)
        .clamp_existing_to_range(false)
        .speed(0.001)
        .max_decimals(4);
    number(ui, "Churn's noise", drag).on_hover_text(
        "Factor of the noise that churn adds: above 1 it makes up for detail that is lost",
    );
}

/// Two numbers between bounds, the first not above the second.
fn range(ui: &mut Ui, label: &str, range: &mut [f64; 2], least: f64, most: f64) {
    ui.horizontal(|ui| {
        let label = ui.label(label).id;
        let [mut lo, mut hi] = *range;
        let drag = |x, speed| {
            DragValue::new(x)
                .range(least..=most)
                .clamp_existing_to_range(false)
                .speed(speed)
                .max_decimals(4)
                .custom_formatter(|x, decimals| match x {
                    f64::MAX => "∞".to_owned(),
                    x => egui::emath::format_with_decimals_in_range(x, decimals),
                })
        };
        let changed = [ui.add(drag(&mut lo, 0.001)).labelled_by(label).changed(), {
            let label = ui.label("to").id;
            ui.add(drag(&mut hi, 0.2)).labelled_by(label).changed()
        }];
        match changed {
            [true, _] => *range = [lo.min(hi), hi],
            [_, true] => *range = [lo, hi.max(lo)],
            _ => {}
        }
    });
}

/// The settings of a chain that change what it does.
pub fn chain(ui: &mut Ui, ddpm: &mut DdpmSampler) {
    let (methods, before) = (DdpmMethod::ALL.iter().copied(), ddpm.method);
    choose(ui, "Method", &mut ddpm.method, methods, DdpmMethod::name);
    if ddpm.method != before {
        // Only DDIM has a share of new noise.
        ddpm.eta = 0.0;
    }
    spacing(ui, &mut ddpm.respacing);
    if ddpm.method == DdpmMethod::Ddim {
        ui.horizontal(|ui| {
            let label = ui.label("New noise η").id;
            let slider = Slider::new(&mut ddpm.eta, 0.0..=1.0).max_decimals(2);
            ui.add(slider).labelled_by(label).on_hover_text(
                "The share of new noise in a step: 0 gives an ODE, 1 as much as in ancestral sampling",
            );
        });
    }
}

/// Menu of which noise levels are used, and their number.
fn spacing(ui: &mut Ui, respacing: &mut Option<Respacing>) {
    // Several sections come only by a link.
    let n = respacing.as_ref().and_then(Respacing::n_steps);
    let now = match respacing {
        Some(Respacing::Sections(_)) => SPACINGS[0],
        Some(Respacing::Ddim(_)) => SPACINGS[2],
        _ => SPACINGS[1],
    };
    ui.horizontal(|ui| {
        let label = ui.label("Spacing").on_hover_text(
            "Which noise levels of the chain are steps: as many as you say, evenly spread; all; or each k-th one from data on, as \
             DDIM takes them, where k must be a whole number",
        );
        let combo = ComboBox::from_id_salt("spacing").selected_text(now);
        let inner = combo.show_ui(ui, |ui| {
            for (i, name) in SPACINGS.into_iter().enumerate() {
                if ui.selectable_label(now == name, name).clicked() && now != name {
                    let n = n.unwrap_or(50);
                    *respacing = match i {
                        0 => Some(Respacing::Sections(vec![n])),
                        1 => None,
                        _ => Some(Respacing::Ddim(n)),
                    };
                }
            }
        });
        inner.response.labelled_by(label.id);
    });
    match respacing {
        Some(Respacing::Sections(counts)) if counts.len() == 1 => steps(ui, &mut counts[0], ""),
        Some(Respacing::Ddim(n)) => steps(ui, n, ""),
        Some(other) => {
            ui.label(format!("Steps {other}"));
        }
        None => {}
    }
}

/// Those that are rarely changed. Only a model of another path than `DDPM` needs noise levels of its own.
pub fn more_chain(ui: &mut Ui, ddpm: &mut DdpmSampler, own: &Path) {
    let mut clips = ddpm.clip_x0.is_some();
    ui.horizontal(|ui| {
        let check = ui.checkbox(&mut clips, "Clip predicted x₁ to ±");
        let check = check.on_hover_text(
            "Before each step the predicted image is kept within these values; the picture of predicted x₁ is from before that. 1 is \
             for pixels; latents have no limit",
        );
        if check.changed() {
            ddpm.clip_x0 = clips.then_some(CLIP);
        }
        if let Some(clip) = &mut ddpm.clip_x0 {
            let drag = DragValue::new(clip).range(0.01..=100.0).speed(0.01);
            ui.add(drag.clamp_existing_to_range(false))
                .labelled_by(check.id);
        }
    });
    let is_own = own.name() == PathName::Ddpm;
    if ddpm.method == DdpmMethod::Ancestral {
        let name = |variance: Option<Variance>| variance.map_or("the model's", Variance::name);
        // A model of another path has learned none; its own is fixed-small.
        let given = Variance::ALL.iter().copied();
        let given = given.filter(|variance| is_own || !variance.is_learned());
        let all = std::iter::once(None).chain(given.map(Some));
        choose(ui, "Variance", &mut ddpm.variance, all, name);
    }
    if !is_own {
        let schedules = DdpmSchedule::ALL.iter().copied();
        let name = DdpmSchedule::name;
        choose(ui, "Noise schedule", &mut ddpm.schedule, schedules, name);
    }
}
