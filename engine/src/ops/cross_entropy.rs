//! The cross entropy of a classifier.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{CROSS_ENTROPY_BWD, CROSS_ENTROPY_FWD, CrossEntropyDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CrossEntropy {
    /// logits `[B, K]`, y `[B]` -> loss `[B]`, lse `[B]` (log of the sum of exponentials of the logits)
    Fwd,
    /// g `[B]`, logits `[B, K]`, y `[B]`, lse `[B]` -> glogits `[B, K]`
    Bwd,
}

/// `-log softmax(logits)_y` of each sample, in nats: logits `[B, K]`, labels y `[B]` u32 up to K -> `[B]`. The label K, the null class,
/// has the loss 0 and no gradient.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn cross_entropy(g: &mut Graph, logits: Var, y: Var) -> Result<Var> {
    let id = g.apply(CrossEntropy::Fwd, &[logits, y])?;
    Ok(g.var(id, 0))
}

impl CrossEntropy {
    /// Position of the logits among the inputs.
    fn logits_at(&self) -> usize {
        usize::from(*self == CrossEntropy::Bwd)
    }
}

impl Sealed for CrossEntropy {}

impl Define for CrossEntropy {
    fn name(&self) -> &'static str {
        match self {
            CrossEntropy::Fwd => "cross_entropy_fwd",
            CrossEntropy::Bwd => "cross_entropy_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, at) = (Define::name(self), self.logits_at());
        let (logits, y) = (&ins[at], &ins[at + 1]);
        expect_axes(name, "logits", logits, 2, "[B, K]")?;
        if logits.shape[1] == 0 {
            return Err(Error::Shape(format!(
                "{name}: logits is {logits:?}, expected at least one class"
            )));
        }
        let of_sample = Type::f32([logits.shape[0]]);
        let because = format_args!("logits is {logits:?}");
        let labels = Type::u32(of_sample.shape.clone());
        if *y != labels {
            return Err(Error::Shape(format!(
                "{name}: y is {y:?}, expected {labels:?} as {because}"
            )));
        }
        match self {
            CrossEntropy::Fwd => Ok(vec![of_sample.clone(), of_sample]),
            CrossEntropy::Bwd => {
                expect(name, "g", &ins[0], of_sample.shape.clone(), because)?;
                expect(name, "lse", &ins[3], of_sample.shape, because)?;
                Ok(vec![logits.clone()])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn index_bound(&self, ins: &[Type]) -> Option<(usize, usize)> {
        let at = self.logits_at();
        Some((at + 1, ins[at].shape[1] + 1))
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [batch, n_classes] = io.sizes(self.logits_at());
        let dims = CrossEntropyDims { batch, n_classes };
        Ok(vec![match self {
            CrossEntropy::Fwd => {
                let grid = CROSS_ENTROPY_FWD.grid_flat(batch);
                Launch::new(&CROSS_ENTROPY_FWD, &dims, grid)
                    .input("logits", 0)
                    .input("y", 1)
                    .output("loss", 0)
                    .output("lse", 1)
            }
            CrossEntropy::Bwd => {
                let grid = CROSS_ENTROPY_BWD.grid_flat(batch * n_classes);
                Launch::new(&CROSS_ENTROPY_BWD, &dims, grid)
                    .input("g", 0)
                    .input("logits", 1)
                    .input("y", 2)
                    .input("lse", 3)
                    .output("glogits", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let at = self.logits_at();
        let n_classes = io.shape(at)[1];
        let (logits, y) = (io.ins[at], io.ins_u32[at + 1]);
        let [out, lse_out, ..] = io.outs;
        if *self == CrossEntropy::Fwd {
            let rows = (rows_mut(out, 1), rows_mut(lse_out, 1));
            return for_rows(rows, grain(n_classes), |first, (loss, lse)| {
                let samples = loss.iter_mut().zip(lse).enumerate();
                for (b, (loss, lse)) in samples {
                    let logits = &logits[(first + b) * n_classes..][..n_classes];
                    *lse = log_sum_exp(logits);
                    let of_label = logits.get(y[first + b] as usize);
                    *loss = of_label.map_or(F::ZERO, |&logit| *lse - logit);
                }
            });
        }
        let (g, lse) = (io.ins[0], io.ins[3]);
        for_rows(rows_mut(out, n_classes), grain(n_classes), |first, out| {
            for (b, slopes) in out.chunks_exact_mut(n_classes).enumerate() {
                let b = first + b;
                let label = y[b] as usize;
                if label >= n_classes {
                    slopes.fill(F::ZERO);
                    continue;
                }
                let logits = &logits[b * n_classes..][..n_classes];
                vectorize(
                    #[inline(always)]
                    || {
                        for (slope, &logit) in slopes.iter_mut().zip(logits) {
                            *slope = g[b] * (logit - lse[b]).exp();
                        }
                    },
                );
                slopes[label] -= g[b];
            }
        });
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (CrossEntropy::Fwd, Some(grad)) = (self, grads[0]) else {
            return no_gradient(self);
        };
        let (logits, y) = (g.node(node).ins[0], g.node(node).ins[1]);
        let lse = g.var(node, 1);
        let flow = g.apply1(CrossEntropy::Bwd, &[grad, logits, y, lse])?;
        Ok(vec![Some(flow), None])
    }
}

/// `log Σ exp(x)`, without overflow.
fn log_sum_exp<F: Real>(x: &[F]) -> F {
    let most = x.iter().fold(x[0], |most, &x| x.max(most));
    let mut total = F::ZERO;
    vectorize(
        #[inline(always)]
        || {
            for &x in x {
                total += (x - most).exp();
            }
        },
    );
    most + total.ln()
}

pub(super) fn cases() -> Vec<Case> {
    let case = |batch, n_classes: usize| Case {
        n_labels: n_classes as u32 + 1,
        ..Case::with_grad(
            CrossEntropy::Fwd,
            &[Type::f32([batch, n_classes]), Type::u32([batch])],
            &[0],
        )
    };
    vec![case(1, 1), case(5, 3), case(70, 10), case(3, 130)]
}
