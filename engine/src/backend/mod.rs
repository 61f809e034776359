//! Backends: the CPU, and GPUs through wgpu. [`Device`] picks one; everything else takes a device.

#[doc(hidden)]
pub mod cpu;
#[cfg(feature = "gpu")]
#[doc(hidden)]
pub mod gpu;
#[doc(hidden)]
pub mod profile;

pub use crate::num::par::keep_threads_awake;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use gpu::list;
#[cfg(feature = "gpu")]
pub use gpu::{Gpu, Listed};

use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::graph::launch::dispatches;
use crate::graph::{Arena, Layout, Plan};
use profile::{Clock, Profile};
use std::fmt;
use std::str::FromStr;

/// Which backend to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// A real GPU if there is one, else the CPU. A software adapter is not a GPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, a software adapter included.
    Gpu,
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match &s.to_ascii_lowercase()[..] {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "gpu" => Ok(Choice::Gpu),
            _ => Err(Error::Config(format!(
                "backend {s:?}, expected auto, cpu or gpu"
            ))),
        }
    }
}

/// Whether kernels are compiled with run-time checks: bounds of every access, termination of loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checks {
    /// No checks. Everything is validated before a program runs, and checking each access would slow down the inner loops.
    #[default]
    Off,
    /// With checks, to distinguish a kernel bug from a driver bug. Browsers always check.
    On,
}

/// Options of [`Device::open`]; a [`Choice`] converts into them.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which backend.
    pub choice: Choice,
    /// The GPU to use, by its index in `list` or by a part of its name. It may be a software adapter.
    pub gpu: Option<String>,
    /// Whether kernels are checked.
    pub checks: Checks,
}

impl From<Choice> for Options {
    fn from(choice: Choice) -> Self {
        Options {
            choice,
            ..Options::default()
        }
    }
}

/// A device that runs programs.
#[derive(Clone, Debug)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// A wgpu device.
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

impl Device {
    /// Opens the device that `options` select. If they name no GPU, the environment variable `WGPU_ADAPTER_NAME` may name one;
    /// `WGPU_BACKEND` restricts the graphics APIs, as in other wgpu programs. Without a display Mesa may print "error: XDG_RUNTIME_DIR is
    /// invalid", which is harmless; the environment variable `NODEVICE_SELECT=1` prevents it.
    ///
    /// # Errors
    /// [`Error::Device`] when a GPU is requested and there is none, with what to install. [`Error::Config`] when the named GPU does
    /// not exist, with the list of those that do, or when a GPU is named but the CPU is requested.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(options: impl Into<Options>) -> Result<Device> {
        pollster::block_on(Self::open_async(options))
    }
}

#[doc(hidden)]
impl Device {
    /// Async variant of [`Self::open`], for browsers.
    pub async fn open_async(options: impl Into<Options>) -> Result<Device> {
        let Options {
            choice,
            gpu,
            checks,
        } = options.into();
        match (choice, gpu) {
            (Choice::Cpu, None) => Ok(Device::Cpu),
            (Choice::Cpu, Some(name)) => Err(Error::Config(format!(
                "got {name:?}, which chooses a GPU, but the backend is cpu"
            ))),
            #[cfg(feature = "gpu")]
            (_, Some(name)) => Ok(Device::Gpu(Gpu::open_named(&name, checks).await?)),
            #[cfg(feature = "gpu")]
            (Choice::Gpu, None) => Ok(Device::Gpu(Gpu::open(true, checks).await?)),
            #[cfg(feature = "gpu")]
            (Choice::Auto, None) => match Gpu::open(false, checks).await {
                Ok(gpu) => Ok(Device::Gpu(gpu)),
                // If the environment names a GPU that cannot be used, report it instead of silently using the CPU.
                Err(error @ Error::Config(_)) => Err(error),
                Err(_) => Ok(Device::Cpu),
            },
            #[cfg(not(feature = "gpu"))]
            (Choice::Auto, None) => Ok(Device::Cpu),
            #[cfg(not(feature = "gpu"))]
            (Choice::Gpu, _) | (Choice::Auto, Some(_)) => {
                let _ = checks;
                Err(Error::Device(
                    "this build has no GPU backend: build it with the feature `gpu`".into(),
                ))
            }
        }
    }

    /// Registers a callback that is asked ten times a second while the host waits for the device, with the duration of this wait so
    /// far. When it returns true, the wait ends with [`Error::Device`]: GPU work that hangs can neither be waited for nor read.
    /// Only the first call has an effect; the CPU backend never asks.
    pub fn give_up_when(
        &self,
        give_up: impl Fn(std::time::Duration) -> bool + Send + Sync + 'static,
    ) {
        match self {
            Device::Cpu => drop(give_up),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.give_up_when(give_up),
        }
    }

    /// Maximum bytes of an arena segment on this device.
    pub fn max_segment_bytes(&self) -> u64 {
        match self {
            Device::Cpu => u64::MAX,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.max_segment_bytes(),
        }
    }

    /// Checks that a plan is within the limits of the device, without allocating anything.
    ///
    /// # Errors
    /// [`Error::Limit`] for a tensor or a launch that exceeds them.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(unused_variables, reason = "the CPU has no limits")
    )]
    pub fn check(&self, plan: &Plan) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => dispatches(plan, &gpu.limits()).map(drop),
        }
    }

    /// Allocates arenas of `layout`, filled with zeros.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Device`] when the device cannot hold them.
    pub fn arenas(&self, layout: &Layout, kinds: &[Arena]) -> Result<Arenas> {
        match self {
            Device::Cpu => Ok(Arenas::Cpu(cpu::Arenas::new(layout, kinds))),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Ok(Arenas::Gpu(gpu.arenas(layout, kinds)?)),
        }
    }

    /// Creates the buffers (and pipelines) of `plan`, once. `sets` has the arenas of each parameter set of the plan.
    ///
    /// # Errors
    /// [`Error::Limit`] when the plan does not fit the device, [`Error::Device`] when the device fails,
    /// [`Error::Shape`] when `sets` lack an arena that the plan uses, or an arena belongs to another device or layout.
    pub fn program(&self, plan: Plan, sets: &[&Arenas]) -> Result<Program> {
        let sets = sets.iter();
        #[cfg(feature = "gpu")]
        let foreign = || Error::Shape("the arenas belong to another device".into());
        match self {
            Device::Cpu => {
                let sets = sets.map(|arenas| match arenas {
                    Arenas::Cpu(arenas) => Ok(arenas.clone()),
                    #[cfg(feature = "gpu")]
                    Arenas::Gpu(_) => Err(foreign()),
                });
                let sets = sets.collect::<Result<Vec<_>>>()?;
                Ok(Program::Cpu(Box::new(cpu::Program::new(plan, &sets)?)))
            }
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => {
                let sets = sets.map(|arenas| match arenas {
                    Arenas::Gpu(arenas) => Ok(arenas.clone()),
                    Arenas::Cpu(_) => Err(foreign()),
                });
                let sets = sets.collect::<Result<Vec<_>>>()?;
                Ok(Program::Gpu(Box::new(gpu.program(plan, sets)?)))
            }
        }
    }

    /// Bytes that [`Device::program`] would allocate for `plan`, before anything is allocated.
    ///
    /// # Errors
    /// As [`Device::program`], as far as they can be detected without allocating.
    pub fn program_bytes(&self, plan: &Plan) -> Result<u64> {
        match self {
            Device::Cpu => Ok(plan.slot_bytes()),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.program_bytes(plan),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => match crate::num::par::threads() {
                1 => f.write_str("CPU, 1 thread"),
                n => write!(f, "CPU, {n} threads"),
            },
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => write!(f, "{gpu}"),
        }
    }
}

/// Arenas on a device, shared by the programs that use them.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Arenas {
    /// On the CPU.
    Cpu(cpu::Arenas<f32>),
    /// On a wgpu device.
    #[cfg(feature = "gpu")]
    Gpu(gpu::Arenas),
}

impl Arenas {
    /// Bytes allocated.
    pub fn bytes(&self) -> u64 {
        match self {
            Arenas::Cpu(a) => a.bytes(),
            #[cfg(feature = "gpu")]
            Arenas::Gpu(a) => a.bytes(),
        }
    }

    /// Writes one parameter in an arena.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such arena or parameter, or the length differs.
    pub fn write(&self, arena: Arena, name: &str, data: &[f32]) -> Result<()> {
        match self {
            Arenas::Cpu(a) => a.write(arena, name, data),
            #[cfg(feature = "gpu")]
            Arenas::Gpu(a) => a.write(arena, name, data),
        }
    }

    /// Reads one parameter from an arena.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such arena or parameter, [`Error::Device`] when the device fails.
    pub async fn read(&self, arena: Arena, name: &str) -> Result<Vec<f32>> {
        match self {
            Arenas::Cpu(a) => a.read(arena, name),
            #[cfg(feature = "gpu")]
            Arenas::Gpu(a) => a.read(arena, name).await,
        }
    }
}

/// A plan with its buffers (and pipelines): running it allocates nothing.
#[doc(hidden)]
#[derive(Debug)]
pub enum Program {
    /// On the CPU.
    Cpu(Box<cpu::Program<f32>>),
    /// On a wgpu device.
    #[cfg(feature = "gpu")]
    Gpu(Box<gpu::Program>),
}

impl Program {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        match self {
            Program::Cpu(p) => p.plan(),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.plan(),
        }
    }

    /// Bytes allocated: slots, and on a GPU the uniform blocks and the staging buffer for reads.
    pub fn bytes(&self) -> u64 {
        match self {
            Program::Cpu(p) => p.bytes(),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.bytes(),
        }
    }

    /// Writes a float input; it keeps its value until written again.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such input or the length differs.
    pub fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        match self {
            Program::Cpu(p) => p.write(input, data),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.write(input, data),
        }
    }

    /// Writes an integer input; it keeps its value until written again.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such input or the length differs, [`Error::Config`] for an index outside its table.
    pub fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        match self {
            Program::Cpu(p) => p.write_u32(input, data),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.write_u32(input, data),
        }
    }

    /// Runs all steps. On a GPU this submits the work without waiting for it.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost.
    pub fn run(&mut self) -> Result<()> {
        match self {
            Program::Cpu(p) => p.run(),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.run(),
        }
    }

    /// Runs all steps one after the other, with the same result, and returns how long each took (see [`profile`]). `clock` is read
    /// before and after each step, unless the GPU has timestamps.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost.
    pub async fn profile(&mut self, clock: &mut Clock<'_>) -> Result<Profile> {
        match self {
            Program::Cpu(p) => Ok(p.profile(clock)),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.profile(clock).await,
        }
    }

    /// Copies an output into an input of the same shape, on the device, as the start of the next run.
    ///
    /// # Errors
    /// [`Error::Shape`] when one of them is not there or the shapes differ.
    pub fn feed(&mut self, output: &str, input: &str) -> Result<()> {
        match self {
            Program::Cpu(p) => p.feed(output, input),
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.feed(output, input),
        }
    }

    /// Copies a range of an output of the last run into `to`, from element `at` on, on the device.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such output, a range is out of bounds, or `to` belongs to another device,
    /// [`Error::Device`] when the device has failed.
    #[cfg(feature = "gpu")]
    pub fn copy(
        &self,
        output: &str,
        range: std::ops::Range<usize>,
        to: &gpu::Tensor,
        at: usize,
    ) -> Result<()> {
        match self {
            Program::Cpu(_) => Err(Error::Shape("the tensor belongs to another device".into())),
            Program::Gpu(p) => p.copy(output, range, to, at),
        }
    }

    /// Reads an output of the last run.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such output, [`Error::Device`] when the device fails.
    pub async fn read(&self, output: &str) -> Result<Vec<f32>> {
        let [values] = self.read_all([output]).await?;
        Ok(values)
    }

    /// Reads several outputs of the last run, on a GPU with a single wait.
    ///
    /// # Errors
    /// As [`Program::read`].
    pub async fn read_all<const N: usize>(&self, outputs: [&str; N]) -> Result<[Vec<f32>; N]> {
        match self {
            Program::Cpu(p) => {
                let mut values = [const { Vec::new() }; N];
                for (values, output) in values.iter_mut().zip(outputs) {
                    *values = p.read(output)?;
                }
                Ok(values)
            }
            #[cfg(feature = "gpu")]
            Program::Gpu(p) => p.read(outputs).await,
        }
    }
}
