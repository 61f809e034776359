//! The lanes side by side: what each one does, where it is, and its samples.

use super::{Scene, plane_ui};
use crate::state::{Record, Settings, State, Verdict, ViewAction};
use crate::view::{Scale, Sheet, range};
use egui::{Color32, Image, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use sit_engine::transport::{DdpmMethod, Diffusion, Path, Sampler, Sde, SdeMethod};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>, columns: usize) {
    let n = scene.state.lanes.len();
    let spacing = ui.spacing().item_spacing.x;
    let width = (ui.available_width() - spacing * (columns - 1) as f32) / columns as f32;
    for row in 0..n.div_ceil(columns) {
        ui.horizontal_top(|ui| {
            for lane in row * columns..((row + 1) * columns).min(n) {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    lane_ui(ui, scene, lane);
                });
            }
        });
    }
}

/// A lane's sampler in words.
pub fn title(settings: &Settings) -> String {
    let along = |path: &Option<Path>| match path {
        Some(path) => format!(", along {path}"),
        None => String::new(),
    };
    match &settings.sampler {
        Sampler::Ode(ode) => format!("ODE, {}{}", ode.method, along(&ode.along)),
        Sampler::Sde(sde) => match diffusion(&settings.sampler) {
            Some(d) => {
                let path = along(&sde.along);
                format!("SDE, {}, D = {} × {d}{path}", sde.method, d.norm)
            }
            None => {
                let path = along(&sde.along);
                format!("SDE, {}, snr = {}{path}", sde.method, sde.corrector.snr)
            }
        },
        Sampler::Edm(edm) if edm.churn == 0.0 => format!("EDM, {}", edm.method),
        Sampler::Edm(edm) => format!("EDM, {}, churn {}", edm.method, edm.churn),
        Sampler::Ddpm(ddpm) => match ddpm.method {
            DdpmMethod::Ancestral => "DDPM, ancestral".to_owned(),
            DdpmMethod::Ddim => format!("DDIM, η = {}", ddpm.eta),
        },
        _ => String::new(),
    }
}

/// What a lane does.
pub fn equation(settings: &Settings) -> &'static str {
    match (&settings.sampler, diffusion(&settings.sampler)) {
        (_, Some(_)) => "dX = (v + D s) dt + √(2D) dW",
        (Sampler::Sde(_), None) => "dX = v(X, t) dt, corrected",
        (Sampler::Edm(edm), _) if edm.churn == 0.0 => "dX = (X − E[x₁|X]) dσ / σ",
        (Sampler::Edm(_), _) => "noise added, then dX = (X − E[x₁|X]) dσ / σ",
        (Sampler::Ddpm(ddpm), _) => match ddpm.method {
            DdpmMethod::Ancestral => "X' = a E[x₁|X] + b X + c ε",
            DdpmMethod::Ddim if ddpm.eta == 0.0 => "X' = α' E[x₁|X] + σ' E[x₀|X]",
            DdpmMethod::Ddim => "X' = α' E[x₁|X] + √(σ'² − c²) E[x₀|X] + c ε",
        },
        _ => "dX = v(X, t) dt",
    }
}

/// The diffusion of an SDE that has one.
pub fn diffusion(sampler: &Sampler) -> Option<&Diffusion> {
    match sampler {
        Sampler::Sde(Sde {
            method: SdeMethod::PredictorCorrector,
            ..
        }) => None,
        Sampler::Sde(sde) => Some(&sde.diffusion),
        _ => None,
    }
}

/// What the judge says of a lane.
fn judged(record: &Record) -> String {
    match record.verdict {
        Some(Verdict::Agreement { right, of }) => {
            let percent = 100.0 * right as f64 / of as f64;
            format!("judge: at the end {right} of {of} ({percent:.1} %) have their class")
        }
        Some(Verdict::NoClass) => "judge: no class was asked for".into(),
        Some(Verdict::Other) => "judge: knows other images or classes".into(),
        None => "judge: waits for the end of the lane".into(),
    }
}

/// What t counts.
fn time_in_words(sampler: &Sampler) -> &'static str {
    match sampler {
        Sampler::Edm(_) => "Here t is the share of the steps that are done.",
        Sampler::Ddpm(_) => "Here t counts noise levels, from the noisiest one on.",
        _ => "t is the time of that path.",
    }
}

fn lane_ui(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize) {
    let state = scene.state;
    let record = &state.records[lane];
    let position = state.position(lane);
    let settings = state.lanes[lane].settings_at(record.t(position.min(record.steps.len())));
    // One line each, so that the samples of all lanes start at the same height.
    let title = title(settings);
    let heading = || WidgetInfo::labeled(Role::Heading, true, &title);
    ui.label(RichText::new(&title).strong().size(16.0))
        .widget_info(heading);
    ui.label(RichText::new(equation(settings)).italics());
    let t = record.t(position.min(record.steps.len()));
    let line = ui.monospace(format!(
        "t = {t:.3}  step {position} of {}  {} evaluations",
        record.steps.total(),
        record.nfe(position),
    ));
    if let Some(model) = &state.model {
        let (path, own) = record.place(position, &model.transport);
        line.on_hover_text(format!(
            "The state is {:.3} data + {:.3} noise, on the {path} path. {}",
            path.alpha(own),
            path.sigma(own),
            time_in_words(&settings.sampler),
        ));
    }
    if state.judge.is_some() {
        ui.label(judged(record));
    }
    if let Some(failure) = &record.failure {
        ui.colored_label(ui.visuals().error_fg_color, failure);
    }
    if state.model.as_ref().is_some_and(|m| m.is_plane()) {
        plane_ui::lane(ui, scene, lane, position);
        return;
    }
    match scene.pictures.lane(ui.ctx(), state, lane) {
        Some((sheet, texture)) => {
            let (rect, response) = ui.allocate_exact_size(size(ui, &sheet), Sense::click());
            let name = format!("Samples of lane {}", lane + 1);
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
            Image::new(texture).paint_at(ui, rect);
            pick(ui, scene, rect, &response, &sheet);
            legend(ui, scene);
        }
        None if record.failure.is_none() => {
            let is_computed =
                record.frames.len() > position || record.is_started() && record.is_whole();
            let text = match state.view.quantity {
                crate::state::Quantity::Noise => no_noise(record, position),
                _ if is_computed => "Nothing to show at this step.",
                _ => "Computing …",
            };
            match coming(state) {
                Some(sheet) => {
                    let middle = egui::Layout::centered_and_justified(egui::Direction::TopDown);
                    ui.allocate_ui_with_layout(size(ui, &sheet), middle, |ui| ui.label(text));
                    legend(ui, scene);
                }
                None => {
                    ui.label(text);
                }
            }
        }
        None => {}
    }
}

/// Why there is no noise to show.
fn no_noise(record: &Record, position: usize) -> &'static str {
    let last = position.checked_sub(1).and_then(|k| record.steps.get(k));
    match last.map(|planned| planned.step.noise_std()) {
        Some(None) => "The network chooses the size of this noise, which is not recorded.",
        _ => "No noise is added in this step.",
    }
}

/// The size at which a sheet is drawn: as wide as its lane.
fn size(ui: &Ui, sheet: &Sheet) -> egui::Vec2 {
    let [width, height] = sheet.size().map(|side| side as f32);
    vec2(width, height) * (ui.available_width() / width)
}

/// The sheet that a lane without a picture will show, if that is known. It reserves the space, so that nothing moves later.
fn coming(state: &State) -> Option<Sheet> {
    let side = state.model.as_ref()?.io.image[1];
    let is_grid = state.view.layout == crate::state::Layout::Grid;
    is_grid.then(|| Sheet::new(state.n_samples, side, None))
}

/// Marks the picked sample, and picks another one on a click.
fn pick(ui: &Ui, scene: &mut Scene<'_>, rect: Rect, response: &egui::Response, sheet: &Sheet) {
    if scene.state.view.layout != crate::state::Layout::Grid {
        return;
    }
    if let Some(sample) = scene.state.view.sample {
        let [left, top, right, bottom] = sheet.place(sample);
        let at = |x: f32, y: f32| {
            pos2(
                rect.left() + x * rect.width(),
                rect.top() + y * rect.height(),
            )
        };
        let mark = Rect::from_min_max(at(left, top), at(right, bottom)).expand(2.0);
        let stroke = Stroke::new(2.0, ui.visuals().selection.stroke.color);
        ui.painter()
            .rect_stroke(mark, 2.0, stroke, egui::StrokeKind::Outside);
    }
    if response.clicked()
        && let Some(at) = response.interact_pointer_pos()
    {
        let [x, y] = [
            (at.x - rect.left()) / rect.width(),
            (at.y - rect.top()) / rect.height(),
        ];
        let sample = sheet.sample_at([x, y]);
        let again = sample == scene.state.view.sample;
        scene.act(ViewAction::PickSample(sample.filter(|_| !again)));
    }
}

/// The scale of signed numbers.
fn legend(ui: &mut Ui, scene: &Scene<'_>) {
    let quantity = scene.state.view.quantity;
    let scale = Scale::of(quantity);
    let Scale::Signed(_) = scale else {
        return;
    };
    let range = range(quantity);
    ui.horizontal(|ui| {
        ui.small(format!("−{range}"));
        let (rect, _) = ui.allocate_exact_size(vec2(120.0, 8.0), Sense::hover());
        let n = 40;
        for i in 0..n {
            let at = |i: usize| rect.left() + rect.width() * i as f32 / n as f32;
            let part = Rect::from_x_y_ranges(at(i)..=at(i + 1), rect.y_range());
            let x = range * (2.0 * (i as f32 + 0.5) / n as f32 - 1.0);
            let color: Color32 = scale.color(x);
            ui.painter().rect_filled(part, 0.0, color);
        }
        ui.small(format!("+{range}"));
    });
}
