//! The lanes' settings: solver, steps, diffusion, guidance, noise, branches.

use super::controls::{choose, interval, number, steps};
use super::{Scene, diffusion_ui, levels_ui, more_ui};
use crate::state::{
    Action, Kind, LanesAction, MAX_LANES, Model, Noise, Settings, Source, equation, of_kind,
    other_kind, title,
};
use egui::{CollapsingHeader, ComboBox, DragValue, Slider, Ui};
use sit_engine::transport::{
    Grid, GuidanceChannels, LastStep, Method, Path, Sampler, SdeMethod, Tolerance,
};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    for lane in 0..scene.state.lanes.len() {
        let old = scene.state.lanes[lane].settings().clone();
        let title = format!("Lane {}: {}", lane + 1, title(&old));
        let header = CollapsingHeader::new(title)
            .id_salt(("lane", lane))
            .default_open(true);
        header.show(ui, |ui| {
            ui.push_id(lane, |ui| {
                network(ui, scene, lane);
                let mut new = old.clone();
                settings(ui, scene, lane, &mut new);
                if new != old {
                    scene.act(LanesAction::SetLane(lane, new));
                }
                ui.horizontal_wrapped(|ui| buttons(ui, scene, lane, &old));
            });
        });
    }
    let room = scene.state.lanes.len() < MAX_LANES;
    if ui
        .add_enabled(room, egui::Button::new("Add a lane"))
        .clicked()
    {
        scene.act(LanesAction::AddLane);
    }
    ui.separator();
    ui.small(format!("Computed by: {}", scene.device));
}

/// Menu of the networks that are open, where there is more than one.
fn network(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize) {
    let state = scene.state;
    let own = &state.lanes[lane].network;
    let others: Vec<Option<Source>> = state.other_networks().cloned().map(Some).collect();
    if others.is_empty() && own.is_none() {
        return;
    }
    let name = |network: &Option<Source>| match network {
        None => "as above".to_owned(),
        Some(source) => source.title(),
    };
    ui.horizontal(|ui| {
        let label = ui.label("Network of this lane").id;
        let combo = ComboBox::from_id_salt("network")
            .truncate()
            .selected_text(name(own));
        let inner = combo.show_ui(ui, |ui| {
            for network in std::iter::once(None).chain(others) {
                if ui
                    .selectable_label(network == *own, name(&network))
                    .clicked()
                {
                    scene.act(LanesAction::SetNetwork(lane, network));
                }
            }
        });
        inner.response.labelled_by(label);
    });
}

fn buttons(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize, old: &Settings) {
    let step = scene.state.position(lane);
    let branch = ui.button("Branch here").on_hover_text(format!(
        "A further lane that leaves this one at step {step}: the ODE goes on as an SDE, the SDE as an ODE, EDM's sampler with churn or \
         without, the chain of DDPM by DDIM or by ancestral sampling"
    ));
    if branch.clicked() {
        let settings = Settings {
            sampler: other_kind(&old.sampler),
            ..old.clone()
        };
        scene.act(LanesAction::Branch(Some((lane, settings))));
    }
    let noise = ui.button("Other noise from here").on_hover_text(
        "A further lane that leaves this one at this step with other noise: where an SDE still has a choice",
    );
    if noise.clicked() {
        let settings = Settings {
            noise_seed: old.noise_seed + 1,
            ..old.clone()
        };
        scene.act(LanesAction::Branch(Some((lane, settings))));
    }
    let copy = match scene.state.command(lane) {
        Ok(command) => ui
            .button("Copy command")
            .on_hover_text(format!("Makes these samples in a terminal:\n{command}")),
        Err(why) => ui
            .add_enabled(false, egui::Button::new("Copy command"))
            .on_disabled_hover_text(why),
    };
    if copy.clicked() {
        scene.act(Action::CopyCommand(lane));
    }
    let more = scene.state.lanes.len() > 1;
    if ui.add_enabled(more, egui::Button::new("Remove")).clicked() {
        scene.act(LanesAction::RemoveLane(lane));
    }
}

fn settings(ui: &mut Ui, scene: &Scene<'_>, lane: usize, new: &mut Settings) {
    let (now, path) = (Kind::of(&new.sampler), scene.state.model_of(lane));
    let path = path.map_or(&Path::Linear, |model| &model.transport.path);
    ui.horizontal_wrapped(|ui| {
        for (kind, name, what) in Kind::ALL {
            let radio = ui.radio(now == kind, name).on_hover_text(what);
            if radio.clicked() && now != kind {
                new.sampler = of_kind(&new.sampler, kind, path);
            }
        }
    });
    ui.label(equation(new));
    match &mut new.sampler {
        Sampler::Ode(ode) => {
            let methods = Method::ALL.iter().copied();
            let before = ode.method;
            choose(ui, "Method", &mut ode.method, methods, Method::name);
            if ode.method.is_adaptive() {
                if ode.method != before {
                    // It has no times and no last step of its own.
                    (ode.grid, ode.last_euler) = (Grid::Uniform, false);
                }
                tolerances(ui, &mut ode.tolerance);
            } else {
                steps(ui, &mut ode.n_steps, "");
            }
        }
        Sampler::Sde(sde) => {
            let methods = SdeMethod::ALL.iter().copied();
            choose(ui, "Method", &mut sde.method, methods, SdeMethod::name);
            let after = match sde.last_step {
                LastStep::None => "",
                _ => " + last",
            };
            steps(ui, &mut sde.n_steps, after);
            if sde.method != SdeMethod::PredictorCorrector {
                diffusion_ui::form(ui, &mut sde.diffusion);
                diffusion_ui::norm(ui, &mut sde.diffusion);
            }
            let last_steps = LastStep::ALL.iter().copied();
            choose(
                ui,
                "Last step",
                &mut sde.last_step,
                last_steps,
                LastStep::name,
            );
            if sde.last_step != LastStep::None {
                let drag = DragValue::new(&mut sde.last_step_size)
                    .range(1e-4..=0.5)
                    .speed(0.001);
                number(ui, "Last step's size", drag);
            }
            noise(ui, &mut new.noise);
        }
        Sampler::Edm(edm) => levels_ui::edm(ui, edm),
        Sampler::Ddpm(ddpm) => levels_ui::chain(ui, ddpm),
        _ => {}
    }
    if let Some(model) = scene.state.model_of(lane).filter(|m| m.io.n_classes > 0) {
        class(ui, new, model);
        guidance(ui, new);
    }
    more_ui::show(ui, &mut new.sampler, path);
    let failed = scene.state.records[lane].failure.is_some();
    if failed || new.t_eps.is_some() {
        ends(ui, new);
    }
}

/// What error an adaptive solver tolerates in a step.
fn tolerances(ui: &mut Ui, tolerance: &mut Tolerance) {
    let rows = [
        ("rtol", &mut tolerance.rtol, 1e-6..=0.1),
        ("atol", &mut tolerance.atol, 1e-9..=0.1),
    ];
    for (name, value, range) in rows {
        ui.horizontal(|ui| {
            let label = ui.label(name).id;
            let slider = Slider::new(value, range)
                .logarithmic(true)
                .clamping(egui::SliderClamping::Edits)
                .custom_formatter(|x, _| format!("{x:.1e}"));
            ui.add(slider).labelled_by(label).on_hover_text(
                "A step is taken if the rms of its estimated error over atol + rtol |x| is at most 1, over all samples: they share the \
                 step's size here",
            );
        });
    }
    let most = DragValue::new(&mut tolerance.max_nfe)
        .range(10..=1_000_000)
        .speed(10.0);
    number(ui, "Most evaluations", most);
}

fn noise(ui: &mut Ui, noise: &mut Noise) {
    let mut same = *noise == Noise::Brownian;
    let check = ui.checkbox(&mut same, "One Brownian path").on_hover_text(
        "Halving the steps refines the same path, so convergence can be seen. The steps are a power of two: 16, 32, 64 …",
    );
    if check.changed() {
        *noise = if same {
            Noise::Brownian
        } else {
            Noise::Independent
        };
    }
}

/// The class of this lane alone, or of a branch from where it leaves.
fn class(ui: &mut Ui, new: &mut Settings, model: &Model) {
    let n_classes = model.io.n_classes as u32;
    let name = |class: Option<u32>| match class {
        None => "as above".to_owned(),
        Some(class) if class == n_classes => "none (∅)".to_owned(),
        Some(class) => model.class_name(class),
    };
    ui.horizontal(|ui| {
        let label = ui.label("Class").id;
        let combo = ComboBox::from_id_salt("class").selected_text(name(new.class));
        let inner = combo.show_ui(ui, |ui| {
            for class in [None].into_iter().chain((0..=n_classes).map(Some)) {
                ui.selectable_value(&mut new.class, class, name(class));
            }
        });
        inner.response.labelled_by(label);
    });
}

fn guidance(ui: &mut Ui, new: &mut Settings) {
    let guidance = &mut new.guidance;
    ui.horizontal(|ui| {
        let label = ui.label("Guidance").id;
        let slider = Slider::new(&mut guidance.scale, 0.0..=6.0).max_decimals(2);
        ui.add(slider)
            .labelled_by(label)
            .on_hover_text("v = v(∅) + scale · (v(class) − v(∅)); 1 is none and costs half");
    });
    if guidance.scale == 1.0 {
        return;
    }
    interval(ui, "Guided from t =", &mut guidance.interval);
    choose(
        ui,
        "Guided channels",
        &mut guidance.channels,
        GuidanceChannels::ALL.iter().copied(),
        GuidanceChannels::name,
    );
}

/// Distance from the ends, offered where a setting is singular there.
fn ends(ui: &mut Ui, new: &mut Settings) {
    ui.horizontal(|ui| {
        let mut away = new.t_eps.is_some();
        if ui
            .checkbox(&mut away, "Stay away from t = 0 and 1")
            .changed()
        {
            new.t_eps = away.then_some(1e-3);
        }
        if let Some(t_eps) = &mut new.t_eps {
            let drag = DragValue::new(t_eps)
                .range(1e-5..=0.2)
                .speed(1e-4)
                .max_decimals(5);
            ui.add(drag);
        }
    });
}
