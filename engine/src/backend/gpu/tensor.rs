//! Tensors in device memory that outlive the run that computed them.

use super::{Gpu, Program, bytes_of, check_len};
use crate::error::{Error, Result};
use std::ops::Range;
use wgpu::BufferUsages;

/// Floats in device memory, initially zero. Clones share the memory; the last one frees it.
#[derive(Clone, Debug)]
pub struct Tensor {
    gpu: Gpu,
    buffer: wgpu::Buffer,
}

#[doc(hidden)]
impl Gpu {
    /// Allocates `len` floats.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold or bind them, [`Error::Device`] when it has failed.
    pub fn tensor(&self, len: usize) -> Result<Tensor> {
        let bytes = len as u64 * 4;
        let limit = self.shared.limits.binding_bytes;
        if bytes > limit {
            return Err(Error::Limit(format!(
                "a tensor of {} MiB: over the {} MiB binding limit of this device",
                bytes.div_ceil(1 << 20),
                limit >> 20
            )));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        Ok(Tensor {
            buffer: self.buffer("a tensor", bytes, usage)?,
            gpu: self.clone(),
        })
    }
}

impl Tensor {
    /// The number of floats.
    pub fn len(&self) -> usize {
        (self.buffer.size() / 4) as usize
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer, for other shaders on the same device to read.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Writes all of it from the host.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::Device`] when the device has failed.
    pub fn write(&self, data: &[f32]) -> Result<()> {
        check_len("a tensor", data.len(), self.len())?;
        self.gpu.upload(&self.buffer, 0, bytes_of(data))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub async fn read(&self) -> Result<Vec<f32>> {
        let staging = self.gpu.staging(self.buffer.size())?;
        let source = (&self.buffer, 0, self.len());
        let [values] = self.gpu.read(&staging, [source]).await?;
        Ok(values)
    }
}

impl Program {
    /// Copies a range of an output of the last run into `to` from element `at` on, on the device.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such output, a range is not within, or `to` belongs to another device,
    /// [`Error::Device`] when the device has failed.
    pub fn copy(&self, output: &str, range: Range<usize>, to: &Tensor, at: usize) -> Result<()> {
        let port = self.plan.output(output)?;
        let n = port.ty.shape.numel();
        if range.start > range.end || range.end > n || range.len() + at > to.len() {
            return Err(Error::Shape(format!(
                "elements {range:?} of {output}, which has {n}, do not go into {} from {at} on",
                to.len()
            )));
        }
        if !self.gpu.is(&to.gpu) {
            return Err(Error::Shape("the tensor belongs to another device".into()));
        }
        if range.is_empty() {
            return Ok(());
        }
        self.gpu.check()?;
        let (source, offset) = self.buffer(&port.place)?;
        let from = offset + range.start as u64 * 4;
        let bytes = range.len() as u64 * 4;
        let mut encoder = self.gpu.encoder();
        encoder.copy_buffer_to_buffer(source, from, &to.buffer, at as u64 * 4, bytes);
        self.gpu.submit(Some(encoder))?;
        Ok(())
    }
}
