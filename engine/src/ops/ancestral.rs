//! A step of discrete diffusion: unlike other solvers' steps it is not linear in the network's output, which is clamped and of which a
//! part is a logarithm. Used for sampling only, so it has no gradient.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, Var, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::shape::{Type, expect};
use sit_shaders::{ANCESTRAL_LEARNED, ANCESTRAL_NOISY, ANCESTRAL_PLAIN, AncestralDims};

/// Columns of the table of coefficients.
pub(crate) const COLUMNS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ancestral {
    /// coef `[B, 8]`, x, out `[B, C, ...]` -> `[B, C, ...]`
    Plain,
    /// coef `[B, 8]`, x, out, noise `[B, C, ...]` -> `[B, C, ...]`
    Noisy,
    /// coef `[B, 8]`, x, out, noise `[B, C, ...]`, all `[B, 2C, ...]` -> `[B, C, ...]`
    Learned,
}

/// What an ancestral step reads beside the state and the prediction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noise {
    /// Nothing: it adds no noise.
    None,
    /// Standard normal noise of the state's shape.
    Fixed(Var),
    /// Noise, and the network's whole output `[B, 2C, ...]`, whose second half gives the noise's size.
    Learned(Var, Var),
}

/// `c_x x + c_0 clamp(p_x x + p_o out, -clip, clip) + n exp(l_0 + l_1 v) noise` with the rows `[p_x, p_o, clip, c_x, c_0, n, l_0, l_1]`
/// of coef: x and out `[B, C, ...]`, coef `[B, 8]` -> `[B, C, ...]`. `v` is the second half of the network's whole output, and 0 for
/// noise of a fixed size (DDPM, arXiv 2006.11239, algorithm 2; DDIM, arXiv 2010.02502, equation 12). Noise that `n = 0` takes away has
/// no effect, even if its size is infinite.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub(crate) fn ancestral(g: &mut Graph, x: Var, out: Var, noise: Noise, coef: Var) -> Result<Var> {
    match noise {
        Noise::None => g.apply1(Ancestral::Plain, &[coef, x, out]),
        Noise::Fixed(noise) => g.apply1(Ancestral::Noisy, &[coef, x, out, noise]),
        Noise::Learned(noise, all) => g.apply1(Ancestral::Learned, &[coef, x, out, noise, all]),
    }
}

impl Sealed for Ancestral {}

impl Define for Ancestral {
    fn name(&self) -> &'static str {
        match self {
            Ancestral::Plain => "ancestral_plain",
            Ancestral::Noisy => "ancestral_noisy",
            Ancestral::Learned => "ancestral_learned",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x) = (Define::name(self), &ins[1]);
        if x.shape.len() < 2 {
            return Err(Error::Shape(format!(
                "{name}: x is {x:?}, expected [B, C, ...]"
            )));
        }
        let said = || format!("x is {x:?}");
        expect(name, "coef", &ins[0], [x.shape[0], COLUMNS], said())?;
        for (arg, other) in ["out", "noise"].into_iter().zip(ins[2..].iter().take(2)) {
            expect(name, arg, other, x.shape.clone(), said())?;
        }
        if let Some(all) = ins.get(4) {
            let mut doubled = x.shape.to_vec();
            doubled[1] *= 2;
            expect(name, "all", all, doubled, said())?;
        }
        Ok(vec![x.clone()])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let (n, [batch]) = (io.numel(1), io.sizes(1));
        let dims = AncestralDims { n, per: n / batch };
        let kernel = match self {
            Ancestral::Plain => &ANCESTRAL_PLAIN,
            Ancestral::Noisy => &ANCESTRAL_NOISY,
            Ancestral::Learned => &ANCESTRAL_LEARNED,
        };
        let launch = Launch::new(kernel, &dims, kernel.grid_flat(n))
            .input("coef", 0)
            .input("x", 1)
            .input("out", 2)
            .output("y", 0);
        Ok(vec![match self {
            Ancestral::Plain => launch,
            Ancestral::Noisy => launch.input("noise", 3),
            Ancestral::Learned => launch.input("noise", 3).input("all", 4),
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [coef, x, out, noise, all, ..] = io.ins;
        let batch = coef.len() / COLUMNS;
        let per = x.len() / batch.max(1);
        let [y, ..] = io.outs;
        let is_plain = *self == Ancestral::Plain;
        let is_learned = *self == Ancestral::Learned;
        for_rows(rows_mut(y, per), 1, |first, y| {
            for (i, y) in y.chunks_exact_mut(per).enumerate() {
                let b = first + i;
                let c: &[F] = &coef[b * COLUMNS..][..COLUMNS];
                let clip = c[2];
                for (k, y) in y.iter_mut().enumerate() {
                    let at = b * per + k;
                    let x0 = c[0] * x[at] + c[1] * out[at];
                    // The order keeps a NaN of the network.
                    let x0 = (-clip).max(x0);
                    *y = c[3] * x[at] + c[4] * clip.min(x0);
                    if !is_plain && c[5] != F::ZERO {
                        let log_std = match is_learned {
                            true => c[6] + c[7] * all[(2 * b + 1) * per + k],
                            false => c[6],
                        };
                        *y += c[5] * log_std.exp() * noise[at];
                    }
                }
            }
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |op: Ancestral, b: usize, c: usize, per: usize| {
        let x = Type::f32([b, c, per]);
        let all = Type::f32([b, 2 * c, per]);
        let ins = [Type::f32([b, COLUMNS]), x.clone(), x.clone(), x, all];
        let n = match op {
            Ancestral::Plain => 3,
            Ancestral::Noisy => 4,
            Ancestral::Learned => 5,
        };
        Case::new(op, &ins[..n])
    };
    vec![
        case(Ancestral::Plain, 1, 1, 1),
        case(Ancestral::Plain, 3, 2, 70),
        case(Ancestral::Noisy, 2, 1, 5),
        case(Ancestral::Noisy, 3, 3, 64),
        case(Ancestral::Learned, 1, 1, 1),
        case(Ancestral::Learned, 3, 4, 67),
    ]
}
