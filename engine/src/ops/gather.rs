//! Rows of a table by index.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::shape::{Elem, Shape, Type, expect, expect_axes};
use sit_shaders::{GATHER_BWD, GATHER_FWD, GatherDims};

#[derive(Clone, Copy, Debug)]
enum Gather {
    /// table `[N, D]`, index `[..]` u32 -> y `[.., D]`
    Fwd,
    /// g `[.., D]`, index `[..]` u32 -> gtable `[N, D]`
    Bwd { rows: usize },
}

/// `y = table[index]`: table `[N, D]`, index `[..]` u32 -> `[.., D]`. If index is an input, values out of range are rejected when
/// they are written.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn gather(g: &mut Graph, table: Var, index: Var) -> Result<Var> {
    g.apply1(Gather::Fwd, &[table, index])
}

impl Sealed for Gather {}

impl Define for Gather {
    fn name(&self) -> &'static str {
        match self {
            Gather::Fwd => "gather_fwd",
            Gather::Bwd { .. } => "gather_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x, index) = (Define::name(self), &ins[0], &ins[1]);
        if index.elem != Elem::U32 {
            return Err(Error::Shape(format!(
                "{name}: index is {index:?}, expected u32[..]"
            )));
        }
        let with_rows = |dim: usize| Shape::from([&index.shape[..], &[dim]].concat());
        match *self {
            Gather::Fwd => {
                expect_axes(name, "table", x, 2, "[N, D]")?;
                let dim = x.shape[1];
                expect(name, "table", x, [x.shape[0], dim], "rows are numbers")?;
                Ok(vec![Type::f32(with_rows(dim))])
            }
            Gather::Bwd { rows } => {
                let expected = with_rows(x.shape.last());
                expect(name, "g", x, expected, format_args!("index is {index:?}"))?;
                Ok(vec![Type::f32([rows, x.shape.last()])])
            }
        }
    }

    fn shared(&self, ins: &[Type]) -> Option<&'static [usize]> {
        match self {
            Gather::Fwd if !ins[1].shape.is_empty() => Some(&[0]),
            _ => None,
        }
    }

    fn index_bound(&self, ins: &[Type]) -> Option<(usize, usize)> {
        match *self {
            Gather::Fwd => Some((1, ins[0].shape[0])),
            Gather::Bwd { rows } => Some((1, rows)),
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let count = io.numel(1);
        Ok(vec![match *self {
            Gather::Fwd => {
                let [rows, dim] = io.sizes(0);
                let dims = GatherDims { count, rows, dim };
                Launch::new(&GATHER_FWD, &dims, GATHER_FWD.grid_flat(count * dim))
                    .input("table", 0)
                    .input("index", 1)
                    .output("y", 0)
            }
            Gather::Bwd { rows } => {
                let (rows, dim) = (rows as u32, io.numel(0) / count);
                let dims = GatherDims { count, rows, dim };
                Launch::new(&GATHER_BWD, &dims, GATHER_BWD.grid_flat(rows * dim))
                    .input("g", 0)
                    .input("index", 1)
                    .output("gtable", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let width = io.out_types[0].shape.last();
        let (x, index) = (io.ins[0], io.ins_u32[1]);
        let [y, ..] = io.outs;
        match self {
            Gather::Fwd => {
                for (y, &row) in y.chunks_exact_mut(width).zip(index) {
                    y.copy_from_slice(&x[row as usize * width..][..width]);
                }
            }
            Gather::Bwd { .. } => {
                y.fill(F::ZERO);
                for (g, &row) in x.chunks_exact(width).zip(index) {
                    let row = &mut y[row as usize * width..][..width];
                    row.iter_mut().zip(g).for_each(|(y, &g)| *y += g);
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
        let (Gather::Fwd, Some(grad)) = (self, grads[0]) else {
            return no_gradient(self);
        };
        let ins = g.node(node).ins.clone();
        let rows = g.shape(ins[0])[0];
        let gtable = g.apply1(Gather::Bwd { rows }, &[grad, ins[1]])?;
        Ok(vec![Some(gtable), None])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |rows: u32, dim, index: &[usize]| Case {
        n_labels: rows,
        ..Case::with_grad(
            Gather::Fwd,
            &[Type::f32([rows as usize, dim]), Type::u32(index)],
            &[0],
        )
    };
    vec![
        case(1, 1, &[1]),
        case(11, 5, &[7]),
        case(4, 65, &[33]),
        case(4, 65, &[3, 11]),
        case(5, 3, &[]),
    ]
}
