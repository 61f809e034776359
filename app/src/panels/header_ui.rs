//! The line above: what is sampled, from which noise, and what is drawn of it.

use super::Scene;
use crate::source::mixtures;
use crate::state::{
    Action, Classes, Export, LanesAction, Layout, MAX_SAMPLES, Quantity, Source, ViewAction,
};
use egui::{
    Align2, Area, ComboBox, DragValue, Frame, Order, Role, ThemePreference, Ui, WidgetInfo,
};
use sit_engine::text::count;

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
        for (export, name) in [(Export::Picture, "PNG"), (Export::Animation, "GIF")] {
            let button = ui.button(name);
            let what =
                "Keep a picture of the lanes; dropping it on the window restores all of this";
            if button.on_hover_text(what).clicked() {
                scene.act(Action::Export(export));
            }
        }
        if ui.button("? Help").clicked() {
            scene.act(ViewAction::ToggleHelp);
        }
    });
    ui.label(
        "Every lane starts from the same noise (t = 0) and ends in data (t = 1). Space plays and pauses; change a lane in the tab Lanes, \
         or take the Tour.",
    );
    notices(ui, scene);
}

/// Name of a source in the menu.
fn name(source: &Source) -> String {
    match source {
        Source::Digits => "SiT on 8×8 digits".to_owned(),
        Source::Exact(toy) => format!("exact field of {toy}"),
        Source::File(name) => name.clone(),
        Source::Trained(data) => format!("trained here on {data}"),
    }
}

fn network(ui: &mut Ui, scene: &mut Scene<'_>) {
    let now = &scene.state.source;
    let exact = mixtures().map(|(toy, _)| Source::Exact(toy.name().to_owned()));
    let mut all: Vec<Source> = [Source::Digits].into_iter().chain(exact).collect();
    if !all.contains(now) {
        all.push(now.clone());
    }
    let label = ui.label("Network").id;
    let combo = ComboBox::from_id_salt("network").selected_text(name(now));
    let inner = combo.show_ui(ui, |ui| {
        for source in all {
            if ui.selectable_label(source == *now, name(&source)).clicked() {
                scene.actions.push(Action::Load(source));
            }
        }
    });
    let what = "Train more in the tab Train, or drop a .safetensors or .pt file on the window";
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
    let combo = ComboBox::from_id_salt("classes").selected_text(name(now));
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
    let combo = ComboBox::from_id_salt("view").selected_text(now.name());
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

/// How long the button says that the link is copied.
const SAID_SECONDS: f64 = 2.0;

/// Width of the messages, and their distance from the edges.
const NOTICE_WIDTH: f32 = 420.0;
const NOTICE_MARGIN: f32 = 12.0;

/// Messages that are shown; the rest is counted.
const MOST_NOTICES: usize = 4;

/// The messages, the newest on top. They lie over the window, so that no control moves when one comes or goes.
fn notices(ui: &Ui, scene: &mut Scene<'_>) {
    let notices = &scene.state.notices;
    if notices.is_empty() {
        return;
    }
    let mut read = None;
    let width = (ui.ctx().content_rect().width() - 2.0 * NOTICE_MARGIN).min(NOTICE_WIDTH);
    Area::new(ui.scope_id().with("notices"))
        .order(Order::Foreground)
        .anchor(Align2::RIGHT_BOTTOM, [-NOTICE_MARGIN, -NOTICE_MARGIN])
        .show(ui.ctx(), |ui| {
            ui.set_width(width);
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
