//! The test cases for all backends.

use super::{Kind, Pointwise};
use crate::ops::Case;
use crate::shape::Type;

pub(in crate::ops) fn cases() -> Vec<Case> {
    use Kind::*;
    let sizes = |op: Kind, sizes: &[usize]| -> Vec<Case> {
        let n_ins = Pointwise::<true>(op).bindings().0.len();
        let wrt: &[usize] = match op {
            SiluBwd | GeluBwd | Step => &[],
            _ => &[0, 1][..n_ins],
        };
        let case = |&n: &usize| {
            // A single sample: the test of grouped samples uses 0 and negative numbers, where these operations are undefined.
            let x = if let Ln | Sqrt | Rsqrt | Div = op {
                Type::f32([1, n])
            } else {
                Type::f32([n])
            };
            let ins = vec![x; n_ins];
            match op.is_rare() {
                true => Case::with_grad(Pointwise::<true>(op), &ins, wrt),
                false => Case::with_grad(Pointwise::<false>(op), &ins, wrt),
            }
        };
        sizes.iter().map(case).collect()
    };
    let all = [
        Exp, Ln, Sqrt, Rsqrt, Recip, Tanh, Sigmoid, Gelu, GeluBwd, Cos, Sin, Div, Maximum,
    ];
    let exact = [Neg, Square, Relu, Step, Sub, Affine { a: -1.5, b: 0.25 }];
    let first = [SiluFwd, SiluBwd, Add, Mul, Copy];
    let first = first.map(|op| sizes(op, &[1, 7, 256, 1000]));
    let all = all.map(|op| sizes(op, &[1, 7, 300]));
    let exact = exact.map(|op| sizes(op, &[1, 300]));
    first
        .into_iter()
        .chain(all)
        .chain(exact)
        .flatten()
        .collect()
}
