//! Runs a program kernel by kernel and measures the time of each.

use super::Program;
use super::program::MAX_DISPATCHES;
use crate::backend::profile::{Clock, Profile, Span, Timing};
use crate::error::Result;
use crate::graph::launch::{Dispatch, dispatches};
use sit_shaders::Access;
use std::time::Duration;
use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites};

/// Bytes of a timestamp.
const STAMP_BYTES: usize = 8;

impl Program {
    /// Runs all steps as [`Program::run`] does, but with one pass per kernel, and returns how long each kernel took. `clock` is
    /// read only if the device has no timestamps.
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

    /// The span of a dispatch, without times. A writable binding counts as read only if the step changes it in place.
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

    /// Start and end of each dispatch, from GPU timestamps.
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
            // A timestamp has the size of two floats.
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

    /// Start and end of each dispatch by `clock`, waiting for each.
    fn waited(&self, clock: &mut Clock<'_>) -> Result<Vec<[Duration; 2]>> {
        let gpu = &self.gpu;
        // Finish earlier submissions and uploads first, so that they do not count for the first dispatch.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Device;
    use crate::backend::gpu::adapter::{self, Asked};
    use crate::backend::gpu::{Gpu, device};
    use crate::graph::plan::Request;
    use crate::graph::{Graph, Plan};
    use crate::ops::pointwise;
    use pollster::block_on;

    /// A device on the first adapter, without optional features.
    fn without_timestamps() -> Gpu {
        let any = Asked::Fastest { software: true };
        let adapters = block_on(adapter::candidates(any, "")).expect("drivers can be asked");
        let adapter = adapters
            .first()
            .expect("there is a GPU, a software one if need be");
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let opened = block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.expect("it opens");
        device::share(device, queue, adapter.get_info()).expect("it has the limits of WebGPU")
    }

    #[test]
    fn without_timestamps_each_kernel_is_waited_for() {
        let mut g = Graph::new();
        let x = g.input("x", [3]);
        let twice = pointwise::add(&mut g, x, x).expect("the shapes fit");
        let y = pointwise::add(&mut g, twice, x).expect("the shapes fit");
        let request = Request {
            outputs: vec![("y".into(), y)],
            ..Request::default()
        };
        let plan = Plan::new(&g, &request, &[]).expect("it can be planned");
        let device = Device::Gpu(without_timestamps());
        let mut program = device.program(plan, &[]).expect("it fits");
        program
            .write("x", &[1.0, 2.0, 4.0])
            .expect("it is an input");
        let mut now = 0;
        let mut clock = || {
            now += 1;
            Duration::from_millis(now * now)
        };
        let profile = block_on(program.profile(&mut clock)).expect("the device does not fail");
        assert_eq!(profile.timing, Timing::Waits);
        let times = profile.spans.iter().map(|span| [span.start, span.time]);
        let millis: Vec<[u128; 2]> = times.map(|two| two.map(|t| t.as_millis())).collect();
        // The clock reads 1 and 4, then 9 and 16.
        assert_eq!(millis, [[0, 3], [8, 7]]);
        assert_eq!(profile.time(), Duration::from_millis(10));
        assert!(profile.spans.iter().all(|span| span.bytes() == 36));
        let got = block_on(program.read("y")).expect("it is an output");
        assert_eq!(got, [3.0, 6.0, 12.0]);
    }
}
