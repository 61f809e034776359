//! The operation traits: shape rule, GPU launches, CPU evaluation and gradient in one implementation.

use super::{Graph, NodeId, Var};
use crate::error::{Error, Result};
use crate::num::Real;
use crate::shape::Type;
use sit_shaders::Kernel;
use std::fmt::Debug;
use std::sync::Arc;

/// Maximum inputs or outputs of an operation (a compute stage has 8 storage bindings).
pub const MAX_ARGS: usize = 8;

/// Maximum elements of a tensor on a GPU (4 GiB): no device binds more, and `u32` indices in kernels cannot overflow below it.
pub const MAX_ELEMENTS: usize = 1 << 30;

mod sealed {
    /// Implemented only for this crate's operations. Kernels run without bounds checks, so an operation whose launches do not match
    /// its tensors would access memory out of bounds; safe code outside this crate must not be able to define one.
    pub trait Sealed {}
}
pub(crate) use sealed::Sealed;

/// The trait that an operation implements; [`Op`] is the object-safe form that the graph stores.
///
/// `ops/<stem>.rs` implements it for the operations of one stem, next to `wgsl/<stem>.wgsl`. Other crates can use operations but
/// cannot define any: kernels run without bounds checks and rely on launches that match the tensors.
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
    /// [`Error::Shape`] naming the operation, the argument, its shape and what was expected.
    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>>;

    /// Indices of the inputs that the operation changes in place (arena operands of the optimizer); empty for all others.
    fn in_place(&self) -> &'static [usize] {
        &[]
    }

    /// Declares that the operation treats samples independently: sample b of every output depends only on sample b of the inputs,
    /// along their first axes, and on the inputs whose indices are returned, which every sample reads whole (weights, tables).
    /// `None` if an output mixes samples, such as a mean over the batch. A backend may process independent samples in blocks.
    fn shared(&self, _ins: &[Type]) -> Option<&'static [usize]> {
        None
    }

    /// The index of an integer input that holds row indices of a table, and the table's number of rows: indices must be below it.
    fn index_bound(&self, _ins: &[Type]) -> Option<(usize, usize)> {
        None
    }

    /// Multiply-accumulates of one run, counted as in the papers: matrix products only.
    fn macs(&self, _ins: &[Type]) -> u64 {
        0
    }

    /// The operation reduced to its first `n` outputs, if the others are unused and dropping them saves work: typically values that
    /// the forward saves for the backward.
    fn first_outputs(&self, _n: usize) -> Option<Self> {
        None
    }

    /// The kernel dispatches that compute the operation on a GPU, in order. [`Op::launch`] has checked that sizes fit `u32`.
    ///
    /// # Errors
    /// [`Error::Limit`] when no kernel handles these sizes.
    fn launch(&self, io: &Io) -> Result<Vec<Launch>>;

    /// The same computation on the CPU: in f32 for the CPU backend, in f64 as the test oracle.
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

    /// Appends nodes that express the operation in simpler ones and returns one value for each output, with equal numbers up to
    /// rounding and equal gradients. `None` for primitives, for gradient operations (their forward operation is expanded instead),
    /// and for operations that primitives cannot express, such as in-place updates.
    ///
    /// Fused kernels are tested against this expansion, and it is the fallback where there is none.
    fn expand(&self, _g: &mut Graph, _ins: &[Var]) -> Option<Result<Vec<Var>>> {
        None
    }
}

/// The error for an operation without a gradient.
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
    /// As [`Define::infer`].
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
    /// [`Define::launch`], after a check that every tensor has few enough elements for a kernel's indices.
    ///
    /// # Errors
    /// As [`Define::launch`], or [`Error::Limit`] naming the operation, the tensor and the limit.
    fn launch(&self, io: &Io) -> Result<Vec<Launch>>;
    /// [`Define::cpu`] in f32.
    fn cpu_f32(&self, io: CpuIo<'_, f32>);
    /// [`Define::cpu`] in f64; web builds for users leave it out.
    #[cfg(any(feature = "oracle", not(target_arch = "wasm32")))]
    fn cpu_f64(&self, io: CpuIo<'_, f64>);
    /// See [`Define::backward`].
    ///
    /// # Errors
    /// As [`Define::backward`].
    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>>;
    /// See [`Define::expand`]; web builds for users leave it out together with the primitives.
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
    /// The first `N` sizes of input `i`; `infer` has checked that it has that many axes.
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

/// The data of a node on the CPU. Arrays have [`MAX_ARGS`] entries, the unused ones empty, so that running a step allocates
/// nothing.
pub struct CpuIo<'a, F> {
    /// Types of the inputs.
    pub in_types: &'a [Type],
    /// Types of the outputs.
    pub out_types: &'a [Type],
    /// Float inputs that are only read.
    pub ins: [&'a [F]; MAX_ARGS],
    /// Unsigned integer inputs, at the index of the input.
    pub ins_u32: [&'a [u32]; MAX_ARGS],
    /// Outputs. Their contents are undefined on entry: every element must be written.
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

/// The tensor of a node that a binding refers to.
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
    /// Storage bindings by their names in the WGSL. Creating a program rejects missing, unknown or wrongly accessed names.
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
