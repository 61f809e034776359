//! The panels of the window, one file each. A panel reads the state and returns actions; it changes nothing itself.

mod badge_ui;
mod bound_ui;
mod canvas_ui;
mod controls;
mod cost_ui;
mod data_ui;
mod diffusion_ui;
mod header_ui;
mod help_ui;
mod lanes_ui;
mod levels_ui;
mod likelihood_ui;
mod marginals_ui;
mod model_ui;
mod more_ui;
mod nearest_ui;
mod paths_ui;
mod plane_ui;
mod playback_ui;
mod settings_ui;
mod step_ui;
mod timeline_ui;
mod tour_ui;
mod train_ui;

pub use lanes_ui::show as lanes;

use crate::examine::Card;
use crate::findings::Findings;
use crate::job::Request;
use crate::state::{Action, State, Tab, ViewAction};
use crate::train::Form;
use crate::view::Pictures;
use egui::{CentralPanel, Panel, ScrollArea, Ui};

/// Below this width, in points, everything is in one column.
const NARROW: f32 = 700.0;

/// The least width of a lane in a row of all of them, in points.
const LEAST_LANE: f32 = 230.0;

/// What a panel can access of the program.
pub struct Scene<'a> {
    /// What is shown.
    pub state: &'a State,
    /// The actions asked for in this frame.
    pub actions: &'a mut Vec<Action>,
    /// The requests to the background work.
    pub requests: &'a mut Vec<Request>,
    /// What the form of the training holds.
    pub form: &'a mut Form,
    /// Pictures drawn so far.
    pub pictures: &'a mut Pictures,
    /// Results about the lanes.
    pub findings: &'a mut Findings,
    /// The file that was dropped last.
    pub card: Option<&'a Card>,
    /// What computes, in words.
    pub device: &'a str,
}

impl Scene<'_> {
    /// Asks for a change.
    pub fn act(&mut self, action: impl Into<Action>) {
        self.actions.push(action.into());
    }
}

/// The whole window.
pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    if scene.state.presenting {
        present(ui, scene);
        return;
    }
    let narrow = ui.available_width() < NARROW;
    Panel::top("header").show(ui, |ui| header_ui::show(ui, scene));
    let bar = Panel::bottom("playback").show(ui, |ui| playback_ui::show(ui, scene));
    if narrow {
        CentralPanel::default().show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| {
                badge_ui::show(ui, scene);
                lanes_ui::show(ui, scene, scene.state.lanes.len().min(2), f32::INFINITY);
                ui.separator();
                tabs(ui, scene);
            });
        });
    } else {
        Panel::right("tabs").default_size(340.0).show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| tabs(ui, scene));
        });
        CentralPanel::default().show(ui, |ui| {
            badge_ui::show(ui, scene);
            let columns = columns(scene.state.lanes.len(), ui.available_width());
            let height = ui.available_height();
            ScrollArea::vertical().show(ui, |ui| lanes_ui::show(ui, scene, columns, height));
        });
    }
    header_ui::notices(ui, scene, bar.response.rect.height());
    help_ui::show(ui.ctx(), scene);
}

/// How much larger text is when the lanes have the whole window.
const LARGER: f32 = 1.5;

/// The lanes alone, in larger type, with the words of the tour's stop.
fn present(ui: &mut Ui, scene: &mut Scene<'_>) {
    for font in ui.style_mut().text_styles.values_mut() {
        font.size *= LARGER;
    }
    let bar = Panel::bottom("playback").show(ui, |ui| playback_ui::show(ui, scene));
    CentralPanel::default().show(ui, |ui| {
        tour_ui::heading(ui, scene);
        badge_ui::show(ui, scene);
        let columns = columns(scene.state.lanes.len(), ui.available_width());
        let height = ui.available_height();
        ScrollArea::vertical().show(ui, |ui| lanes_ui::show(ui, scene, columns, height));
    });
    header_ui::notices(ui, scene, bar.response.rect.height());
    help_ui::show(ui.ctx(), scene);
}

/// Columns of so many lanes: one row where there is room for all.
fn columns(lanes: usize, width: f32) -> usize {
    match lanes as f32 * LEAST_LANE <= width {
        true => lanes,
        false => lanes.min(2),
    }
}

fn tabs(ui: &mut Ui, scene: &mut Scene<'_>) {
    ui.horizontal_wrapped(|ui| {
        for (tab, title) in Tab::ALL {
            let chosen = scene.state.view.tab == tab;
            if ui.selectable_label(chosen, title).clicked() {
                scene.act(ViewAction::SetTab(tab));
            }
        }
    });
    ui.separator();
    match scene.state.view.tab {
        Tab::Lanes => settings_ui::show(ui, scene),
        Tab::Tour => tour_ui::show(ui, scene),
        Tab::Train => train_ui::show(ui, scene),
        Tab::Diffusion => diffusion_ui::show(ui, scene),
        Tab::Paths => paths_ui::show(ui, scene),
        Tab::Step => step_ui::show(ui, scene),
        Tab::Marginals => marginals_ui::show(ui, scene),
        Tab::Timeline => timeline_ui::show(ui, scene),
        Tab::Cost => cost_ui::show(ui, scene),
        Tab::Model => model_ui::show(ui, scene),
    }
}
