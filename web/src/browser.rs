//! What the browser is asked.

use eframe::Renderer;
use eframe::wasm_bindgen::JsValue;
use web_time::{Duration, Instant};

/// The state in the address, after its `#`.
pub fn link() -> Result<Option<String>, JsValue> {
    let hash = window()?.location().hash()?;
    Ok(hash.strip_prefix('#').map(str::to_owned))
}

/// The page's address and `#`: what a link begins with.
pub fn address() -> Result<String, JsValue> {
    let href = window()?.location().href()?;
    let page = href.split(['?', '#']).next().unwrap_or(&href);
    Ok(format!("{page}#"))
}

/// When the address was opened and the time to measure, if it asks for that with `?measure=SECONDS`.
pub fn measure() -> Result<Option<(Instant, Duration)>, JsValue> {
    let search = window()?.location().search()?;
    let Some(asked) = search.strip_prefix("?measure=") else {
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

/// Puts a state into the address, without a step in the browser's history.
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

/// What draws, and what the person is told of it: without WebGPU it is WebGL, and the processor computes.
pub async fn renderer() -> Result<(Renderer, Option<String>), JsValue> {
    if wgpu::util::is_browser_webgpu_supported().await {
        return Ok((Renderer::Wgpu, None));
    }
    let window = window()?;
    let why = if !window.is_secure_context() {
        "This page came without https, and browsers keep WebGPU from such pages"
    } else if js_sys::Reflect::has(&window.navigator(), &"gpu".into())? {
        "This browser knows WebGPU but does not offer it with this machine's graphics driver or settings"
    } else {
        "This browser has no WebGPU"
    };
    let notice = format!(
        "{why}; Chrome and Edge from 113, Firefox from 141 and Safari from 26 have it on most machines. The processor computes \
         instead: small models run all the same."
    );
    Ok((Renderer::Glow, Some(notice)))
}

fn window() -> Result<web_sys::Window, JsValue> {
    web_sys::window().ok_or_else(|| "there is no window".into())
}
