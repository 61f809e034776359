//! Sampling methods, last steps and their settings (SiT's `Sampler`).

use super::along::by_name;
use super::{DdpmSampler, Diffusion, Edm, Grid, Path, Tableau, Tolerance, names::named_enum};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// More steps than any use needs; a longer schedule would only exhaust memory.
const MAX_STEPS: u32 = 1_000_000;

/// The default size of the SDE's last step (paper, table 10; SiT's `sample_sde`).
#[doc(hidden)]
pub const DEFAULT_LAST_STEP_SIZE: f64 = 0.04;

named_enum! {
    /// The integration method of an ODE.
    pub enum Method: "method" {
        /// Euler: order 1, one network evaluation per step.
        Euler = "euler",
        /// Explicit midpoint: order 2, two evaluations per step.
        Midpoint = "midpoint",
        /// Heun (explicit trapezoid): order 2, two evaluations per step.
        Heun = "heun",
        /// Heun's third-order method, three evaluations per step.
        Heun3 = "heun3",
        /// The classical Runge-Kutta method: order 4, four evaluations per step.
        Rk4 = "rk4",
        /// Kutta's 3/8 rule, the `rk4` of the official code: order 4, four evaluations per step.
        Rk438 = "rk4-38",
        /// Bogacki and Shampine: order 3 with an error estimate, three evaluations per step, which it chooses itself.
        Bosh3 = "bosh3",
        /// Dormand and Prince: order 5 with an error estimate, six evaluations per step, which it chooses itself.
        Dopri5 = "dopri5",
        /// Heun with Euler as its error estimate, which chooses its steps itself. As in torchdiffeq, the next step begins with the
        /// evaluation that this one ended with, at the state of the Euler step: one evaluation per step.
        AdaptiveHeun = "adaptive-heun",
        /// DPM-Solver++(2M) (arXiv 2211.01095): order 2 in the half-logarithm of the signal-to-noise ratio, one evaluation per step.
        DpmPlusPlus2m = "dpm++2m",
        /// UniPC (arXiv 2302.04867) of order 2 with B(h) = e^h - 1: predicts as DPM-Solver++(2M) does, and corrects the state with the
        /// evaluation of the next step. One evaluation per step.
        UniPc = "unipc",
    }
}

/// How a method steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Solver {
    /// By a tableau, in given steps.
    Fixed(&'static Tableau),
    /// By a tableau with an error estimate, in steps that it chooses; and its order.
    Adaptive(&'static Tableau, f64),
    /// From the evaluations of several steps.
    Multistep,
}

impl Method {
    pub(crate) fn solver(self) -> Solver {
        match self {
            Self::Euler => Solver::Fixed(&Tableau::EULER),
            Self::Midpoint => Solver::Fixed(&Tableau::MIDPOINT),
            Self::Heun => Solver::Fixed(&Tableau::HEUN),
            Self::Heun3 => Solver::Fixed(&Tableau::HEUN3),
            Self::Rk4 => Solver::Fixed(&Tableau::RK4),
            Self::Rk438 => Solver::Fixed(&Tableau::RK4_38),
            Self::Bosh3 => Solver::Adaptive(&Tableau::BOSH3, 3.0),
            Self::Dopri5 => Solver::Adaptive(&Tableau::DOPRI5, 5.0),
            Self::AdaptiveHeun => Solver::Adaptive(&Tableau::ADAPTIVE_HEUN, 2.0),
            Self::DpmPlusPlus2m | Self::UniPc => Solver::Multistep,
        }
    }
}

#[doc(hidden)]
impl Method {
    /// Whether it chooses its steps itself.
    pub fn is_adaptive(self) -> bool {
        matches!(self.solver(), Solver::Adaptive(..))
    }

    /// Network evaluations of a step.
    pub fn evaluations(self) -> usize {
        match self.solver() {
            Solver::Fixed(tableau) => tableau.nodes.len(),
            // The first stage is the last one of the step before.
            Solver::Adaptive(tableau, _) => tableau.nodes.len() - 1,
            Solver::Multistep => 1,
        }
    }
}

named_enum! {
    /// The integration method of an SDE.
    pub enum SdeMethod: "method" {
        /// Euler-Maruyama: one network evaluation per step.
        Euler = "euler",
        /// Stochastic Heun, with the noise added first: two evaluations per step.
        Heun = "heun",
        /// Predictor-corrector (arXiv 2011.13456): an Euler step of the ODE, then steps of Langevin dynamics at the new time; an
        /// evaluation for each.
        PredictorCorrector = "pc",
        /// A step of the ODE and a step of the SDE (Euler-Maruyama) in turn: one evaluation per step.
        Alternate = "alternate",
    }
}

named_enum! {
    /// The SDE's last step, without noise, from `1 - last_step_size` to 1.
    #[derive(Default)]
    pub enum LastStep: "last step" {
        /// The mean of an Euler-Maruyama step, `x + size (v + D s)`.
        #[default]
        Mean = "mean",
        /// The predicted data, `(x + sigma^2 s) / alpha`.
        Tweedie = "tweedie",
        /// An Euler step of the ODE, `x + size v`.
        Euler = "euler",
        /// No last step: the SDE is integrated to the end of its interval.
        None = "none",
    }
}

/// The probability flow ODE `dX = v dt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ode {
    /// The integration method.
    pub method: Method,
    /// Number of steps, at least 1; not used by adaptive methods.
    pub n_steps: u32,
    /// How the steps are spread; not used by adaptive methods.
    #[serde(skip_serializing_if = "is_default")]
    pub grid: Grid,
    /// Whether the last step is one of Euler's method, so that the network is not evaluated at the end (as in JiT).
    #[serde(skip_serializing_if = "is_default")]
    pub last_euler: bool,
    /// Whether it goes from data to noise.
    #[serde(skip_serializing_if = "is_default")]
    pub reverse: bool,
    /// The tolerances of adaptive methods.
    #[serde(skip_serializing_if = "is_default")]
    pub tolerance: Tolerance,
    /// The path of the states, by the exact change of scale and time; `None` for the model's own.
    #[serde(skip_serializing_if = "Option::is_none", with = "by_name")]
    pub along: Option<Path>,
}

impl Default for Ode {
    /// Heun in 50 equal steps.
    fn default() -> Self {
        Ode {
            method: Method::Heun,
            n_steps: 50,
            grid: Grid::Uniform,
            last_euler: false,
            reverse: false,
            tolerance: Tolerance::default(),
            along: None,
        }
    }
}

/// The corrector of predictor-corrector sampling: at a time, steps `x + e s + sqrt(2 e) n` of Langevin dynamics with
/// `e = 2 (snr sigma)^2`. This is the step of Song et al. with the norm of the score replaced by its value for pure noise,
/// `1 / sigma` per value, so that a sample does not depend on its neighbors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Corrector {
    /// Steps at each time, at least 1.
    pub steps: u32,
    /// Their signal-to-noise ratio, above 0.
    pub snr: f64,
}

impl Default for Corrector {
    /// One step of 0.16, score-SDE's.
    fn default() -> Self {
        Corrector {
            steps: 1,
            snr: 0.16,
        }
    }
}

/// The SDE `dX = (v + D s) dt + sqrt(2 D) dW`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sde {
    /// The integration method.
    pub method: SdeMethod,
    /// The diffusion `D`; predictor-corrector sampling has none.
    pub diffusion: Diffusion,
    /// The last step.
    pub last_step: LastStep,
    /// Size of the last step in `(0, 1)`, 0.04 by default; unused without a last step.
    pub last_step_size: f64,
    /// Number of steps before the last step, at least 1.
    pub n_steps: u32,
    /// How the steps are spread.
    #[serde(skip_serializing_if = "is_default")]
    pub grid: Grid,
    /// Times between which noise is added; outside, the diffusion is 0 and nothing is corrected.
    #[serde(skip_serializing_if = "is_whole")]
    pub noise_window: [f64; 2],
    /// The corrector of predictor-corrector sampling.
    #[serde(skip_serializing_if = "is_default")]
    pub corrector: Corrector,
    /// The path of the states, by the exact change of scale and time; `None` for the model's own.
    #[serde(skip_serializing_if = "Option::is_none", with = "by_name")]
    pub along: Option<Path>,
}

impl Default for Sde {
    /// Euler-Maruyama with the diffusion `sigma` in 250 equal steps, followed by a `mean` step of size 0.04.
    fn default() -> Self {
        Sde {
            method: SdeMethod::Euler,
            diffusion: Diffusion::default(),
            last_step: LastStep::Mean,
            last_step_size: DEFAULT_LAST_STEP_SIZE,
            n_steps: 250,
            grid: Grid::Uniform,
            noise_window: [0.0, 1.0],
            corrector: Corrector::default(),
            along: None,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_whole(window: &[f64; 2]) -> bool {
    *window == [0.0, 1.0]
}

impl Sde {
    /// `D_t`, 0 outside the noise window.
    pub(super) fn diffusion_at(&self, path: &Path, t: f64) -> f64 {
        match self.has_noise(t) {
            true => self.diffusion.at(path, t),
            false => 0.0,
        }
    }

    /// Whether `t` is in the noise window.
    pub(super) fn has_noise(&self, t: f64) -> bool {
        (self.noise_window[0]..=self.noise_window[1]).contains(&t)
    }

    /// The last step and its size, if there is one.
    pub(super) fn last(&self) -> Option<(LastStep, f64)> {
        (self.last_step != LastStep::None).then_some((self.last_step, self.last_step_size))
    }
}

/// How samples are generated: the ODE or the SDE, with its method and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Sampler {
    /// The ODE.
    Ode(Ode),
    /// The SDE.
    Sde(Sde),
    /// EDM's sampler.
    Edm(Edm),
    /// The chain of discrete diffusion: ancestral sampling or DDIM.
    Ddpm(DdpmSampler),
}

impl From<DdpmSampler> for Sampler {
    fn from(sampler: DdpmSampler) -> Self {
        Sampler::Ddpm(sampler)
    }
}

impl From<Ode> for Sampler {
    fn from(ode: Ode) -> Self {
        Sampler::Ode(ode)
    }
}

impl From<Edm> for Sampler {
    fn from(edm: Edm) -> Self {
        Sampler::Edm(edm)
    }
}

impl From<Sde> for Sampler {
    fn from(sde: Sde) -> Self {
        Sampler::Sde(sde)
    }
}

impl Sampler {
    /// The probability flow ODE in `n_steps` steps.
    pub fn ode(method: Method, n_steps: u32) -> Self {
        Self::Ode(Ode {
            method,
            n_steps,
            ..Ode::default()
        })
    }

    /// The SDE with this diffusion in `n_steps` steps, followed by a `mean` last step of size 0.04.
    pub fn sde(method: SdeMethod, diffusion: Diffusion, n_steps: u32) -> Self {
        Self::Sde(Sde {
            method,
            diffusion,
            n_steps,
            ..Sde::default()
        })
    }
}

#[doc(hidden)]
impl Sampler {
    /// Number of steps on the grid, not counting the last step.
    pub fn n_steps(&self) -> u32 {
        match self.grid() {
            Grid::Times(times) => times.len() as u32 - 1,
            _ => match self {
                Self::Ode(ode) => ode.n_steps,
                Self::Sde(sde) => sde.n_steps,
                Self::Edm(edm) => edm.n_steps,
                Self::Ddpm(ddpm) => ddpm.n_steps(),
            },
        }
    }

    /// How the steps are spread.
    pub fn grid(&self) -> &Grid {
        match self {
            Self::Ode(ode) => &ode.grid,
            Self::Sde(sde) => &sde.grid,
            // Their times are those of their noise levels.
            Self::Edm(_) | Self::Ddpm(_) => &Grid::Uniform,
        }
    }

    /// The path of the states, if it is not the model's own.
    pub fn along(&self) -> Option<Path> {
        match self {
            Self::Ode(ode) => ode.along.clone(),
            Self::Sde(sde) => sde.along.clone(),
            Self::Edm(edm) => Some(edm.path()),
            Self::Ddpm(_) => None,
        }
    }

    /// Whether it chooses its steps itself.
    pub fn is_adaptive(&self) -> bool {
        matches!(self, Self::Ode(ode) if ode.method.is_adaptive())
    }

    /// Checks the settings that do not depend on the transport.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let n_steps = self.n_steps();
        if !(1..=MAX_STEPS).contains(&n_steps) {
            return Err(Error::setting(
                "steps",
                format!("got {n_steps}, expected 1 to {MAX_STEPS}"),
            ));
        }
        self.grid().validate()?;
        match self {
            Self::Ode(ode) => ode.validate(),
            Self::Sde(sde) => sde.validate(),
            Self::Edm(edm) => edm.validate(),
            Self::Ddpm(ddpm) => ddpm.validate(),
        }
    }
}

impl Ode {
    fn validate(&self) -> Result<()> {
        let is_fixed = matches!(self.method.solver(), Solver::Fixed(_));
        if self.last_euler && !is_fixed {
            return Err(Error::setting(
                "ode_last_step",
                format!(
                    "got euler, but {} has no last step of its own; use it with a method of fixed steps such as heun",
                    self.method
                ),
            ));
        }
        if self.method.is_adaptive() {
            self.tolerance.validate()?;
            if self.grid != Grid::Uniform {
                return Err(Error::setting(
                    "time_grid",
                    format!(
                        "got {}, but {} chooses its own times",
                        self.grid, self.method
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Sde {
    fn validate(&self) -> Result<()> {
        self.diffusion.validate()?;
        let [lo, hi] = self.noise_window;
        if !(0.0 <= lo && lo < hi && hi <= 1.0) {
            return Err(Error::setting(
                "noise_window",
                format!("got {lo}..{hi}, expected two times in order within 0..1"),
            ));
        }
        let Corrector { steps, snr } = self.corrector;
        if !(1..=1000).contains(&steps) {
            return Err(Error::setting(
                "corrector_steps",
                format!("got {steps}, expected 1 to 1000"),
            ));
        }
        if !(snr > 0.0 && snr <= 1.0) {
            return Err(Error::setting(
                "snr",
                format!("got {snr}, expected a number above 0 and at most 1"),
            ));
        }
        match self.last() {
            Some((_, size)) if !(size > 0.0 && size < 1.0) => Err(Error::setting(
                "last_step_size",
                format!(
                    "got {size}, expected a time between 0 and 1; for no last step use `last_step` none"
                ),
            )),
            _ => Ok(()),
        }
    }
}
