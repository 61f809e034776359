//! The solver that `sit sample` is asked for.

use super::forms::{DiffusionArg, GridArg, parse_along};
use crate::columns;
use crate::commands::values::{finite, parse_interval, whole};
use crate::error::{Failure, Result};
use sit_engine::text::shown;
use sit_engine::transport::{
    Corrector, Curve, DEFAULT_LAST_STEP_SIZE, DdpmMethod, DdpmSampler, DdpmSchedule, Diffusion,
    DiffusionForm, Edm, EdmMethod, ErrorNorm, Grid, KlEta, LastStep, Method, Ode, Path, PathName,
    Prediction, Respacing, Sampler, Sde, SdeMethod, Tolerance, Transport, Variance,
};
use std::path::PathBuf;
use std::str::FromStr;

/// Flags of the solver.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Solver")]
pub struct SolverArgs {
    /// Integrate the probability flow ODE [default: heun]; a student of distillation refuses it. dopri5, bosh3 and adaptive-heun choose their steps themselves.
    #[arg(
        long,
        value_name = "euler|midpoint|heun|heun3|rk4|rk4-38|dopri5|bosh3|adaptive-heun|dpm++2m|unipc",
        conflicts_with = "sde"
    )]
    ode: Option<Method>,
    /// Integrate the SDE: Euler-Maruyama, stochastic Heun, an ODE step followed by Langevin steps (pc), or ODE and SDE steps in turn.
    #[arg(long, value_name = "euler|heun|pc|alternate")]
    sde: Option<SdeMethod>,
    /// EDM's sampler: Heun or Euler steps in the noise level, on any path.
    #[arg(long, value_name = "heun|euler", conflicts_with_all = ["ode", "sde"])]
    edm: Option<EdmMethod>,
    /// Sample the chain of discrete diffusion: ancestral, or ddim. A step evaluates the network once. A model of another path is
    /// sampled at the noise levels of --ddpm-schedule.
    #[arg(
        long,
        value_name = "ancestral|ddim",
        conflicts_with_all = ["ode", "sde", "edm", "steps", "time_grid", "ode_last_step", "along", "t_eps_sample"]
    )]
    ddpm: Option<DdpmMethod>,
    /// Noise levels of --ddpm that are used: all, a number, one for each section of the chain such as 10,15,20, or ddim and a number
    /// [default: those that the model was trained at].
    #[arg(long, value_name = "all|250|10,15,20|ddim50", requires = "ddpm", conflicts_with_all = ["ode", "sde", "edm"])]
    respacing: Option<Respacing>,
    /// Share of new noise in the steps of --ddpm ddim, from 0 to 1 [default: 0].
    #[arg(long, value_name = "X", value_parser = finite, requires = "ddpm", allow_hyphen_values = true, conflicts_with_all = ["ode", "sde", "edm"])]
    eta: Option<f64>,
    /// Clamp the predicted image of --ddpm to [-X, X]; for pixels, not for latents [default: not; without a number 1].
    #[arg(long, value_name = "X", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = finite, requires = "ddpm", conflicts_with_all = ["ode", "sde", "edm"])]
    clip_x0: Option<f64>,
    /// Variance of --ddpm ancestral [default: the model's, else fixed-small].
    #[arg(long, value_name = "fixed-small|fixed-large", requires = "ddpm", conflicts_with_all = ["ode", "sde", "edm"])]
    ddpm_variance: Option<Variance>,
    /// Noise levels of --ddpm for a model of another path, 1000 of them [default: linear].
    #[arg(long, value_name = "linear|cosine", requires = "ddpm", conflicts_with_all = ["ode", "sde", "edm"])]
    ddpm_schedule: Option<DdpmSchedule>,
    /// Steps on the time grid, before an SDE's last one [default: 50, with --sde 250, with --edm 18]; a student has its own. A step evaluates the network once; with heun and
    /// midpoint twice, heun3 three times, rk4 and rk4-38 four times, pc once more for each step of the corrector.
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=100_000))]
    steps: Option<u32>,
    /// How the steps are spread over time [default: uniform, or the shift of the model's training times]: shift:S has more of them near
    /// noise for S above 1 (shift alone takes S from the size of an image), power:RHO more of them near data; the file has a time on
    /// each line, rising within 0 to 1: sampling begins at the first and ends at the last.
    #[arg(
        long,
        value_name = "uniform|shift:S|power:RHO|file:PATH",
        value_parser = GridArg::from_str
    )]
    time_grid: Option<GridArg>,
    /// The last step of the ODE: euler does not evaluate the network at the end.
    #[arg(long, value_name = "same|euler", default_value = "same", value_parser = ["same", "euler"], conflicts_with_all = ["sde", "edm", "ddpm"])]
    ode_last_step: String,
    /// Relative tolerance of dopri5, bosh3 and adaptive-heun [default: 0.001].
    #[arg(long, value_name = "X", value_parser = finite, requires = "ode", conflicts_with_all = ["sde", "edm", "ddpm"])]
    rtol: Option<f64>,
    /// Absolute tolerance of dopri5, bosh3 and adaptive-heun [default: 0.000001].
    #[arg(long, value_name = "X", value_parser = finite, requires = "ode", conflicts_with_all = ["sde", "edm", "ddpm"])]
    atol: Option<f64>,
    /// The most network evaluations that dopri5, bosh3 and adaptive-heun may take for an image [default: 10000].
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=10_000_000), requires = "ode", conflicts_with_all = ["sde", "edm", "ddpm"])]
    max_nfe: Option<u32>,
    /// Whose error decides on a step: of each image, so that an image does not depend on its batch, or of all images of a batch, as
    /// in torchdiffeq [default: sample].
    #[arg(
        long,
        value_name = "sample|batch",
        requires = "ode",
        conflicts_with_all = ["sde", "edm", "ddpm"]
    )]
    error_norm: Option<ErrorNorm>,
    /// Diffusion D of the SDE dX = (v + D s) dt + sqrt(2 D) dW: constant, sbdm, sigma, linear, decreasing, increasing-decreasing,
    /// w-kl-eta, or file:PATH of a file with lines of t and D, whose first and last D count to the ends of time [default: sigma].
    #[arg(long, value_name = "FORM", value_parser = DiffusionArg::from_str, requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    diffusion: Option<DiffusionArg>,
    /// Factor of the diffusion, at least 0; the paper's w is twice D [default: 1].
    #[arg(long, value_name = "X", value_parser = finite, requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    diffusion_norm: Option<f64>,
    /// eta of the diffusion w-kl-eta, at least 0; with 0 it is sbdm.
    #[arg(long, value_name = "X", value_parser = finite, requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    kl_eta: Option<f64>,
    /// The model's loss by time for w-kl-eta: a file with lines of t and the loss, as sit loss writes it [default: what the run has
    /// logged, if it trains the velocity's loss].
    #[arg(long, value_name = "FILE", requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    loss_table: Option<PathBuf>,
    /// Times between which the SDE adds noise; outside of them it is the ODE.
    #[arg(long, value_name = "LO..HI", default_value = "0..1", value_parser = parse_interval, allow_hyphen_values = true, requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    noise_window: [f64; 2],
    /// Langevin steps after each step of --sde pc [default: 1].
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1000), requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    corrector_steps: Option<u32>,
    /// Signal-to-noise ratio of these steps, above 0 and at most 1 [default: 0.16].
    #[arg(long, value_name = "X", value_parser = finite, requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    snr: Option<f64>,
    /// Noise that EDM's sampler adds over the whole way; 0 is the ODE.
    #[arg(long, value_name = "X", default_value_t = Edm::default().churn, value_parser = finite, requires = "edm", conflicts_with_all = ["ode", "sde", "ddpm"])]
    churn: f64,
    /// Noise levels between which it is added [default: all].
    #[arg(long, value_name = "LO..HI", value_parser = parse_interval, allow_hyphen_values = true, requires = "edm", conflicts_with_all = ["ode", "sde", "ddpm"])]
    churn_window: Option<[f64; 2]>,
    /// Factor of that noise [default: 1].
    #[arg(long, value_name = "X", value_parser = finite, requires = "edm", conflicts_with_all = ["ode", "sde", "ddpm"])]
    churn_noise: Option<f64>,
    /// Last step of the SDE, without noise: mean, tweedie, euler or none.
    #[arg(long, value_name = "STEP", default_value_t = LastStep::default(), requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    last_step: LastStep,
    /// Time that the last step of the SDE takes, above 0 and below 1.
    #[arg(long, value_name = "X", default_value_t = DEFAULT_LAST_STEP_SIZE, value_parser = finite, requires = "sde", conflicts_with_all = ["ode", "edm", "ddpm"])]
    last_step_size: f64,
    /// Distance of the first and the last time from 0 and 1, in [0, 0.5) [default: the run's transport.t_eps_sample, else what
    /// path, prediction and solver need].
    #[arg(long, value_name = "X", value_parser = finite, conflicts_with = "edm")]
    pub t_eps_sample: Option<f64>,
    /// Sample along another path than the model was trained on, by the exact change of scale and time.
    #[arg(long, value_name = "linear|gvp|vp|ou|ddpm", value_parser = parse_along, conflicts_with = "edm")]
    along: Option<PathName>,
}

impl SolverArgs {
    /// The solver, for images of `image_len` values by a model of `transport`; `own_loss` is the loss by time that the run has logged,
    /// asked for where it counts.
    ///
    /// # Errors
    /// A file that cannot be read, or flags that do not go together.
    pub fn sampler(
        &self,
        image_len: usize,
        transport: &Transport,
        own_loss: impl FnOnce() -> Result<Option<Curve>>,
    ) -> Result<Sampler> {
        self.check_kinds()?;
        if let Some(n_steps) = transport.student_steps {
            self.check_student()?;
            return Ok(Sampler::ode(Method::Euler, self.steps.unwrap_or(n_steps)));
        }
        if let Some(method) = self.edm {
            return self.edm(method, transport).map(Sampler::Edm);
        }
        if let Some(method) = self.ddpm {
            return self.chain(method, transport);
        }
        let grid = self.grid(image_len, transport)?;
        let along = self.along.and_then(PathName::usual);
        let is_times = matches!(grid, Grid::Times(_));
        if self.steps.is_some() && is_times {
            return Err(Failure::Input(
                "--steps: the file of --time-grid says how many steps there are".into(),
            ));
        }
        if let Some(method) = self.sde {
            let usual = Sde::default();
            let is_pc = method == SdeMethod::PredictorCorrector;
            if !is_pc && (self.corrector_steps.is_some() || self.snr.is_some()) {
                return Err(Failure::Input(format!(
                    "--corrector-steps and --snr: they belong to --sde pc, got --sde {method}"
                )));
            }
            let has_diffusion = self.diffusion.is_some() || self.diffusion_norm.is_some();
            if is_pc && (has_diffusion || self.kl_eta.is_some() || self.loss_table.is_some()) {
                return Err(Failure::Input(
                    "--diffusion, --diffusion-norm, --kl-eta and --loss-table: --sde pc has no diffusion; --snr sets its noise".into(),
                ));
            }
            return Ok(Sampler::Sde(Sde {
                method,
                diffusion: self.diffusion(own_loss)?,
                last_step: self.last_step,
                last_step_size: self.last_step_size,
                n_steps: self.steps.unwrap_or(usual.n_steps),
                grid,
                noise_window: self.noise_window,
                corrector: Corrector {
                    steps: self.corrector_steps.unwrap_or(usual.corrector.steps),
                    snr: self.snr.unwrap_or(usual.corrector.snr),
                },
                along,
            }));
        }
        let usual = Ode::default();
        let method = self.ode.unwrap_or(usual.method);
        if method.is_adaptive() && self.steps.is_some() {
            return Err(Failure::Input(format!(
                "--steps: {method} chooses its steps itself, by --rtol and --atol; for given steps take heun, rk4 or another method"
            )));
        }
        let has_tolerance = self.rtol.is_some()
            || self.atol.is_some()
            || self.max_nfe.is_some()
            || self.error_norm.is_some();
        if !method.is_adaptive() && has_tolerance {
            return Err(Failure::Input(format!(
                "--rtol, --atol, --max-nfe and --error-norm: they belong to dopri5, bosh3 and adaptive-heun, got --ode {method}"
            )));
        }
        let tolerance = usual.tolerance;
        Ok(Sampler::Ode(Ode {
            method,
            n_steps: self.steps.unwrap_or(usual.n_steps),
            grid,
            last_euler: self.ode_last_step == "euler",
            reverse: false,
            tolerance: Tolerance {
                rtol: self.rtol.unwrap_or(tolerance.rtol),
                atol: self.atol.unwrap_or(tolerance.atol),
                max_nfe: self.max_nfe.unwrap_or(tolerance.max_nfe),
                norm: self.error_norm.unwrap_or(tolerance.norm),
            },
            along,
        }))
    }

    /// Refuses the choice of a solver for a distilled model, which has its own steps.
    fn check_student(&self) -> Result<()> {
        let flags = [
            ("--ode", self.ode.is_some()),
            ("--sde", self.sde.is_some()),
            ("--edm", self.edm.is_some()),
            ("--ddpm", self.ddpm.is_some()),
            ("--time-grid", self.time_grid.is_some()),
            ("--along", self.along.is_some()),
            ("--t-eps-sample", self.t_eps_sample.is_some()),
        ];
        let Some((flag, _)) = flags.iter().find(|(_, is_given)| *is_given) else {
            return Ok(());
        };
        Err(Failure::Input(format!(
            "{flag}: this model was distilled: it takes its own steps, of which --steps sets the number"
        )))
    }

    /// Refuses flags of another solver than the one that is asked for. The parser does so only where that one is named.
    fn check_kinds(&self) -> Result<()> {
        let usual = Sde::default();
        let has_last = self.last_step_size != usual.last_step_size;
        let of_sde = [
            ("--diffusion", self.diffusion.is_some()),
            ("--diffusion-norm", self.diffusion_norm.is_some()),
            ("--kl-eta", self.kl_eta.is_some()),
            ("--loss-table", self.loss_table.is_some()),
            ("--noise-window", self.noise_window != usual.noise_window),
            ("--corrector-steps", self.corrector_steps.is_some()),
            ("--snr", self.snr.is_some()),
            ("--last-step", self.last_step != usual.last_step),
            ("--last-step-size", has_last),
        ];
        let of_edm = [
            ("--churn", self.churn != 0.0),
            ("--churn-window", self.churn_window.is_some()),
            ("--churn-noise", self.churn_noise.is_some()),
        ];
        let of_ddpm = [
            ("--respacing", self.respacing.is_some()),
            ("--eta", self.eta.is_some()),
            ("--clip-x0", self.clip_x0.is_some()),
            ("--ddpm-variance", self.ddpm_variance.is_some()),
            ("--ddpm-schedule", self.ddpm_schedule.is_some()),
        ];
        for (solver, is_asked, flags) in [
            ("--sde", self.sde.is_some(), &of_sde[..]),
            ("--edm", self.edm.is_some(), &of_edm),
            ("--ddpm", self.ddpm.is_some(), &of_ddpm),
        ] {
            let given = flags.iter().find(|(_, is_given)| *is_given && !is_asked);
            if let Some((flag, _)) = given {
                return Err(Failure::Input(format!("{flag}: it belongs to {solver}")));
            }
        }
        if has_last && self.last_step == LastStep::None {
            return Err(Failure::Input(
                "--last-step-size: there is no last step with --last-step none".into(),
            ));
        }
        Ok(())
    }

    /// Files that it reads, by flag.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &std::path::Path)> {
        let grid = match &self.time_grid {
            Some(GridArg::File(path)) => Some(path),
            _ => None,
        };
        let diffusion = match &self.diffusion {
            Some(DiffusionArg::File(path)) => Some(path),
            _ => None,
        };
        let files = [
            ("--time-grid", grid),
            ("--diffusion", diffusion),
            ("--loss-table", self.loss_table.as_ref()),
        ];
        files
            .into_iter()
            .filter_map(|(flag, path)| Some((flag, path?.as_path())))
    }

    fn edm(&self, method: EdmMethod, transport: &Transport) -> Result<Edm> {
        if self.time_grid.is_some() {
            return Err(Failure::Input(
                "--time-grid: --edm has the noise levels of its own".into(),
            ));
        }
        if self.churn == 0.0 && (self.churn_window.is_some() || self.churn_noise.is_some()) {
            return Err(Failure::Input(
                "--churn-window and --churn-noise: without --churn there is no noise that they change".into(),
            ));
        }
        let usual = Edm::default();
        // A model of the EDM path has been trained at its own levels.
        let (sigma, rho) = match transport.path {
            Path::Edm { sigma, rho } => (sigma, rho),
            _ => (usual.sigma, usual.rho),
        };
        Ok(Edm {
            method,
            n_steps: self.steps.unwrap_or(usual.n_steps),
            churn: self.churn,
            churn_window: self.churn_window.unwrap_or(usual.churn_window),
            churn_noise: self.churn_noise.unwrap_or(usual.churn_noise),
            sigma,
            rho,
        })
    }

    fn chain(&self, method: DdpmMethod, transport: &Transport) -> Result<Sampler> {
        if self.ddpm_schedule.is_some() && matches!(transport.path, Path::Ddpm(_)) {
            return Err(Failure::Input(
                "--ddpm-schedule: this model was trained on the noise levels of its own schedule"
                    .into(),
            ));
        }
        let is_ddim = method == DdpmMethod::Ddim;
        if self.eta.is_some() && !is_ddim {
            return Err(Failure::Input(
                "--eta: it belongs to --ddpm ddim; ancestral sampling has its own noise".into(),
            ));
        }
        if self.ddpm_variance.is_some() && is_ddim {
            return Err(Failure::Input(
                "--ddpm-variance: it belongs to --ddpm ancestral; the noise of ddim follows from --eta".into(),
            ));
        }
        if self.clip_x0.is_some() && !is_ddim && transport.prediction == Prediction::Mean {
            return Err(Failure::Input(
                "--clip-x0: a step of a model that predicts the mean has no predicted image; --ddpm ddim has one".into(),
            ));
        }
        Ok(Sampler::Ddpm(DdpmSampler {
            method,
            respacing: self.respacing.clone(),
            eta: self.eta.unwrap_or(0.0),
            clip_x0: self.clip_x0,
            variance: self.ddpm_variance,
            schedule: self.ddpm_schedule.unwrap_or_default(),
            reverse: false,
        }))
    }

    fn grid(&self, image_len: usize, transport: &Transport) -> Result<Grid> {
        let is_adaptive = self.sde.is_none() && self.ode.is_some_and(Method::is_adaptive);
        if self.t_eps_sample.is_some() && matches!(self.time_grid, Some(GridArg::File(_))) {
            return Err(Failure::Input(
                "--t-eps-sample: the file of --time-grid says where the times begin and end".into(),
            ));
        }
        match &self.time_grid {
            None if is_adaptive || self.along.is_some() => Ok(Grid::Uniform),
            None => Ok(Grid::shifted(transport.times.shift)),
            Some(GridArg::Named(grid)) => Ok(grid.clone()),
            Some(GridArg::Shift) => Ok(Grid::shift_by_dimension(image_len)),
            Some(GridArg::File(path)) => {
                let rows = columns::read::<1>(path, "a time");
                let rows = rows.map_err(|e| e.context("--time-grid"))?;
                Grid::times(rows.into_iter().map(|[t]| t).collect())
                    .map_err(|e| Failure::from(e).context(shown(path)))
            }
        }
    }

    fn diffusion(&self, own_loss: impl FnOnce() -> Result<Option<Curve>>) -> Result<Diffusion> {
        let mut diffusion = self.diffusion_norm.map_or_else(Diffusion::default, |norm| {
            Diffusion::new(Diffusion::default().form, norm)
        });
        match &self.diffusion {
            None => {}
            Some(DiffusionArg::Form(form)) => diffusion.form = *form,
            Some(DiffusionArg::File(path)) => {
                diffusion.curve = Some(curve("--diffusion", path, "t and D")?)
            }
        }
        let needs_kl = diffusion.curve.is_none() && diffusion.form == DiffusionForm::WKlEta;
        match (needs_kl, self.kl_eta, &self.loss_table) {
            (true, Some(eta), table) => {
                let loss = match table {
                    Some(path) => curve("--loss-table", path, "t and a loss")?,
                    None => own_loss()?.ok_or_else(|| {
                        Failure::Input(
                            "--diffusion w-kl-eta: expected --loss-table FILE with it, which sit loss CHECKPOINT --data PATH --out FILE \
                             writes; only a run that trains the loss of the velocity has logged its own"
                                .into(),
                        )
                    })?,
                };
                diffusion.kl = Some(KlEta { eta, loss });
            }
            (true, None, _) => {
                return Err(Failure::Input(
                    "--diffusion w-kl-eta: expected --kl-eta X with it".into(),
                ));
            }
            (false, None, None) => {}
            (false, ..) => {
                return Err(Failure::Input(
                    "--kl-eta and --loss-table: they belong to --diffusion w-kl-eta".into(),
                ));
            }
        }
        Ok(diffusion)
    }
}

/// A function of time from a file; its first and last values count to the ends of time.
fn curve(flag: &str, path: &std::path::Path, what: &str) -> Result<Curve> {
    let points = columns::read::<2>(path, what);
    let points = points.map_err(|e| e.context(flag))?;
    let curve = Curve::extended(points);
    curve.map_err(|e| Failure::from(e).context(format_args!("{flag}: {}", shown(path))))
}
