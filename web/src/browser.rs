//! Access to the browser.

use eframe::Renderer;
use eframe::wasm_bindgen::JsValue;
use web_sys::{HtmlCanvasElement, UrlSearchParams, WebGlContextAttributes};
use web_time::{Duration, Instant};

/// The state in the address: after its `#`, or a stop of the tour as `?tour=4`.
pub fn link() -> Result<Option<String>, JsValue> {
    let hash = window()?.location().hash()?;
    match hash.strip_prefix('#') {
        Some(link) => Ok(Some(link.to_owned())),
        None => Ok(asked("tour")?.map(|stop| format!("tour={stop}"))),
    }
}

/// The page's address and `#`: what a link begins with.
pub fn address() -> Result<String, JsValue> {
    let href = window()?.location().href()?;
    let page = href.split(['?', '#']).next().unwrap_or(&href);
    Ok(format!("{page}#"))
}

/// When the address was opened and the time to measure, if it asks for that with `?measure=SECONDS`.
pub fn measure() -> Result<Option<(Instant, Duration)>, JsValue> {
    let Some(asked) = asked("measure")? else {
        return Ok(None);
    };
    let time = asked.parse().ok().filter(|s| (1.0..=1e5).contains(s));
    let time = time.ok_or_else(|| format!("?measure={asked}: expected 1 to 100000 seconds"))?;
    let opened = Duration::from_secs_f64(now_ms().unwrap_or_default() / 1e3);
    Ok(Some((
        Instant::now() - opened,
        Duration::from_secs_f64(time),
    )))
}

/// Puts a state into the address, without an entry in the browser's history.
pub fn show(link: &str) -> Result<(), JsValue> {
    window()?
        .history()?
        .replace_state_with_url(&JsValue::NULL, "", Some(&format!("#{link}")))
}

/// Whether the person asked the system for less motion.
pub fn reduced_motion() -> Result<bool, JsValue> {
    let query = window()?.match_media("(prefers-reduced-motion: reduce)")?;
    Ok(query.is_some_and(|query| query.matches()))
}

/// Milliseconds since the address was opened.
pub fn now_ms() -> Option<f64> {
    Some(window().ok()?.performance()?.now())
}

/// Chooses what draws on `canvas`, and a message for the user. The address may ask for `?renderer=webgpu` or `?renderer=webgl`.
///
/// # Errors
/// When the address asks for an unknown renderer.
pub async fn renderer(canvas: &HtmlCanvasElement) -> Result<(Renderer, Option<String>), JsValue> {
    let (renderer, why) = match asked("renderer")?.as_deref() {
        Some("webgpu") => (Renderer::Wgpu, None),
        Some("webgl") => (Renderer::Glow, None),
        Some(other) => {
            return Err(format!("?renderer={other}: expected webgpu or webgl").into());
        }
        None => match without_webgpu().await? {
            None => (Renderer::Wgpu, None),
            why => (Renderer::Glow, why),
        },
    };
    if renderer == Renderer::Glow {
        plain_webgl(canvas)?;
    }
    let notice = why.map(|why| {
        format!("{why}. The processor computes instead: small models run all the same.")
    });
    Ok((renderer, notice))
}

/// Why WebGL has to draw and the CPU to compute; `None` if a graphics card does both with WebGPU.
async fn without_webgpu() -> Result<Option<String>, JsValue> {
    let mut webgpu = wgpu::InstanceDescriptor::new_without_display_handle();
    webgpu.backends = wgpu::Backends::BROWSER_WEBGPU;
    let adapter = wgpu::Instance::new(webgpu).request_adapter(&Default::default());
    let why = match adapter.await {
        Ok(adapter) if adapter.get_info().device_type != wgpu::DeviceType::Cpu => return Ok(None),
        // Such an adapter computes more slowly than the CPU backend, and takes four times as long as WebGL for a frame: egui's
        // shader for WebGPU has branches that only a graphics card skips.
        Ok(_) => {
            return Ok(Some(
                "This browser's WebGPU has no graphics card to work with".into(),
            ));
        }
        Err(_) if !window()?.is_secure_context() => {
            "This page came without https, and browsers keep WebGPU from such pages"
        }
        Err(_) if js_sys::Reflect::has(&window()?.navigator(), &"gpu".into())? => {
            "This browser knows WebGPU but does not offer it with this machine's graphics driver or settings"
        }
        Err(_) => "This browser has no WebGPU",
    };
    Ok(Some(format!(
        "{why}; Chrome and Edge from 113, Firefox from 141 and Safari from 26 have it on most machines"
    )))
}

/// Creates the WebGL context of `canvas` that eframe then finds, without the browser's antialiasing: egui smooths edges itself.
fn plain_webgl(canvas: &HtmlCanvasElement) -> Result<(), JsValue> {
    let options = WebGlContextAttributes::new();
    options.set_antialias(false);
    canvas.get_context_with_context_options("webgl2", &options)?;
    Ok(())
}

/// The value of `?name=` in the address.
fn asked(name: &str) -> Result<Option<String>, JsValue> {
    let search = window()?.location().search()?;
    Ok(UrlSearchParams::new_with_str(&search)?.get(name))
}

fn window() -> Result<web_sys::Window, JsValue> {
    web_sys::window().ok_or_else(|| "there is no window".into())
}
