//! How likely each lane's finished samples are by its own network.

use super::Scene;
use crate::job::{LIKELIHOOD_PROBES, LIKELIHOOD_STEPS};
use crate::state::{LogDensity, State, ViewAction};
use egui::{ProgressBar, Ui};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let mut weighing = scene.state.weighing;
    let measure = ui.checkbox(&mut weighing, "Measure log p of the finished samples");
    if measure.on_hover_text(what()).changed() {
        scene.act(ViewAction::ToggleWeigh);
    }
    if !scene.state.weighing {
        return;
    }
    for lane in 0..scene.state.lanes.len() {
        lane_ui(ui, scene.state, lane);
    }
    ui.small(what());
}

fn lane_ui(ui: &mut Ui, state: &State, lane: usize) {
    let (number, record) = (lane + 1, &state.records[lane]);
    match &record.density {
        None if record.is_whole() => ui.label(format!("lane {number}: waits for its turn")),
        None => ui.label(format!("lane {number}: waits for the end of the lane")),
        Some(LogDensity::Share(done)) => {
            ui.add(ProgressBar::new(*done as f32).text(format!("lane {number}")))
        }
        Some(LogDensity::Mean {
            nats,
            error,
            per_value,
        }) => {
            let error = error.map_or(String::new(), |error| format!(" ± {error:.1}"));
            ui.monospace(format!(
                "lane {number}: {nats:.1}{error} nats, {per_value:.2} a value"
            ))
        }
        Some(LogDensity::Refused(why)) => ui.label(format!("lane {number}: {why}")),
    };
}

fn what() -> String {
    format!(
        "The mean over samples of log p under the ODE of the lane's network, for their classes and without guidance, ± its standard error: \
         back to noise by Heun's method in {LIKELIHOOD_STEPS} steps, the trace by {LIKELIHOOD_PROBES} random probes, or exactly in the plane. \
         An exact field knows the density itself. Samples that are more likely than the network's own are not better: guidance makes such."
    )
}
