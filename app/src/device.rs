//! What computes: the GPU that draws the window, or the processor.

use eframe::egui_wgpu::RenderState;
use sit_engine::backend::Device;
use sit_engine::backend::gpu::Gpu;

/// What computes: the GPU that draws the window, if it is a real one, else the processor.
pub fn device(cc: &eframe::CreationContext<'_>) -> Device {
    let Some(render) = &cc.wgpu_render_state else {
        return Device::Cpu;
    };
    let info = render.adapter.get_info();
    // A software adapter computes more slowly than the CPU backend, and WebGL has no compute.
    if info.device_type == wgpu::DeviceType::Cpu || info.backend == wgpu::Backend::Gl {
        return Device::Cpu;
    }
    share(render)
}

/// The GPU that draws the window, whatever it is; the processor if it lacks what the engine needs.
pub fn share(render: &RenderState) -> Device {
    let (device, queue) = (render.device.clone(), render.queue.clone());
    Gpu::share(device, queue, render.adapter.get_info()).map_or(Device::Cpu, Device::Gpu)
}

/// Whether the adapter that draws the window is a software one.
pub fn draws_by_software(cc: &eframe::CreationContext<'_>) -> bool {
    #[cfg(target_arch = "wasm32")]
    if let Some(gl) = &cc.gl {
        use eframe::glow::HasContext as _;
        // WebGL tells only by the renderer's name: those of Chrome, Mesa and Windows.
        const UNMASKED_RENDERER_WEBGL: u32 = 0x9246;
        #[expect(
            unsafe_code,
            reason = "glow marks every call so; this one reads a string"
        )]
        // SAFETY: the context is alive, and one without this parameter returns an empty string.
        let renderer = unsafe { gl.get_parameter_string(UNMASKED_RENDERER_WEBGL) };
        return ["SwiftShader", "llvmpipe", "Microsoft Basic Render"]
            .iter()
            .any(|software| renderer.contains(software));
    }
    let render = cc.wgpu_render_state.as_ref();
    render.is_some_and(|r| r.adapter.get_info().device_type == wgpu::DeviceType::Cpu)
}

/// What computes, in words.
pub fn name(device: &Device, cc: &eframe::CreationContext<'_>) -> String {
    match device {
        Device::Cpu if draws_by_software(cc) => format!(
            "{device} (the graphics adapter is a software one: it draws, the processor computes)"
        ),
        _ => device.to_string(),
    }
}
