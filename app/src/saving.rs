//! Files that the window makes of what it shows: begun in one frame, and gone on with in the next ones.

use crate::export::{self, Making};
#[cfg(target_arch = "wasm32")]
use crate::record::Recording;
use crate::state::{Action, Export};
use crate::{App, files, job};

impl App {
    /// Begins a file that was asked for; it takes the place of one that is being made.
    pub(crate) fn export(&mut self, export: Export, dark: bool) {
        match Making::new(export, &self.state, dark) {
            Ok(making) => {
                let name = export::file_name(export, &self.state);
                self.making = Some((name, making));
            }
            Err(message) => self.state.apply(Action::Notify(message)),
        }
    }

    /// Goes on with the file that is being made, for a part of a frame.
    pub(crate) fn make(&mut self, ctx: &egui::Context) {
        let Some((name, making)) = &mut self.making else {
            self.state.saving = None;
            return;
        };
        let begin = web_time::Instant::now();
        let done = loop {
            match making.work() {
                Ok(None) if begin.elapsed() < job::FRAME_BUDGET => {}
                Ok(None) => break None,
                Ok(Some(bytes)) => break Some(Ok(bytes)),
                Err(message) => break Some(Err(message)),
            }
        };
        let (at, of) = making.progress();
        self.state.saving = Some((name.clone(), at as f32 / of as f32));
        ctx.request_repaint();
        match done {
            None => return,
            Some(Ok(bytes)) => files::save(name, bytes.into(), self.job.answers()),
            Some(Err(message)) => self.state.apply(Action::Notify(message)),
        }
        self.making = None;
    }

    /// Begins or ends a recording of the page.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn record(&mut self) {
        match (self.state.recording, self.is_recording) {
            (true, false) => match Recording::start(self.job.answers()) {
                Ok(recording) => (self.recording, self.is_recording) = (Some(recording), true),
                Err(why) => {
                    self.state.recording = false;
                    self.state.apply(Action::Notify(why));
                }
            },
            (false, true) => {
                self.recording.iter().for_each(Recording::stop);
                self.is_recording = false;
            }
            _ => {}
        }
    }
}
