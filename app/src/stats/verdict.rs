//! Whether two lanes have the same marginal at one time, in words.

use super::{Group, Test};
use std::fmt;

/// The level of the badge's test.
pub const LEVEL: f64 = 0.05;

/// The smallest group that is tested: with fewer members even a shift by one standard deviation would often go unseen (a t test
/// of two groups of 16 finds it four times out of five).
pub const LEAST: usize = 16;

/// What the badge says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The p-value is above the level.
    Equal(Test),
    /// The p-value is at most the level.
    Differs(Test),
    /// Too few samples a group for a statement.
    TooFew {
        /// Samples in the smaller group.
        got: usize,
    },
    /// Too few samples share a class, or too few permutations, for a p-value to reach the level.
    TooCoarse,
    /// A sample is not finite.
    NotFinite,
}

impl Verdict {
    /// Compares two independent groups, such as samples and data, at [`LEVEL`].
    ///
    /// # Panics
    /// If the groups' vectors have different lengths.
    pub fn of_groups(a: &Group, b: &Group, permutations: u32, seed: u64) -> Self {
        let got = a.len().min(b.len());
        if got < LEAST {
            return Self::TooFew { got };
        }
        if !(a.is_finite() && b.is_finite()) {
            return Self::NotFinite;
        }
        let test = Test::of_groups(a, b, permutations, seed);
        let least_p = (-test.ln_relabelings)
            .exp()
            .max(1.0 / (1.0 + f64::from(permutations)));
        if least_p > LEVEL {
            Self::TooCoarse
        } else if test.p_value <= LEVEL {
            Self::Differs(test)
        } else {
            Self::Equal(test)
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(test) => {
                let [a, b] = test.sizes;
                write!(
                    f,
                    "no difference found, {a} against {b} samples (p = {})",
                    Digits(test.p_value)
                )
            }
            Self::Differs(test) if test.is_fine(LEVEL) => write!(
                f,
                "alike in shape, but fine noise differs (p = {})",
                Digits(test.p_value)
            ),
            Self::Differs(test) => write!(f, "differs (p = {})", Digits(test.p_value)),
            Self::TooFew { got } => write!(f, "too few samples ({got} a group, {LEAST} needed)"),
            Self::TooCoarse => f.write_str("too few samples of a class to compare"),
            Self::NotFinite => f.write_str("differs: a sample is not finite"),
        }
    }
}

/// Two decimals, three below 0.1.
struct Digits(f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.0 < 0.1 { 3 } else { 2 };
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::analytic::{Component, Mixture};
    use sit_engine::rng::{Stream, fill_normal};
    use sit_engine::transport::{Diffusion, Method, Sampler, SdeMethod, Transport, schedule};

    fn lane(number: u32, n: usize, shift: f32) -> Group {
        let mut x = vec![0.0; 3 * n];
        fill_normal(79, Stream::Noise, number, 0, &mut x);
        x.iter_mut().for_each(|x| *x += shift);
        Group::new(x, 3, (0..n as u32).map(|i| i % 4).collect())
    }

    #[test]
    fn the_badge_says_what_the_test_found() {
        let equal = Verdict::of_groups(&lane(0, 64, 0.0), &lane(1, 64, 0.0), 199, 1);
        let Verdict::Equal(test) = equal else {
            panic!("{equal:?}");
        };
        assert_eq!(test.sizes, [64, 64]);
        let p = format!("{:.2}", test.p_value);
        assert_eq!(
            equal.to_string(),
            format!("no difference found, 64 against 64 samples (p = {p})")
        );
        let differs = Verdict::of_groups(&lane(0, 64, 0.0), &lane(1, 64, 1.5), 199, 1);
        assert_eq!(differs.to_string(), "differs (p = 0.005)");
    }

    #[test]
    fn lanes_that_cannot_be_compared_say_why() {
        let few = Verdict::of_groups(&lane(0, 12, 0.0), &lane(1, 12, 0.0), 199, 1);
        assert_eq!(few.to_string(), "too few samples (12 a group, 16 needed)");
        let apart = |label| Group::new(lane(0, 20, 0.0).values().to_vec(), 3, vec![label; 20]);
        let coarse = Verdict::of_groups(&apart(0), &apart(1), 199, 1);
        assert_eq!(coarse, Verdict::TooCoarse);
        assert_eq!(
            Verdict::of_groups(&lane(0, 20, 0.0), &lane(1, 20, 0.0), 18, 1),
            Verdict::TooCoarse
        );
        let diverged = Verdict::of_groups(&lane(0, 64, 0.0), &lane(1, 64, f32::INFINITY), 199, 1);
        assert_eq!(diverged, Verdict::NotFinite);
    }

    /// With a perfect network the ODE and the SDE have one marginal, unless their steps are too coarse.
    #[test]
    fn the_badge_finds_coarse_steps_and_nothing_else() {
        let component = |weight, mean: [f64; 2], std: [f64; 2]| Component {
            weight,
            mean: mean.to_vec(),
            std: std.to_vec(),
        };
        let mixture = Mixture::new(vec![
            component(0.5, [-0.7, 0.2], [0.3, 0.5]),
            component(0.2, [0.9, 0.8], [0.2, 0.2]),
            component(0.3, [0.1, -0.9], [0.6, 0.1]),
        ])
        .unwrap();
        let transport = Transport::default();
        let lane = |sampler: Sampler, first: u64| {
            let mut noise = vec![0.0; 2 * 256];
            fill_normal(1, Stream::SampleNoise, 0, 2 * first, &mut noise);
            let mut x: Vec<f64> = noise.iter().copied().map(f64::from).collect();
            let mut history = Vec::new();
            for (k, step) in schedule(&transport, &sampler).unwrap().iter().enumerate() {
                fill_normal(2, Stream::SdeNoise, k as u32, 2 * first, &mut noise);
                mixture.step(&transport, step, &mut x, &mut history, &noise);
            }
            Group::unlabelled(x.iter().map(|x| *x as f32).collect(), 2)
        };
        let sde = |n_steps, norm| {
            let diffusion = Diffusion {
                norm,
                ..Diffusion::default()
            };
            Sampler::sde(SdeMethod::Euler, diffusion, n_steps)
        };
        let ode = lane(Sampler::ode(Method::Heun, 64), 0);
        let verdict = |sampler| Verdict::of_groups(&ode, &lane(sampler, 256), 199, 1);
        let (fine, coarse) = (verdict(sde(256, 1.0)), verdict(sde(4, 4.0)));
        assert!(matches!(fine, Verdict::Equal(_)), "{fine}");
        assert!(matches!(coarse, Verdict::Differs(_)), "{coarse}");
    }
}
