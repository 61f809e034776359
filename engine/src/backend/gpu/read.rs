//! Reads device memory: a copy into a mappable buffer, then a wait for the mapping.

use super::{Gpu, lock};
use crate::error::{Error, Result};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use wgpu::{BufferAsyncError, BufferUsages, MapMode};

/// A staging buffer for reads.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) bytes: u64,
    /// Taken while a read is in progress; a concurrent read creates its own.
    buffer: Mutex<Option<wgpu::Buffer>>,
}

/// The result of a buffer mapping, filled in by its callback.
#[derive(Debug, Default)]
struct Answer {
    result: Option<std::result::Result<(), BufferAsyncError>>,
    waker: Option<Waker>,
}

impl Gpu {
    /// A staging buffer for reads of up to `bytes`.
    pub(super) fn staging(&self, bytes: u64) -> Result<Staging> {
        let buffer = match bytes {
            0 => None,
            _ => Some(self.staging_buffer(bytes)?),
        };
        Ok(Staging {
            bytes,
            buffer: Mutex::new(buffer),
        })
    }

    fn staging_buffer(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        self.buffer("a staging buffer", bytes, usage)
    }

    /// Reads floats with one wait, after all work submitted so far. A source is a buffer, an offset in bytes and a length.
    pub(super) async fn read<const N: usize>(
        &self,
        staging: &Staging,
        sources: [(&wgpu::Buffer, u64, usize); N],
    ) -> Result<[Vec<f32>; N]> {
        self.check()?;
        let bytes: u64 = sources.iter().map(|(_, _, len)| *len as u64 * 4).sum();
        if bytes == 0 {
            return Ok([const { Vec::new() }; N]);
        }
        let kept = lock(&staging.buffer).take();
        let buffer = match kept {
            Some(buffer) => buffer,
            None => self.staging_buffer(staging.bytes)?,
        };
        let mut encoder = self.encoder();
        let mut at = 0;
        for (source, offset, len) in sources {
            let bytes = len as u64 * 4;
            encoder.copy_buffer_to_buffer(source, offset, &buffer, at, bytes);
            at += bytes;
        }
        let copied = self.submit(Some(encoder))?;
        self.map(&buffer, bytes, copied).await?;

        let mapped = buffer.get_mapped_range(..bytes);
        let values = mapped.map(|view| {
            let mut rest = &view[..];
            sources.map(|(_, _, len)| {
                let (values, after) = rest.split_at(len * 4);
                rest = after;
                bytemuck::pod_collect_to_vec(values)
            })
        });
        buffer.unmap();
        *lock(&staging.buffer) = Some(buffer);
        values.map_err(unreadable)
    }

    async fn map(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        copied: wgpu::SubmissionIndex,
    ) -> Result<()> {
        let answer = Arc::new(Mutex::new(Answer::default()));
        let callback = Arc::clone(&answer);
        buffer.map_async(MapMode::Read, ..bytes, move |result| {
            let waker = {
                let mut answer = lock(&callback);
                answer.result = Some(result);
                answer.waker.take()
            };
            waker.inspect(Waker::wake_by_ref);
        });
        // Waits for this copy only: later submissions of others, such as a frame of a window, may depend on the display.
        self.wait(&copied)?;
        // On native platforms the result is usually there by now, unless another thread is polling the device.
        let mapped = poll_fn(|context| {
            let mut answer = lock(&answer);
            match answer.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    answer.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        });
        let mapped = mapped.await;
        self.check()?;
        mapped.map_err(unreadable)
    }
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::Device(format!("the GPU's memory cannot be read: {error}"))
}
