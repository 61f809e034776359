//! Between the page and the program.

use sit_app::{App, Start, host};
use wasm_bindgen::prelude::*;

/// Starts the program on the page's canvas.
///
/// # Errors
/// Why nothing can be drawn: no such canvas, or neither WebGPU nor WebGL.
#[wasm_bindgen]
pub async fn start(canvas: web_sys::HtmlCanvasElement) -> Result<(), JsValue> {
    let window = web_sys::window().ok_or("there is no window")?;
    let hash = window.location().hash()?;
    let calm = window.match_media("(prefers-reduced-motion: reduce)")?;
    let start = Start {
        link: hash.strip_prefix('#').map(str::to_owned),
        reduced_motion: calm.is_some_and(|query| query.matches()),
    };
    let options = eframe::WebOptions {
        wgpu_options: host::wgpu(),
        ..Default::default()
    };
    let make = Box::new(|cc: &eframe::CreationContext<'_>| {
        Ok(Box::new(App::new(cc, start)?) as Box<dyn eframe::App>)
    });
    eframe::WebRunner::new().start(canvas, options, make).await
}
