//! Between the page and the program.

use eframe::wasm_bindgen::JsValue;
use eframe::{CreationContext, Frame, Renderer, WebRunner};
use sit_app::{App, Start, host};
use wasm_bindgen::prelude::*;

/// The running program, as scripts of the page see it.
#[wasm_bindgen]
pub struct Program {
    runner: WebRunner,
}

/// Starts the program on the page's canvas, with the state of the address if that has one.
///
/// # Errors
/// Why nothing can be drawn: neither WebGPU nor WebGL 2.
#[wasm_bindgen]
pub async fn start(canvas: web_sys::HtmlCanvasElement) -> Result<Program, JsValue> {
    let window = web_sys::window().ok_or("there is no window")?;
    let hash = window.location().hash()?;
    let calm = window.match_media("(prefers-reduced-motion: reduce)")?;
    let start = Start {
        link: hash.strip_prefix('#').map(str::to_owned),
        reduced_motion: calm.is_some_and(|query| query.matches()),
    };
    // Without WebGPU, WebGL draws, and what computes is the CPU.
    let renderer = if wgpu::util::is_browser_webgpu_supported().await {
        Renderer::Wgpu
    } else {
        Renderer::Glow
    };
    let options = eframe::WebOptions {
        renderer,
        wgpu_options: host::wgpu(),
        ..Default::default()
    };
    let make = Box::new(|cc: &CreationContext<'_>| {
        let page = Page {
            link: start.link.clone().unwrap_or_default(),
            app: App::new(cc, start),
        };
        Ok(Box::new(page) as Box<dyn eframe::App>)
    });
    let runner = WebRunner::new();
    runner.start(canvas, options, make).await?;
    Ok(Program { runner })
}

#[wasm_bindgen]
impl Program {
    /// What the program does right now, as JSON ([`App::status`]); nothing once it has stopped.
    pub fn status(&self) -> Option<String> {
        self.runner.app_mut::<Page>().map(|page| page.app.status())
    }

    /// Why it has stopped, if a bug ended it.
    pub fn panic(&self) -> Option<String> {
        self.runner.panic_summary().map(|panic| panic.message())
    }
}

/// The program and what the page shows of it.
struct Page {
    app: App,
    /// The state in the address.
    link: String,
}

impl eframe::App for Page {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut Frame) {
        self.app.logic(ctx, frame);
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut Frame) {
        self.app.ui(ui, frame);
        let link = self.app.link();
        if link != self.link {
            // An address that cannot be shown loses nothing.
            show(&link).ok();
            self.link = link;
        }
    }

    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }
}

/// Puts the state into the address, without a step in the browser's history.
fn show(link: &str) -> Result<(), JsValue> {
    let window = web_sys::window().ok_or("there is no window")?;
    let address = format!("#{link}");
    window
        .history()?
        .replace_state_with_url(&JsValue::NULL, "", Some(&address))
}
