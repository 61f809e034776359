//! Training data from files: what was read, at which size, or what is wrong with it.

use super::controls::file_buttons;
use crate::state::{Action, DEFAULT_SIZE, Files, FilesAction, Opened, SIZES, State, Wanted};
use crate::view::{Scale, sheet};
use egui::{ProgressBar, TextureHandle, TextureOptions, Ui};
use sit_engine::text::count;
use sit_trainer::data::Kind;

/// Names of classes that are listed.
const NAMES: usize = 12;

pub fn show(ui: &mut Ui, state: &State, actions: &mut Vec<Action>) {
    let chosen = ui.horizontal(file_buttons).inner;
    actions.extend(chosen.map(Action::Choose));
    let files = &state.files;
    let Some(wanted) = &files.wanted else {
        return;
    };
    ui.strong(&wanted.name);
    if let Some((done, total)) = files.progress {
        let part = done as f32 / total.max(1) as f32;
        let text = match total {
            0 => "reading".to_owned(),
            _ => format!("{done} of {total} read"),
        };
        ui.add(ProgressBar::new(part).text(text));
    }
    if let Some(error) = &files.error {
        ui.colored_label(ui.visuals().error_fg_color, error);
        back(ui, files, actions);
    }
    let ready = files.ready();
    if let Some(opened) = ready {
        facts(ui, opened);
    }
    // IDX images keep their size, so there is nothing to choose.
    let is_idx = ready.is_some_and(|opened| opened.config.kind == Kind::Idx);
    if files.progress.is_none() && !is_idx {
        options(ui, wanted, ready, actions);
    }
    if let Some(opened) = ready {
        examples(ui, opened);
    }
}

fn facts(ui: &mut Ui, opened: &Opened) {
    let dataset = &opened.dataset;
    let [channels, height, width] = dataset.shape();
    let n_classes = dataset.n_classes();
    let mut text = format!(
        "{} of {width}×{height}×{channels}, {}",
        count(dataset.len(), "image"),
        count(n_classes, "class")
    );
    let names: Vec<&str> = dataset.class_names().iter().map(|name| &name[..]).collect();
    if !names.is_empty() {
        text += &format!(": {}", names[..names.len().min(NAMES)].join(", "));
        if names.len() > NAMES {
            text += &format!(" and {} more", names.len() - NAMES);
        }
    }
    ui.label(text);
}

/// Offers the last readable data in place of data that could not be read.
fn back(ui: &mut Ui, files: &Files, actions: &mut Vec<Action>) {
    if let Some(opened) = &files.opened {
        let name = format!("Back to {}", opened.wanted.name);
        if ui.button(name).clicked() {
            actions.push(Action::Files(FilesAction::Keep));
        }
    }
}

fn options(ui: &mut Ui, wanted: &Wanted, ready: Option<&Opened>, actions: &mut Vec<Action>) {
    let Wanted { size, skip_bad, .. } = *wanted;
    let now = size.or(ready.and_then(|opened| opened.config.image_size));
    ui.horizontal(|ui| {
        ui.label("Image size");
        for size in SIZES {
            let label = ui.selectable_label(now == Some(size), format!("{size}×{size}"));
            if label.clicked() && now != Some(size) {
                let size = Some(size);
                actions.push(Action::Files(FilesAction::Change { size, skip_bad }));
            }
        }
    });
    ui.small(format!(
        "Resized so that the shorter side fits, then cropped to the middle. More than {DEFAULT_SIZE} only if you say so: attention over \
         more pixels takes a processor long."
    ));
    let mut skip_bad = skip_bad;
    let skip = ui.checkbox(&mut skip_bad, "Leave out images that cannot be read");
    if skip.changed() {
        actions.push(Action::Files(FilesAction::Change { size, skip_bad }));
    }
}

/// Some of the images, drawn once.
fn examples(ui: &mut Ui, opened: &Opened) {
    let id = ui.scope_id().with("examples");
    let number = opened.wanted.number;
    let cached = ui.data(|data| data.get_temp::<(u64, TextureHandle)>(id));
    let texture = match cached {
        Some((of, texture)) if of == number => texture,
        _ => {
            let shape = opened.dataset.shape();
            let (_, image) = sheet(&opened.examples, shape, Some(8), Scale::Image);
            let options = TextureOptions::NEAREST;
            let texture = ui.ctx().load_texture("examples", image, options);
            ui.data_mut(|data| data.insert_temp(id, (number, texture.clone())));
            texture
        }
    };
    let [width, height] = texture.size();
    let wide = ui.available_width();
    let size = egui::vec2(wide, wide * height as f32 / width as f32);
    let image = ui.add(egui::Image::new((texture.id(), size)));
    image.widget_info(|| {
        egui::WidgetInfo::labeled(egui::Role::Image, true, "Some of the training images")
    });
}
