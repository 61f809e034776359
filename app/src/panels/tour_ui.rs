//! The tour: its stops, each one click away, and what changes it.

use super::Scene;
use crate::state::{Action, Export, TourAction, ViewAction};
use egui::{Align, CollapsingHeader, Id, RichText, TextEdit, Ui};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.horizontal_wrapped(|ui| {
        if ui.button("◀ Back").on_hover_text("PageUp").clicked() {
            scene.act(TourAction::Back);
        }
        if ui.button("Next ▶").on_hover_text("PageDown").clicked() {
            scene.act(TourAction::Next);
        }
        let present = ui.button("Present");
        if present
            .on_hover_text("The lanes alone, in larger type (F)")
            .clicked()
        {
            scene.act(ViewAction::TogglePresent);
        }
    });
    ui.add_space(4.0);
    let tour = &scene.state.tour;
    let id = Id::unique("stop that was seen");
    let is_new = ui.data(|data| data.get_temp(id)) != Some(tour.at);
    ui.data_mut(|data| data.insert_temp(id, tour.at));
    for (number, stop) in tour.stops.iter().enumerate() {
        let is_here = tour.at == Some(number);
        let button = ui.add(egui::Button::new(&stop.title).selected(is_here));
        ui.label(&stop.text);
        ui.add_space(6.0);
        if is_here && is_new {
            // Keys lead beyond what is seen of the list.
            button.scroll_to_me(Some(Align::Center));
        }
        if button.clicked() {
            scene.actions.push(TourAction::Go(number).into());
        }
    }
    CollapsingHeader::new("Change this tour").show(ui, |ui| change(ui, scene));
}

/// What makes a tour of one's own.
fn change(ui: &mut Ui, scene: &mut Scene<'_>) {
    let id = Id::unique("new stop");
    let (mut title, mut text): (String, String) =
        ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let label = ui.label("Title").id;
    ui.text_edit_singleline(&mut title).labelled_by(label);
    let label = ui.label("What to look at").id;
    let edit = TextEdit::multiline(&mut text).desired_rows(2);
    ui.add(edit).labelled_by(label);
    ui.horizontal_wrapped(|ui| {
        let add = ui.add_enabled(
            !title.trim().is_empty(),
            egui::Button::new("Add what is shown"),
        );
        if add
            .on_hover_text("A further stop, of the lanes, the step and the view as they are")
            .clicked()
        {
            scene.act(TourAction::Add {
                title: std::mem::take(&mut title),
                text: std::mem::take(&mut text),
            });
        }
        let remove = ui.add_enabled(
            scene.state.tour.at.is_some(),
            egui::Button::new("Remove this stop"),
        );
        if let (true, Some(at)) = (remove.clicked(), scene.state.tour.at) {
            scene.act(TourAction::Remove(at));
        }
        if ui
            .button("Save the tour")
            .on_hover_text("As a file, which is opened by dropping it here")
            .clicked()
        {
            scene.act(Action::Export(Export::Tour));
        }
        if ui.button("The program's own").clicked() {
            scene.act(TourAction::Reset);
        }
    });
    ui.data_mut(|data| data.insert_temp(id, (title, text)));
}

/// The stop that is shown, above the lanes when they have the whole window.
pub fn heading(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.horizontal_wrapped(|ui| {
        let tour = &scene.state.tour;
        match tour.at.and_then(|at| tour.stops.get(at)) {
            Some(stop) => {
                ui.label(RichText::new(&stop.title).strong().heading());
                ui.label(&stop.text);
            }
            None => {
                ui.label("PageDown and PageUp lead through the tour.");
            }
        }
        if ui
            .button("Leave")
            .on_hover_text("Back to all controls (F)")
            .clicked()
        {
            scene.act(ViewAction::TogglePresent);
        }
    });
}
