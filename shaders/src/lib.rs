//! WGSL compute kernels of SiT as plain data: expanded source, workgroup size, bindings and uniform layouts.
//!
//! `wgsl/<stem>.wgsl` is the only source of truth. The build script expands its templates, validates every entry point for plain
//! WebGPU, checks the house rules, and generates the Rust data below. This crate uses no GPU API.
//!
//! Each kernel is a `static` named after its entry point ([`LINEAR_FWD_64`]), documented with its equation and work mapping. Each
//! uniform block is a struct ([`LinearDims`]), which [`uniform_bytes`] lays out for the GPU.

/// One entry point with the WGSL module that holds it.
#[derive(Debug, PartialEq)]
pub struct Kernel {
    /// Entry point, unique among [`ALL`].
    pub name: &'static str,
    /// File stem: `wgsl/<stem>.wgsl`.
    pub stem: &'static str,
    /// Expanded WGSL, with this entry point only.
    pub source: &'static str,
    /// Workgroup size in invocations.
    pub workgroup: [u32; 3],
    /// Work items per workgroup: the WGSL constants `TILE_X`, `TILE_Y`, `TILE_Z`, by default `workgroup`.
    pub tile: [u32; 3],
    /// Further `u32` constants of the module, such as `MAX_HEAD_DIM`.
    pub constants: &'static [(&'static str, u32)],
    /// The entry point's bindings, in order of declaration.
    pub bindings: &'static [Binding],
}

/// One buffer of a kernel.
#[derive(Debug, PartialEq)]
pub struct Binding {
    /// Variable name, by which the host binds it.
    pub name: &'static str,
    /// Bind group, always 0.
    pub group: u32,
    /// Index within the group.
    pub index: u32,
    /// How the kernel uses it.
    pub access: Access,
    /// Element type.
    pub elem: Elem,
    /// Bytes of the uniform block, or of one element of a storage array: the minimum size of a bound buffer.
    pub size_bytes: u32,
    /// Shape as written in the WGSL, e.g. `[M, K]`; empty for a uniform.
    pub shape: &'static str,
}

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`: an output, all of which is written, or an operand changed in place.
    ReadWrite,
}

/// Element type of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// A uniform block.
    Struct,
    /// `array<f32>`.
    F32,
    /// `array<u32>`.
    U32,
    /// `array<vec4<f32>>`: an f32 tensor whose last dimension is a multiple of 4.
    Vec4F32,
}

/// WebGPU's default limit of workgroups along one axis of a dispatch.
pub const MAX_WORKGROUPS: u32 = 65_535;

impl Kernel {
    /// Workgroups that cover `items` along x, y and z: `ceil(items / tile)`.
    pub fn grid(&self, items: [u32; 3]) -> [u32; 3] {
        std::array::from_fn(|axis| items[axis].div_ceil(self.tile[axis]))
    }

    /// Workgroups that cover `items`, for a kernel that numbers its workgroups `x + y * num_workgroups.x`.
    ///
    /// Folded into two axes, since one axis has at most [`MAX_WORKGROUPS`].
    pub fn grid_flat(&self, items: u32) -> [u32; 3] {
        let workgroups = items.div_ceil(self.tile[0]);
        let x = workgroups.clamp(1, MAX_WORKGROUPS);
        [x, workgroups.div_ceil(x), 1]
    }

    /// The module's `u32` constant `name`, if it has one.
    pub fn constant(&self, name: &str) -> Option<u32> {
        self.constants
            .iter()
            .find(|(constant, _)| *constant == name)
            .map(|(_, value)| *value)
    }

    /// The binding `name`, if the kernel has one.
    pub fn binding(&self, name: &str) -> Option<&'static Binding> {
        self.bindings.iter().find(|binding| binding.name == name)
    }
}

/// The kernel named `name`, if there is one.
pub fn kernel(name: &str) -> Option<&'static Kernel> {
    ALL.iter().copied().find(|kernel| kernel.name == name)
}

/// A uniform block in the GPU's memory layout.
pub fn uniform_bytes<T: encase::ShaderType + encase::internal::WriteInto>(block: &T) -> Vec<u8> {
    let mut buffer = encase::UniformBuffer::new(Vec::new());
    // A block has at most a few dozen bytes, and a Vec grows as needed.
    buffer
        .write(block)
        .expect("a growing buffer holds any block");
    buffer.into_inner()
}

mod generated {
    use super::{Access, Binding, Elem, Kernel};
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}
pub use generated::*;

#[cfg(test)]
#[path = "../build/mod.rs"]
mod build;
#[cfg(test)]
mod tests;
