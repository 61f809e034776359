//! Translates every entry point for Metal and Direct3D 12 with wgpu's options, so that kernels that cannot be translated or exceed
//! the limits of a platform fail the build and not on a user's machine.
//!
//! This module is part of the build script only; tests read the table that it writes. The translators are features of the build
//! script's own naga: as features of the program's naga they would be compiled for every user.

use super::build::Shader;
use naga::back::{hlsl, msl};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::{AddressSpace, GlobalVariable, ResourceBinding, ShaderStage, StorageAccess};
use std::fmt::Write;

/// Buffers per stage on Metal (Metal feature set tables, all families).
const METAL_BUFFERS: u32 = 31;

/// Unordered access views per stage on hardware of binding tier 1 (Direct3D 12, feature level 11.0).
const D3D_UAVS: u32 = 8;

/// Maximum workgroup size along z in Direct3D and WebGPU.
const THREADS_Z: u32 = 64;

/// Maximum workgroup size along x and y in WebGPU.
const THREADS_XY: u32 = 256;

/// Translates `shader` for each platform; returns one line `ENTRY PLATFORM CHECKS BUFFERS BYTES` for each.
pub fn write(shader: &Shader) -> Result<String, String> {
    let [x, y, z] = shader.module.entry_points[0].workgroup_size;
    if x.max(y) > THREADS_XY || z > THREADS_Z {
        return Err(format!(
            "{}: {x} x {y} x {z} threads, at most {THREADS_XY} x {THREADS_XY} x {THREADS_Z}",
            shader.entry
        ));
    }
    let mut lines = String::new();
    for checked in [true, false] {
        let checks = if checked { "checked" } else { "unchecked" };
        let (buffers, text) = metal(shader, checked)?;
        line(&mut lines, shader, "metal", checks, buffers, &text);
        let (buffers, text) = direct3d(shader, checked)?;
        line(&mut lines, shader, "direct3d", checks, buffers, &text);
    }
    Ok(lines)
}

fn line(
    lines: &mut String,
    shader: &Shader,
    platform: &str,
    checks: &str,
    buffers: u32,
    text: &str,
) {
    let (entry, bytes) = (&shader.entry, text.len());
    writeln!(lines, "{entry} {platform} {checks} {buffers} {bytes}").expect("writing to a String");
}

fn bound(shader: &Shader) -> impl Iterator<Item = (&GlobalVariable, ResourceBinding)> {
    let variables = shader.module.global_variables.iter();
    variables.filter_map(|(_, variable)| Some((variable, variable.binding?)))
}

fn changes(variable: &GlobalVariable) -> bool {
    matches!(variable.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE))
}

/// Metal: all buffers in one table, plus one buffer for the lengths of runtime arrays.
fn metal(shader: &Shader, checked: bool) -> Result<(u32, String), String> {
    let mut resources = msl::EntryPointResources::default();
    let mut buffers: u32 = 0;
    for (variable, binding) in bound(shader) {
        let target = msl::BindTarget {
            buffer: Some(buffers as u8),
            mutable: changes(variable),
            ..msl::BindTarget::default()
        };
        resources.resources.insert(binding, target);
        buffers += 1;
    }
    resources.sizes_buffer = Some(buffers as u8);
    buffers += 1;
    let policy = match checked {
        true => BoundsCheckPolicy::Restrict,
        false => BoundsCheckPolicy::Unchecked,
    };
    let options = msl::Options {
        lang_version: (2, 0),
        per_entry_point_map: [(shader.entry.clone(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            ..BoundsCheckPolicies::default()
        },
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: checked,
        ..msl::Options::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, shader.entry.clone())),
        ..msl::PipelineOptions::default()
    };
    let fault = |error: &dyn std::fmt::Display| format!("{}: for Metal: {error}", shader.entry);
    let (text, info) = msl::write_string(&shader.module, &shader.info, &options, &pipeline)
        .map_err(|error| fault(&error))?;
    for name in &info.entry_point_names {
        name.as_ref().map_err(|error| fault(error))?;
    }
    if buffers > METAL_BUFFERS {
        return Err(fault(&format_args!(
            "{buffers} buffers, at most {METAL_BUFFERS}"
        )));
    }
    Ok((buffers, text))
}

/// Direct3D 12: registers b, t and u for uniform blocks, inputs and outputs; the number of workgroups in a block in space 1.
fn direct3d(shader: &Shader, checked: bool) -> Result<(u32, String), String> {
    let mut options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V5_1,
        fake_missing_bindings: false,
        special_constants_binding: Some(hlsl::BindTarget {
            space: 1,
            ..hlsl::BindTarget::default()
        }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..hlsl::Options::default()
    };
    let [mut blocks, mut inputs, mut outputs] = [0; 3];
    for (variable, binding) in bound(shader) {
        let counter = match variable.space {
            AddressSpace::Uniform => &mut blocks,
            _ if changes(variable) => &mut outputs,
            _ => &mut inputs,
        };
        let target = hlsl::BindTarget {
            register: *counter,
            restrict_indexing: checked,
            ..hlsl::BindTarget::default()
        };
        options.binding_map.insert(binding, target);
        *counter += 1;
    }
    let fault = |error: &dyn std::fmt::Display| format!("{}: for Direct3D: {error}", shader.entry);
    let pipeline = hlsl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, shader.entry.clone())),
    };
    let mut text = String::new();
    let info = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&shader.module, &shader.info, None)
        .map_err(|error| fault(&error))?;
    for name in &info.entry_point_names {
        name.as_ref().map_err(|error| fault(error))?;
    }
    if outputs > D3D_UAVS {
        return Err(fault(&format_args!(
            "{outputs} outputs, at most {D3D_UAVS}"
        )));
    }
    Ok((blocks + inputs + outputs, text))
}
