//! Running a program kernel by kernel, with the time of each.

use super::Program;
use super::program::MAX_DISPATCHES;
use crate::backend::profile::{Clock, Profile, Span, Timing};
use crate::error::Result;
use crate::graph::launch::{Dispatch, dispatches};
use sit_shaders::Access;
use std::time::Duration;
use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites};

/// Bytes of a time.
const STAMP_BYTES: usize = 8;

impl Program {
    /// Runs all steps as [`Program::run`] does, each kernel in a pass of its own, and tells how long each took. `clock` is asked only where
    /// the device has no timestamps.
    ///
    /// # Errors
    /// [`crate::Error::Device`] or [`crate::Error::Limit`] when the device has failed, now or earlier.
    pub async fn profile(&mut self, clock: &mut Clock<'_>) -> Result<Profile> {
        self.gpu.check()?;
        let dispatches = dispatches(&self.plan, &self.gpu.limits())?;
        let spans = dispatches.iter().map(|dispatch| self.span(dispatch));
        let spans = spans.collect();
        let features = self.gpu.shared.device.features();
        if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            let times = self.stamped().await?;
            return Ok(Profile::new(Timing::Timestamps, spans, &times));
        }
        let times = self.waited(clock)?;
        Ok(Profile::new(Timing::Waits, spans, &times))
    }

    /// What a dispatch does, without its times: what a kernel can write it may also read, where its step says so.
    fn span(&self, dispatch: &Dispatch) -> Span {
        let mut span = Span::of(&self.plan, dispatch.step);
        let step = &self.plan.steps[dispatch.step];
        let changed = step.op.in_place().iter().map(|&i| step.ins[i].place);
        let changed: Vec<_> = changed.collect();
        span.kernel = Some(dispatch.kernel.name);
        (span.read_bytes, span.written_bytes) = (0, 0);
        for (index, operand) in &dispatch.bind {
            let bytes = operand.bytes();
            let mut bindings = dispatch.kernel.bindings.iter();
            let binding = bindings.find(|binding| binding.index == *index);
            let writes = binding.is_some_and(|binding| binding.access == Access::ReadWrite);
            if !writes || changed.contains(&operand.place) {
                span.read_bytes += bytes;
            }
            if writes {
                span.written_bytes += bytes;
            }
        }
        span
    }

    /// Begin and end of each dispatch by the device's time.
    async fn stamped(&self) -> Result<Vec<[Duration; 2]>> {
        let gpu = &self.gpu;
        let most = 2 * MAX_DISPATCHES;
        let queries = gpu.guarded("timestamps", 0, || {
            gpu.shared
                .device
                .create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("timestamps"),
                    ty: wgpu::QueryType::Timestamp,
                    count: most as u32,
                })
        })?;
        let bytes = (most * STAMP_BYTES) as u64;
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let resolved = gpu.buffer("timestamps", bytes, usage)?;
        let staging = gpu.staging(bytes)?;
        let tick = f64::from(gpu.shared.queue.get_timestamp_period());
        let mut first = None;
        let mut times = Vec::with_capacity(self.commands.len());
        for range in &self.submissions {
            let mut encoder = gpu.encoder();
            for (i, command) in (0..).zip(&self.commands[range.clone()]) {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * i),
                        end_of_pass_write_index: Some(2 * i + 1),
                    }),
                });
                command.encode(&mut pass);
            }
            let n = 2 * range.len();
            encoder.resolve_query_set(&queries, 0..n as u32, &resolved, 0);
            gpu.submit(Some(encoder))?;
            // Two floats are the bytes of a time.
            let [words] = gpu.read(&staging, [(&resolved, 0, 2 * n)]).await?;
            let stamps = words.chunks_exact(2).map(|two| {
                let [low, high] = [two[0], two[1]].map(|word| u64::from(word.to_bits()));
                let stamp = low | high << 32;
                let since = stamp.saturating_sub(*first.get_or_insert(stamp));
                Duration::from_nanos((since as f64 * tick) as u64)
            });
            let stamps: Vec<Duration> = stamps.collect();
            times.extend(stamps.chunks_exact(2).map(|two| [two[0], two[1]]));
        }
        Ok(times)
    }

    /// Begin and end of each dispatch by `clock`, with a wait after each.
    fn waited(&self, clock: &mut Clock<'_>) -> Result<Vec<[Duration; 2]>> {
        let gpu = &self.gpu;
        // What was submitted before, and uploads, are not the first one's.
        let before = gpu.submit(None)?;
        gpu.wait(&before)?;
        let mut times = Vec::with_capacity(self.commands.len());
        for command in &self.commands {
            let mut encoder = gpu.encoder();
            command.encode(&mut encoder.begin_compute_pass(&ComputePassDescriptor::default()));
            let start = clock();
            let done = gpu.submit(Some(encoder))?;
            gpu.wait(&done)?;
            times.push([start, clock()]);
        }
        Ok(times)
    }
}
