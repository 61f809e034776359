//! Elementwise operations.

mod cases;
mod rare;

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
    Kernel, POINTWISE_ADD, POINTWISE_COPY, POINTWISE_MUL, POINTWISE_SILU_BWD, POINTWISE_SILU_FWD,
    PointwiseAffineDims, PointwiseDims,
};

/// x -> y; for backward kinds g, x -> gx; for binary ones a, b -> y.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
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

/// An operation of a kind. The kinds that every network needs and the rare ones are of two types, so that the web page, whose
/// networks use no rare one, is linked without their code.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pointwise<const RARE: bool>(Kind);

impl Kind {
    /// Whether a transformer does without it.
    const fn is_rare(self) -> bool {
        use Kind::*;
        !matches!(self, SiluFwd | SiluBwd | Copy | Add | Mul)
    }
}

macro_rules! map {
    ($to:ident, $a:ident, $b:ident, |$x:ident| $y:expr) => {
        slice::map(
            $to,
            $a,
            #[inline(always)]
            |$x| $y,
        )
    };
    ($to:ident, $p:ident, $q:ident, |$a:ident, $b:ident| $y:expr) => {
        slice::zip_map(
            $to,
            $p,
            $q,
            #[inline(always)]
            |$a, $b| $y,
        )
    };
}
use map;

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident, $op:ident, $rare:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// None for a float tensor.
        pub fn $name(g: &mut Graph, x: Var) -> Result<Var> {
            const { assert!(Kind::$op.is_rare() == $rare) };
            g.apply1(Pointwise::<$rare>(Kind::$op), &[x])
        }
    )*};
}

unary! {
    /// `y = -x`, any shape.
    neg, Neg, true;
    /// `y = e^x`, any shape; it saturates near the largest and the smallest normal number.
    exp, Exp, true;
    /// The natural logarithm `y = ln x` of positive normal numbers, any shape.
    ln, Ln, true;
    /// `y = √x` of numbers that are not negative, any shape.
    sqrt, Sqrt, true;
    /// `y = 1 / √x` of positive numbers, any shape.
    rsqrt, Rsqrt, true;
    /// `y = 1 / x`, any shape.
    recip, Recip, true;
    /// `y = x²`, any shape.
    square, Square, true;
    /// `y = tanh x`, any shape; in f32 with an error of about 1e-7, however small x is.
    tanh, Tanh, true;
    /// The logistic function `y = 1 / (1 + e^-x)`, any shape.
    sigmoid, Sigmoid, true;
    /// SiLU: `y = x / (1 + e^-x)`, any shape. The backward needs x.
    silu, SiluFwd, false;
    /// GELU in the tanh form, `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, any shape. The backward needs x.
    gelu, Gelu, true;
    /// `y = max(x, 0)`, any shape; the slope at 0 is 0.
    relu, Relu, true;
    /// `y = 1` where x is positive, else 0, any shape. Its derivative is defined as 0.
    #[doc(hidden)]
    step, Step, true;
    /// `y = cos x`, any shape; on a GPU for |x| below 1e4.
    cos, Cos, true;
    /// `y = sin x`, any shape; on a GPU for |x| below 1e4.
    sin, Sin, true;
    /// `y = x`, any shape, with storage of its own.
    #[doc(hidden)]
    copy, Copy, false;
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident, $op:ident, $rare:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`crate::Error::Shape`] when the shapes differ.
        pub fn $name(g: &mut Graph, a: Var, b: Var) -> Result<Var> {
            const { assert!(Kind::$op.is_rare() == $rare) };
            g.apply1(Pointwise::<$rare>(Kind::$op), &[a, b])
        }
    )*};
}

binary! {
    /// `y = a + b`, equal shapes; also sums gradients.
    add, Add, false;
    /// `y = a - b`, equal shapes.
    sub, Sub, true;
    /// `y = a b` element by element, equal shapes.
    mul, Mul, false;
    /// `y = a / b` element by element, equal shapes.
    div, Div, true;
    /// `y = max(a, b)` element by element, equal shapes; the gradient goes to a where they are equal.
    maximum, Maximum, true;
}

/// `y = a x + b` with two constants, any shape.
///
/// # Errors
/// None for a float tensor.
pub fn affine(g: &mut Graph, x: Var, a: f64, b: f64) -> Result<Var> {
    g.apply1(Pointwise::<true>(Kind::Affine { a, b }), &[x])
}

/// `y = a x` with a constant, any shape.
///
/// # Errors
/// None for a float tensor.
pub fn scale(g: &mut Graph, x: Var, a: f64) -> Result<Var> {
    affine(g, x, a, 0.0)
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

impl<const RARE: bool> Pointwise<RARE> {
    fn kernel(self) -> &'static Kernel {
        match self.0 {
            Kind::SiluFwd => &POINTWISE_SILU_FWD,
            Kind::SiluBwd => &POINTWISE_SILU_BWD,
            Kind::Copy => &POINTWISE_COPY,
            Kind::Add => &POINTWISE_ADD,
            Kind::Mul => &POINTWISE_MUL,
            kind if RARE => rare::kernel(kind),
            kind => unreachable!("{kind:?} is rare"),
        }
    }

    /// Names of the inputs and of the output in WGSL.
    fn bindings(self) -> (&'static [&'static str], &'static str) {
        match self.0 {
            Kind::SiluBwd | Kind::GeluBwd => (&["g", "x"], "gx"),
            Kind::Add | Kind::Sub | Kind::Mul => (&["a", "b"], "y"),
            Kind::Div | Kind::Maximum => (&["a", "b"], "y"),
            _ => (&["x"], "y"),
        }
    }
}

impl<const RARE: bool> Sealed for Pointwise<RARE> {}

impl<const RARE: bool> Define for Pointwise<RARE> {
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
        let launch = match self.0 {
            Kind::Affine { a, b } => {
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
            match self.0 {
                Kind::SiluFwd => map!(y, a, b, |x| slice::silu(x)),
                Kind::SiluBwd => map!(y, a, b, |g, x| g * slice::silu_grad(x)),
                Kind::Copy => y.copy_from_slice(a),
                Kind::Add => map!(y, a, b, |a, b| a + b),
                Kind::Mul => map!(y, a, b, |a, b| a * b),
                kind if RARE => rare::cpu(kind, y, a, b),
                kind => unreachable!("{kind:?} is rare"),
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
        let flow = match self.0 {
            Kind::SiluFwd => g.apply1(Pointwise::<false>(Kind::SiluBwd), &[grad, x])?,
            Kind::Copy => grad,
            Kind::Add => return Ok(vec![Some(grad); 2]),
            Kind::Mul => {
                return Ok(vec![
                    Some(mul(g, grad, ins[1])?),
                    Some(mul(g, grad, ins[0])?),
                ]);
            }
            Kind::SiluBwd | Kind::GeluBwd => return no_gradient(self),
            kind if RARE => return rare::backward(kind, g, grad, &ins, y),
            kind => unreachable!("{kind:?} is rare"),
        };
        Ok(vec![Some(flow)])
    }

    /// Expands the activations, using the logistic function. All others are primitives.
    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let factor = match self.0 {
            Kind::SiluFwd => sigmoid(g, ins[0]),
            Kind::Gelu => gelu_parts(g, ins[0]).map(|(s, _)| s),
            _ => return None,
        };
        let y = factor.and_then(|factor| mul(g, ins[0], factor));
        Some(y.map(|y| vec![y]))
    }
}
