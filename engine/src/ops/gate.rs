//! The gradient of the gated residual `y = res + gate ⊙ branch` (its forward is fused into `linear_gate`).

use super::Case;
use crate::error::Result;
use crate::graph::{CpuIo, Define, Graph, Io, Launch, Var, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::num::simd::vectorize;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{GATE_BWD_BRANCH, GATE_BWD_GATE, GateDims};

/// g `[B, T, D]`, branch `[B, T, D]`, gate `[B, D]` -> gbranch `[B, T, D]`, ggate `[B, D]`
#[derive(Clone, Debug)]
struct GateBwd;

/// `gbranch = g ⊙ gate`, `ggate = Σ_t g ⊙ branch`: g, branch `[B, T, D]`, gate `[B, D]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub(crate) fn gate_bwd(g: &mut Graph, grad: Var, branch: Var, gate: Var) -> Result<(Var, Var)> {
    let id = g.apply(GateBwd, &[grad, branch, gate])?;
    Ok((g.var(id, 0), g.var(id, 1)))
}

impl Sealed for GateBwd {}

impl Define for GateBwd {
    fn name(&self) -> &'static str {
        "gate_bwd"
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (g, branch, gate) = (&ins[0], &ins[1], &ins[2]);
        expect_axes("gate_bwd", "g", g, 3, "[B, T, D]")?;
        expect(
            "gate_bwd",
            "branch",
            branch,
            g.shape.clone(),
            format_args!("g is {g:?}"),
        )?;
        expect(
            "gate_bwd",
            "gate",
            gate,
            [g.shape[0], g.shape[2]],
            format_args!("g is {g:?}"),
        )?;
        Ok(vec![g.clone(), gate.clone()])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [batch, tokens, dim] = io.sizes(0);
        let dims = GateDims { batch, tokens, dim };
        let (all, per_sample) = (batch * tokens * dim, batch * dim);
        Ok(vec![
            Launch::new(&GATE_BWD_BRANCH, &dims, GATE_BWD_BRANCH.grid_flat(all))
                .input("g", 0)
                .input("gate", 2)
                .output("gbranch", 0),
            Launch::new(&GATE_BWD_GATE, &dims, GATE_BWD_GATE.grid_flat(per_sample))
                .input("g", 0)
                .input("branch", 1)
                .output("ggate", 1),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let &[_, t, d] = io.shape(0) else {
            unreachable!("checked by infer")
        };
        let [g, branch, gate, ..] = io.ins;
        let [gbranch, ggate, ..] = io.outs;
        for_rows(
            (rows_mut(gbranch, t * d), rows_mut(ggate, d)),
            1,
            |b, (gbranch, ggate)| {
                let rows = b * t * d..(b + 1) * t * d;
                let (g, branch) = (&g[rows.clone()], &branch[rows]);
                let gate = &gate[b * d..][..d];
                ggate.fill(F::ZERO);
                vectorize(
                    #[inline(always)]
                    || {
                        let rows = gbranch.chunks_exact_mut(d).zip(g.chunks_exact(d));
                        for ((gbranch, g), branch) in rows.zip(branch.chunks_exact(d)) {
                            // Equal lengths let the compiler drop the bounds checks.
                            let (g, branch, gate) = (&g[..d], &branch[..d], &gate[..d]);
                            let (gbranch, ggate) = (&mut gbranch[..d], &mut ggate[..d]);
                            for j in 0..d {
                                gbranch[j] = g[j] * gate[j];
                                ggate[j] += g[j] * branch[j];
                            }
                        }
                    },
                );
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |b, t, d| {
        Case::new(
            GateBwd,
            &[
                Type::f32([b, t, d]),
                Type::f32([b, t, d]),
                Type::f32([b, d]),
            ],
        )
    };
    vec![
        case(1, 1, 1),
        case(2, 3, 5),
        case(3, 17, 70),
        case(1, 256, 384),
    ]
}
