//! The kernel dispatches of a plan with their operands resolved and every binding validated.
//!
//! Kernels run without bounds checks unless requested; these checks make that sound.

use super::plan::{ALIGN, Operand, Place, Plan, Step};
use super::{Arg, Io, Launch};
use crate::error::{Error, Result};
use crate::shape::{Elem, Type};
use sit_shaders::{Access, Binding, Kernel, MAX_WORKGROUPS};

/// The limits of a device on bindings and buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum bytes of one storage binding.
    pub binding_bytes: u64,
    /// Maximum bytes of one buffer.
    pub buffer_bytes: u64,
}

impl Default for Limits {
    /// The limits that every WebGPU device has.
    fn default() -> Self {
        Limits {
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
        }
    }
}

/// One kernel dispatch of a plan.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// Index of its step in [`Plan::steps`].
    pub step: usize,
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Storage bindings: index in the bind group, and what is bound.
    pub bind: Vec<(u32, Operand)>,
    /// Bytes of the uniform block.
    pub dims: Vec<u8>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
}

/// The dispatches of `plan` in order, for a device with `limits`.
///
/// # Errors
/// [`Error::Limit`] when a tensor or a grid exceeds the limits. [`Error::Shape`] when a binding is missing, unknown, bound
/// twice, of the wrong element type or size, written where it may only be read, never written where it must be, or when a
/// kernel would read and write one buffer.
pub fn dispatches(plan: &Plan, limits: &Limits) -> Result<Vec<Dispatch>> {
    for slot in &plan.slots {
        within(slot.len as u64 * 4, limits.buffer_bytes, "buffer", || {
            format!("a buffer of {} elements", slot.len)
        })?;
    }
    let mut all = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let io = Io {
            ins: &step.in_types,
            outs: &step.out_types,
        };
        // A plan has public fields, which may have changed since the planner filled them.
        if step.op.infer(&step.in_types)? != step.out_types {
            return Err(Error::Shape(format!(
                "{}: {:?} do not make {:?}",
                step.op.name(),
                step.in_types,
                step.out_types
            )));
        }
        let mut written = Written::new(step);
        for launch in step.op.launch(&io)? {
            let bind = Checker {
                step,
                launch: &launch,
                limits,
            }
            .check(&mut written)?;
            all.push(Dispatch {
                step: index,
                kernel: launch.kernel,
                bind,
                dims: launch.dims,
                grid: launch.grid,
            });
        }
        written.check_complete(step)?;
    }
    Ok(all)
}

fn within(bytes: u64, limit: u64, what: &str, subject: impl Fn() -> String) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(Error::Limit(format!(
        "{} needs {} MiB: over the {} MiB {what} limit of this device; use a smaller batch or `backend` cpu",
        subject(),
        mib(bytes),
        limit >> 20
    )))
}

/// Which outputs and in-place inputs of a step its launches have written so far.
struct Written {
    outs: Vec<bool>,
    ins: Vec<bool>,
}

impl Written {
    fn new(step: &Step) -> Self {
        Written {
            outs: vec![false; step.outs.len()],
            ins: vec![false; step.ins.len()],
        }
    }

    fn check_complete(&self, step: &Step) -> Result<()> {
        let out = self.outs.iter().position(|w| !w).map(|i| ("output", i));
        let unchanged = |&&i: &&usize| !self.ins.get(i).copied().unwrap_or(false);
        let input = step.op.in_place().iter().find(unchanged);
        match out.or(input.map(|&i| ("in-place input", i))) {
            None => Ok(()),
            Some((what, i)) => Err(Error::Shape(format!(
                "{}: no launch writes {what} {i}",
                step.op.name()
            ))),
        }
    }
}

/// One launch of one step.
struct Checker<'a> {
    step: &'a Step,
    launch: &'a Launch,
    limits: &'a Limits,
}

impl Checker<'_> {
    fn refuse<T>(&self, reason: impl std::fmt::Display) -> Result<T> {
        let (op, kernel) = (self.step.op.name(), self.launch.kernel.name);
        Err(Error::Shape(format!("{op}: {kernel}: {reason}")))
    }

    fn check(&self, written: &mut Written) -> Result<Vec<(u32, Operand)>> {
        self.check_grid_and_dims()?;
        let mut bound: Vec<(&Binding, Operand)> = Vec::with_capacity(self.launch.bind.len());
        for &(name, arg) in &self.launch.bind {
            let Some(binding) = self.storage().find(|b| b.name == name) else {
                let names: Vec<&str> = self.storage().map(|b| b.name).collect();
                return self.refuse(format_args!(
                    "there is no storage binding {name}, only {}",
                    names.join(", ")
                ));
            };
            if bound.iter().any(|(b, _)| b.name == name) {
                return self.refuse(format_args!("{name} is bound twice"));
            }
            let (operand, ty) = self.operand(name, arg)?;
            self.check_access(binding, arg, written)?;
            self.check_fit(binding, operand, ty)?;
            bound.push((binding, operand.clone()));
        }
        if let Some(missing) = self
            .storage()
            .find(|b| bound.iter().all(|(have, _)| have.name != b.name))
        {
            return self.refuse(format_args!("{} is not bound", missing.name));
        }
        self.check_aliasing(&bound)?;
        // Outputs that this launch writes can be read by later launches of the step only.
        for &(name, arg) in &self.launch.bind {
            if self
                .storage()
                .any(|b| b.name == name && b.access == Access::ReadWrite)
            {
                match arg {
                    Arg::In(i) => written.ins[i] = true,
                    Arg::Out(o) => written.outs[o] = true,
                }
            }
        }
        Ok(bound.into_iter().map(|(b, o)| (b.index, o)).collect())
    }

    fn storage(&self) -> impl Iterator<Item = &'static Binding> {
        let bindings = self.launch.kernel.bindings.iter();
        bindings.filter(|b| b.access != Access::Uniform)
    }

    fn check_grid_and_dims(&self) -> Result<()> {
        let grid = self.launch.grid;
        if grid.contains(&0) {
            return self.refuse(format_args!("a grid of {grid:?} workgroups has none"));
        }
        if grid.iter().any(|&n| n > MAX_WORKGROUPS) {
            return Err(Error::Limit(format!(
                "{}: {}: a grid of {grid:?} workgroups is over the {MAX_WORKGROUPS} that an axis can have; use a smaller batch",
                self.step.op.name(),
                self.launch.kernel.name
            )));
        }
        let uniform = |b: &&Binding| b.access == Access::Uniform;
        let expected = self.launch.kernel.bindings.iter().find(uniform);
        let expected = expected.map_or(0, |b| b.size_bytes as usize);
        if self.launch.dims.len() != expected {
            return self.refuse(format_args!(
                "the uniform block has {} bytes, expected {expected}",
                self.launch.dims.len()
            ));
        }
        Ok(())
    }

    fn operand(&self, name: &str, arg: Arg) -> Result<(&Operand, &Type)> {
        let (what, i, operands, types) = match arg {
            Arg::In(i) => ("input", i, &self.step.ins, &self.step.in_types),
            Arg::Out(i) => ("output", i, &self.step.outs, &self.step.out_types),
        };
        match (operands.get(i), types.get(i)) {
            (Some(operand), Some(ty)) => Ok((operand, ty)),
            _ => self.refuse(format_args!(
                "{name} takes {what} {i} of {}",
                operands.len()
            )),
        }
    }

    fn check_access(&self, binding: &Binding, arg: Arg, written: &Written) -> Result<()> {
        let name = binding.name;
        let changes = binding.access == Access::ReadWrite;
        match arg {
            Arg::In(i) if changes && !self.step.op.in_place().contains(&i) => self.refuse(
                format_args!("{name} is written, but input {i} may only be read"),
            ),
            Arg::Out(o) if !changes && !written.outs[o] => {
                self.refuse(format_args!("{name} reads output {o} before it is written"))
            }
            _ => Ok(()),
        }
    }

    fn check_fit(&self, binding: &Binding, operand: &Operand, ty: &Type) -> Result<()> {
        let name = binding.name;
        let elem = match binding.elem {
            sit_shaders::Elem::U32 => Elem::U32,
            _ => Elem::F32,
        };
        if ty.elem != elem {
            return self.refuse(format_args!("{name} takes {elem:?}, got {ty:?}"));
        }
        let bytes = operand.len as u64 * 4;
        if operand.len != ty.shape.numel() || bytes == 0 {
            return self.refuse(format_args!(
                "{name} {ty:?} lies in {} elements",
                operand.len
            ));
        }
        if binding.elem == sit_shaders::Elem::Vec4F32 && !ty.shape.last().is_multiple_of(4) {
            return self.refuse(format_args!(
                "{name} {ty:?} is read four at a time: its last size must be a multiple of 4"
            ));
        }
        if let Place::Arena(_, _, offset) = operand.place
            && !offset.is_multiple_of(ALIGN)
        {
            return self.refuse(format_args!(
                "{name} lies at offset {offset}, which is no multiple of {ALIGN}"
            ));
        }
        within(bytes, self.limits.binding_bytes, "binding", || {
            format!("{}: {name} {ty:?}", self.step.op.name())
        })
    }

    /// WebGPU's rule: a dispatch that writes a buffer may not also read it, and may not write a range of it twice.
    fn check_aliasing(&self, bound: &[(&Binding, Operand)]) -> Result<()> {
        let writes = |b: &Binding| b.access == Access::ReadWrite;
        for (i, (a, x)) in bound.iter().enumerate() {
            for (b, y) in &bound[..i] {
                let ((buffer_x, from_x), (buffer_y, from_y)) = (spot(&x.place), spot(&y.place));
                let same = buffer_x == buffer_y;
                let overlap = from_x < from_y + y.len && from_y < from_x + x.len;
                let mixed = writes(a) != writes(b);
                if same && (mixed || writes(a) && overlap) {
                    return self.refuse(format_args!(
                        "{} and {} share a buffer and one of them is written",
                        b.name, a.name
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Identifies the buffer of a place, with the offset in it.
fn spot(place: &Place) -> ((Option<super::ArenaId>, usize), usize) {
    match *place {
        Place::Slot(slot) => ((None, slot), 0),
        Place::Arena(arena, segment, offset) => ((Some(arena), segment), offset),
    }
}

#[cfg(test)]
mod tests;
