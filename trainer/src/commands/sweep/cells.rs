//! The cells of a sweep: settings that make different images.

use super::args::Args;
use crate::commands::sample::solver::SolverArgs;
use crate::config::WeightSet;
use crate::error::{Failure, Result};
use clap::Parser;
use sit_engine::model::NetworkIo;
use sit_engine::transport::{
    Diffusion, Guidance, GuidanceChannels, Method, Ode, Sde, SdeMethod, Step,
};
use std::fmt;

/// The method of a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Solver {
    Ode(Method),
    Sde(SdeMethod),
    /// The steps of a distilled model.
    Student,
}

impl Solver {
    /// Whether it chooses its steps itself.
    pub fn is_adaptive(self) -> bool {
        matches!(self, Solver::Ode(method) if method.is_adaptive())
    }

    fn has_diffusion(self) -> bool {
        matches!(self, Solver::Sde(method) if method != SdeMethod::PredictorCorrector)
    }
}

/// `ode-heun`, `sde-euler`.
impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Solver::Ode(method) => write!(f, "ode-{method}"),
            Solver::Sde(method) => write!(f, "sde-{method}"),
            Solver::Student => f.write_str("student"),
        }
    }
}

/// Settings of one set of images. Those that change nothing beside the others have their default.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub weights: Option<WeightSet>,
    pub solver: Solver,
    /// `None` for a solver that chooses them.
    pub steps: Option<u32>,
    /// Of an SDE that has one.
    pub diffusion: Option<(String, f64)>,
    pub guidance: Guidance,
    /// Scales of the guides that take part.
    pub autoguide: Option<f64>,
    pub classifier: Option<f64>,
}

/// All cells of a model, which has `student_steps` if it was distilled, in the order of the lists: the solver's settings vary within the weights, and those of guidance within the solver's.
///
/// # Errors
/// [`Failure::Input`] for a list that no cell uses.
pub fn all(args: &Args, io: &NetworkIo, student_steps: Option<u32>) -> Result<Vec<Cell>> {
    if student_steps.is_some() && !(args.ode.is_empty() && args.sde.is_empty()) {
        return Err(Failure::Input(
            "--ode and --sde: this model was distilled: it takes its own steps, of which --steps sets the numbers".into(),
        ));
    }
    let mut cells = Vec::new();
    for weights in or_none(&args.weights) {
        for solver in solvers(args, student_steps) {
            for guided in guided(args, io) {
                let cell = Cell {
                    weights,
                    ..merged(&solver, &guided)
                };
                if !cells.contains(&cell) {
                    cells.push(cell);
                }
            }
        }
    }
    check_used(args, &cells)?;
    let n = io.channels();
    if args.guidance_channels.contains(&GuidanceChannels::First3) && n <= 3 {
        tracing::info!("--guidance-channels 3: the images have {n}, so it is the same as all");
    }
    Ok(cells)
}

/// The values of a list, or one that is not given.
fn or_none<T: Clone>(list: &[T]) -> Vec<Option<T>> {
    match list {
        [] => vec![None],
        list => list.iter().cloned().map(Some).collect(),
    }
}

fn or<T: Clone>(list: &[T], usual: T) -> Vec<T> {
    match list {
        [] => vec![usual],
        list => list.to_vec(),
    }
}

/// A cell with the guidance of another one.
fn merged(solver: &Cell, guided: &Cell) -> Cell {
    Cell {
        guidance: guided.guidance,
        autoguide: guided.autoguide,
        classifier: guided.classifier,
        ..solver.clone()
    }
}

fn plain(solver: Solver) -> Cell {
    Cell {
        weights: None,
        solver,
        steps: None,
        diffusion: None,
        guidance: Guidance::default(),
        autoguide: None,
        classifier: None,
    }
}

/// Solvers with their settings, without guidance.
fn solvers(args: &Args, student_steps: Option<u32>) -> Vec<Cell> {
    if let Some(n) = student_steps {
        let steps = or(&args.steps, n).into_iter().map(Some);
        return steps
            .map(|steps| Cell {
                steps,
                ..plain(Solver::Student)
            })
            .collect();
    }
    let ode = match (&args.ode[..], &args.sde[..]) {
        ([], []) => vec![Ode::default().method],
        (ode, _) => ode.to_vec(),
    };
    let ode = ode.into_iter().map(Solver::Ode);
    let sde = args.sde.iter().copied().map(Solver::Sde);
    let mut cells = Vec::new();
    for solver in ode.chain(sde) {
        let usual = match solver {
            Solver::Ode(_) => Ode::default().n_steps,
            _ => Sde::default().n_steps,
        };
        let steps = match solver.is_adaptive() {
            true => vec![None],
            false => or(&args.steps, usual).into_iter().map(Some).collect(),
        };
        for steps in steps {
            for diffusion in diffusions(args, solver) {
                cells.push(Cell {
                    steps,
                    diffusion,
                    ..plain(solver)
                });
            }
        }
    }
    cells
}

fn diffusions(args: &Args, solver: Solver) -> Vec<Option<(String, f64)>> {
    if !solver.has_diffusion() {
        return vec![None];
    }
    let usual = Diffusion::default();
    let forms = or(&args.diffusion, usual.form.to_string().to_lowercase());
    let norms = or(&args.diffusion_norm, usual.norm);
    let with = |form: &String| {
        norms
            .iter()
            .map(|&norm| Some((form.clone(), norm)))
            .collect()
    };
    let pairs: Vec<Vec<_>> = forms.iter().map(with).collect();
    pairs.concat()
}

/// Guidance of every kind, with any solver.
fn guided(args: &Args, io: &NetworkIo) -> Vec<Cell> {
    let mut cells = Vec::new();
    for scale in or(&args.guidance, 1.0) {
        for channels in or(&args.guidance_channels, GuidanceChannels::All) {
            for interval in or(&args.guidance_interval, Guidance::default().interval) {
                for autoguide in or(&args.autoguide_scale, 1.0) {
                    for classifier in or(&args.classifier_scale, 0.0) {
                        let has_guide = autoguide != 1.0 || classifier != 0.0;
                        let usual = Guidance::default();
                        let is_all = scale == 1.0 || io.channels() <= 3;
                        cells.push(Cell {
                            guidance: Guidance {
                                scale,
                                channels: if is_all { usual.channels } else { channels },
                                interval: match scale != 1.0 || has_guide {
                                    true => interval,
                                    false => usual.interval,
                                },
                            },
                            autoguide: (autoguide != 1.0).then_some(autoguide),
                            classifier: (classifier != 0.0).then_some(classifier),
                            ..plain(Solver::Ode(Ode::default().method))
                        });
                    }
                }
            }
        }
    }
    cells
}

/// Refuses lists that change no cell, as they would be left out without a word.
fn check_used(args: &Args, cells: &[Cell]) -> Result<()> {
    let refuse = |what: &str| Err(Failure::Input(what.into()));
    let has = |of: &dyn Fn(&Cell) -> bool| cells.iter().any(of);
    if !args.steps.is_empty() && !has(&|cell| cell.steps.is_some()) {
        return refuse("--steps: every solver that is given chooses its steps itself");
    }
    let of_sde = !args.diffusion.is_empty() || !args.diffusion_norm.is_empty();
    if of_sde && !has(&|cell| cell.diffusion.is_some()) {
        return refuse("--diffusion and --diffusion-norm: --sde pc has no diffusion");
    }
    let is_kl = |cell: &Cell| matches!(&cell.diffusion, Some((form, _)) if form == "w-kl-eta");
    if args.kl_eta.is_some() && !has(&is_kl) {
        return refuse("--kl-eta: it belongs to --diffusion w-kl-eta");
    }
    if !args.guidance_channels.is_empty() && !has(&|cell| cell.guidance.scale != 1.0) {
        return refuse("--guidance-channels: no --guidance is given that would apply to them");
    }
    let is_guided = |cell: &Cell| cell.n_guides() > 0;
    if !args.guidance_interval.is_empty() && !has(&is_guided) {
        return refuse("--guidance-interval: no guidance is given that would apply in it");
    }
    Ok(())
}

impl Cell {
    /// How many further networks, or passes of the same one, guide.
    pub fn n_guides(&self) -> usize {
        let guides = [
            self.guidance.scale != 1.0,
            self.autoguide.is_some(),
            self.classifier.is_some(),
        ];
        guides.into_iter().filter(|guides| *guides).count()
    }

    /// The flags of the solver, as `sit sample` takes them.
    ///
    /// # Errors
    /// Those of the parser.
    pub fn solver_args(&self, kl_eta: Option<f64>) -> Result<SolverArgs> {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            solver: SolverArgs,
        }
        let mut words = vec!["sit sample".to_owned()];
        let mut flag = |name: &str, value: &dyn ToString| {
            words.push(format!("--{name}={}", value.to_string()));
        };
        match self.solver {
            Solver::Ode(method) => flag("ode", &method),
            Solver::Sde(method) => flag("sde", &method),
            Solver::Student => {}
        }
        if let Some(steps) = self.steps {
            flag("steps", &steps);
        }
        if let Some((form, norm)) = &self.diffusion {
            flag("diffusion", form);
            flag("diffusion-norm", norm);
            if let Some(eta) = kl_eta.filter(|_| form == "w-kl-eta") {
                flag("kl-eta", &eta);
            }
        }
        let line = Line::try_parse_from(words);
        Ok(line.map_err(Failure::input)?.solver)
    }

    /// Passes of a network for an image along these steps: evaluations, and beside each those that guidance adds. A step is guided as a
    /// whole where any of its times is in the interval.
    pub fn passes(&self, steps: &[Step]) -> usize {
        let passes = |step: &Step| {
            let times = step.times();
            let is_guided = times.iter().any(|t| self.guidance.covers(*t));
            times.len() * (1 + if is_guided { self.n_guides() } else { 0 })
        };
        steps.iter().map(passes).sum()
    }

    /// As [`Cell::passes`] for a solver that took `evaluations` by steps of its own: it evaluates what guides at every time, since the
    /// images of a batch are at different ones.
    pub fn passes_of(&self, evaluations: f64) -> f64 {
        evaluations * (1 + self.n_guides()) as f64
    }
}

/// What tells it from other cells, for messages.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.solver)?;
        if let Some(steps) = self.steps {
            write!(f, ", {steps} steps")?;
        }
        if let Some((form, norm)) = &self.diffusion {
            write!(f, ", diffusion {form}")?;
            if *norm != 1.0 {
                write!(f, " times {norm}")?;
            }
        }
        if self.guidance.scale != 1.0 {
            write!(f, ", guidance {}", self.guidance.scale)?;
            if self.guidance.channels != GuidanceChannels::All {
                write!(f, " on {} channels", self.guidance.channels)?;
            }
        }
        if let Some(scale) = self.autoguide {
            write!(f, ", autoguidance {scale}")?;
        }
        if let Some(scale) = self.classifier {
            write!(f, ", classifier {scale}")?;
        }
        let [lo, hi] = self.guidance.interval;
        if [lo, hi] != [0.0, 1.0] {
            write!(f, " in {lo}..{hi}")?;
        }
        Ok(())
    }
}
