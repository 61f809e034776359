//! The GPUs of this machine: which exist, which are usable, and which one is chosen.

use super::abilities::Abilities;
use super::fault::{caught_while, one_line};
use crate::error::{Error, Result};
use wgpu::DeviceType;

/// Allocations beyond this percentage of the free memory that the driver reports are refused: otherwise drivers page to host
/// memory, or the system kills the process.
const MEMORY_PERCENT: u8 = 95;

/// Environment variables that wgpu programs share.
const ADAPTER_NAME: &str = "WGPU_ADAPTER_NAME";
const BACKENDS: &str = "WGPU_BACKEND";

/// A GPU of this machine, for display to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name, graphics system and driver: `NVIDIA H200 (Vulkan, NVIDIA 570.86)`.
    pub name: String,
    /// Why it cannot be used, if so.
    pub refused: Option<String>,
    /// What it has beyond the needs of every kernel.
    pub abilities: Abilities,
}

/// Prefix of messages about a name from [`named_by_environment`].
pub(super) const FROM_ENVIRONMENT: &str = "WGPU_ADAPTER_NAME: ";

/// The GPU that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// The fastest; a software adapter only if `software` is true and there is nothing else.
    Fastest { software: bool },
    /// The one with this index in the list, or else the first whose name contains the text; may be a software adapter.
    Named(&'a str),
}

/// The GPU named by the environment, if any.
pub(super) fn named_by_environment() -> Option<String> {
    let name = std::env::var(ADAPTER_NAME).ok();
    name.filter(|name| !name.trim().is_empty())
}

/// All GPUs of this machine, fastest first; the index in this list selects a GPU. Unusable ones come with a reason. The environment
/// variable `WGPU_BACKEND` restricts the graphics APIs, as in `vulkan,dx12`.
///
/// # Errors
/// [`Error::Device`] when a driver fails to respond, [`Error::Config`] for a `WGPU_BACKEND` that names none.
#[cfg(not(target_arch = "wasm32"))]
pub fn list() -> Result<Vec<Listed>> {
    pollster::block_on(list_async())
}

/// Async variant of [`list`], for browsers.
#[doc(hidden)]
pub async fn list_async() -> Result<Vec<Listed>> {
    let adapters = adapters().await?;
    let listed = adapters.iter().map(|adapter| Listed {
        name: describe(&adapter.get_info()),
        refused: check_limits(&adapter.limits()).err(),
        abilities: Abilities::of(adapter),
    });
    Ok(listed.collect())
}

/// The adapters to try, in order; `from` is the prefix of error messages about the name.
pub(super) async fn candidates(asked: Asked<'_>, from: &str) -> Result<Vec<wgpu::Adapter>> {
    let mut adapters = adapters().await?;
    let Asked::Named(text) = asked else {
        return Ok(adapters);
    };
    let names: Vec<String> = adapters.iter().map(|a| describe(&a.get_info())).collect();
    match choose(text, &names) {
        Some(at) => Ok(vec![adapters.swap_remove(at)]),
        None => Err(unknown(text, from, &names)),
    }
}

/// Index of the GPU that `text` selects: a number in the list, else a part of a name, ignoring case.
fn choose(text: &str, names: &[String]) -> Option<usize> {
    let text = text.trim();
    if let Ok(number) = text.parse::<usize>() {
        // "4090" is a name if the list is shorter; "3" must not match "Direct3D".
        let has_word = |n: &String| n.split(|c: char| !c.is_alphanumeric()).any(|w| w == text);
        return Some(number)
            .filter(|&number| number < names.len())
            .or_else(|| names.iter().position(has_word));
    }
    let text = text.to_lowercase();
    names.iter().position(|n| n.to_lowercase().contains(&text))
}

fn unknown(text: &str, from: &str, names: &[String]) -> Error {
    let list = names.iter().enumerate();
    let list: Vec<String> = list.map(|(i, name)| format!("\n  {i}  {name}")).collect();
    let there = match list.len() {
        0 => format!("there is none{}", limited()),
        1 => format!("there is{}", list[0]),
        _ => format!("there are{}", list.concat()),
    };
    Error::Config(format!(
        "{from}no GPU has the number or the name {text:?}; {there}"
    ))
}

/// All adapters, the fastest first.
async fn adapters() -> Result<Vec<wgpu::Adapter>> {
    let backends = backends()?;
    let listed = caught_while(async {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
                for_resource_creation: Some(MEMORY_PERCENT),
                for_device_loss: None,
            },
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        if cfg!(target_arch = "wasm32") {
            // A browser does not list adapters; it offers one.
            let options = wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            };
            let adapter = instance.request_adapter(&options).await;
            return adapter.into_iter().collect();
        }
        let mut adapters = instance.enumerate_adapters(backends).await;
        adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
            DeviceType::DiscreteGpu => 0,
            DeviceType::IntegratedGpu => 1,
            DeviceType::VirtualGpu => 2,
            DeviceType::Other => 3,
            DeviceType::Cpu => 4,
        });
        adapters
    });
    listed.await.map_err(|panic| {
        Error::Device(format!(
            "a graphics driver failed while the GPUs of this machine were listed ({}): update it, leave it out with {BACKENDS} (such as {BACKENDS}=dx12), or use `backend` cpu",
            one_line(&panic)
        ))
    })
}

/// APIs that support compute well. OpenGL is excluded; wgpu has it only if another crate of the build enables it.
const COMPUTING: wgpu::Backends = wgpu::Backends::PRIMARY;

/// The graphics APIs to search for GPUs.
fn backends() -> Result<wgpu::Backends> {
    let Ok(text) = std::env::var(BACKENDS) else {
        return Ok(COMPUTING);
    };
    parse_backends(&text)
}

fn parse_backends(text: &str) -> Result<wgpu::Backends> {
    let mut backends = wgpu::Backends::empty();
    for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let named = wgpu::Backends::from_comma_list(name);
        if named.is_empty() {
            return Err(Error::Config(format!(
                "{BACKENDS}={text}: {name:?} is no graphics system; expected vulkan, metal or dx12, or some of them with commas between"
            )));
        }
        backends |= named;
    }
    Ok(match backends.is_empty() {
        true => COMPUTING,
        false => backends & COMPUTING,
    })
}

/// The limits to request from `adapter`, or why it cannot be used.
pub(super) fn required_limits(
    adapter: &wgpu::Adapter,
    allow_software: bool,
) -> std::result::Result<wgpu::Limits, String> {
    if adapter.get_info().device_type == DeviceType::Cpu && !allow_software {
        return Err("a software renderer, slower than the CPU backend".into());
    }
    let (has, web) = (adapter.limits(), wgpu::Limits::default());
    check_limits(&has)?;
    // Textures are not used, so a device may support smaller ones than WebGPU requires.
    Ok(wgpu::Limits {
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        max_buffer_size: has.max_buffer_size,
        ..web.or_worse_values_from(&has)
    })
}

/// Rejects a device below WebGPU's default limits, which the kernels rely on.
pub(super) fn check_limits(has: &wgpu::Limits) -> std::result::Result<(), String> {
    let web = wgpu::Limits::default();
    let needs = [
        (
            "storage buffers in a kernel",
            has.max_storage_buffers_per_shader_stage,
            web.max_storage_buffers_per_shader_stage,
        ),
        (
            "invocations in a workgroup",
            has.max_compute_invocations_per_workgroup,
            web.max_compute_invocations_per_workgroup,
        ),
        (
            "bytes of workgroup memory",
            has.max_compute_workgroup_storage_size,
            web.max_compute_workgroup_storage_size,
        ),
        (
            "workgroups along an axis",
            has.max_compute_workgroups_per_dimension,
            web.max_compute_workgroups_per_dimension,
        ),
    ];
    match needs.into_iter().find(|(_, has, needs)| has < needs) {
        Some((what, has, needs)) => Err(format!("{has} {what}, {needs} are needed")),
        None => Ok(()),
    }
}

/// Display name, as in `NVIDIA H200 (Vulkan, NVIDIA 570.86)`.
pub(super) fn describe(info: &wgpu::AdapterInfo) -> String {
    let software = (info.device_type == DeviceType::Cpu).then_some("software");
    let driver = format!("{} {}", info.driver, info.driver_info);
    let backend = match info.backend {
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "Direct3D 12",
        wgpu::Backend::BrowserWebGpu => "WebGPU",
        other => other.to_str(),
    };
    let parts = [Some(backend), Some(driver.trim()), software];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter(|p| !p.is_empty())
        .collect();
    let name = if info.name.is_empty() {
        "GPU"
    } else {
        &info.name
    };
    format!("{name} ({})", parts.join(", "))
}

/// Suffix of the error message if the environment restricts the graphics APIs.
fn limited() -> String {
    std::env::var(BACKENDS).map_or(String::new(), |b| format!(" for {BACKENDS}={b}"))
}

/// The error when no usable GPU is left; `refused` has the names and the reasons.
pub(super) fn none(refused: &[String]) -> Error {
    let install = if cfg!(target_arch = "wasm32") {
        "use a browser with WebGPU switched on"
    } else if cfg!(target_os = "linux") {
        "install the Vulkan driver of your GPU, or a software one (Debian: mesa-vulkan-drivers), or use `backend` cpu"
    } else {
        "update the driver of your GPU, or use `backend` cpu"
    };
    let found = match refused {
        [] => format!("there is no GPU{}", limited()),
        _ => format!("no GPU can be used ({})", refused.join("; ")),
    };
    Error::Device(format!("{found}: {install}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_gpu_says_what_to_install_and_what_was_refused() {
        let nothing = none(&[]).to_string();
        assert!(nothing.starts_with("there is no GPU: "), "{nothing}");
        let refused = none(&[
            "llvmpipe (Vulkan): slow".into(),
            "Old (Vulkan): 4 buffers".into(),
        ]);
        let refused = refused.to_string();
        assert!(
            refused.contains("(llvmpipe (Vulkan): slow; Old (Vulkan): 4 buffers)"),
            "{refused}"
        );
        if cfg!(target_os = "linux") {
            assert!(nothing.contains("mesa-vulkan-drivers"), "{nothing}");
        }
        for text in [nothing, refused] {
            assert!(text.ends_with("or use `backend` cpu"), "{text}");
        }
    }

    #[test]
    fn a_gpu_is_chosen_by_its_number_or_a_part_of_its_name() {
        let names = [
            "NVIDIA GeForce RTX 4090 (Vulkan)",
            "Radeon 780M (Vulkan)",
            "Radeon 780M (Direct3D 12)",
        ]
        .map(String::from);
        for (text, at) in [
            ("0", Some(0)),
            (" 2 ", Some(2)),
            ("4090", Some(0)),
            ("radeon", Some(1)),
            ("Direct3D", Some(2)),
            ("3", None),
            ("-1", None),
            ("Arc", None),
        ] {
            assert_eq!(choose(text, &names), at, "{text}");
        }
        let text = unknown("Arc", "WGPU_ADAPTER_NAME: ", &names).to_string();
        assert!(
            text.starts_with("WGPU_ADAPTER_NAME: no GPU has the number or the name \"Arc\"; there are\n  0  NVIDIA"),
            "{text}"
        );
        assert!(text.ends_with("\n  2  Radeon 780M (Direct3D 12)"), "{text}");
    }

    #[test]
    fn graphics_systems_are_read_as_wgpu_reads_them() {
        use wgpu::Backends;
        assert_eq!(parse_backends("dx12"), Ok(Backends::DX12));
        let both = Backends::VULKAN | Backends::METAL;
        assert_eq!(parse_backends(" Vulkan, metal,"), Ok(both));
        assert_eq!(parse_backends(""), Ok(COMPUTING));
        assert_eq!(parse_backends("gl"), Ok(Backends::empty()));
        let refused = parse_backends("vulkan,cuda").expect_err("there is no such system");
        let text = refused.to_string();
        assert!(
            text.starts_with("WGPU_BACKEND=vulkan,cuda: \"cuda\""),
            "{text}"
        );
    }
}
