//! What the hosts share: how the window looks and which GPU draws it.

use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupCreateNew};
use std::sync::Arc;

/// The title of the window and the page.
pub const TITLE: &str = "SiT: ODE against SDE";

/// A wgpu device with everything its adapter has, so that the engine can compute on it.
///
/// eframe alone would ask for WebGPU's least limits, which bind 128 MiB at a time.
pub fn wgpu() -> WgpuConfiguration {
    let mut setup = WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(|adapter| wgpu::DeviceDescriptor {
        label: Some("sit"),
        // Those of the standard; the others are experiments that a device refuses unless it is told so.
        required_features: adapter.features() & wgpu::Features::all_webgpu_mask(),
        required_limits: adapter.limits(),
        ..Default::default()
    });
    WgpuConfiguration {
        wgpu_setup: WgpuSetup::CreateNew(setup),
        ..Default::default()
    }
}

/// The window of the desktop.
#[cfg(not(target_arch = "wasm32"))]
pub fn native() -> eframe::NativeOptions {
    eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_app_id("sit")
            .with_title(TITLE)
            .with_inner_size([1280.0, 800.0])
            .with_min_inner_size([360.0, 480.0])
            .with_drag_and_drop(true),
        wgpu_options: wgpu(),
        ..Default::default()
    }
}
