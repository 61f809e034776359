//! The sheet of shortcuts, and what the two lanes are.

use super::Scene;
use crate::state::{ViewAction, shortcuts};
use egui::{Context, Grid, Window};

pub fn show(ctx: &Context, scene: &mut Scene<'_>) {
    let mut open = scene.state.help;
    Window::new("Help").open(&mut open).collapsible(false).show(ctx, |ui| {
        ui.label("A SiT turns noise (t = 0) into data (t = 1). It learns one velocity v(x, t).");
        ui.label("The ODE dX = v dt follows it and adds nothing.");
        ui.label("The SDE dX = (v + D s) dt + √(2D) dW adds noise and drifts back along the score s, which v contains.");
        ui.label("At every t both have the same distribution, for every D(t) ≥ 0: single samples differ, the crowd does not.");
        ui.separator();
        Grid::new("shortcuts").num_columns(2).striped(true).show(ui, |ui| {
            for shortcut in shortcuts() {
                ui.monospace(shortcut.keys());
                ui.label(shortcut.help);
                ui.end_row();
            }
            // A browser has more to go to than this window.
            if cfg!(target_arch = "wasm32") {
                ui.monospace("Escape, Tab");
                ui.label("leave the program for what is around it");
                ui.end_row();
            }
        });
    });
    if open != scene.state.help {
        scene.act(ViewAction::ToggleHelp);
    }
}
