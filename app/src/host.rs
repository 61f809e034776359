//! What desktop and browser share: the look of the window, and the GPU that draws it.

use eframe::egui_wgpu::{WgpuConfiguration, WgpuSetup, WgpuSetupCreateNew};
use std::sync::Arc;

/// The title of the window and the page.
pub const TITLE: &str = "SiT: ODE against SDE";

/// A wgpu device with everything its adapter has, so that the engine can compute on it.
///
/// eframe alone would ask for WebGPU's minimum limits, with at most 128 MiB in a binding.
pub fn wgpu() -> WgpuConfiguration {
    let mut setup = WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(|adapter| wgpu::DeviceDescriptor {
        label: Some("sit"),
        // The features of the standard. The others are experimental, and a device refuses them by default.
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
