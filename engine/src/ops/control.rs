//! What an adaptive solver does for each sample: it takes or rejects a step, and measures the step's error. Used for sampling only,
//! so it has no gradient.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, Var, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::shape::{Type, expect};
use sit_shaders::{CONTROL_ERROR, CONTROL_SELECT, ControlErrorDims, ControlSelectDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// taken `[B]`, old, next `[B, ...]` -> `[B, ...]`
    Select,
    /// error, x0, x1 `[B, ...]`, tolerance `[2]` -> `[B]`
    Error,
}

/// `next` for the samples where `taken` is not 0, and `old` for the others: taken `[B]`, old and next `[B, ...]` -> `[B, ...]`. What
/// is not taken has no effect, even NaN.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub(crate) fn select(g: &mut Graph, taken: Var, old: Var, next: Var) -> Result<Var> {
    g.apply1(Control::Select, &[taken, old, next])
}

/// The mean of `(error / (atol + rtol max(|x0|, |x1|)))^2` over each sample: error, x0, x1 `[B, ...]`, tolerance `[atol, rtol]` `[2]`
/// -> `[B]` (Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", equation II.4.11).
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub(crate) fn error(g: &mut Graph, error: Var, x: [Var; 2], tolerance: Var) -> Result<Var> {
    g.apply1(Control::Error, &[error, x[0], x[1], tolerance])
}

impl Sealed for Control {}

impl Define for Control {
    fn name(&self) -> &'static str {
        match self {
            Control::Select => "control_select",
            Control::Error => "control_error",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        let (x, names) = match self {
            Control::Select => (&ins[1], ["old", "next"]),
            Control::Error => (&ins[0], ["x0", "x1"]),
        };
        if x.shape.is_empty() {
            return Err(Error::Shape(format!(
                "{name}: got a scalar, expected [B, ...]"
            )));
        }
        for (arg, other) in names.into_iter().zip(&ins[1..]) {
            let said = format_args!("the first is {x:?}");
            expect(name, arg, other, x.shape.clone(), said)?;
        }
        let batch = x.shape[0];
        match self {
            Control::Select => {
                let said = format_args!("old is {x:?}");
                expect(name, "taken", &ins[0], [batch], said)?;
                Ok(vec![x.clone()])
            }
            Control::Error => {
                let said = "they are atol and rtol";
                expect(name, "tolerance", &ins[3], [2], said)?;
                Ok(vec![Type::f32([batch])])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        match self {
            Control::Select => Some(&[]),
            Control::Error => Some(&[3]),
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let x = usize::from(*self == Control::Select);
        let (n, [batch]) = (io.numel(x), io.sizes(x));
        let per = n / batch;
        Ok(vec![match self {
            Control::Select => Launch::new(
                &CONTROL_SELECT,
                &ControlSelectDims { n, per },
                CONTROL_SELECT.grid_flat(n),
            )
            .input("taken", 0)
            .input("old", 1)
            .input("next", 2)
            .output("y", 0),
            Control::Error => Launch::new(
                &CONTROL_ERROR,
                &ControlErrorDims { batch, per },
                CONTROL_ERROR.grid_flat(batch),
            )
            .input("error", 0)
            .input("x0", 1)
            .input("x1", 2)
            .input("tolerance", 3)
            .output("y", 0),
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [a, b, c, d, ..] = io.ins;
        let [y, ..] = io.outs;
        match self {
            Control::Select => {
                let per = (b.len() / a.len()).max(1);
                for_rows(rows_mut(y, per), 1, |first, y| {
                    for (i, y) in y.chunks_exact_mut(per).enumerate() {
                        let at = (first + i) * per;
                        let from = if a[first + i].to_f64() != 0.0 { c } else { b };
                        y.copy_from_slice(&from[at..at + per]);
                    }
                });
            }
            Control::Error => {
                let per = a.len() / y.len();
                let [atol, rtol] = [d[0], d[1]].map(F::to_f64);
                for_rows(rows_mut(y, 1), 1, |first, y| {
                    for (i, y) in y.iter_mut().enumerate() {
                        let row = (first + i) * per..(first + i + 1) * per;
                        let values = a[row.clone()].iter().zip(&b[row.clone()]).zip(&c[row]);
                        let squares = values.map(|((&error, &x0), &x1)| {
                            let [error, x0, x1] = [error, x0, x1].map(F::to_f64);
                            let r = error / (atol + rtol * x0.abs().max(x1.abs()));
                            r * r
                        });
                        *y = F::of(squares.sum::<f64>() / per as f64);
                    }
                });
            }
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let select = |b: usize, per: usize| {
        let x = Type::f32([b, per]);
        Case::new(Control::Select, &[Type::f32([b]), x.clone(), x])
    };
    let error = |b: usize, per: usize| {
        let x = Type::f32([b, per]);
        Case::new(Control::Error, &[x.clone(), x.clone(), x, Type::f32([2])])
    };
    vec![
        select(1, 1),
        select(3, 70),
        error(1, 1),
        error(3, 5),
        error(2, 300),
    ]
}
