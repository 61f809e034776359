//! Training step against sampling time: what each checkpoint of a run makes of the same noise.

use super::Scene;
use crate::examine::mib;
use crate::job::Request;
#[cfg(not(target_arch = "wasm32"))]
use crate::state::{Action, Choice};
use crate::state::{COLUMNS, Checkpoint, STRIDE, TimelineAction, ViewAction, Weights};
use crate::view::{RowPicture, of_cells};
use egui::{
    Align, Align2, Color32, Id, Label, Layout, Rect, Response, RichText, Sense, Stroke, Ui,
    UiBuilder, pos2, vec2,
};

/// Width of a row's name, in points.
const NAME: f32 = 64.0;

/// Space between two cells, in points.
const GAP: f32 = 3.0;

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let timeline = &scene.state.timeline;
    #[cfg(not(target_arch = "wasm32"))]
    if ui.button("Choose a run folder").clicked() {
        scene.act(Action::Choose(Choice::Folder));
    }
    if timeline.rows.is_empty() {
        ui.label(if cfg!(target_arch = "wasm32") {
            "Drop several .safetensors files of one training here at once: each becomes a row, sampling time runs to the right. \
             A whole run folder needs the program on the desktop."
        } else {
            "Drop the folder of a run of `sit train` on the window, or several .safetensors files at once: each checkpoint becomes \
             a row, sampling time runs to the right."
        });
        return;
    }
    ui.strong(&timeline.name);
    weights(ui, scene);
    about(ui, scene);
    times(ui);
    for row in 0..timeline.rows.len() {
        show_row(ui, scene, row);
    }
}

/// Averaged weights or those of the last step, for a run, which has both.
fn weights(ui: &mut Ui, scene: &mut Scene<'_>) {
    let timeline = &scene.state.timeline;
    let is_run = |c: &Checkpoint| matches!(c, Checkpoint::Step(..));
    if !timeline.rows.iter().any(|row| is_run(&row.checkpoint)) {
        return;
    }
    ui.horizontal(|ui| {
        for (weights, name, what) in [
            (Weights::Ema, "EMA", "The moving average of the weights"),
            (Weights::Raw, "Raw", "The weights as they were trained"),
        ] {
            let chosen = timeline.weights == weights;
            let label = ui.selectable_label(chosen, name).on_hover_text(what);
            if label.clicked() && !chosen {
                scene.act(TimelineAction::Weights(weights));
            }
        }
    });
}

fn about(ui: &mut Ui, scene: &Scene<'_>) {
    let (state, timeline) = (scene.state, &scene.state.timeline);
    ui.small(format!(
        "{} along dX = v(X, t) dt (Euler, {} steps, no guidance), always from the noise of sample {} of seed {}. Click a cell to \
         step that checkpoint from there.",
        of_cells(state.view.quantity).name(),
        STRIDE * (COLUMNS - 1),
        timeline.start.sample + 1,
        timeline.start.seed
    ));
    let (done, all) = timeline.progress();
    let mut text = format!("{done} of {all} cells, {}", mib(timeline.bytes()));
    if timeline.rows.len() < timeline.of {
        text += &format!("; {} of {} checkpoints", timeline.rows.len(), timeline.of);
    }
    if done < all {
        text += "; lanes and training come first";
    }
    ui.small(text);
}

/// Left end and side of the cells of a row.
fn cells(ui: &Ui) -> (f32, f32) {
    let width = ui.available_width() - NAME;
    (NAME, (width / COLUMNS as f32 - GAP).clamp(8.0, 96.0))
}

fn times(ui: &mut Ui) {
    let (left, side) = cells(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), Sense::hover());
    for column in 0..COLUMNS {
        let t = column as f64 / (COLUMNS - 1) as f64;
        let x = rect.left() + left + (side + GAP) * column as f32 + 0.5 * side;
        let (align, color) = (Align2::CENTER_CENTER, ui.visuals().text_color());
        let font = egui::TextStyle::Small.resolve(ui.style());
        let text = match column {
            0 => "t = 0".to_owned(),
            _ => format!("{t:.2}"),
        };
        ui.painter()
            .text(pos2(x, rect.center().y), align, text, font, color);
    }
}

fn show_row(ui: &mut Ui, scene: &mut Scene<'_>, at: usize) {
    let row = &scene.state.timeline.rows[at];
    if let Some(error) = &row.error {
        ui.horizontal_wrapped(|ui| {
            ui.small(&row.name);
            let color = ui.visuals().error_fg_color;
            ui.label(RichText::new(error).small().color(color));
        });
        return;
    }
    let (left, side) = cells(ui);
    let size = vec2(ui.available_width(), side + GAP);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    if !ui.is_rect_visible(rect) {
        return;
    }
    let name = Rect::from_min_size(rect.min, vec2(NAME - GAP, side));
    let place = UiBuilder::new()
        .max_rect(name)
        .layout(Layout::left_to_right(Align::Center));
    let text = RichText::new(&row.name).small();
    ui.scope_builder(place, |ui| ui.add(Label::new(text).truncate()));
    let picture = scene.pictures.row(ui.ctx(), scene.state, at);
    for column in 0..COLUMNS {
        let x = rect.left() + left + (side + GAP) * column as f32;
        let rect = Rect::from_min_size(pos2(x, rect.top()), vec2(side, side));
        ui.painter()
            .rect_filled(rect, 1.0, ui.visuals().faint_bg_color);
        let Some(t) = row.cells.get(column).map(|cell| cell.t) else {
            continue;
        };
        let response = ui.interact(rect, Id::unique(("timeline", at, column)), Sense::click());
        let label = format!("{}, t = {t:.2}", row.name);
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &label));
        paint(ui, rect, column, picture.as_ref(), &response);
        if response.on_hover_text(label).clicked() {
            open(scene, at, t);
        }
    }
}

fn paint(ui: &Ui, rect: Rect, column: usize, picture: Option<&RowPicture>, response: &Response) {
    if let Some(picture) = picture
        && let Some(Some(place)) = picture.places.get(column)
    {
        let [left, top, right, bottom] = picture.sheet.place(*place);
        let uv = Rect::from_min_max(pos2(left, top), pos2(right, bottom));
        ui.painter()
            .image(picture.texture.id(), rect, uv, Color32::WHITE);
    }
    if response.hovered() || response.has_focus() {
        let stroke = Stroke::new(2.0, ui.visuals().selection.stroke.color);
        ui.painter()
            .rect_stroke(rect, 1.0, stroke, egui::StrokeKind::Outside);
    }
}

/// Takes a checkpoint into the lanes, and the sample that its row shows.
fn open(scene: &mut Scene<'_>, at: usize, t: f64) {
    let timeline = &scene.state.timeline;
    let row = &timeline.rows[at];
    let weights = match (&row.checkpoint, timeline.weights) {
        (Checkpoint::File(_), _) => String::new(),
        (_, Weights::Ema) => format!(" of {}, EMA", timeline.name),
        (_, Weights::Raw) => format!(" of {}, raw", timeline.name),
    };
    scene.requests.push(Request::UseCheckpoint {
        name: format!("{}{weights}", row.name),
        checkpoint: row.checkpoint.clone(),
        weights: timeline.weights,
        t,
    });
    scene.act(ViewAction::PickSample(Some(timeline.start.sample)));
}
