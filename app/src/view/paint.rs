//! Draws pictures on the GPU that has the numbers: sums of arrays become a texture that egui shows.

use super::color::{NEGATIVE, POSITIVE, ZERO};
use super::{Figure, Scale, Sum};
use crate::state::Term;
use crate::twins::Twins;
use eframe::egui_wgpu::{RenderState, Renderer};
use egui::TextureId;
use egui::mutex::RwLock;
use sit_engine::backend::gpu::Tensor;
use std::sync::Arc;
use wgpu::TextureUsages;

/// Arrays in each of the two sums of a pixel: the kernel reads eight in all, the most that every WebGPU device can bind.
const TERMS: usize = 4;

/// Pixels along the side of a workgroup.
const TILE: u32 = 8;

/// The kernel that draws, on the device that also shows.
pub struct Painter {
    device: wgpu::Device,
    queue: wgpu::Queue,
    renderer: Arc<RwLock<Renderer>>,
    pipeline: wgpu::ComputePipeline,
    pub(crate) twins: Twins,
}

/// A picture on the GPU, as egui knows it.
pub struct Canvas {
    renderer: Arc<RwLock<Renderer>>,
    texture: wgpu::Texture,
    id: TextureId,
}

impl Canvas {
    /// What egui shows.
    pub fn id(&self) -> TextureId {
        self.id
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        self.renderer.write().free_texture(&self.id);
    }
}

/// The arrays and factors of a strip.
struct Strip {
    coef: [f32; 2 * TERMS],
    arrays: Vec<Tensor>,
}

impl Painter {
    /// Compiles the kernel for arrays of `twins`, which lie on the device of `render`.
    pub fn new(render: &RenderState, twins: Twins) -> Self {
        let device = render.device.clone();
        let module = device.create_shader_module(wgpu::include_wgsl!("sheet.wgsl"));
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("sheet"),
            layout: None,
            module: &module,
            entry_point: Some("sheet"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Painter {
            device,
            queue: render.queue.clone(),
            renderer: Arc::clone(&render.renderer),
            pipeline,
            twins,
        }
    }

    /// Draws `figure`, on `canvas` if its size fits; `None` if an array is not on the GPU.
    pub fn paint(&self, figure: &Figure, canvas: Option<Canvas>) -> Option<Canvas> {
        let strips = figure.strips.iter().map(|sum| self.strip(sum));
        let strips: Vec<Strip> = strips.collect::<Option<_>>()?;
        let size = figure.sheet.size().map(|side| side as u32);
        let most = self.device.limits().max_texture_dimension_2d;
        if size.iter().any(|&side| side > most) {
            return None;
        }
        let canvas = canvas.filter(|canvas| {
            let old = canvas.texture.size();
            [old.width, old.height] == size
        });
        let canvas = canvas.unwrap_or_else(|| self.canvas(size));
        let view = canvas.texture.create_view(&Default::default());
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for (i, strip) in strips.iter().enumerate() {
            let block = self.upload(&block(figure, i, strip));
            let bind = self.bind(&block, strip, &view);
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &bind, &[]);
            let width = size[0] + figure.sheet.gap as u32;
            let width = width / strips.len() as u32;
            pass.dispatch_workgroups(width.div_ceil(TILE), size[1].div_ceil(TILE), 1);
        }
        self.queue.submit(Some(encoder.finish()));
        Some(canvas)
    }

    /// The arrays of a sum on the GPU, if all are there.
    fn strip(&self, sum: &Sum) -> Option<Strip> {
        let mut coef = [0.0; 2 * TERMS];
        let first = self.twins.get(&sum.terms.first()?.data)?;
        // Unused bindings get any array, with the factor 0.
        let mut arrays = vec![first; 2 * TERMS];
        let mut set = |at: usize, terms: &[Term]| {
            for (k, term) in terms.iter().enumerate() {
                coef[at + k] = term.coef as f32;
                arrays[at + k] = self.twins.get(&term.data)?;
            }
            Some(())
        };
        if sum.terms.len() > TERMS || sum.less.len() > TERMS {
            return None;
        }
        set(0, &sum.terms)?;
        set(TERMS, &sum.less)?;
        Some(Strip { coef, arrays })
    }

    fn upload(&self, block: &[u32]) -> wgpu::Buffer {
        let bytes: Vec<u8> = block.iter().flat_map(|word| word.to_le_bytes()).collect();
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("sheet"),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&buffer, 0, &bytes);
        buffer
    }

    fn canvas(&self, [width, height]: [u32; 2]) -> Canvas {
        let mut usage = TextureUsages::STORAGE_BINDING | TextureUsages::TEXTURE_BINDING;
        if cfg!(test) {
            usage |= TextureUsages::COPY_SRC;
        }
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("sheet"),
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage,
            view_formats: &[],
        });
        let view = texture.create_view(&Default::default());
        let id = self.renderer.write().register_native_texture(
            &self.device,
            &view,
            wgpu::FilterMode::Nearest,
        );
        Canvas {
            renderer: Arc::clone(&self.renderer),
            texture,
            id,
        }
    }

    fn bind(
        &self,
        block: &wgpu::Buffer,
        strip: &Strip,
        picture: &wgpu::TextureView,
    ) -> wgpu::BindGroup {
        let arrays = strip.arrays.iter().map(Tensor::buffer);
        let buffers = std::iter::once(block).chain(arrays);
        let buffers = buffers.map(wgpu::Buffer::as_entire_binding);
        let resources = buffers.chain([wgpu::BindingResource::TextureView(picture)]);
        let entries: Vec<_> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("sheet"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
    }
}

/// The words of the kernel's `Strip`, in its order.
fn block(figure: &Figure, i: usize, strip: &Strip) -> Vec<u32> {
    let (sheet, n_strips) = (&figure.sheet, figure.strips.len());
    let columns = sheet.columns / n_strips;
    let (range, is_signed) = match figure.scale {
        Scale::Image => (1.0, 0),
        Scale::Signed(range) => (range, 1),
    };
    let colors = [NEGATIVE, ZERO, POSITIVE].map(|[r, g, b]| [r, g, b, 0.0]);
    let floats = strip.coef.iter().chain(colors.as_flattened());
    let floats = floats.chain([&range]).map(|x| x.to_bits());
    let sizes = [
        figure.channels,
        sheet.side,
        sheet.gap,
        columns,
        sheet.n / n_strips,
        i * columns * (sheet.side + sheet.gap),
    ];
    let sizes = sizes.into_iter().map(|size| size as u32);
    floats.chain([is_signed]).chain(sizes).collect()
}

#[cfg(test)]
mod tests;
