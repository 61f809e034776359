//! The program to watch SiT sample: the ODE beside the SDE, step by step.
//!
//! One program for the desktop and the browser. A host ([`host`] has what they share) opens a window or a page and hands [`App`]
//! what it alone knows: a [`Start`].

pub mod host;

/// What a host knows when the program starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The state to restore, as a link carries it after its `#`.
    pub link: Option<String>,
    /// The person asked the system for less motion: nothing moves before it is told to.
    pub reduced_motion: bool,
}

/// The program.
#[derive(Debug)]
pub struct App {
    start: Start,
}

impl App {
    /// The program as it is when its window opens.
    pub fn new(_cc: &eframe::CreationContext<'_>, start: Start) -> Self {
        App { start }
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        egui::CentralPanel::default().show(ui, |ui| {
            ui.label("Nothing here yet: the lanes come with a later change.");
            if let Some(link) = &self.start.link {
                ui.label(link);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable as _;

    #[test]
    fn the_program_gets_the_link() {
        let start = Start {
            link: Some("seed=7".into()),
            ..Start::default()
        };
        let mut harness = Harness::builder().build_eframe(|cc| App::new(cc, start));
        harness.run();
        harness.get_by_label("seed=7");
    }
}
