//! A plan with its buffers, pipelines and bind groups: running it encodes and submits, and creates no resources.

use super::read::Staging;
use super::{Arenas, Gpu, bytes_of, check_len};
use crate::error::{Error, Result};
use crate::graph::Plan;
use crate::graph::launch::{Dispatch, Limits, dispatches};
use crate::graph::plan::{Operand, Place, Use};
use crate::shape::Elem;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use wgpu::BufferUsages;

/// Alignment of uniform blocks (WebGPU's default `minUniformBufferOffsetAlignment`).
const UNIFORM_ALIGN: usize = 256;

/// Maximum dispatches and multiply-accumulates of a submission: systems reset a GPU whose submission takes seconds.
pub(super) const MAX_DISPATCHES: usize = 128;
const MAX_MACS: u64 = 100_000_000_000;

/// Constants are filled in chunks of this many floats.
const FILL_LEN: usize = 1 << 18;

/// A plan with its buffers, pipelines and bind groups.
#[derive(Debug)]
pub struct Program {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    sets: Vec<Arenas>,
    slots: Vec<wgpu::Buffer>,
    uniforms: Option<wgpu::Buffer>,
    staging: Staging,
    pub(super) commands: Vec<Command>,
    /// Commands of each submission.
    pub(super) submissions: Vec<Range<usize>>,
}

/// One dispatch, ready to encode.
#[derive(Debug)]
pub(super) struct Command {
    pipeline: wgpu::ComputePipeline,
    bind: wgpu::BindGroup,
    grid: [u32; 3],
}

impl Command {
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y, z] = self.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Bytes of a program's buffers: slots, uniform blocks, and one staging buffer for its outputs.
pub(super) fn bytes(plan: &Plan, limits: &Limits) -> Result<u64> {
    let uniforms = Uniforms::new(&dispatches(plan, limits)?);
    Ok(plan.slot_bytes() + uniforms.data.len() as u64 + staging_bytes(plan))
}

fn staging_bytes(plan: &Plan) -> u64 {
    plan.outputs.iter().map(|port| port.ty.bytes()).sum()
}

/// The uniform blocks of all dispatches in one buffer; equal blocks are stored once.
struct Uniforms {
    data: Vec<u8>,
    offsets: Vec<u64>,
}

impl Uniforms {
    fn new(dispatches: &[Dispatch]) -> Self {
        let (mut data, mut known) = (Vec::new(), BTreeMap::new());
        let offsets = dispatches.iter().map(|dispatch| {
            *known.entry(dispatch.dims.as_slice()).or_insert_with(|| {
                let offset = data.len();
                data.extend_from_slice(&dispatch.dims);
                data.resize(data.len().next_multiple_of(UNIFORM_ALIGN), 0);
                offset as u64
            })
        });
        let offsets = offsets.collect();
        Uniforms { data, offsets }
    }
}

impl Program {
    pub(super) fn new(gpu: &Gpu, plan: Plan, sets: Vec<Arenas>) -> Result<Self> {
        if !sets.iter().all(|arenas| gpu.is(arenas.gpu())) {
            return Err(Error::Shape("the arenas belong to another device".into()));
        }
        let segments = |i: usize| sets.get(i).map(|arenas| arenas.layout().segments());
        let mut layouts = plan.layouts.iter().enumerate();
        if layouts.any(|(i, layout)| segments(i) != Some(layout.segments())) {
            return Err(Error::Shape(
                "the arenas have another layout than the program".into(),
            ));
        }
        let dispatches = dispatches(&plan, &gpu.limits())?;
        let uniforms = Uniforms::new(&dispatches);
        let mut program = Program {
            gpu: gpu.clone(),
            sets,
            slots: slots(gpu, &plan)?,
            uniforms: None,
            staging: gpu.staging(staging_bytes(&plan))?,
            commands: Vec::with_capacity(dispatches.len()),
            submissions: cut(&plan, &dispatches),
            plan,
        };
        if !uniforms.data.is_empty() {
            let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
            let buffer = gpu.buffer("uniform blocks", uniforms.data.len() as u64, usage)?;
            gpu.upload(&buffer, 0, &uniforms.data)?;
            program.uniforms = Some(buffer);
        }
        for (dispatch, offset) in dispatches.iter().zip(uniforms.offsets) {
            let command = program.command(dispatch, offset)?;
            program.commands.push(command);
        }
        Ok(program)
    }

    fn command(&self, dispatch: &Dispatch, uniform_offset: u64) -> Result<Command> {
        let kernel = dispatch.kernel;
        let pipeline = self.gpu.pipeline(kernel)?;
        let mut entries = Vec::with_capacity(kernel.bindings.len());
        for (index, operand) in &dispatch.bind {
            let (buffer, offset) = self.buffer(&operand.place)?;
            entries.push(entry(*index, buffer, offset, operand.bytes()));
        }
        let uniform = |b: &&sit_shaders::Binding| b.access == sit_shaders::Access::Uniform;
        if let (Some(block), Some(buffer)) = (kernel.bindings.iter().find(uniform), &self.uniforms)
        {
            let bytes = u64::from(block.size_bytes);
            entries.push(entry(block.index, buffer, uniform_offset, bytes));
        }
        let device = &self.gpu.shared.device;
        let bind = self.gpu.guarded(kernel.name, 0, || {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            })
        })?;
        Ok(Command {
            pipeline: pipeline.compute,
            bind,
            grid: dispatch.grid,
        })
    }

    /// The buffer of a place, with the offset in bytes.
    pub(super) fn buffer(&self, place: &Place) -> Result<(&wgpu::Buffer, u64)> {
        match *place {
            Place::Slot(slot) => Ok((&self.slots[slot], 0)),
            Place::Arena(arena, segment, offset) => {
                let set = self.sets.get(usize::from(arena.set.0));
                let segments = set.and_then(|set| set.segments(arena.arena).ok());
                let segments = segments.ok_or_else(|| {
                    Error::Shape(format!(
                        "the program uses the arena {arena:?}, which was not allocated"
                    ))
                })?;
                Ok((&segments[segment], offset as u64 * 4))
            }
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes allocated: slots, uniform blocks and the staging buffer for reads.
    pub fn bytes(&self) -> u64 {
        let buffers = self.slots.iter().chain(&self.uniforms);
        buffers.map(wgpu::Buffer::size).sum::<u64>() + self.staging.bytes
    }

    /// Writes a float input, before the next run.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such input or the length differs, [`Error::Device`] when the device has failed.
    pub fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        self.upload(input, Elem::F32, data)
    }

    /// Writes an integer input, before the next run.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such input or the length differs, [`Error::Config`] for an index out of range of its
    /// table,
    /// [`Error::Device`] when the device has failed.
    pub fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        self.plan.input(input)?.check_indices(data)?;
        self.upload(input, Elem::U32, data)
    }

    fn upload<T: bytemuck::NoUninit>(&self, input: &str, elem: Elem, data: &[T]) -> Result<()> {
        let port = self.plan.input(input)?;
        if port.ty.elem != elem {
            return Err(Error::Shape(format!(
                "input {input} is {:?}, not a tensor of {elem:?}",
                port.ty
            )));
        }
        check_len(input, data.len(), port.ty.shape.numel())?;
        let (buffer, offset) = self.buffer(&port.place)?;
        self.gpu.upload(buffer, offset, bytes_of(data))
    }

    /// Submits all steps without waiting for them.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::Limit`] when the device has failed, now or earlier.
    pub fn run(&mut self) -> Result<()> {
        self.gpu.check()?;
        for range in &self.submissions {
            let mut encoder = self.gpu.encoder();
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                for command in &self.commands[range.clone()] {
                    command.encode(&mut pass);
                }
            }
            self.gpu.submit(Some(encoder))?;
        }
        Ok(())
    }

    /// Copies an output into an input of the same shape, on the device, as the start of the next run.
    ///
    /// # Errors
    /// [`Error::Shape`] when one of them is not there or the shapes differ, [`Error::Device`] when the device has failed.
    pub fn feed(&mut self, output: &str, input: &str) -> Result<()> {
        let (from, to) = (self.plan.output(output)?, self.plan.input(input)?);
        if from.ty != to.ty {
            return Err(Error::Shape(format!(
                "output {output} is {:?}, input {input} is {:?}",
                from.ty, to.ty
            )));
        }
        if matches!(from.place, Place::Arena(..)) {
            return Err(Error::Shape(format!(
                "output {output} lies in an arena and cannot be fed back"
            )));
        }
        if from.place == to.place {
            return Ok(());
        }
        self.gpu.check()?;
        let mut encoder = self.gpu.encoder();
        let ((source, _), (target, _)) = (self.buffer(&from.place)?, self.buffer(&to.place)?);
        encoder.copy_buffer_to_buffer(source, 0, target, 0, from.ty.bytes());
        self.gpu.submit(Some(encoder))?;
        Ok(())
    }

    /// Reads several outputs of the last run, with one wait.
    ///
    /// # Errors
    /// [`Error::Shape`] when one of them is not there, [`Error::Device`] when the device fails.
    pub async fn read<const N: usize>(&self, outputs: [&str; N]) -> Result<[Vec<f32>; N]> {
        let mut sources = Vec::with_capacity(N);
        for output in outputs {
            let port = self.plan.output(output)?;
            if port.ty.elem != Elem::F32 {
                return Err(Error::Shape(format!(
                    "output {output} is {:?}, not a tensor of F32",
                    port.ty
                )));
            }
            let (buffer, offset) = self.buffer(&port.place)?;
            sources.push((buffer, offset, port.ty.shape.numel()));
        }
        let sources = std::array::from_fn(|i| sources[i]);
        self.gpu.read(&self.staging, sources).await
    }
}

impl Operand {
    pub(super) fn bytes(&self) -> u64 {
        self.len as u64 * 4
    }
}

fn entry(index: u32, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry {
        binding: index,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset,
            size: NonZeroU64::new(bytes),
        }),
    }
}

fn slots(gpu: &Gpu, plan: &Plan) -> Result<Vec<wgpu::Buffer>> {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    let mut slots = Vec::with_capacity(plan.slots.len());
    for (i, slot) in plan.slots.iter().enumerate() {
        let buffer = gpu.buffer(&format!("slot {i}"), slot.len as u64 * 4, usage)?;
        // New buffers are zero-filled.
        if let Use::Const(value) = slot.usage
            && value.to_bits() != 0
        {
            let piece = vec![value; slot.len.min(FILL_LEN)];
            for start in (0..slot.len).step_by(FILL_LEN) {
                let piece = &piece[..piece.len().min(slot.len - start)];
                gpu.upload(&buffer, start as u64 * 4, bytes_of(piece))?;
            }
        }
        if let Use::Table(table) = slot.usage {
            gpu.upload(&buffer, 0, bytes_of(&table.values()))?;
        }
        slots.push(buffer);
    }
    Ok(slots)
}

/// Splits the dispatches into submissions.
fn cut(plan: &Plan, dispatches: &[Dispatch]) -> Vec<Range<usize>> {
    let mut submissions = Vec::new();
    let (mut start, mut macs) = (0, 0);
    for (i, dispatch) in dispatches.iter().enumerate() {
        let step = &plan.steps[dispatch.step];
        macs += step.op.macs(&step.in_types);
        if i + 1 - start == MAX_DISPATCHES || macs >= MAX_MACS || i + 1 == dispatches.len() {
            submissions.push(start..i + 1);
            (start, macs) = (i + 1, 0);
        }
    }
    submissions
}
