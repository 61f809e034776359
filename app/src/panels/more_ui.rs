//! Settings of a solver that are rarely changed: its times, its last step, where it adds noise, its corrector.

use super::controls::{interval, number};
use super::levels_ui;
use egui::{CollapsingHeader, ComboBox, DragValue, Ui};
use sit_engine::transport::{Corrector, Grid, Path, Sampler, SdeMethod};

/// The most steps of a corrector at one time that are offered.
const MOST_CORRECTIONS: u32 = 10;

/// Settings of a sampler of a model of the path `own`.
pub fn show(ui: &mut Ui, sampler: &mut Sampler, own: &Path) {
    let more = CollapsingHeader::new("More").id_salt("more");
    more.show(ui, |ui| match sampler {
        Sampler::Ode(ode) => {
            along(ui, &mut ode.along, own);
            if !ode.method.is_adaptive() {
                grid(ui, &mut ode.grid);
                ui.checkbox(&mut ode.last_euler, "Last step by Euler's method")
                    .on_hover_text("So that the velocity is not evaluated at the end");
            }
        }
        Sampler::Sde(sde) => {
            along(ui, &mut sde.along, own);
            grid(ui, &mut sde.grid);
            interval(ui, "Noise from t =", &mut sde.noise_window);
            if sde.method == SdeMethod::PredictorCorrector {
                corrector(ui, &mut sde.corrector);
            }
        }
        Sampler::Edm(edm) => levels_ui::more_edm(ui, edm),
        Sampler::Ddpm(ddpm) => levels_ui::more_chain(ui, ddpm, own),
        _ => {}
    });
}

/// Menu of the path of the states: the model's own, or another one with its usual numbers.
fn along(ui: &mut Ui, along: &mut Option<Path>, own: &Path) {
    let name = |path: &Option<Path>| match path {
        None => format!("{own} (the model's)"),
        Some(path) => path.to_string(),
    };
    ui.horizontal(|ui| {
        let label = ui.label("Along the path").on_hover_text(ALONG).id;
        let combo = ComboBox::from_id_salt("along").selected_text(name(along));
        let inner = combo.show_ui(ui, |ui| {
            let others = [Path::Linear, Path::Gvp, Path::VP, Path::OU].into_iter();
            let others = others.filter(|path| path != own).map(Some);
            for path in std::iter::once(None).chain(others) {
                let text = name(&path);
                ui.selectable_value(along, path, text);
            }
        });
        inner.response.labelled_by(label);
    });
}

const ALONG: &str = "Samples along another path than the model learned. All these paths have the same distributions up to scale, so the \
network is asked where the share of noise is the same. t is then the time of that path.";

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
