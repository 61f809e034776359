//! Arenas in device memory: one buffer per segment and kind.

use super::{Gpu, bytes_of, check_len};
use crate::error::{Error, Result};
use crate::graph::plan::Entry;
use crate::graph::{Arena, Layout, Storage};
use std::collections::BTreeMap;
use std::sync::Arc;
use wgpu::BufferUsages;

/// Arenas in device memory, shared by programs.
#[derive(Clone, Debug)]
pub struct Arenas {
    gpu: Gpu,
    layout: Layout,
    segments: Arc<BTreeMap<Arena, Vec<wgpu::Buffer>>>,
}

impl Arenas {
    pub(super) fn new(gpu: &Gpu, layout: &Layout, kinds: &[Arena]) -> Result<Self> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let mut segments = BTreeMap::new();
        for &kind in kinds {
            let buffers = layout.segments().iter().enumerate().map(|(i, &len)| {
                gpu.buffer(&format!("arena {kind:?}[{i}]"), len as u64 * 4, usage)
            });
            segments.insert(kind, buffers.collect::<Result<Vec<_>>>()?);
        }
        Ok(Arenas {
            gpu: gpu.clone(),
            layout: layout.clone(),
            segments: Arc::new(segments),
        })
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The buffers of an arena.
    pub(super) fn segments(&self, arena: Arena) -> Result<&[wgpu::Buffer]> {
        let buffers = self.segments.get(&arena).map(Vec::as_slice);
        buffers.ok_or_else(|| Error::Shape(format!("there is no arena {arena:?}")))
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> u64 {
        let buffers = self.segments.values().flatten();
        buffers.map(wgpu::Buffer::size).sum()
    }

    fn find(&self, arena: Arena, name: &str) -> Result<(&wgpu::Buffer, &Entry)> {
        let entry = self
            .layout
            .get(name)
            .ok_or_else(|| Error::Shape(format!("there is no parameter {name}")))?;
        Ok((&self.segments(arena)?[entry.segment], entry))
    }

    /// Writes one parameter in an arena.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such arena or parameter, or the length differs; [`Error::Device`] for a failed device.
    pub fn write(&self, arena: Arena, name: &str, data: &[f32]) -> Result<()> {
        let (buffer, entry) = self.find(arena, name)?;
        check_len(name, data.len(), entry.shape.numel())?;
        let at = entry.offset as u64 * 4;
        if entry.storage == Storage::F32 {
            return self.gpu.upload(buffer, at, bytes_of(data));
        }
        let mut words = vec![0; entry.words()];
        entry.storage.pack(name, data, &mut words)?;
        self.gpu.upload(buffer, at, bytes_of(&words))
    }

    /// Reads one parameter from an arena.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such arena or parameter, [`Error::Device`] when the device fails.
    pub async fn read(&self, arena: Arena, name: &str) -> Result<Vec<f32>> {
        let (buffer, entry) = self.find(arena, name)?;
        let len = entry.words();
        // Arenas are read for checkpoints only, which is rare, so the staging buffer is not kept.
        let staging = self.gpu.staging(len as u64 * 4)?;
        let source = (buffer, entry.offset as u64 * 4, len);
        let [values] = self.gpu.read(&staging, [source]).await?;
        Ok(match entry.storage {
            Storage::F32 => values,
            storage => storage.unpack(bytemuck::cast_slice(&values), entry.shape.numel()),
        })
    }
}
