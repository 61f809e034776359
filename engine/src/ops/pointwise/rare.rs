//! The rare operations: kernels, CPU evaluation and gradients.

use super::*;
use sit_shaders::{
    POINTWISE_AFFINE, POINTWISE_COS, POINTWISE_DIV, POINTWISE_EXP, POINTWISE_GELU,
    POINTWISE_GELU_BWD, POINTWISE_LN, POINTWISE_MAXIMUM, POINTWISE_NEG, POINTWISE_RECIP,
    POINTWISE_RELU, POINTWISE_RSQRT, POINTWISE_SIGMOID, POINTWISE_SIN, POINTWISE_SQRT,
    POINTWISE_SQUARE, POINTWISE_STEP, POINTWISE_SUB, POINTWISE_TANH,
};

pub(super) fn kernel(kind: Kind) -> &'static Kernel {
    match kind {
        Kind::Neg => &POINTWISE_NEG,
        Kind::Exp => &POINTWISE_EXP,
        Kind::Ln => &POINTWISE_LN,
        Kind::Sqrt => &POINTWISE_SQRT,
        Kind::Rsqrt => &POINTWISE_RSQRT,
        Kind::Recip => &POINTWISE_RECIP,
        Kind::Square => &POINTWISE_SQUARE,
        Kind::Tanh => &POINTWISE_TANH,
        Kind::Sigmoid => &POINTWISE_SIGMOID,
        Kind::Gelu => &POINTWISE_GELU,
        Kind::GeluBwd => &POINTWISE_GELU_BWD,
        Kind::Relu => &POINTWISE_RELU,
        Kind::Step => &POINTWISE_STEP,
        Kind::Cos => &POINTWISE_COS,
        Kind::Sin => &POINTWISE_SIN,
        Kind::Affine { .. } => &POINTWISE_AFFINE,
        Kind::Sub => &POINTWISE_SUB,
        Kind::Div => &POINTWISE_DIV,
        Kind::Maximum => &POINTWISE_MAXIMUM,
        Kind::SiluFwd | Kind::SiluBwd | Kind::Copy | Kind::Add | Kind::Mul => {
            unreachable!("{kind:?} is not rare")
        }
    }
}

pub(super) fn cpu<F: Real>(kind: Kind, y: &mut [F], a: &[F], b: &[F]) {
    match kind {
        Kind::Neg => map!(y, a, b, |x| -x),
        Kind::Exp => map!(y, a, b, |x| x.exp()),
        Kind::Ln => map!(y, a, b, |x| x.ln()),
        Kind::Sqrt => map!(y, a, b, |x| x.sqrt()),
        Kind::Rsqrt => map!(y, a, b, |x| F::ONE / x.sqrt()),
        Kind::Recip => map!(y, a, b, |x| F::ONE / x),
        Kind::Square => map!(y, a, b, |x| x * x),
        Kind::Tanh => map!(y, a, b, |x| tanh_of(x)),
        Kind::Sigmoid => map!(y, a, b, |x| x.sigmoid()),
        Kind::Gelu => map!(y, a, b, |x| slice::gelu(x)),
        Kind::GeluBwd => map!(y, a, b, |g, x| g * slice::gelu_with_slope(x).1),
        Kind::Relu => map!(y, a, b, |x| if x < F::ZERO { F::ZERO } else { x }),
        Kind::Step => map!(y, a, b, |x| if x > F::ZERO { F::ONE } else { F::ZERO }),
        Kind::Cos => map!(y, a, b, |x| x.cos()),
        Kind::Sin => map!(y, a, b, |x| x.sin()),
        Kind::Affine { a: factor, b } => {
            let (factor, b) = (F::of(factor), F::of(b));
            map!(y, a, b, |x| factor * x + b)
        }
        Kind::Sub => map!(y, a, b, |a, b| a - b),
        Kind::Div => map!(y, a, b, |a, b| a / b),
        Kind::Maximum => map!(y, a, b, |a, b| a.max(b)),
        Kind::SiluFwd | Kind::SiluBwd | Kind::Copy | Kind::Add | Kind::Mul => {
            unreachable!("{kind:?} is not rare")
        }
    }
}

/// (1 - e) / (1 + e) with e = e^-2|x|, and the sign of x.
#[inline(always)]
fn tanh_of<F: Real>(x: F) -> F {
    let e = (F::of(-2.0) * x.abs()).exp();
    let size = (F::ONE - e) / (F::ONE + e);
    if x < F::ZERO { -size } else { size }
}

/// The derivative of [`sigmoid`] at x: `sigmoid(x) sigmoid(-x)`.
fn sigmoid_slope(g: &mut Graph, x: Var) -> Result<Var> {
    let opposite = neg(g, x)?;
    let (s, rest) = (sigmoid(g, x)?, sigmoid(g, opposite)?);
    mul(g, s, rest)
}

pub(super) fn backward(
    kind: Kind,
    g: &mut Graph,
    grad: Var,
    ins: &[Var],
    y: Var,
) -> Result<Vec<Option<Var>>> {
    let x = ins[0];
    let flow = match kind {
        Kind::Neg => neg(g, grad)?,
        Kind::Exp => mul(g, grad, y)?,
        Kind::Ln => div(g, grad, x)?,
        Kind::Sqrt => {
            let ratio = div(g, grad, y)?;
            scale(g, ratio, 0.5)?
        }
        Kind::Rsqrt => {
            let squared = square(g, y)?;
            let cubed = mul(g, squared, y)?;
            let flow = mul(g, grad, cubed)?;
            scale(g, flow, -0.5)?
        }
        Kind::Recip => {
            let squared = square(g, y)?;
            let flow = mul(g, grad, squared)?;
            neg(g, flow)?
        }
        Kind::Square => {
            let flow = mul(g, grad, x)?;
            scale(g, flow, 2.0)?
        }
        // From sigmoids of both signs: 1 - tanh^2 would cancel where it is near 0.
        Kind::Tanh => {
            let twice = scale(g, x, 2.0)?;
            let slope = sigmoid_slope(g, twice)?;
            let flow = mul(g, grad, slope)?;
            scale(g, flow, 4.0)?
        }
        Kind::Sigmoid => {
            let slope = sigmoid_slope(g, x)?;
            mul(g, grad, slope)?
        }
        Kind::Gelu => g.apply1(Pointwise::<true>(Kind::GeluBwd), &[grad, x])?,
        Kind::Relu => {
            let slope = step(g, x)?;
            mul(g, grad, slope)?
        }
        Kind::Step => return Ok(vec![None]),
        Kind::Cos => {
            let slope = sin(g, x)?;
            let flow = mul(g, grad, slope)?;
            neg(g, flow)?
        }
        Kind::Sin => {
            let slope = cos(g, x)?;
            mul(g, grad, slope)?
        }
        Kind::Affine { a, .. } => scale(g, grad, a)?,
        Kind::Sub => return Ok(vec![Some(grad), Some(neg(g, grad)?)]),
        Kind::Div => {
            let ga = div(g, grad, ins[1])?;
            let flow = mul(g, ga, y)?;
            return Ok(vec![Some(ga), Some(neg(g, flow)?)]);
        }
        Kind::Maximum => {
            let ahead = sub(g, ins[1], ins[0])?;
            let of_b = step(g, ahead)?;
            let gb = mul(g, grad, of_b)?;
            return Ok(vec![Some(sub(g, grad, gb)?), Some(gb)]);
        }

        Kind::SiluFwd | Kind::SiluBwd | Kind::GeluBwd | Kind::Copy | Kind::Add | Kind::Mul => {
            unreachable!("{kind:?} is not rare")
        }
    };
    Ok(vec![Some(flow)])
}
