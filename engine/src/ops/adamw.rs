//! The optimizer on flat arenas: gradient norm, AdamW with the moving average of the weights, other averages, gradient accumulation.

use super::Case;
use crate::error::Result;
use crate::graph::{CpuIo, Define, Graph, Io, Launch, Var, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::shape::{Type, expect};
use sit_shaders::{
    ADAMW_ACCUMULATE, ADAMW_AVERAGE, ADAMW_NORM, ADAMW_NORM_PART, ADAMW_STEP, AdamwAverageDims,
    AdamwDims, AdamwNormDims, AdamwNormPartDims,
};

/// Number of partial sums of the gradient norm: enough to fill a GPU, few enough for one workgroup to add.
pub const N_PARTS: usize = 256;

/// Marks a partial sum that is not finite: WGSL implementations need not preserve infinity and NaN.
const NOT_FINITE: f64 = -1.0;

/// Entries of the tensor `hyper`: lr, beta1, beta2, adam_eps, weight_decay, ema_decay, `1 / (1 - beta1^t)`, `1 / (1 - beta2^t)`, clip.
pub const N_HYPER: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdamW {
    /// grads `[n]`, prev `[N_PARTS]` -> part `[N_PARTS]`: prev plus the sum of squares of each of `N_PARTS` ranges, or
    /// `NOT_FINITE`
    NormPart,
    /// part `[N_PARTS]` -> stats `[2]`: norm and 0, or 0 and 1 when it is not finite
    Norm,
    /// grads `[n]`, stats `[2]`, hyper `[N_HYPER]`; in place params, m, v, ema `[n]`
    Step,
    /// params `[n]`, stats `[2]`, rates `[K]`; in place average `[n]`, with the rate of this number
    Average(usize),
    /// grads `[n]`, keep `[1]`; in place acc `[n]`
    Accumulate,
}

/// Adds the squares of one arena segment to the partial sums `prev` `[N_PARTS]`: grads `[n]` -> `[N_PARTS]`, with -1 for a
/// part that is not finite.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn norm_part(g: &mut Graph, grads: Var, prev: Var) -> Result<Var> {
    g.apply1(AdamW::NormPart, &[grads, prev])
}

/// `stats = [sqrt(Σ part), 0]`, or `[0, 1]` when a part or the sum is not finite: `[N_PARTS]` -> `[2]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn norm(g: &mut Graph, part: Var) -> Result<Var> {
    g.apply1(AdamW::Norm, &[part])
}

/// One AdamW step (Loshchilov and Hutter 2019, in PyTorch's order) and the moving average, on segments `[n]`:
///
/// `g' = g · min(1, clip / (norm + 1e-6))` (clip 0: off), `p = p (1 - lr·wd)`, `m = β1 m + (1-β1) g'`, `v = β2 v + (1-β2) g'²`,
/// `p = p - lr (m c1) / (sqrt(v c2) + adam_eps)`, `ema = d·ema + (1-d) p`. If the flag in `stats` is set, nothing changes.
/// `hyper` has [`N_HYPER`] numbers.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn step(
    g: &mut Graph,
    grads: Var,
    stats: Var,
    hyper: Var,
    [params, m, v, ema]: [Var; 4],
) -> Result<()> {
    g.apply(AdamW::Step, &[grads, stats, hyper, params, m, v, ema])
        .map(|_| ())
}

/// `average = average + rates[number] · (params - average)` on segments `[n]`, with rates `[K]`. If the flag in `stats` is set,
/// nothing changes. The rate is 1 - decay: of a decay near 1, f32 would hold few digits of that.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit, or there is no rate of this number.
pub fn average(
    g: &mut Graph,
    params: Var,
    stats: Var,
    (rates, number): (Var, usize),
    average: Var,
) -> Result<()> {
    g.apply(AdamW::Average(number), &[params, stats, rates, average])
        .map(|_| ())
}

/// `acc = grads` when keep `[1]` is 0, else `acc = acc + grads`, on segments `[n]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn accumulate(g: &mut Graph, grads: Var, keep: Var, acc: Var) -> Result<()> {
    g.apply(AdamW::Accumulate, &[grads, keep, acc]).map(|_| ())
}

impl Sealed for AdamW {}

impl Define for AdamW {
    fn name(&self) -> &'static str {
        match self {
            AdamW::NormPart => "adamw_norm_part",
            AdamW::Norm => "adamw_norm",
            AdamW::Step => "adamw_step",
            AdamW::Average(_) => "adamw_average",
            AdamW::Accumulate => "adamw_accumulate",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        let grads = &ins[0];
        match self {
            AdamW::NormPart => {
                expect(
                    name,
                    "prev",
                    &ins[1],
                    [N_PARTS],
                    "that many partial sums are kept",
                )?;
                Ok(vec![ins[1].clone()])
            }
            AdamW::Norm => {
                expect(
                    name,
                    "part",
                    grads,
                    [N_PARTS],
                    "that many partial sums are kept",
                )?;
                Ok(vec![Type::f32([2])])
            }
            AdamW::Step => {
                expect(name, "stats", &ins[1], [2], "it holds norm and flag")?;
                expect(
                    name,
                    "hyper",
                    &ins[2],
                    [N_HYPER],
                    "it holds the step's numbers",
                )?;
                for (arg, ty) in ["params", "m", "v", "ema"].into_iter().zip(&ins[3..]) {
                    expect(
                        name,
                        arg,
                        ty,
                        grads.shape.clone(),
                        format_args!("grads is {grads:?}"),
                    )?;
                }
                Ok(vec![])
            }
            &AdamW::Average(number) => {
                expect(name, "stats", &ins[1], [2], "it holds norm and flag")?;
                let n_rates = ins[2].shape.numel().max(number + 1);
                expect(
                    name,
                    "rates",
                    &ins[2],
                    [n_rates],
                    format_args!("rate {number} is used"),
                )?;
                expect(
                    name,
                    "average",
                    &ins[3],
                    grads.shape.clone(),
                    format_args!("params is {grads:?}"),
                )?;
                Ok(vec![])
            }
            AdamW::Accumulate => {
                expect(name, "keep", &ins[1], [1], "it is one number")?;
                expect(
                    name,
                    "acc",
                    &ins[2],
                    grads.shape.clone(),
                    format_args!("grads is {grads:?}"),
                )?;
                Ok(vec![])
            }
        }
    }

    fn in_place(&self) -> &'static [usize] {
        match self {
            AdamW::NormPart | AdamW::Norm => &[],
            AdamW::Step => &[3, 4, 5, 6],
            AdamW::Average(_) => &[3],
            AdamW::Accumulate => &[2],
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let n = io.numel(0);
        Ok(vec![match self {
            AdamW::NormPart => {
                let parts = N_PARTS as u32;
                Launch::new(
                    &ADAMW_NORM_PART,
                    &AdamwNormPartDims { n, parts },
                    ADAMW_NORM_PART.grid_flat(parts),
                )
                .input("grads", 0)
                .input("prev", 1)
                .output("part", 0)
            }
            AdamW::Norm => Launch::new(
                &ADAMW_NORM,
                &AdamwNormDims { parts: n },
                ADAMW_NORM.grid_flat(n),
            )
            .input("part", 0)
            .output("stats", 0),
            AdamW::Step => Launch::new(&ADAMW_STEP, &AdamwDims { n }, ADAMW_STEP.grid_flat(n))
                .input("grads", 0)
                .input("stats", 1)
                .input("hyper", 2)
                .input("params", 3)
                .input("m", 4)
                .input("v", 5)
                .input("ema", 6),
            &AdamW::Average(number) => {
                let number = number as u32;
                let grid = ADAMW_AVERAGE.grid_flat(n);
                Launch::new(&ADAMW_AVERAGE, &AdamwAverageDims { n, number }, grid)
                    .input("params", 0)
                    .input("stats", 1)
                    .input("rates", 2)
                    .input("average", 3)
            }
            AdamW::Accumulate => Launch::new(
                &ADAMW_ACCUMULATE,
                &AdamwDims { n },
                ADAMW_ACCUMULATE.grid_flat(n),
            )
            .input("grads", 0)
            .input("keep", 1)
            .input("acc", 2),
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match self {
            AdamW::NormPart => norm_part_cpu(io),
            AdamW::Norm => {
                let part = io.ins[0];
                let sum: f64 = part.iter().map(|x| x.to_f64()).sum();
                let good = part.iter().all(|&x| x >= F::ZERO) && F::of(sum).is_finite();
                let [stats, ..] = io.outs;
                stats.copy_from_slice(&if good {
                    [F::of(sum.sqrt()), F::ZERO]
                } else {
                    [F::ZERO, F::ONE]
                });
            }
            AdamW::Step => step_cpu(io),
            &AdamW::Average(number) => average_cpu(io, number),
            AdamW::Accumulate => {
                let [grads, keep, ..] = io.ins;
                let [acc, ..] = io.in_place;
                for_rows(rows_mut(acc, 1), grain(1), |first, acc| {
                    let pairs = acc.iter_mut().zip(&grads[first..]);
                    if keep[0] == F::ZERO {
                        pairs.for_each(|(acc, &g)| *acc = g);
                    } else {
                        pairs.for_each(|(acc, &g)| *acc += g);
                    }
                });
            }
        }
    }
}

fn norm_part_cpu<F: Real>(io: CpuIo<'_, F>) {
    let [grads, prev, ..] = io.ins;
    let [part, ..] = io.outs;
    let len = grads.len().div_ceil(N_PARTS).max(1);
    for_rows(rows_mut(part, 1), grain(len), |first, part| {
        for (i, part) in part.iter_mut().enumerate() {
            let range =
                ((first + i) * len).min(grads.len())..((first + i + 1) * len).min(grads.len());
            let prev = prev[first + i];
            let sum = prev + crate::num::slice::sum_sq(&grads[range], F::ZERO);
            *part = if prev >= F::ZERO && sum.is_finite() {
                sum
            } else {
                F::of(NOT_FINITE)
            };
        }
    });
}

fn step_cpu<F: Real>(io: CpuIo<'_, F>) {
    let [grads, stats, hyper, ..] = io.ins;
    let &[
        lr,
        beta1,
        beta2,
        adam_eps,
        weight_decay,
        ema_decay,
        c1,
        c2,
        clip,
    ] = hyper
    else {
        unreachable!("checked by infer")
    };
    if stats[1] != F::ZERO {
        return;
    }
    let scale = if clip > F::ZERO {
        (clip / (stats[0] + F::of(1e-6))).min(F::ONE)
    } else {
        F::ONE
    };
    let (keep, one) = (F::ONE - lr * weight_decay, F::ONE);
    let [params, m, v, ema, ..] = io.in_place;
    for_rows(
        (
            (rows_mut(params, 1), rows_mut(m, 1)),
            (rows_mut(v, 1), rows_mut(ema, 1)),
        ),
        grain(1),
        |first, ((params, m), (v, ema))| {
            let grads = &grads[first..][..params.len()];
            vectorize(
                #[inline(always)]
                || {
                    for ((((p, m), v), ema), &g) in
                        params.iter_mut().zip(m).zip(v).zip(ema).zip(grads)
                    {
                        let g = g * scale;
                        *m = beta1 * *m + (one - beta1) * g;
                        *v = beta2 * *v + (one - beta2) * g * g;
                        *p = *p * keep - lr * (*m * c1) / ((*v * c2).sqrt() + adam_eps);
                        *ema = ema_decay * *ema + (one - ema_decay) * *p;
                    }
                },
            );
        },
    );
}

fn average_cpu<F: Real>(io: CpuIo<'_, F>, number: usize) {
    let [params, stats, rates, ..] = io.ins;
    let [average, ..] = io.in_place;
    if stats[1] != F::ZERO {
        return;
    }
    let rate = rates[number];
    for_rows(rows_mut(average, 1), grain(1), |first, average| {
        let pairs = average.iter_mut().zip(&params[first..]);
        pairs.for_each(|(average, &p)| *average += rate * (p - *average));
    });
}

pub(super) fn cases() -> Vec<Case> {
    let flat = |n: usize| Type::f32([n]);
    let step = |n| {
        Case::new(
            AdamW::Step,
            &[
                flat(n),
                flat(2),
                flat(N_HYPER),
                flat(n),
                flat(n),
                flat(n),
                flat(n),
            ],
        )
    };
    let average = |n, number| {
        let ins = [flat(n), flat(2), flat(3), flat(n)];
        Case::new(AdamW::Average(number), &ins)
    };
    let accumulate = |n| Case::new(AdamW::Accumulate, &[flat(n), flat(1), flat(n)]);
    let norm_part = |n| Case::new(AdamW::NormPart, &[flat(n), flat(N_PARTS)]);
    vec![
        norm_part(1),
        norm_part(1000),
        norm_part(70_000),
        Case::new(AdamW::Norm, &[flat(N_PARTS)]),
        step(1),
        step(1000),
        average(1, 0),
        average(1000, 2),
        accumulate(1),
        accumulate(1000),
    ]
}
