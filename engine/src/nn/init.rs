//! Initial values of parameters.

use crate::rng::{Stream, normal, uniform};
use crate::shape::Shape;
use crate::table::Table;

/// Initialization of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
    /// Uniform in `±sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010); fan out is the first axis, fan in the product of the
    /// others.
    Xavier,
    /// Uniform in `±1 / sqrt(fan_in)`, PyTorch's default for linear layers and convolutions; fan in is the product of all axes but
    /// the first.
    FanIn,
    /// Normal with this standard deviation.
    Normal(f64),
    /// A fixed table: neither trained nor averaged.
    #[doc(hidden)]
    Table(Table),
}

impl Init {
    /// Whether the values are random, hence not all zero.
    pub(crate) fn is_random(&self) -> bool {
        matches!(self, Init::Xavier | Init::FanIn | Init::Normal(_))
    }
}

#[doc(hidden)]
impl Init {
    /// The values of parameter number `index`, a function of (seed, index).
    pub fn values(&self, shape: &Shape, seed: u64, index: u32) -> Vec<f32> {
        let n = shape.numel();
        let draw = |value: &dyn Fn(u64) -> f64| (0..n as u64).map(|i| value(i) as f32).collect();
        match *self {
            Init::Zeros => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::Table(table) => table.values(),
            Init::Normal(std) => draw(&|i| std * normal(seed, Stream::Init, index, i)),
            Init::Xavier | Init::FanIn => {
                let (fan_out, fan_in) = (shape[0], n / shape[0]);
                let bound = match self {
                    Init::FanIn => 1.0 / (fan_in as f64).sqrt(),
                    _ => (6.0 / (fan_in + fan_out) as f64).sqrt(),
                };
                draw(&|i| bound * (2.0 * uniform(seed, Stream::Init, index, i) - 1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_values_have_the_stated_spread() {
        let cases: [(Init, &[usize], f64); 6] = [
            (Init::Zeros, &[7], 0.0),
            (Init::Normal(0.02), &[1001, 64], 0.02),
            (Init::FanIn, &[96, 32, 3, 3], (1.0_f64 / 864.0).sqrt()),
            (Init::Xavier, &[384, 4, 2, 2], (2.0_f64 / 400.0).sqrt()),
            (Init::Xavier, &[768, 256], (2.0_f64 / 1024.0).sqrt()),
            (Init::Xavier, &[256, 768], (2.0_f64 / 1024.0).sqrt()),
        ];
        for (index, (init, shape, want)) in cases.into_iter().enumerate() {
            let values = init.values(&Shape::from(shape.to_vec()), 0, index as u32);
            let n = values.len() as f64;
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let std = (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n).sqrt();
            assert!(
                (std - want).abs() <= 0.02 * want && mean.abs() <= 0.02 * want + 1e-12,
                "{init:?}: {mean} {std} {want}"
            );
        }
    }
}
