//! Batched matrix products of two tensors.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{alone, for_rows, rows_mut, threads};
use crate::num::{Mat, MatMut, Real, gemm};
use crate::shape::{Shape, Type, expect};
use sit_shaders::{MATMUL_NN, MATMUL_NT, MATMUL_TN, MATMUL_TT, MatmulDims};

/// a `[.., M, K]` or, if transposed, `[.., K, M]`; b `[.., K, N]` or `[.., N, K]` -> y `[.., M, N]`
#[derive(Clone, Copy, Debug)]
struct Matmul {
    trans_a: bool,
    trans_b: bool,
}

/// `y = a b` for each pair of matrices: a `[.., M, K]`, b `[.., K, N]` -> `[.., M, N]`, with equal batch axes. With `trans_a` the
/// matrices of a are stored transposed, `[.., K, M]`; with `trans_b` those of b, `[.., N, K]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn matmul(g: &mut Graph, a: Var, b: Var, trans_a: bool, trans_b: bool) -> Result<Var> {
    g.apply1(Matmul { trans_a, trans_b }, &[a, b])
}

/// The last two sizes, swapped for matrices stored transposed.
fn sides(shape: &[usize], transposed: bool) -> [usize; 2] {
    let [.., rows, cols] = *shape else {
        unreachable!("checked by infer")
    };
    if transposed {
        [cols, rows]
    } else {
        [rows, cols]
    }
}

impl Matmul {
    /// M, N, K.
    fn sizes(self, ins: &[Type]) -> [usize; 3] {
        let [m, k] = sides(&ins[0].shape, self.trans_a);
        let [_, n] = sides(&ins[1].shape, self.trans_b);
        [m, n, k]
    }
}

impl Sealed for Matmul {}

impl Define for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (a, b) = (&ins[0], &ins[1]);
        for (arg, x) in [("a", a), ("b", b)] {
            if x.shape.len() < 2 {
                return Err(Error::Shape(format!(
                    "matmul: {arg} is {x:?}, expected matrices [.., rows, columns]"
                )));
            }
        }
        let [m, n, k] = self.sizes(ins);
        let batch = &a.shape[..a.shape.len() - 2];
        let with = |sides: [usize; 2]| Shape::from([batch, &sides].concat());
        let transposed = |sides: [usize; 2], transposed| {
            if transposed {
                [sides[1], sides[0]]
            } else {
                sides
            }
        };
        let (of_a, of_b) = (
            with(transposed([m, k], self.trans_a)),
            with(transposed([k, n], self.trans_b)),
        );
        expect("matmul", "a", a, of_a, "numbers are multiplied")?;
        expect("matmul", "b", b, of_b, format_args!("a is {a:?}"))?;
        Ok(vec![Type::f32(with([m, n]))])
    }

    /// The matrices of a batch are independent; a single matrix is not split by rows, since each row needs all of the other one.
    fn shared(&self, ins: &[Type]) -> Option<&'static [usize]> {
        (ins[0].shape.len() > 2).then_some(&[])
    }

    fn macs(&self, ins: &[Type]) -> u64 {
        let [_, n, _] = self.sizes(ins);
        (ins[0].shape.numel() * n) as u64
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [m, n, k] = self.sizes(io.ins).map(|size| size as u32);
        let batch = io.out_numel(0) / (m * n);
        let kernel = match (self.trans_a, self.trans_b) {
            (false, false) => &MATMUL_NN,
            (false, true) => &MATMUL_NT,
            (true, false) => &MATMUL_TN,
            (true, true) => &MATMUL_TT,
        };
        Ok(vec![
            Launch::new(kernel, &MatmulDims { m, n, k }, kernel.grid([n, m, batch]))
                .input("a", 0)
                .input("b", 1)
                .output("y", 0),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [m, n, k] = self.sizes(io.in_types);
        let ([a, b, ..], [y, ..]) = (io.ins, io.outs);
        let product = |i: usize, y: &mut [F]| {
            let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
            let a = if self.trans_a {
                Mat::new(a, k, m).t()
            } else {
                Mat::new(a, m, k)
            };
            let b = if self.trans_b {
                Mat::new(b, n, k).t()
            } else {
                Mat::new(b, k, n)
            };
            gemm(MatMut::new(y, m, n), a, b, |_, _, _| ());
        };
        let matrices = y.len() / (m * n);
        if matrices < threads() {
            let matrices = y.chunks_exact_mut(m * n).enumerate();
            return matrices.for_each(|(i, y)| product(i, y));
        }
        // A product has the same bits on any number of threads.
        for_rows(rows_mut(y, m * n), 1, |first, y| {
            alone(|| {
                let matrices = y.chunks_exact_mut(m * n).enumerate();
                matrices.for_each(|(i, y)| product(first + i, y));
            });
        });
    }

    /// With A and B the matrices as multiplied, `gA = g Bᵀ` and `gB = Aᵀ g`, transposed if the operand is stored transposed.
    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let Some(grad) = grads[0] else {
            return no_gradient(self);
        };
        let Matmul { trans_a, trans_b } = *self;
        let ins = g.node(node).ins.clone();
        let (a, b) = (ins[0], ins[1]);
        let ga = if trans_a {
            matmul(g, b, grad, trans_b, true)?
        } else {
            matmul(g, grad, b, false, !trans_b)?
        };
        let gb = if trans_b {
            matmul(g, grad, a, true, trans_a)?
        } else {
            matmul(g, a, grad, !trans_a, false)?
        };
        Ok(vec![Some(ga), Some(gb)])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |batch: &[usize], m, n, k, trans_a, trans_b| {
        let of = |rows, cols, transposed| {
            let sides = if transposed {
                [cols, rows]
            } else {
                [rows, cols]
            };
            Type::f32([batch, &sides].concat())
        };
        let ins = [of(m, k, trans_a), of(k, n, trans_b)];
        Case::with_grad(Matmul { trans_a, trans_b }, &ins, &[0, 1])
    };
    vec![
        case(&[], 1, 1, 1, false, false),
        case(&[], 5, 3, 7, false, true),
        case(&[3], 5, 33, 17, false, false),
        case(&[2, 2], 34, 5, 3, false, true),
        case(&[3], 5, 6, 7, true, false),
        case(&[3], 7, 35, 18, true, true),
    ]
}
