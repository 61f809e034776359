//! One step of a solver: a row of coefficients for the state of every network evaluation, and one for each result.

use super::tableau::MAX_STAGES;
use super::{Coefs, Tableau};
use crate::error::Result;

/// The most tensors that a step keeps for the next one.
const MAX_HISTORY: usize = 3;

/// Coefficients of the state `Y`, of the history `H_0, H_1, ...` and of the outputs `O_0, O_1, ...` of a step's evaluations.
type Row = [f64; MAX_STAGES + 1];

/// What a step of discrete diffusion does with the network's output, in the place of the row `end`:
///
/// ```text
/// x0 = clamp(data · [X, O], ±clip)
/// X' = x X + x0 x0 + noise exp(log_std[0] + log_std[1] V) E
/// ```
///
/// with the state `X`, the output `O`, the network's further output `V` and standard normal noise `E`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Posterior {
    /// The predicted image from the state and the output.
    pub data: Coefs,
    /// The largest absolute value of the predicted image; infinite for no limit.
    pub clip: f64,
    /// Coefficient of the state.
    pub x: f64,
    /// Coefficient of the predicted image.
    pub x0: f64,
    /// Factor of the noise; 0 for none.
    pub noise: f64,
    /// The logarithm of the noise's standard deviation, as `a + b V`.
    pub log_std: [f64; 2],
    /// Whether the network's further output is read, in this step or in others of its schedule.
    pub is_learned: bool,
    /// What a classifier that guides adds to the state: its gradient with respect to the network's input times this factor and, where the
    /// variance is learned, times the variance.
    pub gradient: f64,
    /// The logarithm of that variance, as `a + b V`.
    pub log_variance: [f64; 2],
}

impl Posterior {
    /// The predicted image itself, with the coefficients `data`.
    pub(crate) fn data(data: Coefs, clip: Option<f64>) -> Self {
        Posterior {
            data,
            clip: clip.unwrap_or(f64::INFINITY),
            x: 0.0,
            x0: 1.0,
            noise: 0.0,
            log_std: [0.0; 2],
            is_learned: false,
            gradient: 0.0,
            log_variance: [0.0; 2],
        }
    }

    /// Coefficients with which the operation multiplies its noise by the standard deviation of the learned variance alone.
    pub(crate) fn std_row(&self) -> [f64; 8] {
        let [a, b] = self.log_variance.map(|v| 0.5 * v);
        [0.0, 0.0, f32::MAX.into(), 0.0, 0.0, 1.0, a, b]
    }

    /// The coefficients as the operation reads them: `[x, out, clip, x, x0, noise, log_std..]`.
    pub(crate) fn row(&self) -> [f64; 8] {
        let [a, b] = self.log_std;
        [
            self.data.x,
            self.data.out,
            // f32 has no larger number, and kernels are not told infinities.
            self.clip.min(f32::MAX.into()),
            self.x,
            self.x0,
            self.noise,
            a,
            b,
        ]
    }
}

impl Posterior {
    /// Takes the state `x` a step on in f64.
    fn apply(&self, x: &mut [f64], noise: &[f32], out: &[f64]) {
        let len = x.len();
        let [a, b] = self.log_std;
        for (i, x) in x.iter_mut().enumerate() {
            let x0 = self.data.x * *x + self.data.out * out[i];
            // max and min would drop a NaN.
            let x0 = if x0.is_nan() {
                x0
            } else {
                x0.clamp(-self.clip, self.clip)
            };
            let mut next = self.x * *x + self.x0 * x0;
            if self.noise != 0.0 {
                let v = if b == 0.0 { 0.0 } else { out[len + i] };
                next += self.noise * libm::exp(a + b * v) * f64::from(noise[i]);
            }
            *x = next;
        }
    }
}

/// A step from `t` to `t_next`. With the state `X`, the history `H` (tensors that the step before kept; at first they are 0), standard
/// normal noise `E` and the network `net`:
///
/// ```text
/// Y = X + noise E                                              (noise first: with more than one evaluation, and in EDM's churn)
/// O_i = net(rows_i · [Y, H_0, .., O_0, .., O_{i-1}], t_i)      (rows_0 is [1] where the network gets the state as it is)
/// X' = end · [Y, H_0, .., O_0, ..] + noise E                   (noise last: with one evaluation)
/// H'_j = keep_j · [Y, H_0, .., O_0, ..]
/// ```
///
/// Every explicit solver is linear in these tensors, so its coefficients define it; it needs no device code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Time of the state before the step.
    pub t: f64,
    /// Time of the state after the step.
    pub t_next: f64,
    n_stages: usize,
    n_history: usize,
    times: [f64; MAX_STAGES],
    rows: [Row; MAX_STAGES],
    end: Row,
    keep: [Row; MAX_HISTORY],
    error: Option<Row>,
    noise: f64,
    is_noise_first: bool,
    posterior: Option<Posterior>,
}

/// Determines the program that computes a step: steps of the same form differ only in their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepForm {
    /// Evaluations of the network.
    pub n_stages: usize,
    /// Tensors that are kept from step to step.
    pub n_history: usize,
    /// Whether noise is added.
    pub is_noisy: bool,
    /// Whether noise would be added before the first evaluation.
    pub is_noise_first: bool,
    /// Whether the first evaluation is at something else than the state.
    pub has_first_row: bool,
    /// Whether the step is one of discrete diffusion.
    pub has_posterior: bool,
    /// Whether such a step reads the variance that the network has learned.
    pub is_learned: bool,
}

impl StepForm {
    /// Whether noise is added, and before the first evaluation.
    pub fn adds_noise_first(&self) -> bool {
        self.is_noisy && self.is_noise_first
    }

    /// What steps must have in common so that one program can serve them.
    pub(crate) fn key(&self) -> (usize, usize, bool, bool, bool) {
        (
            self.n_stages,
            self.n_history,
            self.is_noise_first,
            self.has_posterior,
            self.is_learned,
        )
    }
}

/// Where the network is evaluated: its own time, and the factor of the state that it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct At {
    pub time: f64,
    pub scale: f64,
}

impl At {
    /// At time `t`, with the state as it is.
    pub fn plain(time: f64) -> Self {
        At { time, scale: 1.0 }
    }
}

impl Step {
    /// A step without coefficients.
    fn empty([t, t_next]: [f64; 2], n_stages: usize, noise: f64) -> Self {
        Step {
            t,
            t_next,
            n_stages,
            n_history: 0,
            times: [t; MAX_STAGES],
            rows: [[0.0; MAX_STAGES + 1]; MAX_STAGES],
            end: [0.0; MAX_STAGES + 1],
            keep: [[0.0; MAX_STAGES + 1]; MAX_HISTORY],
            error: None,
            noise,
            is_noise_first: n_stages > 1,
            posterior: None,
        }
    }

    /// `X' = x X + out net(X, t) + noise E`.
    pub(crate) fn euler(times: [f64; 2], at: At, coefs: Coefs, noise: f64) -> Self {
        let mut step = Self::empty(times, 1, noise);
        step.times = [at.time; MAX_STAGES];
        step.rows[0][0] = at.scale;
        (step.end[0], step.end[1]) = (coefs.x, coefs.out);
        step
    }

    /// A step of discrete diffusion.
    pub(crate) fn posterior(times: [f64; 2], at: At, posterior: Posterior) -> Self {
        let mut step = Self::euler(times, at, Coefs::ZERO, posterior.noise);
        step.posterior = Some(posterior);
        step
    }

    /// A step of one evaluation at the state that keeps tensors: rows over `[Y, H_0, .., O]`.
    pub(crate) fn multistep(times: [f64; 2], at: At, end: &[f64], keep: &[&[f64]]) -> Self {
        let mut step = Self::euler(times, at, Coefs::ZERO, 0.0);
        step.n_history = keep.len();
        step.end[..end.len()].copy_from_slice(end);
        for (to, from) in step.keep.iter_mut().zip(keep) {
            to[..from.len()].copy_from_slice(from);
        }
        step
    }

    /// A step of an explicit Runge-Kutta method for `dX = drift dt`. `drift` gives the drift at a time, as coefficients of the
    /// state and of the network's output. `noise` is the standard deviation of the added noise.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a tableau that is no explicit method of at most 7 stages, and those of `drift`.
    pub fn runge_kutta(
        tableau: &Tableau,
        times: [f64; 2],
        noise: f64,
        mut drift: impl FnMut(f64) -> Result<Coefs>,
    ) -> Result<Self> {
        Self::explicit(tableau, times, noise, |t| Ok((drift(t)?, At::plain(t))))
    }

    /// As [`Step::runge_kutta`], where `drift` also says where the network is evaluated.
    pub(crate) fn explicit(
        tableau: &Tableau,
        times: [f64; 2],
        noise: f64,
        drift: impl FnMut(f64) -> Result<(Coefs, At)>,
    ) -> Result<Self> {
        let step = Self::empty(times, tableau.weights.len(), noise);
        step.filled(tableau, drift)
    }

    /// A step whose first drift is known: it is the history. The step keeps its last drift.
    pub(crate) fn with_first_drift(
        tableau: &Tableau,
        times: [f64; 2],
        drift: impl FnMut(f64) -> Result<(Coefs, At)>,
    ) -> Result<Self> {
        let mut step = Self::empty(times, tableau.weights.len() - 1, 0.0);
        step.n_history = 1;
        step.filled(tableau, drift)
    }

    /// Fills in the coefficients of a Runge-Kutta method; a history of one tensor is its first drift.
    fn filled(
        mut self,
        tableau: &Tableau,
        mut drift: impl FnMut(f64) -> Result<(Coefs, At)>,
    ) -> Result<Self> {
        tableau.validate()?;
        let [t, t_next] = [self.t, self.t_next];
        let step = &mut self;
        let dt = t_next - t;
        // The drift at each evaluation, as a row of coefficients.
        let mut drifts = [[0.0; MAX_STAGES + 1]; MAX_STAGES];
        let combine = |weights: &[f64], drifts: &[Row]| -> Row {
            std::array::from_fn(|k| {
                let terms = weights.iter().zip(drifts);
                dt * terms.map(|(w, drift)| w * drift[k]).sum::<f64>()
            })
        };
        for (i, &node) in tableau.nodes.iter().enumerate() {
            let time = match node {
                0.0 => t,
                1.0 => t_next,
                node => t + node * dt,
            };
            let mut row = combine(tableau.stages[i], &drifts);
            row[0] += 1.0;
            if i == 0 && step.n_history == 1 {
                drifts[0][1] = 1.0;
                continue;
            }
            let (Coefs { x, out }, at) = drift(time)?;
            drifts[i] = row.map(|value| x * value);
            drifts[i][i + 1] += out;
            let evaluation = i - step.n_history;
            step.times[evaluation] = at.time;
            step.rows[evaluation] = row.map(|value| at.scale * value);
        }
        step.end = combine(tableau.weights, &drifts);
        step.end[0] += 1.0;
        step.error = tableau.error.map(|weights| combine(weights, &drifts));
        step.keep[0] = drifts[tableau.nodes.len() - 1];
        Ok(self)
    }

    /// The step with its noise added before the first evaluation.
    pub(crate) fn noise_first(self) -> Self {
        Step {
            is_noise_first: true,
            ..self
        }
    }

    /// The step under other times.
    pub(crate) fn between(self, [t, t_next]: [f64; 2]) -> Self {
        Step { t, t_next, ..self }
    }

    /// Applies a step that keeps nothing for the next one in f64; `net(state, time)` is the network. `noise` is ignored if the step
    /// adds none. Of a learned variance, `net` also returns the further outputs, after the others.
    pub fn apply(&self, x: &mut [f64], noise: &[f32], net: impl FnMut(&[f64], f64) -> Vec<f64>) {
        self.apply_with(x, &mut Vec::new(), noise, net);
    }

    /// As [`Step::apply`], for any step. `history` has the tensors that steps keep, one after the other: each step gets what the one
    /// before left there, and the first one nothing. Returns the estimated error, if the method has an estimate.
    #[doc(hidden)]
    pub fn apply_with(
        &self,
        x: &mut [f64],
        history: &mut Vec<f64>,
        noise: &[f32],
        mut net: impl FnMut(&[f64], f64) -> Vec<f64>,
    ) -> Option<Vec<f64>> {
        let len = x.len();
        history.resize(self.n_history * len, 0.0);
        let add_noise = |x: &mut [f64]| {
            let pairs = x.iter_mut().zip(noise);
            pairs.for_each(|(x, e)| *x += self.noise * f64::from(*e));
        };
        if self.is_noise_first && self.noise != 0.0 {
            add_noise(x);
        }
        let mut known = vec![x.to_vec()];
        known.extend(history.chunks_exact(len.max(1)).map(<[f64]>::to_vec));
        let combine = |row: &[f64], known: &[Vec<f64>]| -> Vec<f64> {
            let at = |i: usize| row.iter().zip(known).map(|(c, k)| c * k[i]).sum();
            (0..len).map(at).collect()
        };
        for (i, &t) in self.times().iter().enumerate() {
            let state = combine(self.row(i), &known);
            known.push(net(&state, t));
        }
        if let Some(posterior) = &self.posterior {
            posterior.apply(x, noise, &known[1]);
            return None;
        }
        x.copy_from_slice(&combine(self.end(), &known));
        for (j, kept) in history.chunks_exact_mut(len.max(1)).enumerate() {
            kept.copy_from_slice(&combine(self.keep(j), &known));
        }
        if !self.is_noise_first && self.noise != 0.0 {
            add_noise(x);
        }
        self.error().map(|row| combine(row, &known))
    }
}

#[doc(hidden)]
impl Step {
    /// The form of the step.
    pub fn form(&self) -> StepForm {
        let plain = self.row(0)[0] == 1.0 && self.row(0)[1..].iter().all(|&c| c == 0.0);
        StepForm {
            n_stages: self.n_stages,
            n_history: self.n_history,
            is_noisy: self.noise != 0.0,
            is_noise_first: self.is_noise_first,
            has_first_row: !plain,
            has_posterior: self.posterior.is_some(),
            is_learned: self.posterior.is_some_and(|posterior| posterior.is_learned),
        }
    }

    /// What a step of discrete diffusion does.
    pub fn as_posterior(&self) -> Option<&Posterior> {
        self.posterior.as_ref()
    }

    /// Standard deviation of the added noise; 0 for an ODE and for a last step. Of discrete diffusion, [`Posterior::noise`].
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// Standard deviation of the added noise, also in discrete diffusion; `None` where the network chooses it for every value.
    pub fn noise_std(&self) -> Option<f64> {
        match self.posterior.filter(|_| self.noise != 0.0) {
            None => Some(self.noise),
            Some(posterior) => {
                let [log, of_network] = posterior.log_std;
                (of_network == 0.0).then(|| self.noise * libm::exp(log))
            }
        }
    }

    /// Times of the evaluations, as the network knows them.
    pub fn times(&self) -> &[f64] {
        &self.times[..self.n_stages]
    }

    /// Coefficients of `[Y, H_0, .., O_0, .., O_{i-1}]` in what evaluation `i` gets.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.rows[i][..=self.n_history + i]
    }

    /// Coefficients of `[Y, H_0, .., O_0, ..]` in the new state.
    pub fn end(&self) -> &[f64] {
        &self.end[..=self.n_history + self.n_stages]
    }

    /// Coefficients of `[Y, H_0, .., O_0, ..]` in the tensor `j` that is kept.
    pub fn keep(&self, j: usize) -> &[f64] {
        &self.keep[j][..=self.n_history + self.n_stages]
    }

    /// Coefficients of `[Y, H_0, .., O_0, ..]` for the difference to the embedded method of lower order, which estimates the error of the
    /// step; `None` if the method has none.
    pub fn error(&self) -> Option<&[f64]> {
        let n = self.n_history + self.n_stages;
        self.error.as_ref().map(|row| &row[..=n])
    }
}
