//! Files that the window makes of what it shows, begun in one frame and gone on with in the next ones; and those that the page fetches.

use crate::export::{self, Making};
use crate::files;
use crate::job::{FRAME_BUDGET, Job};
#[cfg(target_arch = "wasm32")]
use crate::record::Recording;
use crate::state::{Action, Export, State};

/// What is being made.
#[derive(Default)]
pub struct Saving {
    /// A file, and its name.
    making: Option<(String, Making)>,
    /// The last recording of the page, and whether it goes on.
    #[cfg(target_arch = "wasm32")]
    recording: (Option<Recording>, bool),
}

impl Saving {
    /// Begins a file. An animation takes the place of one that is being made.
    pub fn begin(&mut self, export: Export, state: &mut State, job: &Job, dark: bool) {
        match Making::new(export, state, dark) {
            // An animation that is being made goes on.
            Ok(Making::Done(bytes)) => {
                files::save(
                    &export::file_name(export, state),
                    bytes.into(),
                    job.answers(),
                );
            }
            Ok(making) => self.making = Some((export::file_name(export, state), making)),
            Err(message) => state.apply(Action::Notify(message)),
        }
    }

    /// What an animation that is being made shows, if it waits for decoded latents.
    pub fn waits_for(&self) -> Option<&State> {
        let (_, making) = self.making.as_ref()?;
        making.waits_for()
    }

    /// Goes on with the file, for a part of a frame.
    pub fn work(&mut self, ctx: &egui::Context, state: &mut State, job: &Job) {
        let Some((name, making)) = &mut self.making else {
            state.saving = None;
            return;
        };
        let begin = web_time::Instant::now();
        let done = loop {
            if let Err(message) = making.take(&state.decoding) {
                break Some(Err(message));
            }
            match making.work() {
                Ok(None) if begin.elapsed() < FRAME_BUDGET && making.waits_for().is_none() => {}
                Ok(None) => break None,
                Ok(Some(bytes)) => break Some(Ok(bytes)),
                Err(message) => break Some(Err(message)),
            }
        };
        let (at, of) = making.progress();
        state.saving = Some((name.clone(), at as f32 / of as f32));
        // What is decoded meanwhile wakes the window.
        if making.waits_for().is_none() {
            ctx.request_repaint();
        }
        match done {
            None => return,
            Some(Ok(bytes)) => files::save(name, bytes.into(), job.answers()),
            Some(Err(message)) => state.apply(Action::Notify(message)),
        }
        self.making = None;
    }

    /// Begins or ends a recording of the page.
    #[cfg(target_arch = "wasm32")]
    pub fn record(&mut self, state: &mut State, job: &Job) {
        let (recording, goes_on) = &mut self.recording;
        match (state.recording, *goes_on) {
            (true, false) => match Recording::start(job.answers()) {
                Ok(started) => (*recording, *goes_on) = (Some(started), true),
                Err(why) => {
                    state.recording = false;
                    state.apply(Action::Notify(why));
                }
            },
            (false, true) => {
                recording.iter().for_each(Recording::stop);
                *goes_on = false;
            }
            _ => {}
        }
    }
}

/// Fetches the network `source` from a file that lies beside the page, and asks for what `request` makes of it.
#[cfg(target_arch = "wasm32")]
pub fn fetch(
    job: &Job,
    file: &'static str,
    source: crate::state::Source,
    request: impl FnOnce(crate::source::Opened) -> crate::job::Request + 'static,
) {
    let (ask, answers) = (job.asker(), job.answers());
    wasm_bindgen_futures::spawn_local(async move {
        let opened = files::fetch(file)
            .await
            .and_then(|bytes| crate::source::own(&source, Box::new(std::io::Cursor::new(bytes))));
        match opened {
            Ok(opened) => ask(request(opened)),
            Err(why) => answers.say(Action::Notify(format!("{file}: {why}"))),
        }
    });
}
