//! Compute pipelines of the kernels: compiled once per device, shared by its programs.

use super::{Gpu, lock};
use crate::backend::Checks;
use crate::error::Result;
use sit_shaders::{Access, Kernel};
use std::num::NonZeroU64;

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) compute: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Gpu {
    /// The pipeline of `kernel`, compiled on first use.
    pub(super) fn pipeline(&self, kernel: &'static Kernel) -> Result<Pipeline> {
        // Locked while compiling, so that no kernel is compiled twice.
        let mut pipelines = lock(&self.shared.pipelines);
        if let Some(pipeline) = pipelines.get(kernel.name) {
            return Ok(pipeline.clone());
        }
        let pipeline = self.guarded(kernel.name, 0, || self.compile(kernel))?;
        pipelines.insert(kernel.name, pipeline.clone());
        lock(&self.shared.work).made.pipelines += 1;
        Ok(pipeline)
    }

    fn compile(&self, kernel: &Kernel) -> Pipeline {
        let device = &self.shared.device;
        let entries: Vec<_> = kernel
            .bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match binding.access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        access => wgpu::BufferBindingType::Storage {
                            read_only: access == Access::Read,
                        },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: NonZeroU64::new(binding.size_bytes.into()),
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &self.module(kernel),
            entry_point: Some(kernel.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Not needed: every kernel writes its workgroup memory before reading it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { compute, layout }
    }

    fn module(&self, kernel: &Kernel) -> wgpu::ShaderModule {
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(kernel.source.into()),
        };
        if self.shared.checks == Checks::On {
            return self.shared.device.create_shader_module(source);
        }
        let checks = wgpu::ShaderRuntimeChecks::unchecked();
        // SAFETY: the source is our own, and all its loops terminate. Only this crate defines operations (`graph::op::Sealed`):
        // their launches derive grid and sizes from tensor shapes, which `graph::launch` has checked against the operation's shape
        // rule and against the kernel. Every operation is tested with and without checks. Label indices are clamped in the shader.
        #[expect(
            unsafe_code,
            reason = "bounds checks in the inner loop of every kernel"
        )]
        unsafe {
            self.shared
                .device
                .create_shader_module_trusted(source, checks)
        }
    }
}
