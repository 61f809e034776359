//! Settings of a solver that are rarely changed: its times, its last step, where it adds noise, its corrector.

use super::controls::{interval, number};
use egui::{CollapsingHeader, ComboBox, DragValue, Ui};
use sit_engine::transport::{Corrector, Grid, Sampler, SdeMethod};

/// The most steps of a corrector at one time that are offered.
const MOST_CORRECTIONS: u32 = 10;

pub fn show(ui: &mut Ui, sampler: &mut Sampler) {
    let more = CollapsingHeader::new("More").id_salt("more");
    more.show(ui, |ui| match sampler {
        Sampler::Ode(ode) => {
            grid(ui, &mut ode.grid);
            ui.checkbox(&mut ode.last_euler, "Last step by Euler's method")
                .on_hover_text("So that the velocity is not evaluated at the end");
        }
        Sampler::Sde(sde) => {
            grid(ui, &mut sde.grid);
            interval(ui, "Noise from t =", &mut sde.noise_window);
            if sde.method == SdeMethod::PredictorCorrector {
                corrector(ui, &mut sde.corrector);
            }
        }
        _ => {}
    });
}

/// A kind of time grid: its name, what it does, and one of it.
type Kind = (&'static str, &'static str, Grid);

const KINDS: [Kind; 3] = [
    ("uniform", "Equal steps", Grid::Uniform),
    (
        "shift",
        "t = u / (s − (s − 1) u) in equal steps of u: above 1, more of them are near noise",
        Grid::Shift(3.0),
    ),
    (
        "power",
        "1 − t = (1 − u)^ρ in equal steps of u: above 1, more of them are near data",
        Grid::Power(2.0),
    ),
];

/// A name of [`KINDS`], or `times` for a list, which only a link can carry.
fn name(grid: &Grid) -> &'static str {
    match grid {
        Grid::Uniform => "uniform",
        Grid::Shift(_) => "shift",
        Grid::Power(_) => "power",
        _ => "times",
    }
}

fn grid(ui: &mut Ui, grid: &mut Grid) {
    ui.horizontal(|ui| {
        let id = ui.label("Time grid").id;
        let combo = ComboBox::from_id_salt("grid").selected_text(name(grid));
        let inner = combo.show_ui(ui, |ui| {
            for (kind, what, usual) in KINDS {
                let chosen = name(grid) == kind;
                let label = ui.selectable_label(chosen, kind).on_hover_text(what);
                if label.clicked() && !chosen {
                    *grid = usual;
                }
            }
        });
        inner.response.labelled_by(id);
    });
    let drag = |value| {
        DragValue::new(value)
            .range(0.1..=20.0)
            .clamp_existing_to_range(false)
            .speed(0.02)
            .max_decimals(2)
    };
    match grid {
        Grid::Shift(s) => {
            number(ui, "Shift s", drag(s));
        }
        Grid::Power(rho) => {
            number(ui, "Power ρ", drag(rho));
        }
        _ => {}
    }
}

fn corrector(ui: &mut Ui, corrector: &mut Corrector) {
    let steps = DragValue::new(&mut corrector.steps)
        .range(1..=MOST_CORRECTIONS)
        .clamp_existing_to_range(false)
        .speed(0.05);
    number(ui, "Corrector's steps", steps);
    let snr = DragValue::new(&mut corrector.snr)
        .range(0.01..=1.0)
        .clamp_existing_to_range(false)
        .speed(0.002)
        .max_decimals(3);
    number(ui, "Corrector's snr", snr).on_hover_text(
        "x + e s + √(2e) n with e = 2 (snr σ)²: larger steps forget more of the predictor's error",
    );
}
