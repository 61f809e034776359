//! The line above: what is sampled, from which noise, and what is drawn of it.

use super::Scene;
use super::controls::{MENU_HEIGHT, file_buttons};
use crate::source::mixtures;
use crate::state::{
    Action, Choice, Classes, Export, LanesAction, Layout, MAX_SAMPLES, Quantity, Source, ViewAction,
};
use egui::containers::menu::{MenuButton, MenuConfig};
use egui::{
    Align2, Area, Button, ComboBox, DragValue, Frame, Key, Order, PopupCloseBehavior, ProgressBar,
    Role, ThemePreference, Ui, WidgetInfo,
};
use sit_engine::text::count;

/// Widths of the menus, whatever is chosen in them: a choice moves no other control.
const NETWORK_WIDTH: f32 = 170.0;
const CLASS_WIDTH: f32 = 80.0;
const VIEW_WIDTH: f32 = 180.0;

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        let title = "SiT: ODE against SDE";
        let heading = || WidgetInfo::labeled(Role::Heading, true, title);
        ui.strong(title).widget_info(heading);
        ui.separator();
        network(ui, scene);
        ui.separator();
        classes(ui, scene);
        ui.separator();
        seed(ui, scene);
        ui.separator();
        view(ui, scene);
        ui.separator();
        theme(ui);
        copy_link(ui, scene);
        open(ui, scene);
        save(ui, scene);
        if ui.button("? Help").clicked() {
            scene.act(ViewAction::ToggleHelp);
        }
    });
    ui.label(
        "Every lane starts from the same noise (t = 0) and ends in data (t = 1). Space plays and pauses; change a lane in the tab Lanes, \
         or take the Tour.",
    );
}

fn network(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = &scene.state.source;
    let exact = mixtures().map(|(toy, _)| Source::Exact(toy.name().to_owned()));
    let own = [Source::Digits, Source::Emoji];
    let mut all: Vec<Source> = own.into_iter().chain(exact).collect();
    let open = scene.state.networks.iter().map(|model| &model.source);
    for source in open.chain([now]) {
        if !all.contains(source) {
            all.push(source.clone());
        }
    }
    let label = ui.label("Network").id;
    let combo = ComboBox::from_id_salt("network")
        .width(NETWORK_WIDTH)
        .truncate()
        .selected_text(now.title());
    let inner = combo.show_ui(ui, |ui| {
        for source in all {
            if ui
                .selectable_label(source == *now, source.title())
                .clicked()
            {
                scene.actions.push(Action::Load(source));
            }
        }
    });
    let what = "Train more in the tab Train, or open a .safetensors or .pt file";
    inner.response.labelled_by(label).on_hover_text(what);
}

fn classes(ui: &mut Ui, scene: &mut Scene<'_>) {
    let Some(model) = &scene.state.model else {
        return;
    };
    let n = model.io.n_classes;
    if n == 0 {
        return;
    }
    let name = |classes: Classes| match classes {
        Classes::All => "all, in turn".to_owned(),
        Classes::One(class) => model.class_name(class),
        Classes::None => "none (∅)".to_owned(),
    };
    let now = scene.state.classes;
    let label = ui.label("Classes").id;
    let combo = ComboBox::from_id_salt("classes")
        .width(CLASS_WIDTH)
        .truncate()
        .selected_text(name(now));
    let inner = combo.show_ui(ui, |ui| {
        let each = (0..n as u32).map(Classes::One);
        for classes in [Classes::All, Classes::None].into_iter().chain(each) {
            if ui.selectable_label(classes == now, name(classes)).clicked() {
                scene.act(LanesAction::SetClasses(classes));
            }
        }
    });
    inner.response.labelled_by(label);
}

fn seed(ui: &mut Ui, scene: &mut Scene<'_>) {
    let label = ui.label("Seed").id;
    let mut seed = scene.state.seed;
    let drag = DragValue::new(&mut seed).speed(0.1);
    if ui.add(drag).labelled_by(label).changed() {
        scene.act(LanesAction::SetSeed(seed));
    }
    if ui
        .button("New noise")
        .on_hover_text("The next seed (N)")
        .clicked()
    {
        scene.act(LanesAction::NewNoise);
    }
    let label = ui.label("Samples").id;
    let mut n = scene.state.n_samples;
    let drag = DragValue::new(&mut n)
        .range(1..=MAX_SAMPLES)
        .update_while_editing(false);
    if ui.add(drag).labelled_by(label).changed() {
        scene.act(LanesAction::SetSamples(n));
    }
}

fn view(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = scene.state.view.quantity;
    let label = ui.label("View").id;
    let combo = ComboBox::from_id_salt("view")
        .width(VIEW_WIDTH)
        .truncate()
        .height(MENU_HEIGHT)
        .selected_text(now.name());
    let inner = combo.show_ui(ui, |ui| {
        for quantity in Quantity::ALL {
            if ui
                .selectable_label(quantity == now, quantity.name())
                .clicked()
            {
                scene.act(ViewAction::SetQuantity(quantity));
            }
        }
    });
    inner.response.labelled_by(label);
    if let Some(autoencoder) = scene.state.fitting_autoencoder() {
        let mut decodes = !scene.state.view.latents;
        let what = format!(
            "States and predicted data as {} decodes them, in place of their latents",
            autoencoder.name
        );
        if ui
            .checkbox(&mut decodes, "Decode")
            .on_hover_text(what)
            .changed()
        {
            scene.act(ViewAction::ToggleLatents);
        }
    }
    for (layout, name, what) in [
        (Layout::Grid, "Grid", "All samples at one time"),
        (
            Layout::Film,
            "Film strip",
            "A few samples, steps to the right",
        ),
    ] {
        let chosen = scene.state.view.layout == layout;
        if ui
            .selectable_label(chosen, name)
            .on_hover_text(what)
            .clicked()
        {
            scene.act(ViewAction::SetLayout(layout));
        }
    }
}

/// Light or dark; at first as the system is.
fn theme(ui: &mut Ui) {
    let dark = ui.visuals().dark_mode;
    let name = if dark { "Light" } else { "Dark" };
    if ui
        .button(name)
        .on_hover_text("Colors of the window")
        .clicked()
    {
        let theme = if dark {
            ThemePreference::Light
        } else {
            ThemePreference::Dark
        };
        ui.ctx().set_theme(theme);
    }
}

/// The button that copies a link, and says for a moment that it did.
fn copy_link(ui: &mut Ui, scene: &mut Scene<'_>) {
    let id = ui.scope_id().with("copied");
    let now = ui.input(|input| input.time);
    let copied: Option<f64> = ui.data(|data| data.get_temp(id));
    let left = copied.map_or(0.0, |at| at + SAID_SECONDS - now);
    let text = match left > 0.0 {
        true => "Copied ✔",
        false => "Copy link",
    };
    let button = ui
        .button(text)
        .on_hover_text("A link that opens exactly this: seed, lanes, step, view");
    if button.clicked() {
        scene.act(Action::CopyLink);
        ui.data_mut(|data| data.insert_temp(id, now));
    }
    if left > 0.0 {
        let left = std::time::Duration::from_secs_f64(left);
        ui.ctx().request_repaint_after(left);
    }
}

/// The menu of what can be opened.
fn open(ui: &mut Ui, scene: &mut Scene<'_>) {
    let id = ui.scope_id().with("path");
    // The menu stays while the path is written.
    let config = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
    let (button, _) = MenuButton::new("Open …").config(config).ui(ui, |ui| {
        ui.set_width(NOTICE_WIDTH);
        ui.label("Networks, judges, autoencoders, runs, pictures that were saved here, tours and training data. Dropping them on the window does the same.");
        if let Some(choice) = file_buttons(ui) {
            scene.act(Action::Choose(choice));
            ui.close();
        }
        let label = match cfg!(target_arch = "wasm32") {
            true => "A link",
            false => "A path or a link",
        };
        let label = ui.label(label).id;
        let mut text: String = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        let edit = ui.text_edit_singleline(&mut text).labelled_by(label);
        let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        let is_there = !text.trim().is_empty();
        let go = ui.add_enabled(is_there, Button::new("Open this"));
        if is_there && (entered || go.clicked()) {
            scene.act(Action::Choose(Choice::Text(std::mem::take(&mut text))));
            ui.close();
        }
        ui.data_mut(|data| data.insert_temp(id, text));
    });
    button.on_hover_text("A file, a folder, a path or a link");
}

/// The menu of what can be kept.
fn save(ui: &mut Ui, scene: &mut Scene<'_>) {
    let menu = ui.menu_button("Save …", |ui| {
        for (export, name, what) in Export::ALL {
            if ui.button(format!("{name}: {what}")).clicked() {
                scene.act(Action::Export(export));
                ui.close();
            }
        }
        if cfg!(target_arch = "wasm32")
            && !scene.state.recording
            && ui.button("WebM: Record the page from now on").clicked()
        {
            scene.act(ViewAction::ToggleRecord);
            ui.close();
        }
    });
    if scene.state.recording && ui.button("● Stop recording").clicked() {
        scene.act(ViewAction::ToggleRecord);
    }
    let what =
        "Figures and animations hold a link: dropped on the window, they restore all of this";
    menu.response.on_hover_text(what);
}

/// How long the button says that the link is copied.
const SAID_SECONDS: f64 = 2.0;

/// Width of the messages, and their distance from the edges.
const NOTICE_WIDTH: f32 = 420.0;
const NOTICE_MARGIN: f32 = 12.0;

/// Messages that are shown; the rest is counted.
const MOST_NOTICES: usize = 4;

/// The messages, the newest on top. They lie over the window, above the play bar of height `below`, so
/// that no control moves when one comes or goes.
pub fn notices(ui: &Ui, scene: &mut Scene<'_>, below: f32) {
    let notices = &scene.state.notices;
    let saving = &scene.state.saving;
    if notices.is_empty() && saving.is_none() {
        return;
    }
    let mut read = None;
    let width = (ui.ctx().content_rect().width() - 2.0 * NOTICE_MARGIN).min(NOTICE_WIDTH);
    Area::new(ui.scope_id().with("notices"))
        .order(Order::Foreground)
        .anchor(
            Align2::RIGHT_BOTTOM,
            [-NOTICE_MARGIN, -NOTICE_MARGIN - below],
        )
        .show(ui.ctx(), |ui| {
            ui.set_width(width);
            if let Some((name, share)) = saving {
                let text = format!("Making {name}");
                ui.add(ProgressBar::new(*share).text(text));
            }
            for (at, text) in notices.iter().enumerate().rev().take(MOST_NOTICES) {
                Frame::popup(ui.style()).show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.colored_label(ui.visuals().warn_fg_color, text);
                    if ui.button("Dismiss").clicked() {
                        read = Some(at);
                    }
                });
            }
            if let Some(more) = notices.len().checked_sub(MOST_NOTICES).filter(|n| *n > 0) {
                ui.label(format!("… and {}", count(more, "older message")));
            }
        });
    if let Some(at) = read {
        scene.act(Action::Dismiss(at));
    }
}
