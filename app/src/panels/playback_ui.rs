//! The transport bar below.

use super::{NARROW, Scene};
use crate::look;
use crate::state::{PlaybackAction, SPEEDS};
use egui::{Rect, RichText, Slider, Ui, vec2};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let playback = scene.state.playback;
    let total = scene.state.n_steps();
    let narrow = ui.available_width() < NARROW;
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        let mut button =
            |ui: &mut Ui, symbol: &str, name: &str, keys: &str, action: PlaybackAction| {
                let button = ui.button(symbol).on_hover_text(format!("{name} ({keys})"));
                button.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, name));
                if button.clicked() {
                    scene.act(action);
                }
            };
        button(ui, "|◀", "To the noise", "Home", PlaybackAction::Home);
        button(ui, "◀", "Step back", "Left", PlaybackAction::StepBack);
        let (symbol, name) = if playback.playing {
            ("||", "Pause")
        } else {
            ("▶", "Play")
        };
        button(ui, symbol, name, "Space", PlaybackAction::TogglePlay);
        button(
            ui,
            "▶|",
            "Step forward",
            "Right",
            PlaybackAction::StepForward,
        );
        button(ui, "▶▶", "To the last step", "End", PlaybackAction::End);
        let mut looping = playback.looping;
        if ui.checkbox(&mut looping, "Loop").changed() {
            scene.act(PlaybackAction::ToggleLoop);
        }
        // The slider and its number do not wrap by themselves.
        if ui.available_size_before_wrap().x < 260.0 {
            ui.end_row();
        }
        let label = ui.label("Speed").id;
        let mut speed = playback.speed;
        let slider = Slider::new(&mut speed, SPEEDS[0]..=SPEEDS[1])
            .logarithmic(true)
            .suffix(" steps/s")
            .max_decimals(1);
        if ui.add(slider).labelled_by(label).changed() {
            scene.act(PlaybackAction::SetSpeed(speed));
        }
        if narrow {
            ui.end_row();
        } else {
            ui.separator();
        }
        // Show whether the cursor follows the computation or moves through recorded steps.
        if playback.live {
            ui.colored_label(look::good(ui), "● live");
        } else {
            ui.label(RichText::new("◀ history").italics());
        }
        ui.monospace(format!(
            "t = {:.3}  step {} of {}",
            scene.state.t(),
            scene.state.position(scene.state.lead()),
            scene.state.lead_record().steps.total()
        ));
    });
    if total > 0 {
        ui.horizontal(|ui| {
            let label = ui.label("Step").id;
            let mut cursor = playback.cursor.min(total);
            ui.spacing_mut().slider_width = ui.available_width() - 70.0;
            let slider = Slider::new(&mut cursor, 0..=total);
            let response = ui.add(slider).labelled_by(label);
            computed(ui, scene, response.rect, total);
            if response.changed() {
                scene.act(PlaybackAction::Seek(cursor));
            }
        });
    }
    ui.add_space(4.0);
}

/// Marks below the slider how many steps of the lead lane are computed.
fn computed(ui: &Ui, scene: &Scene<'_>, slider: Rect, total: usize) {
    let done = scene.state.lead_record().frames.len().min(total);
    let width = ui.spacing().slider_width * done as f32 / total as f32;
    let at = slider.left_bottom() - vec2(0.0, 2.0);
    let bar = Rect::from_min_size(at, vec2(width, 2.0));
    ui.painter().rect_filled(bar, 1.0, look::good(ui));
}
