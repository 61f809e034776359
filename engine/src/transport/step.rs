//! One step of a solver: a row of coefficients for the state of every network evaluation, and one for the result.

use super::tableau::MAX_STAGES;
use super::{Coefs, Tableau};
use crate::error::Result;

/// Coefficients of the state `Y` and of the outputs `O_0, O_1, ...` of a step's evaluations.
type Row = [f64; MAX_STAGES + 1];

/// A step from `t` to `t_next`. With the state `X`, standard normal noise `E` and the network `net`:
///
/// ```text
/// Y = X + noise E                                    (noise first: with more than one evaluation)
/// O_i = net(rows_i · [Y, O_0, .., O_{i-1}], t_i)     (rows_0 = [1]: the first evaluation is at Y)
/// X' = end · [Y, O_0, ..] + noise E                  (noise last: with one evaluation)
/// ```
///
/// Every one-step solver is linear in these tensors, so its coefficients define it; it needs no device code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Time of the state before the step.
    pub t: f64,
    /// Time of the state after the step.
    pub t_next: f64,
    n_stages: usize,
    times: [f64; MAX_STAGES],
    rows: [Row; MAX_STAGES],
    end: Row,
    error: Option<Row>,
    noise: f64,
}

/// Determines the program that computes a step: steps of the same form differ only in their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepForm {
    /// Evaluations of the network.
    pub n_stages: usize,
    /// Whether noise is added.
    pub is_noisy: bool,
}

impl StepForm {
    /// Whether the noise is added before the first evaluation; with a single evaluation it is added afterwards.
    pub fn is_noise_first(&self) -> bool {
        self.is_noisy && self.n_stages > 1
    }
}

impl Step {
    /// `X' = x X + out net(X, t) + noise E`.
    pub(crate) fn euler(t: f64, t_next: f64, coefs: Coefs, noise: f64) -> Self {
        let mut step = Step {
            t,
            t_next,
            n_stages: 1,
            times: [t; MAX_STAGES],
            rows: [[0.0; MAX_STAGES + 1]; MAX_STAGES],
            end: [0.0; MAX_STAGES + 1],
            error: None,
            noise,
        };
        step.rows[0][0] = 1.0;
        (step.end[0], step.end[1]) = (coefs.x, coefs.out);
        step
    }

    /// A step of an explicit Runge-Kutta method for `dX = drift dt`. `drift` gives the drift at a time, as coefficients of the
    /// state and of the network's output. `noise` is the standard deviation of the added noise.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a tableau that is no explicit method of at most 7 stages, and those of `drift`.
    pub fn runge_kutta(
        tableau: &Tableau,
        [t, t_next]: [f64; 2],
        noise: f64,
        mut drift: impl FnMut(f64) -> Result<Coefs>,
    ) -> Result<Self> {
        tableau.validate()?;
        let dt = t_next - t;
        let mut step = Self::euler(t, t_next, Coefs::ZERO, noise);
        step.n_stages = tableau.weights.len();
        // The drift at each evaluation, as a row of coefficients.
        let mut drifts = [[0.0; MAX_STAGES + 1]; MAX_STAGES];
        let combine = |weights: &[f64], drifts: &[Row]| -> Row {
            std::array::from_fn(|k| {
                let terms = weights.iter().zip(drifts);
                dt * terms.map(|(w, drift)| w * drift[k]).sum::<f64>()
            })
        };
        for (i, &node) in tableau.nodes.iter().enumerate() {
            step.times[i] = match node {
                0.0 => t,
                1.0 => t_next,
                node => t + node * dt,
            };
            let mut row = combine(tableau.stages[i], &drifts);
            row[0] += 1.0;
            let Coefs { x, out } = drift(step.times[i])?;
            drifts[i] = row.map(|value| x * value);
            drifts[i][i + 1] += out;
            step.rows[i] = row;
        }
        step.end = combine(tableau.weights, &drifts);
        step.end[0] += 1.0;
        step.error = tableau.error.map(|weights| combine(weights, &drifts));
        Ok(step)
    }

    /// Applies the step in f64; `net(state, time)` is the network. `noise` is ignored if the step adds none.
    pub fn apply(
        &self,
        x: &mut [f64],
        noise: &[f32],
        mut net: impl FnMut(&[f64], f64) -> Vec<f64>,
    ) {
        let add_noise = |x: &mut [f64]| {
            let pairs = x.iter_mut().zip(noise);
            pairs.for_each(|(x, e)| *x += self.noise * f64::from(*e));
        };
        let is_first = self.form().is_noise_first();
        if is_first {
            add_noise(x);
        }
        let mut known = vec![x.to_vec()];
        let combine = |row: &[f64], known: &[Vec<f64>]| -> Vec<f64> {
            let at = |i: usize| row.iter().zip(known).map(|(c, k)| c * k[i]).sum();
            (0..known[0].len()).map(at).collect()
        };
        for (i, &t) in self.times().iter().enumerate() {
            let state = combine(self.row(i), &known);
            known.push(net(&state, t));
        }
        x.copy_from_slice(&combine(self.end(), &known));
        if !is_first && self.noise != 0.0 {
            add_noise(x);
        }
    }
}

#[doc(hidden)]
impl Step {
    /// The form of the step.
    pub fn form(&self) -> StepForm {
        StepForm {
            n_stages: self.n_stages,
            is_noisy: self.noise != 0.0,
        }
    }

    /// Standard deviation of the added noise; 0 for an ODE and for a last step.
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// Times of the evaluations.
    pub fn times(&self) -> &[f64] {
        &self.times[..self.n_stages]
    }

    /// Coefficients of `[Y, O_0, .., O_{i-1}]` in the state of evaluation `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.rows[i][..=i]
    }

    /// Coefficients of `[Y, O_0, ..]` in the new state.
    pub fn end(&self) -> &[f64] {
        &self.end[..=self.n_stages]
    }

    /// Coefficients of `[Y, O_0, ..]` for the difference to the embedded method of lower order, which estimates the error of the
    /// step; `None` if the method has none.
    pub fn error(&self) -> Option<&[f64]> {
        self.error.as_ref().map(|row| &row[..=self.n_stages])
    }
}
