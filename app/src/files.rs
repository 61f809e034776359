//! Saves files for the user: with a dialog on the desktop, as a download in a browser.

use crate::job::Answers;
#[cfg(not(target_arch = "wasm32"))]
use crate::state::Action;
use std::sync::Arc;

/// Nobody closes a dialog as soon as this: there was none.
#[cfg(not(target_arch = "wasm32"))]
pub const NO_DIALOG: std::time::Duration = std::time::Duration::from_millis(150);

/// Offers to save `bytes` as a file whose name starts with `name`. It returns at once; `answers` receives the outcome.
#[cfg(not(target_arch = "wasm32"))]
pub fn save(name: &str, bytes: Arc<[u8]>, answers: Answers) {
    use std::io::Write;
    let dialog = rfd::FileDialog::new().set_file_name(name);
    // The dialog waits for the person, so it has a thread of its own.
    let name = name.to_owned();
    std::thread::spawn(move || {
        let begin = std::time::Instant::now();
        let Some(path) = dialog.save_file() else {
            if begin.elapsed() < NO_DIALOG {
                answers.say(Action::Notify(format!(
                    "{name} is not saved: the system shows no file dialog (on Linux that takes a desktop portal)"
                )));
            }
            return;
        };
        let saved = sit_trainer::files::write_atomically(&path, |out| out.write_all(&bytes));
        answers.say(Action::Notify(match saved {
            Ok(()) => format!("Saved as {}", sit_engine::text::shown(&path)),
            Err(error) => error.to_string(),
        }));
    });
}

/// Offers `bytes` as a download named `name`.
#[cfg(target_arch = "wasm32")]
pub fn save(name: &str, bytes: Arc<[u8]>, answers: Answers) {
    if download(name, &bytes).is_none() {
        let refused = format!("The browser does not let {name} be downloaded");
        answers.say(crate::state::Action::Notify(refused));
    }
}

#[cfg(target_arch = "wasm32")]
fn download(name: &str, bytes: &[u8]) -> Option<()> {
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
    let blob = web_sys::Blob::new_with_u8_array_sequence(&parts).ok()?;
    download_blob(name, &blob)
}

/// Offers what the browser holds as a download named `name`.
#[cfg(target_arch = "wasm32")]
pub fn download_blob(name: &str, blob: &web_sys::Blob) -> Option<()> {
    use wasm_bindgen::JsCast as _;
    let url = web_sys::Url::create_object_url_with_blob(blob).ok()?;
    let document = web_sys::window()?.document()?;
    let anchor = document.create_element("a").ok()?;
    let anchor = anchor.dyn_into::<web_sys::HtmlAnchorElement>().ok()?;
    anchor.set_href(&url);
    anchor.set_download(name);
    anchor.click();
    web_sys::Url::revoke_object_url(&url).ok()
}

/// Reads a file that lies beside the page.
#[cfg(target_arch = "wasm32")]
pub async fn fetch(name: &str) -> Result<Vec<u8>, String> {
    use wasm_bindgen::JsCast as _;
    use wasm_bindgen_futures::JsFuture;
    let window = web_sys::window().ok_or("there is no window")?;
    let words = |why: wasm_bindgen::JsValue| format!("cannot be loaded: {why:?}");
    let answer = JsFuture::from(window.fetch_with_str(name))
        .await
        .map_err(words)?;
    let answer: web_sys::Response = answer.unchecked_into();
    if !answer.ok() {
        return Err(format!(
            "cannot be loaded: the server answers {}",
            answer.status()
        ));
    }
    let buffer = JsFuture::from(answer.array_buffer().map_err(words)?)
        .await
        .map_err(words)?;
    Ok(js_sys::Uint8Array::new(&buffer).to_vec())
}
