//! Records the page as a WebM, by the browser's own recorder.

use crate::job::Answers;
use crate::state::Action;
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure};
use web_sys::{BlobEvent, HtmlCanvasElement, MediaRecorder, MediaRecorderOptions};

/// Frames of a second that are recorded at most.
const FRAMES: f64 = 30.0;

/// A recording in progress. Stopping it saves the file.
pub struct Recording {
    recorder: MediaRecorder,
    /// Takes the file from the browser.
    _on_data: Closure<dyn FnMut(BlobEvent)>,
}

impl Recording {
    /// Begins to record the page's canvas.
    ///
    /// # Errors
    /// In the browser's words, if it cannot.
    pub fn start(answers: Answers) -> Result<Self, String> {
        let words = |why: JsValue| format!("The browser does not record this page: {why:?}");
        let document = web_sys::window().and_then(|window| window.document());
        let canvas = document.and_then(|document| document.get_element_by_id("canvas"));
        let canvas = canvas.and_then(|canvas| canvas.dyn_into::<HtmlCanvasElement>().ok());
        let canvas = canvas.ok_or("The page has no canvas to record")?;
        let stream = canvas
            .capture_stream_with_frame_request_rate(FRAMES)
            .map_err(words)?;
        let options = MediaRecorderOptions::new();
        options.set_mime_type("video/webm");
        let recorder =
            MediaRecorder::new_with_media_stream_and_media_recorder_options(&stream, &options)
                .map_err(words)?;
        // All data come at once, when it stops.
        let on_data = Closure::new(move |event: BlobEvent| {
            let saved = event
                .data()
                .and_then(|blob| crate::files::download_blob("sit.webm", &blob));
            if saved.is_none() {
                answers.say(Action::Notify("The recording cannot be downloaded".into()));
            }
        });
        recorder.set_ondataavailable(Some(on_data.as_ref().unchecked_ref()));
        recorder.start().map_err(words)?;
        Ok(Recording {
            recorder,
            _on_data: on_data,
        })
    }

    /// Ends it; the browser then hands the file over, for which this has to live on.
    pub fn stop(&self) {
        // One that has stopped by itself has handed its file over already.
        self.recorder.stop().ok();
    }
}
