//! The lanes side by side: what each one does, where it is, and its samples.

use super::{Scene, plane_ui};
use crate::state::{Record, State, Verdict, ViewAction, caption, equation, needs};
use crate::view::{Scale, Sheet, range};
use egui::{
    Color32, Image, Label, Rect, RichText, Role, Sense, Stroke, TextStyle, Ui, WidgetInfo, pos2,
    vec2,
};
use sit_engine::transport::Sampler;

/// How much larger a lane's title is than other text.
const TITLE: f32 = 1.2;

/// Height of the words about a lane, and the least side of its picture, in points.
const WORDS: f32 = 76.0;
const LEAST_SIDE: f32 = 150.0;

/// The lanes in rows of `columns`, which together are `height` high if their pictures are not too small for that.
pub fn show(ui: &mut Ui, scene: &mut Scene<'_>, columns: usize, height: f32) {
    let n = scene.state.lanes.len();
    let spacing = ui.spacing().item_spacing;
    let width = (ui.available_width() - spacing.x * (columns - 1) as f32) / columns as f32;
    let rows = n.div_ceil(columns);
    let judge = if scene.state.judge.is_some() {
        20.0
    } else {
        0.0
    };
    let decoder = match scene.state.decoder() {
        Some(_) => 18.0,
        None => 0.0,
    };
    let side = (height / rows as f32 - WORDS - judge - decoder - spacing.y).max(LEAST_SIDE);
    for row in 0..rows {
        ui.horizontal_top(|ui| {
            for lane in row * columns..((row + 1) * columns).min(n) {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    lane_ui(ui, scene, lane, side);
                });
            }
        });
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
        Some(Verdict::Failed) => "judge: failed".into(),
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

fn lane_ui(ui: &mut Ui, scene: &mut Scene<'_>, lane: usize, side: f32) {
    let state = scene.state;
    let record = &state.records[lane];
    let position = state.position(lane);
    let settings = state.lanes[lane].settings_at(record.t(position.min(record.steps.len())));
    // One line each, so that the samples of all lanes start at the same height.
    let title_size = TextStyle::Body.resolve(ui.style()).size * TITLE;
    let title = caption(state, lane, settings);
    let heading = || WidgetInfo::labeled(Role::Heading, true, &title);
    let text = RichText::new(&title).strong().size(title_size);
    ui.add(Label::new(text).truncate()).widget_info(heading);
    let line = RichText::new(equation(settings)).italics();
    ui.add(Label::new(line).truncate());
    let t = record.t(position.min(record.steps.len()));
    let line = RichText::new(format!(
        "t = {t:.3}  step {position} of {}  {} evaluations",
        record.steps.total(),
        record.nfe(position),
    ));
    let line = ui.add(Label::new(line.monospace()).truncate());
    if let Some(model) = state.model_of(lane) {
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
        plane_ui::lane(ui, scene, lane, position, side);
        return;
    }
    match scene.pictures.lane(ui.ctx(), state, lane) {
        Some((sheet, texture)) => {
            let (rect, response) = ui.allocate_exact_size(size(ui, &sheet, side), Sense::click());
            let name = format!("Samples of lane {}", lane + 1);
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
            Image::new(texture).paint_at(ui, rect);
            pick(ui, scene, rect, &response, &sheet);
            legend(ui, scene);
            about_decoded(ui, state, lane);
        }
        None if record.failure.is_none() => {
            let is_computed =
                record.frames.len() > position || record.is_started() && record.is_whole();
            let text = match state.view.quantity {
                crate::state::Quantity::Noise => no_noise(record, position),
                _ if state.model.is_none() => &needs(&state.source),
                _ if is_computed && state.decoder().is_some() => "Decoding …",
                _ if is_computed => "Nothing to show at this step.",
                _ => "Computing …",
            };
            match coming(state) {
                Some(sheet) => {
                    let middle = egui::Layout::centered_and_justified(egui::Direction::TopDown);
                    ui.allocate_ui_with_layout(size(ui, &sheet, side), middle, |ui| ui.label(text));
                    legend(ui, scene);
                    about_decoded(ui, state, lane);
                }
                None => {
                    ui.label(text);
                }
            }
        }
        None => {}
    }
}

/// What decoded the pictures of a lane, and which of them are there.
fn about_decoded(ui: &mut Ui, state: &State, lane: usize) {
    if let Some(text) = state.about_decoded(lane) {
        ui.add(Label::new(RichText::new(text).small()).truncate());
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

/// The size at which a sheet is drawn: as wide as its lane, and at most `most` high.
fn size(ui: &Ui, sheet: &Sheet, most: f32) -> egui::Vec2 {
    let [width, height] = sheet.size().map(|side| side as f32);
    vec2(width, height) * (ui.available_width() / width).min(most / height)
}

/// The sheet that a lane without a picture will show, if that is known. It reserves the space, so that nothing moves later.
fn coming(state: &State) -> Option<Sheet> {
    let image = state.model.as_ref()?.io.image;
    let is_grid = state.view.layout == crate::state::Layout::Grid;
    let (n, side) = match state.decoder() {
        Some(autoencoder) => (state.n_decoded(autoencoder), autoencoder.picture(image)[1]),
        None => (state.n_samples, image[1]),
    };
    is_grid.then(|| Sheet::new(n, side, None))
}

/// Marks the picked sample, and picks another one on a click.
fn pick(ui: &Ui, scene: &mut Scene<'_>, rect: Rect, response: &egui::Response, sheet: &Sheet) {
    if scene.state.view.layout != crate::state::Layout::Grid {
        return;
    }
    // Of latents, fewer samples may be decoded.
    if let Some(sample) = scene.state.view.sample.filter(|sample| *sample < sheet.n) {
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
