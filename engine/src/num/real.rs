//! The scalar types of the CPU backend: `f32`, and `f64` for the test oracle.

use super::buffer::Buffer;
use super::tile::Tile;
use super::transpose::Transpose;
use std::cell::RefCell;
use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};
use std::thread::LocalKey;

/// Buffers that a thread keeps for reuse.
pub(super) type Scratch<F> = LocalKey<RefCell<Vec<Buffer<F>>>>;

/// A floating-point scalar.
///
/// The elementary functions of `f32` are branch-free polynomials that vectorize (within 1 ulp, NaN included), with the same bits on
/// every machine with fused multiply-adds; those of `f64` come from libm.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
    + Tile
    + Transpose
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// The nearest value to `x`.
    fn of(x: f64) -> Self;
    /// The value as `f64`, exactly.
    fn to_f64(self) -> f64;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// `self * a + b`, rounded once if the target has an instruction for it (wasm has none). Use it in vectorized code only:
    /// elsewhere it becomes a library call, which is far slower.
    fn fused(self, a: Self, b: Self) -> Self;
    /// The larger value; NaN if `other` is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    /// The smaller value; NaN if `other` is NaN.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    /// e^x; `f32` saturates: at least the smallest normal and at most the largest number.
    fn exp(self) -> Self;
    /// The logistic function 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
    /// The natural logarithm of a positive normal number.
    fn ln(self) -> Self;
    /// The sine (not vectorized).
    fn sin(self) -> Self;
    /// The cosine (not vectorized).
    fn cos(self) -> Self;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;

    /// This thread's spare buffers.
    #[doc(hidden)]
    fn scratch() -> &'static Scratch<Self>;
}

macro_rules! exact {
    ($F:ty) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;

        #[inline(always)]
        fn of(x: f64) -> Self {
            x as $F
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            f64::from(self)
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            self.sqrt()
        }
        #[inline(always)]
        fn abs(self) -> Self {
            self.abs()
        }
        #[inline(always)]
        fn fused(self, a: Self, b: Self) -> Self {
            if cfg!(target_arch = "wasm32") {
                self * a + b
            } else {
                self.mul_add(a, b)
            }
        }
        #[inline(always)]
        fn is_finite(self) -> bool {
            self.is_finite()
        }
        fn scratch() -> &'static Scratch<Self> {
            thread_local!(static SCRATCH: RefCell<Vec<Buffer<$F>>> = const { RefCell::new(Vec::new()) });
            &SCRATCH
        }
    };
}

impl Real for f64 {
    exact!(f64);

    fn exp(self) -> Self {
        libm::exp(self)
    }
    fn ln(self) -> Self {
        libm::log(self)
    }
    fn sin(self) -> Self {
        libm::sin(self)
    }
    fn cos(self) -> Self {
        libm::cos(self)
    }
}

impl Real for f32 {
    exact!(f32);

    #[inline(always)]
    fn exp(self) -> Self {
        // e^x = 2^n e^r with |r| <= ln 2 / 2: Cody and Waite's reduction by ln 2 in two parts, then a minimax polynomial of
        // degree 6 (found by Remez exchange). Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
        const ROUND: f32 = 12_582_912.0;
        // Clamped to the logarithms of the smallest normal and the largest finite number.
        let x = Real::max(-87.336_54, Real::min(88.722_83, self));
        let shifted = x.fused(std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = n.fused(-LN2_LOW, n.fused(-LN2_HIGH, x));
        let q = 1.381_459_9e-3_f32;
        let q = q.fused(r, 8.368_717e-3);
        let q = q.fused(r, 4.166_839e-2);
        let q = q.fused(r, 1.666_652_1e-1);
        let q = q.fused(r, 4.999_999_3e-1);
        let significand = 1.0 + q.fused(r * r, r);
        // Adds n to the exponent; the shift drops the higher bits of the sum.
        f32::from_bits(significand.to_bits().wrapping_add(shifted.to_bits() << 23))
    }

    #[inline(always)]
    fn ln(self) -> Self {
        // x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and ln(1 + f) = f - f^2 / 2 + f^3 q(f) (Cephes, logf).
        const SQRT_HALF: i32 = 0x3f35_04f3;
        let above = self.to_bits() as i32 - SQRT_HALF;
        let n = (above >> 23) as f32;
        let f = f32::from_bits(((above & 0x007f_ffff) + SQRT_HALF) as u32) - 1.0;
        let q = 7.037_683_6e-2_f32;
        let q = q.fused(f, -1.151_461e-1);
        let q = q.fused(f, 1.167_699_9e-1);
        let q = q.fused(f, -1.242_014_1e-1);
        let q = q.fused(f, 1.424_932_3e-1);
        let q = q.fused(f, -1.666_805_8e-1);
        let q = q.fused(f, 2.000_071_5e-1);
        let q = q.fused(f, -2.5e-1);
        let q = q.fused(f, 3.333_333e-1);
        let square = f * f;
        let tail = (-0.5f32).fused(square, (f * square).fused(q, n * LN2_LOW));
        // The product with 0 propagates a NaN.
        n.fused(LN2_HIGH, self.fused(0.0, f + tail))
    }
    // Through f64: same bits on every machine, and correctly rounded except for rare arguments.
    fn sin(self) -> Self {
        libm::sin(f64::from(self)) as f32
    }
    fn cos(self) -> Self {
        libm::cos(f64::from(self)) as f32
    }
}

/// ln 2 in two parts; 355 / 512 has few bits, so that its small multiples are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error of `f` against `exact`, in ulps of the result.
    fn worst_ulp(lo: f32, hi: f32, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        let n = 400_000;
        (0..=n)
            .map(|i| {
                let x = lo + (hi - lo) * (i as f32 / n as f32);
                let want = exact(f64::from(x));
                let ulp =
                    f64::from(((want as f32).abs()).next_up()) - f64::from((want as f32).abs());
                (f64::from(f(x)) - want).abs() / ulp
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn elementary_functions_are_within_their_ulps() {
        let exp = |lo, hi| worst_ulp(lo, hi, Real::exp, f64::exp);
        let sigmoid = |lo, hi| worst_ulp(lo, hi, Real::sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        let ln = |lo, hi| worst_ulp(lo, hi, Real::ln, f64::ln);
        let worst = [
            exp(-87.336_54, 88.722_83),
            exp(-1.0, 1.0),
            ln(0.5, 2.0),
            ln(1.0, 1e4),
            ln(1e-30, 1e30),
        ];
        assert!(worst.iter().all(|&w| w <= 1.0), "{worst:?}");
        // Sigmoid adds three roundings to those of the exponential.
        let worst = [sigmoid(-80.0, 80.0), sigmoid(-3.0, 3.0)];
        assert!(worst.iter().all(|&w| w <= 2.5), "{worst:?}");
    }

    #[test]
    fn special_values() {
        assert_eq!(Real::exp(0.0f32), 1.0);
        let least = Real::exp(f32::NEG_INFINITY);
        assert!((1.0..1.001).contains(&(least / f32::MIN_POSITIVE)));
        assert_eq!(Real::exp(-1e30f32), least);
        let most = Real::exp(f32::INFINITY);
        assert!((0.999..=1.0).contains(&(most / f32::MAX)));
        assert_eq!(Real::exp(89.0f32), most);
        assert!(Real::exp(f32::NAN).is_nan());
        assert_eq!(Real::sigmoid(f32::INFINITY), 1.0);
        assert!(Real::sigmoid(f32::NEG_INFINITY) < f32::MIN_POSITIVE);
        assert!(Real::sigmoid(f32::NAN).is_nan());
        assert_eq!(Real::ln(1.0f32), 0.0);
        assert!(Real::ln(f32::NAN).is_nan());
    }
}
