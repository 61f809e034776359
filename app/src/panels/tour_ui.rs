//! The tour: six stops, each one click away.

use super::Scene;
use crate::state::{Action, PlaybackAction, STOPS};
use egui::Ui;

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    for stop in STOPS {
        let button = ui.button(stop.title);
        ui.label(stop.text);
        ui.add_space(6.0);
        if button.clicked() {
            scene.act(Action::Restore(Box::new(stop.link(scene.state))));
            scene.act(PlaybackAction::TogglePlay);
        }
    }
}
