//! Connects the page and the program.

use crate::browser;
use crate::controls::Controls;
use crate::status;
use crate::touch::Touch;
use eframe::wasm_bindgen::JsValue;
use eframe::{CreationContext, Frame, WebRunner};
use egui::accesskit::Action;
use egui::{Context, pos2};
use sit_app::{App, Start, host};
use std::time::Duration;
use wasm_bindgen::prelude::*;

/// Least seconds between two changes of the address: browsers allow a hundred in half a minute.
const ADDRESS_SECS: f64 = 1.0;

/// The smallest and the largest zoom.
const ZOOM: [f32; 2] = [0.5, 3.0];

/// The running program, as scripts of the page see it.
#[wasm_bindgen]
pub struct Program {
    runner: WebRunner,
}

/// Starts the program on the page's canvas, with the state of the address if that has one.
///
/// # Errors
/// Why nothing can be drawn: neither WebGPU nor WebGL 2; or what is wrong with the address.
#[wasm_bindgen]
pub async fn start(canvas: web_sys::HtmlCanvasElement) -> Result<Program, JsValue> {
    let (renderer, notice) = browser::renderer(&canvas).await?;
    let start = Start {
        link: browser::link()?,
        reduced_motion: browser::reduced_motion()?,
        address: browser::address()?,
        notice,
        measure: browser::measure()?,
    };
    let options = eframe::WebOptions {
        renderer,
        wgpu_options: host::wgpu(),
        ..Default::default()
    };
    let make = Box::new(|cc: &CreationContext<'_>| {
        cc.egui_ctx.add_plugin(Controls::default());
        cc.egui_ctx.add_plugin(Touch::default());
        let page = Page {
            ctx: cc.egui_ctx.clone(),
            reduced_motion: start.reduced_motion,
            link: start.link.clone().unwrap_or_default(),
            looked: 0.0,
            app: App::new(cc, start)?,
        };
        Ok(Box::new(page) as Box<dyn eframe::App>)
    });
    let runner = WebRunner::new();
    runner.start(canvas, options, make).await?;
    Ok(Program { runner })
}

#[wasm_bindgen]
impl Program {
    /// What the program does right now, as JSON; nothing once it has stopped.
    pub fn status(&self) -> Option<String> {
        let page = self.runner.app_mut::<Page>()?;
        Some(status::json(&page.app, page.reduced_motion))
    }

    /// The center of the control with this role and name, in CSS pixels; nothing if the last frame had none.
    ///
    /// The first call asks for the names, which the next frame brings.
    pub fn place(&self, role: &str, name: &str) -> Option<Vec<f64>> {
        let page = self.runner.app_mut::<Page>()?;
        page.ctx.enable_accesskit();
        page.ctx.request_repaint();
        let found = |controls: &mut Controls| controls.place(role, name);
        let place = page.ctx.with_plugin(found)??;
        let zoom = f64::from(page.ctx.zoom_factor());
        Some(place.map(|at| at * zoom).to_vec())
    }

    /// Starts or ends the output for [`Program::list`], which takes time in each frame.
    pub fn listing(&self, on: bool) {
        let Some(page) = self.runner.app_mut::<Page>() else {
            return;
        };
        match on {
            true => page.ctx.enable_accesskit(),
            false => page.ctx.disable_accesskit(),
        }
        page.ctx.with_plugin(Controls::forget);
        page.ctx.request_repaint();
    }

    /// The controls, texts and messages of the last frame, as JSON; nothing if they are those of the last call.
    pub fn list(&self) -> Option<String> {
        let page = self.runner.app_mut::<Page>()?;
        let zoom = f64::from(page.ctx.zoom_factor());
        let news = &page.app.state().notices;
        let list = |controls: &mut Controls| controls.list(zoom, news);
        page.ctx.with_plugin(list)?
    }

    /// Clicks on a control of the list.
    pub fn click(&self, id: u64) {
        self.ask(|controls| controls.click(id));
    }

    /// Sets the number of a control of the list.
    pub fn set(&self, id: u64, value: f64) {
        self.ask(|controls| controls.ask(id, Action::SetValue, Some(value)));
    }

    /// Scrolls a control of the list into view.
    pub fn reveal(&self, id: u64) {
        self.ask(|controls| controls.ask(id, Action::ScrollIntoView, None));
    }

    /// Closes open menus.
    pub fn close(&self) {
        self.ask(Controls::close);
    }

    /// How much larger than usual everything is.
    pub fn zoom(&self) -> Option<f32> {
        Some(self.runner.app_mut::<Page>()?.ctx.zoom_factor())
    }

    /// Makes everything so much larger than usual, within limits.
    pub fn set_zoom(&self, zoom: f32) {
        if let Some(page) = self.runner.app_mut::<Page>() {
            page.ctx.set_zoom_factor(zoom.clamp(ZOOM[0], ZOOM[1]));
        }
    }

    /// Takes a finger at a place in CSS pixels off the program: it belongs to the page.
    pub fn release(&self, touch: i32, x: f32, y: f32) {
        if let Some(page) = self.runner.app_mut::<Page>() {
            let at = pos2(x, y) / page.ctx.zoom_factor();
            let release = |fingers: &mut Touch| fingers.release(touch, at);
            page.ctx.with_plugin(release);
            page.ctx.request_repaint();
        }
    }

    /// Why it has stopped, if it panicked.
    pub fn panic(&self) -> Option<String> {
        self.runner.panic_summary().map(|panic| panic.message())
    }
}

impl Program {
    /// Asks for something in the next frame.
    fn ask(&self, what: impl FnOnce(&mut Controls)) {
        if let Some(page) = self.runner.app_mut::<Page>() {
            page.ctx.with_plugin(what);
            page.ctx.request_repaint();
        }
    }
}

/// The program and what the page shows of it.
struct Page {
    app: App,
    ctx: Context,
    reduced_motion: bool,
    /// The state in the address.
    link: String,
    /// When the link was last compared with the state, in egui's seconds.
    looked: f64,
}

impl Page {
    /// Puts the state into the address unless it is playing, so that a reload restores it.
    fn address(&mut self) {
        if self.app.state().playback.playing {
            return;
        }
        let now = self.ctx.input(|input| input.time);
        let wait = self.looked + ADDRESS_SECS - now;
        if wait > 0.0 {
            // Request another frame, in case none comes by itself.
            self.ctx
                .request_repaint_after(Duration::from_secs_f64(wait));
            return;
        }
        self.looked = now;
        let link = self.app.link();
        if link != self.link {
            // If the address cannot be changed, nothing is lost.
            browser::show(&link).ok();
            self.link = link;
        }
    }
}

impl eframe::App for Page {
    fn logic(&mut self, ctx: &Context, frame: &mut Frame) {
        self.app.logic(ctx, frame);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        self.app.clear_color(visuals)
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut Frame) {
        self.app.ui(ui, frame);
        self.address();
    }

    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }
}
