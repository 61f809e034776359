//! What an operation is: shape rule, GPU launches, CPU evaluation and gradient, side by side.

use super::{Graph, NodeId, Var};
use crate::error::{Error, Result};
use crate::num::Real;
use crate::shape::Type;
use sit_shaders::Kernel;
use std::fmt::Debug;
use std::sync::Arc;

/// Most inputs or outputs an operation can have (a compute stage has 8 storage bindings).
pub const MAX_ARGS: usize = 8;

/// Most elements of a tensor on a GPU, 4 GiB of them: no device binds more, and no index of a kernel wraps around below.
pub const MAX_ELEMENTS: usize = 1 << 30;

mod sealed {
    /// Implemented for the operations of this crate alone. Kernels run without bounds checks, so an operation whose launches do not
    /// fit its tensors would read and write foreign memory: to write one is not for safe code elsewhere.
    pub trait Sealed {}
}
pub(crate) use sealed::Sealed;

/// An operation of the graph as its author writes it; [`Op`] is the object-safe form that the graph stores.
///
/// One file `ops/<stem>.rs` implements it for the operations of one stem, next to `wgsl/<stem>.wgsl`. Other crates can use operations
/// but cannot add any: kernels run without bounds checks, and rely on an operation's launches to fit its tensors.
///
/// ```compile_fail,E0277
/// use sit_engine::graph::{CpuIo, Define, Io, Launch};
/// use sit_engine::{Result, num::Real, shape::Type};
///
/// #[derive(Clone, Debug)]
/// struct Mine;
///
/// impl Define for Mine {
///     fn name(&self) -> &'static str { "mine" }
///     fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> { Ok(ins.to_vec()) }
///     fn launch(&self, _: &Io) -> Result<Vec<Launch>> { Ok(vec![]) }
///     fn cpu<F: Real>(&self, _: CpuIo<'_, F>) {}
/// }
/// ```
pub trait Define: Sealed + Debug + Clone + Send + Sync + 'static {
    /// Name in dumps and errors: `linear_fwd`.
    fn name(&self) -> &'static str;

    /// Types of the outputs from the types of the inputs.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the operation, the argument, what it is and what was expected.
    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>>;

    /// Inputs the operation changes in place (arena operands of the optimizer); none for all others.
    fn in_place(&self) -> &'static [usize] {
        &[]
    }

    /// Says that the operation computes each sample by itself: sample b of every output is a function of sample b of the inputs, along
    /// their first axes, and of the inputs listed here, which each sample reads whole (weights, tables). `None` where an output mixes
    /// samples, as a mean over the batch does. A backend may then compute some samples before others.
    fn shared(&self, _ins: &[Type]) -> Option<&'static [usize]> {
        None
    }

    /// The integer input whose values are rows of a table, with the number of rows: what is written there must stay below.
    fn index_bound(&self, _ins: &[Type]) -> Option<(usize, usize)> {
        None
    }

    /// Multiply-accumulates of one run, counted as the papers do: matrix products only.
    fn macs(&self, _ins: &[Type]) -> u64 {
        0
    }

    /// The operation with its first `n` outputs alone, where nobody reads the others and leaving them out saves work: what the
    /// forward keeps for a backward that never comes.
    fn first_outputs(&self, _n: usize) -> Option<Self> {
        None
    }

    /// The kernel dispatches that compute it on a GPU, in order. Sizes fit `u32` here: [`Op::launch`] has checked them.
    ///
    /// # Errors
    /// [`Error::Limit`] when no kernel handles these sizes.
    fn launch(&self, io: &Io) -> Result<Vec<Launch>>;

    /// The same equation on the CPU: the product in f32, the oracle in f64.
    fn cpu<F: Real>(&self, io: CpuIo<'_, F>);

    /// Appends the gradient nodes of `node`, given the gradients of its outputs (`None`: not needed by the loss).
    /// Returns one entry per input; `None` where an input has no gradient.
    ///
    /// # Errors
    /// [`Error::Shape`] for an operation that has no gradient.
    fn backward(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        _grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        no_gradient(self)
    }

    /// Appends the nodes that say what the operation is in simpler ones, and returns one value for each of its outputs: the same
    /// numbers but for rounding, and the same gradients. `None` for a primitive, for the gradient of another operation, which
    /// follows from that one, and for what no primitive says, such as a change in place.
    ///
    /// It is what a fused kernel is tested against, and what serves where there is none.
    fn expand(&self, _g: &mut Graph, _ins: &[Var]) -> Option<Result<Vec<Var>>> {
        None
    }
}

/// The refusal of an operation without a gradient.
///
/// # Errors
/// Always [`Error::Shape`], naming the operation.
pub fn no_gradient<T>(op: &impl Define) -> Result<T> {
    Err(Error::Shape(format!("{} has no gradient", op.name())))
}

/// Object-safe form of [`Define`], implemented for every operation.
pub trait Op: Sealed + Debug + Send + Sync {
    /// See [`Define::name`].
    fn name(&self) -> &'static str;
    /// See [`Define::infer`].
    ///
    /// # Errors
    /// As there.
    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>>;
    /// See [`Define::in_place`].
    fn in_place(&self) -> &'static [usize];
    /// See [`Define::shared`].
    fn shared(&self, ins: &[Type]) -> Option<&'static [usize]>;
    /// See [`Define::index_bound`].
    fn index_bound(&self, ins: &[Type]) -> Option<(usize, usize)>;
    /// See [`Define::macs`].
    fn macs(&self, ins: &[Type]) -> u64;
    /// See [`Define::first_outputs`].
    fn first_outputs(&self, n: usize) -> Option<Arc<dyn Op>>;
    /// [`Define::launch`], refused where a kernel could not count the elements.
    ///
    /// # Errors
    /// As there, or [`Error::Limit`] naming the operation, the tensor and the limit.
    fn launch(&self, io: &Io) -> Result<Vec<Launch>>;
    /// [`Define::cpu`] in f32.
    fn cpu_f32(&self, io: CpuIo<'_, f32>);
    /// [`Define::cpu`] in f64; a page for users leaves it out.
    #[cfg(any(feature = "oracle", not(target_arch = "wasm32")))]
    fn cpu_f64(&self, io: CpuIo<'_, f64>);
    /// See [`Define::backward`].
    ///
    /// # Errors
    /// As there.
    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>>;
    /// See [`Define::expand`]; a page for users leaves it out, and the primitives with it.
    #[cfg(any(feature = "oracle", not(target_arch = "wasm32")))]
    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>>;
}

impl<T: Define> Op for T {
    fn name(&self) -> &'static str {
        Define::name(self)
    }
    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        Define::infer(self, ins)
    }
    fn in_place(&self) -> &'static [usize] {
        Define::in_place(self)
    }
    fn shared(&self, ins: &[Type]) -> Option<&'static [usize]> {
        Define::shared(self, ins)
    }
    fn index_bound(&self, ins: &[Type]) -> Option<(usize, usize)> {
        Define::index_bound(self, ins)
    }
    fn macs(&self, ins: &[Type]) -> u64 {
        Define::macs(self, ins)
    }
    fn first_outputs(&self, n: usize) -> Option<Arc<dyn Op>> {
        Some(Arc::new(Define::first_outputs(self, n)?))
    }
    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let mut types = io.ins.iter().chain(io.outs);
        match types.find(|ty| ty.shape.numel() > MAX_ELEMENTS) {
            None => Define::launch(self, io),
            Some(ty) => Err(Error::Limit(format!(
                "{}: {ty:?} has {} elements, a kernel counts to {MAX_ELEMENTS}; use a smaller batch",
                Define::name(self),
                ty.shape.numel()
            ))),
        }
    }
    fn cpu_f32(&self, io: CpuIo<'_, f32>) {
        self.cpu(io);
    }
    #[cfg(any(feature = "oracle", not(target_arch = "wasm32")))]
    fn cpu_f64(&self, io: CpuIo<'_, f64>) {
        self.cpu(io);
    }
    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        Define::backward(self, g, node, grads)
    }
    #[cfg(any(feature = "oracle", not(target_arch = "wasm32")))]
    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        Define::expand(self, g, ins)
    }
}

/// Types of a node's inputs and outputs, for [`Define::launch`].
#[derive(Debug, Clone, Copy)]
pub struct Io<'a> {
    /// Types of the inputs.
    pub ins: &'a [Type],
    /// Types of the outputs.
    pub outs: &'a [Type],
}

impl Io<'_> {
    /// Sizes of input `i`, whose first `N` axes `infer` has checked to be there.
    pub fn sizes<const N: usize>(&self, i: usize) -> [u32; N] {
        std::array::from_fn(|axis| self.ins[i].shape[axis] as u32)
    }

    /// Elements of input `i`.
    pub fn numel(&self, i: usize) -> u32 {
        self.ins[i].shape.numel() as u32
    }

    /// Elements of output `i`.
    pub fn out_numel(&self, i: usize) -> u32 {
        self.outs[i].shape.numel() as u32
    }
}

/// The data of a node on the CPU. Arrays have [`MAX_ARGS`] entries, the unused ones empty, so that a step allocates nothing.
pub struct CpuIo<'a, F> {
    /// Types of the inputs.
    pub in_types: &'a [Type],
    /// Types of the outputs.
    pub out_types: &'a [Type],
    /// Float inputs that are only read.
    pub ins: [&'a [F]; MAX_ARGS],
    /// Unsigned integer inputs, at their input position.
    pub ins_u32: [&'a [u32]; MAX_ARGS],
    /// Outputs. On entry they hold garbage: every element must be written.
    pub outs: [&'a mut [F]; MAX_ARGS],
    /// Inputs that are changed in place, in the order of [`Define::in_place`].
    pub in_place: [&'a mut [F]; MAX_ARGS],
}

impl<F> CpuIo<'_, F> {
    /// Shape of input `i`.
    pub fn shape(&self, i: usize) -> &[usize] {
        &self.in_types[i].shape
    }

    /// Shape of output `i`.
    pub fn out_shape(&self, i: usize) -> &[usize] {
        &self.out_types[i].shape
    }
}

/// Which tensor of a node a binding takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// Input at this position.
    In(usize),
    /// Output at this position.
    Out(usize),
}

/// One kernel dispatch: the kernel, its storage bindings by name, its uniform block and the number of workgroups.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The kernel, reflected from its WGSL.
    pub kernel: &'static Kernel,
    /// Storage bindings by the names in the WGSL. Missing, unknown or wrongly accessed names are refused by the plan.
    pub bind: Vec<(&'static str, Arg)>,
    /// Bytes of the uniform block `dims` in WGSL layout.
    pub dims: Vec<u8>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
}

impl Launch {
    /// A dispatch of `kernel` with `dims` (the generated struct of its uniform block).
    pub fn new(
        kernel: &'static Kernel,
        dims: &(impl encase::ShaderType + encase::internal::WriteInto),
        grid: [u32; 3],
    ) -> Self {
        Launch {
            kernel,
            bind: Vec::new(),
            dims: sit_shaders::uniform_bytes(dims),
            grid,
        }
    }

    /// Binds input `i` as `name`.
    #[must_use]
    pub fn input(mut self, name: &'static str, i: usize) -> Self {
        self.bind.push((name, Arg::In(i)));
        self
    }

    /// Binds output `i` as `name`.
    #[must_use]
    pub fn output(mut self, name: &'static str, i: usize) -> Self {
        self.bind.push((name, Arg::Out(i)));
        self
    }
}
