//! Operations on every element by itself.

mod cases;

pub(super) use cases::cases;

use crate::error::Result;
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::{Real, slice};
use crate::shape::{Type, expect};
use sit_shaders::{
    Kernel, POINTWISE_ADD, POINTWISE_AFFINE, POINTWISE_COPY, POINTWISE_COS, POINTWISE_DIV,
    POINTWISE_EXP, POINTWISE_GELU, POINTWISE_GELU_BWD, POINTWISE_LN, POINTWISE_MAXIMUM,
    POINTWISE_MUL, POINTWISE_NEG, POINTWISE_RECIP, POINTWISE_RELU, POINTWISE_RSQRT,
    POINTWISE_SIGMOID, POINTWISE_SILU_BWD, POINTWISE_SILU_FWD, POINTWISE_SIN, POINTWISE_SQRT,
    POINTWISE_SQUARE, POINTWISE_STEP, POINTWISE_SUB, POINTWISE_TANH, PointwiseAffineDims,
    PointwiseDims,
};

/// x -> y, but for the backward ones g, x -> gx and the binary ones a, b -> y.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pointwise {
    Neg,
    Exp,
    Ln,
    Sqrt,
    Rsqrt,
    Recip,
    Square,
    Tanh,
    Sigmoid,
    SiluFwd,
    SiluBwd,
    Gelu,
    GeluBwd,
    Relu,
    Step,
    Cos,
    Sin,
    /// y = a·x + b
    Affine {
        a: f64,
        b: f64,
    },
    Copy,
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident, $op:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// None for a float tensor.
        pub fn $name(g: &mut Graph, x: Var) -> Result<Var> {
            g.apply1(Pointwise::$op, &[x])
        }
    )*};
}

unary! {
    /// `y = -x`, any shape.
    neg, Neg;
    /// `y = e^x`, any shape; it saturates near the largest and the smallest normal number.
    exp, Exp;
    /// The natural logarithm `y = ln x` of positive normal numbers, any shape.
    ln, Ln;
    /// `y = √x` of numbers that are not negative, any shape.
    sqrt, Sqrt;
    /// `y = 1 / √x` of positive numbers, any shape.
    rsqrt, Rsqrt;
    /// `y = 1 / x`, any shape.
    recip, Recip;
    /// `y = x²`, any shape.
    square, Square;
    /// `y = tanh x`, any shape; in f32 with an error of about 1e-7, however small x is.
    tanh, Tanh;
    /// The logistic function `y = 1 / (1 + e^-x)`, any shape.
    sigmoid, Sigmoid;
    /// SiLU: `y = x / (1 + e^-x)`, any shape. The backward needs x.
    silu, SiluFwd;
    /// GELU in the tanh form (see [`crate::num`]), any shape. The backward needs x.
    gelu, Gelu;
    /// `y = max(x, 0)`, any shape; the slope at 0 is 0.
    relu, Relu;
    /// `y = 1` where x is positive, else 0, any shape. Its slope is taken for 0 everywhere.
    step, Step;
    /// `y = cos x`, any shape; on a GPU for |x| below 1e4.
    cos, Cos;
    /// `y = sin x`, any shape; on a GPU for |x| below 1e4.
    sin, Sin;
    /// `y = x`, any shape, in memory of its own.
    copy, Copy;
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident, $op:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`crate::Error::Shape`] when the shapes differ.
        pub fn $name(g: &mut Graph, a: Var, b: Var) -> Result<Var> {
            g.apply1(Pointwise::$op, &[a, b])
        }
    )*};
}

binary! {
    /// `y = a + b`, equal shapes: where gradients meet.
    add, Add;
    /// `y = a - b`, equal shapes.
    sub, Sub;
    /// `y = a b` element by element, equal shapes.
    mul, Mul;
    /// `y = a / b` element by element, equal shapes.
    div, Div;
    /// `y = max(a, b)` element by element, equal shapes; where they are equal the gradient is a's.
    maximum, Maximum;
}

/// `y = a x + b` with two constants, any shape.
///
/// # Errors
/// None for a float tensor.
pub fn affine(g: &mut Graph, x: Var, a: f64, b: f64) -> Result<Var> {
    g.apply1(Pointwise::Affine { a, b }, &[x])
}

/// `y = a x` with a constant, any shape.
///
/// # Errors
/// None for a float tensor.
pub fn scale(g: &mut Graph, x: Var, a: f64) -> Result<Var> {
    affine(g, x, a, 0.0)
}

/// The derivative of [`sigmoid`] at x: `sigmoid(x) sigmoid(-x)`.
fn sigmoid_slope(g: &mut Graph, x: Var) -> Result<Var> {
    let opposite = neg(g, x)?;
    let (s, rest) = (sigmoid(g, x)?, sigmoid(g, opposite)?);
    mul(g, s, rest)
}

/// s = sigmoid(2u) with u = √(2/π) (x + 0.044715 x³), and d(2u)/dx: gelu(x) = x s.
fn gelu_parts(g: &mut Graph, x: Var) -> Result<(Var, Var)> {
    const SLOPE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;
    const CUBIC: f64 = 0.044715;
    let squared = square(g, x)?;
    let factor = affine(g, squared, SLOPE * CUBIC, SLOPE)?;
    let argument = mul(g, x, factor)?;
    let s = sigmoid(g, argument)?;
    let slope = affine(g, squared, 3.0 * SLOPE * CUBIC, SLOPE)?;
    Ok((s, slope))
}

/// The derivative of [`gelu`] at x in primitives: `s + x s (1 - s) d(2u)/dx`.
pub(super) fn gelu_slope(g: &mut Graph, x: Var) -> Result<Var> {
    let (s, inner) = gelu_parts(g, x)?;
    let rest = affine(g, s, -1.0, 1.0)?;
    let hill = mul(g, s, rest)?;
    let scaled = mul(g, hill, inner)?;
    let bent = mul(g, x, scaled)?;
    add(g, s, bent)
}

impl Pointwise {
    fn kernel(self) -> &'static Kernel {
        match self {
            Pointwise::Neg => &POINTWISE_NEG,
            Pointwise::Exp => &POINTWISE_EXP,
            Pointwise::Ln => &POINTWISE_LN,
            Pointwise::Sqrt => &POINTWISE_SQRT,
            Pointwise::Rsqrt => &POINTWISE_RSQRT,
            Pointwise::Recip => &POINTWISE_RECIP,
            Pointwise::Square => &POINTWISE_SQUARE,
            Pointwise::Tanh => &POINTWISE_TANH,
            Pointwise::Sigmoid => &POINTWISE_SIGMOID,
            Pointwise::SiluFwd => &POINTWISE_SILU_FWD,
            Pointwise::SiluBwd => &POINTWISE_SILU_BWD,
            Pointwise::Gelu => &POINTWISE_GELU,
            Pointwise::GeluBwd => &POINTWISE_GELU_BWD,
            Pointwise::Relu => &POINTWISE_RELU,
            Pointwise::Step => &POINTWISE_STEP,
            Pointwise::Cos => &POINTWISE_COS,
            Pointwise::Sin => &POINTWISE_SIN,
            Pointwise::Affine { .. } => &POINTWISE_AFFINE,
            Pointwise::Copy => &POINTWISE_COPY,
            Pointwise::Add => &POINTWISE_ADD,
            Pointwise::Sub => &POINTWISE_SUB,
            Pointwise::Mul => &POINTWISE_MUL,
            Pointwise::Div => &POINTWISE_DIV,
            Pointwise::Maximum => &POINTWISE_MAXIMUM,
        }
    }

    /// Names of the inputs and of the output in WGSL.
    fn bindings(self) -> (&'static [&'static str], &'static str) {
        match self {
            Pointwise::SiluBwd | Pointwise::GeluBwd => (&["g", "x"], "gx"),
            Pointwise::Add | Pointwise::Sub | Pointwise::Mul => (&["a", "b"], "y"),
            Pointwise::Div | Pointwise::Maximum => (&["a", "b"], "y"),
            _ => (&["x"], "y"),
        }
    }
}

impl Sealed for Pointwise {}

impl Define for Pointwise {
    fn name(&self) -> &'static str {
        self.kernel().name
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        for (i, x) in ins.iter().enumerate() {
            expect(
                Define::name(self),
                ["first", "second"][i],
                x,
                ins[0].shape.clone(),
                format_args!("the first is {:?}", ins[0]),
            )?;
        }
        Ok(vec![ins[0].clone()])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let (n, kernel) = (io.numel(0), self.kernel());
        let grid = kernel.grid_flat(n);
        let (ins, out) = self.bindings();
        let launch = match *self {
            Pointwise::Affine { a, b } => {
                let (a, b) = (a as f32, b as f32);
                Launch::new(kernel, &PointwiseAffineDims { n, a, b }, grid)
            }
            _ => Launch::new(kernel, &PointwiseDims { n }, grid),
        };
        let named = ins.iter().enumerate();
        Ok(vec![named.fold(launch.output(out, 0), |l, (i, &name)| {
            l.input(name, i)
        })])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [a, b, ..] = io.ins;
        let [y, ..] = io.outs;
        for_rows(rows_mut(y, 1), grain(1), |first, y| {
            let a = &a[first..][..y.len()];
            let b = b.get(first..first + y.len()).unwrap_or_default();
            macro_rules! map {
                (|$x:ident| $y:expr) => {
                    slice::map(
                        y,
                        a,
                        #[inline(always)]
                        |$x| $y,
                    )
                };
                (|$a:ident, $b:ident| $y:expr) => {
                    slice::zip_map(
                        y,
                        a,
                        b,
                        #[inline(always)]
                        |$a, $b| $y,
                    )
                };
            }
            match *self {
                Pointwise::Neg => map!(|x| -x),
                Pointwise::Exp => map!(|x| x.exp()),
                Pointwise::Ln => map!(|x| x.ln()),
                Pointwise::Sqrt => map!(|x| x.sqrt()),
                Pointwise::Rsqrt => map!(|x| F::ONE / x.sqrt()),
                Pointwise::Recip => map!(|x| F::ONE / x),
                Pointwise::Square => map!(|x| x * x),
                Pointwise::Tanh => map!(|x| tanh_of(x)),
                Pointwise::Sigmoid => map!(|x| x.sigmoid()),
                Pointwise::SiluFwd => map!(|x| slice::silu(x)),
                Pointwise::SiluBwd => map!(|g, x| g * slice::silu_grad(x)),
                Pointwise::Gelu => map!(|x| slice::gelu(x)),
                Pointwise::GeluBwd => map!(|g, x| g * slice::gelu_with_slope(x).1),
                Pointwise::Relu => map!(|x| if x < F::ZERO { F::ZERO } else { x }),
                Pointwise::Step => map!(|x| if x > F::ZERO { F::ONE } else { F::ZERO }),
                Pointwise::Cos => map!(|x| x.cos()),
                Pointwise::Sin => map!(|x| x.sin()),
                Pointwise::Affine { a: factor, b } => {
                    let (factor, b) = (F::of(factor), F::of(b));
                    map!(|x| factor * x + b)
                }
                Pointwise::Copy => y.copy_from_slice(a),
                Pointwise::Add => map!(|a, b| a + b),
                Pointwise::Sub => map!(|a, b| a - b),
                Pointwise::Mul => map!(|a, b| a * b),
                Pointwise::Div => map!(|a, b| a / b),
                Pointwise::Maximum => map!(|a, b| a.max(b)),
            }
        });
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let ins = g.node(node).ins.clone();
        let (x, y) = (ins[0], g.var(node, 0));
        let Some(grad) = grads[0] else {
            return Ok(vec![None; ins.len()]);
        };
        let flow = match *self {
            Pointwise::Neg => neg(g, grad)?,
            Pointwise::Exp => mul(g, grad, y)?,
            Pointwise::Ln => div(g, grad, x)?,
            Pointwise::Sqrt => {
                let ratio = div(g, grad, y)?;
                scale(g, ratio, 0.5)?
            }
            Pointwise::Rsqrt => {
                let squared = square(g, y)?;
                let cubed = mul(g, squared, y)?;
                let flow = mul(g, grad, cubed)?;
                scale(g, flow, -0.5)?
            }
            Pointwise::Recip => {
                let squared = square(g, y)?;
                let flow = mul(g, grad, squared)?;
                neg(g, flow)?
            }
            Pointwise::Square => {
                let flow = mul(g, grad, x)?;
                scale(g, flow, 2.0)?
            }
            // By sigmoids of both signs: 1 less a number near 1 would have few digits.
            Pointwise::Tanh => {
                let twice = scale(g, x, 2.0)?;
                let slope = sigmoid_slope(g, twice)?;
                let flow = mul(g, grad, slope)?;
                scale(g, flow, 4.0)?
            }
            Pointwise::Sigmoid => {
                let slope = sigmoid_slope(g, x)?;
                mul(g, grad, slope)?
            }
            Pointwise::SiluFwd => g.apply1(Pointwise::SiluBwd, &[grad, x])?,
            Pointwise::Gelu => g.apply1(Pointwise::GeluBwd, &[grad, x])?,
            Pointwise::Relu => {
                let slope = step(g, x)?;
                mul(g, grad, slope)?
            }
            Pointwise::Step => return Ok(vec![None]),
            Pointwise::Cos => {
                let slope = sin(g, x)?;
                let flow = mul(g, grad, slope)?;
                neg(g, flow)?
            }
            Pointwise::Sin => {
                let slope = cos(g, x)?;
                mul(g, grad, slope)?
            }
            Pointwise::Affine { a, .. } => scale(g, grad, a)?,
            Pointwise::Copy => grad,
            Pointwise::Add => return Ok(vec![Some(grad); 2]),
            Pointwise::Sub => return Ok(vec![Some(grad), Some(neg(g, grad)?)]),
            Pointwise::Mul => {
                return Ok(vec![
                    Some(mul(g, grad, ins[1])?),
                    Some(mul(g, grad, ins[0])?),
                ]);
            }
            Pointwise::Div => {
                let ga = div(g, grad, ins[1])?;
                let flow = mul(g, ga, y)?;
                return Ok(vec![Some(ga), Some(neg(g, flow)?)]);
            }
            Pointwise::Maximum => {
                let ahead = sub(g, ins[1], ins[0])?;
                let of_b = step(g, ahead)?;
                let gb = mul(g, grad, of_b)?;
                return Ok(vec![Some(sub(g, grad, gb)?), Some(gb)]);
            }
            Pointwise::SiluBwd | Pointwise::GeluBwd => return no_gradient(self),
        };
        Ok(vec![Some(flow)])
    }

    /// The activations, by the logistic function. All others are primitives.
    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let factor = match self {
            Pointwise::SiluFwd => sigmoid(g, ins[0]),
            Pointwise::Gelu => gelu_parts(g, ins[0]).map(|(s, _)| s),
            _ => return None,
        };
        let y = factor.and_then(|factor| mul(g, ins[0], factor));
        Some(y.map(|y| vec![y]))
    }
}

/// (1 - e) / (1 + e) with e = e^-2|x|, and the sign of x.
#[inline(always)]
fn tanh_of<F: Real>(x: F) -> F {
    let e = (F::of(-2.0) * x.abs()).exp();
    let size = (F::ONE - e) / (F::ONE + e);
    if x < F::ZERO { -size } else { size }
}
