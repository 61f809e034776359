//! Splits the modulation vector into chunks (shift, scale, gate, ...) and joins their gradients.

use super::{Case, axes};
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var, op::Sealed};
use crate::num::Real;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{
    CHUNK_JOIN2, CHUNK_JOIN4, CHUNK_JOIN6, CHUNK_SPLIT2, CHUNK_SPLIT4, CHUNK_SPLIT6, ChunkDims,
};

#[derive(Clone, Debug)]
enum Chunk {
    /// x `[B, n·D]` -> n times `[B, D]`, n = 2, 4 or 6
    Split(usize),
    /// n times `[B, D]` -> `[B, n·D]`
    Join(usize),
}

/// The N chunks `[B, D]` of x `[B, N·D]`, N = 2, 4 or 6 (PyTorch `chunk(N, dim=1)`).
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn split<const N: usize>(g: &mut Graph, x: Var) -> Result<[Var; N]> {
    let id = g.apply(Chunk::Split(N), &[x])?;
    Ok(std::array::from_fn(|i| g.var(id, i)))
}

impl Sealed for Chunk {}

impl Define for Chunk {
    fn name(&self) -> &'static str {
        match self {
            Chunk::Split(_) => "chunk_split",
            Chunk::Join(_) => "chunk_join",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (Chunk::Split(n) | Chunk::Join(n)) = *self;
        if ![2, 4, 6].contains(&n) {
            return Err(Error::Shape(format!(
                "{}: {n} chunks, expected 2, 4 or 6",
                Define::name(self)
            )));
        }
        expect_axes(Define::name(self), "x", &ins[0], 2, "[B, columns]")?;
        let (b, cols) = (ins[0].shape[0], ins[0].shape[1]);
        match self {
            Chunk::Split(_) if cols % n != 0 => Err(Error::Shape(format!(
                "chunk_split: x is {:?}, expected columns divisible by {n}",
                ins[0]
            ))),
            Chunk::Split(_) => Ok(vec![Type::f32([b, cols / n]); n]),
            Chunk::Join(_) => {
                for x in ins {
                    expect(
                        "chunk_join",
                        "x",
                        x,
                        [b, cols],
                        format_args!("the first chunk is {:?}", ins[0]),
                    )?;
                }
                Ok(vec![Type::f32([b, cols * n])])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        const X: [&str; 6] = ["x0", "x1", "x2", "x3", "x4", "x5"];
        const Y: [&str; 6] = ["y0", "y1", "y2", "y3", "y4", "y5"];
        let (n, kernel) = match *self {
            Chunk::Split(2) => (2, &CHUNK_SPLIT2),
            Chunk::Split(4) => (4, &CHUNK_SPLIT4),
            Chunk::Split(n) => (n, &CHUNK_SPLIT6),
            Chunk::Join(2) => (2, &CHUNK_JOIN2),
            Chunk::Join(4) => (4, &CHUNK_JOIN4),
            Chunk::Join(n) => (n, &CHUNK_JOIN6),
        };
        let [batch, columns] = io.sizes(0);
        let dim = match self {
            Chunk::Split(_) => columns / n as u32,
            Chunk::Join(_) => columns,
        };
        let launch = Launch::new(
            kernel,
            &ChunkDims { batch, dim },
            kernel.grid_flat(batch * dim),
        );
        Ok(vec![match self {
            Chunk::Split(_) => (0..n).fold(launch.input("x", 0), |l, i| l.output(Y[i], i)),
            Chunk::Join(_) => (0..n).fold(launch.output("y", 0), |l, i| l.input(X[i], i)),
        }])
    }

    fn cpu<F: Real>(&self, mut io: CpuIo<'_, F>) {
        match *self {
            Chunk::Split(n) => {
                let d = io.out_types[0].shape[1];
                for (row, x) in io.ins[0].chunks_exact(n * d).enumerate() {
                    for (y, x) in io.outs.iter_mut().zip(x.chunks_exact(d)) {
                        y[row * d..][..d].copy_from_slice(x);
                    }
                }
            }
            Chunk::Join(n) => {
                let d = io.in_types[0].shape[1];
                for (row, y) in io.outs[0].chunks_exact_mut(n * d).enumerate() {
                    for (y, x) in y.chunks_exact_mut(d).zip(io.ins) {
                        y.copy_from_slice(&x[row * d..][..d]);
                    }
                }
            }
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        match *self {
            Chunk::Split(n) => {
                let shape = g.node(node).outs[0].shape.clone();
                let grads: Vec<Var> = grads
                    .iter()
                    .map(|grad| grad.unwrap_or_else(|| g.constant(0.0, shape.clone())))
                    .collect();
                Ok(vec![Some(g.apply1(Chunk::Join(n), &grads)?)])
            }
            Chunk::Join(n) => Ok(match grads[0] {
                Some(grad) => {
                    let id = g.apply(Chunk::Split(n), &[grad])?;
                    (0..n).map(|i| Some(g.var(id, i))).collect()
                }
                None => vec![None; n],
            }),
        }
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        Some(match *self {
            Chunk::Split(n) => {
                let d = g.shape(ins[0])[1] / n;
                let chunk = |i| axes::slice(g, ins[0], 1, i * d..(i + 1) * d);
                (0..n).map(chunk).collect()
            }
            Chunk::Join(_) => axes::concat(g, ins, 1).map(|y| vec![y]),
        })
    }
}

pub(super) fn cases() -> Vec<Case> {
    let split = |n, b, d| Case {
        n_outs: n,
        ..Case::with_grad(Chunk::Split(n), &[Type::f32([b, n * d])], &[0])
    };
    let first_of = |n, b, d| Case {
        n_outs: 1,
        ..split(n, b, d)
    };
    let join = |n, b, d| Case::with_grad(Chunk::Join(n), &vec![Type::f32([b, d]); n], &[0, n - 1]);
    vec![
        split(2, 1, 1),
        split(4, 2, 5),
        split(6, 3, 5),
        split(6, 4, 65),
        first_of(6, 2, 3),
        join(2, 2, 3),
        join(4, 3, 5),
        join(6, 1, 7),
        join(6, 3, 65),
    ]
}
