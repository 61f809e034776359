//! Sampling: a schedule of solver steps, each one run of a program that evaluates the network and combines the result.

use crate::backend::{Arenas, Device, Program};
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Layout, Plan, Var};
use crate::model::{self, ModelConfig, Network};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::ops::{guide, lincomb};
use crate::rng::{Stream, fill_brownian, fill_normal};
use crate::text::count;
use crate::transport::{Guidance, GuidanceChannels, Sampler, Step, Transport, Update, schedule};

/// What to sample and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleConfig {
    /// The network.
    pub model: ModelConfig,
    /// What it was trained to do.
    pub transport: Transport,
    /// The solver.
    pub sampler: Sampler,
    /// Classifier-free guidance.
    pub guidance: Guidance,
    /// Arena the weights are read from.
    pub weights: Arena,
    /// Images at a time.
    pub batch: usize,
    /// Whether the network's output of each step is kept for [`Session::read_out`].
    pub keep_out: bool,
}

/// The programs a schedule needs differ in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StepKind {
    heun: bool,
    noisy: bool,
    guided: bool,
}

impl SampleConfig {
    /// The schedule, after a check of all settings.
    ///
    /// # Errors
    /// [`Error::Config`] for a combination that is refused, with the reason.
    pub fn schedule(&self) -> Result<Vec<Step>> {
        self.validate()?;
        schedule(&self.transport, &self.sampler)
    }

    fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.transport.validate()?;
        self.guidance.validate()?;
        if self.guidance.scale != 1.0 && self.model.n_classes == 0 {
            return Err(Error::setting(
                "guidance",
                "this model has no classes, so there is nothing to guide by",
            ));
        }
        if self.batch == 0 || self.batch > 1 << 20 {
            return Err(Error::setting(
                "batch",
                format!("got {}, expected 1 to {}", self.batch, 1 << 20),
            ));
        }
        Ok(())
    }

    fn kinds(&self, steps: &[Step]) -> Vec<StepKind> {
        // One program for all steps of an SDE, the last one with a noise of 0; none of an ODE's has noise.
        let noisy = |heun: bool| steps.iter().any(|s| is_heun(s) == heun && noise(s) != 0.0);
        steps
            .iter()
            .map(|step| {
                let heun = is_heun(step);
                // Heun's second evaluation is at the end of the step.
                let guided =
                    self.guidance.active(step.t) || heun && self.guidance.active(step.t_next);
                StepKind {
                    heun,
                    noisy: noisy(heun),
                    guided,
                }
            })
            .collect()
    }

    fn plan(&self, kind: StepKind, layout: &Layout) -> Result<Plan> {
        let mut g = Graph::new();
        let (b, size) = (self.batch, self.model.input_size);
        let n = if kind.guided { 2 * b } else { b };
        self.model.validate_batch(n)?;
        let x = g.input("x", [b, self.model.channels, size, size]);
        let y = self.model.null_class().map(|_| g.input_u32("y", [n]));
        let network = Network::new(&mut g, &self.model, false)?;
        // The output that is integrated, and that of the network, which with guidance has both halves.
        let net = |g: &mut Graph, x: Var, at: &str| -> Result<(Var, Var)> {
            let t = g.input(format!("t{at}"), [n]);
            if !kind.guided {
                let out = network.forward(g, x, t, y)?;
                return Ok((out, out));
            }
            let scale = g.input(format!("scale{at}"), [1]);
            let doubled = guide::double(g, x)?;
            let out = network.forward(g, doubled, t, y)?;
            let channels = match self.guidance.channels {
                GuidanceChannels::All => self.model.channels,
                GuidanceChannels::First3 => self.model.channels.min(3),
            };
            Ok((guide::mix(g, out, scale, channels)?, out))
        };
        let mut terms = vec![x];
        if kind.noisy {
            terms.push(g.input("noise", [b, self.model.channels, size, size]));
        }
        let kept;
        let next = if kind.heun {
            let mut start = x;
            if kind.noisy {
                let coef = g.input("start_coef", [b, 4]);
                start = lincomb::lincomb(&mut g, &terms, coef)?;
            }
            let (out0, raw) = net(&mut g, start, "")?;
            kept = raw;
            let coef = g.input("mid_coef", [b, 4]);
            let mid = lincomb::lincomb(&mut g, &[start, out0], coef)?;
            let (out1, _) = net(&mut g, mid, "_next")?;
            let coef = g.input("coef", [b, 4]);
            lincomb::lincomb(&mut g, &[start, out0, out1], coef)?
        } else {
            let (out, raw) = net(&mut g, x, "")?;
            kept = raw;
            terms.insert(1, out);
            let coef = g.input("coef", [b, 4]);
            lincomb::lincomb(&mut g, &terms, coef)?
        };
        let mut outputs = vec![("x".into(), next)];
        if self.keep_out {
            outputs.push(("out".into(), kept));
        }
        let request = Request {
            outputs,
            weights: Some(self.weights),
            grads: vec![],
        };
        Plan::new(&g, &request, layout)
    }

    /// Multiply-accumulates of the first step.
    ///
    /// # Errors
    /// As [`SampleConfig::schedule`].
    pub fn macs(&self, layout: &Layout) -> Result<u64> {
        let kinds = self.kinds(&self.schedule()?);
        Ok(self.plan(kinds[0], layout)?.macs())
    }

    /// Device memory of sampling by part, in bytes, before anything is allocated.
    ///
    /// # Errors
    /// As [`SampleConfig::schedule`].
    pub fn forecast(&self, layout: &Layout) -> Result<Vec<(&'static str, u64)>> {
        let mut slots = 0;
        for kind in unique(&self.kinds(&self.schedule()?)) {
            slots += self.plan(kind, layout)?.slot_bytes();
        }
        Ok(vec![
            ("parameters", layout.arena_bytes()),
            ("activations", slots),
        ])
    }
}

fn is_heun(step: &Step) -> bool {
    matches!(step.update, Update::Heun { .. })
}

fn noise(step: &Step) -> f64 {
    match step.update {
        Update::Euler { noise, .. } | Update::Heun { noise, .. } => noise,
    }
}

fn unique(kinds: &[StepKind]) -> Vec<StepKind> {
    let mut list = Vec::new();
    for &kind in kinds {
        if !list.contains(&kind) {
            list.push(kind);
        }
    }
    list
}

/// A batch on its way from noise to data, step by step.
#[derive(Debug)]
pub struct Session {
    config: SampleConfig,
    steps: Vec<Step>,
    /// Index of the program of each step.
    kinds: Vec<usize>,
    programs: Vec<(StepKind, Program)>,
    /// Steps done.
    done: usize,
    /// The state at the start; empty before.
    start: Vec<f32>,
    /// Program that ran last: its output is the state.
    last: Option<usize>,
    labels: Vec<u32>,
    coef: Vec<f32>,
    times: Vec<f32>,
}

impl Session {
    /// Makes the programs of the schedule. `arenas` hold the weights.
    ///
    /// # Errors
    /// [`Error::Config`] for a combination that is refused, [`Error::Limit`] and [`Error::Device`] when the device cannot hold it.
    pub fn new(
        device: &Device,
        arenas: &Arenas,
        layout: &Layout,
        config: SampleConfig,
    ) -> Result<Self> {
        let steps = config.schedule()?;
        Self::with_steps(device, arenas, layout, config, steps)
    }

    /// As [`Session::new`], with the steps given: part of a schedule, or one that starts on the way
    /// ([`crate::transport::schedule_from`]). Of the settings the sampler is not read.
    ///
    /// # Errors
    /// As [`Session::new`]; [`Error::Config`] without a step.
    pub fn with_steps(
        device: &Device,
        arenas: &Arenas,
        layout: &Layout,
        config: SampleConfig,
        steps: Vec<Step>,
    ) -> Result<Self> {
        config.validate()?;
        if steps.is_empty() {
            return Err(Error::Config("a session needs at least one step".into()));
        }
        let kinds = config.kinds(&steps);
        let mut programs = Vec::new();
        for kind in unique(&kinds) {
            let mut program = device.program(config.plan(kind, layout)?, arenas)?;
            model::write_tables(&config.model, &mut program)?;
            programs.push((kind, program));
        }
        let index = |kind: &StepKind| {
            programs
                .iter()
                .position(|(k, _)| k == kind)
                .expect("made above")
        };
        Ok(Session {
            kinds: kinds.iter().map(index).collect(),
            programs,
            steps,
            done: 0,
            start: Vec::new(),
            last: None,
            labels: vec![0; 2 * config.batch],
            coef: vec![0.0; 4 * config.batch],
            times: vec![0.0; 2 * config.batch],
            config,
        })
    }

    /// The settings.
    pub fn config(&self) -> &SampleConfig {
        &self.config
    }

    /// All steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Steps done since the start.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Time of the state.
    pub fn t(&self) -> f64 {
        match self.done {
            0 => self.steps[0].t,
            n => self.steps[n - 1].t_next,
        }
    }

    /// Bytes allocated by the programs.
    pub fn bytes(&self) -> u64 {
        self.programs
            .iter()
            .map(|(_, program)| program.bytes())
            .sum()
    }

    /// Multiply-accumulates of step `i`.
    pub fn macs(&self, i: usize) -> u64 {
        self.programs[self.kinds[i]].1.plan().macs()
    }

    /// Starts from noise x0 `[B, C, I, I]` and labels y `[B]`, the null class included; y is not read by an unconditional model.
    ///
    /// # Errors
    /// [`Error::Shape`] for another length, [`Error::Config`] for a label beyond the null class.
    pub fn start(&mut self, x0: &[f32], y: &[u32]) -> Result<()> {
        self.start_at(0, x0, y)
    }

    /// Starts before step number `step` from the state x `[B, C, I, I]` of that time.
    ///
    /// # Errors
    /// As [`Session::start`]; [`Error::Config`] when there is no such step.
    pub fn start_at(&mut self, step: usize, x: &[f32], y: &[u32]) -> Result<()> {
        let Some(&at) = self.kinds.get(step) else {
            return Err(Error::Config(format!(
                "step {step}: got a schedule of {}",
                count(self.steps.len(), "step")
            )));
        };
        let batch = self.config.batch;
        if let Some(null) = self.config.model.null_class() {
            if y.len() != batch {
                return Err(Error::Shape(format!(
                    "y got {} labels, expected {batch}",
                    y.len()
                )));
            }
            if let Some(label) = y.iter().find(|&&label| label > null) {
                return Err(Error::Config(format!(
                    "class {label}: this model has {}, 0 to {}, and {null} for none",
                    count(null, "class"),
                    null - 1
                )));
            }
            self.labels[..batch].copy_from_slice(y);
            self.labels[batch..].fill(null);
            for (kind, program) in &mut self.programs {
                let n = if kind.guided { 2 * batch } else { batch };
                program.write_u32("y", &self.labels[..n])?;
            }
        }
        self.programs[at].1.write("x", x)?;
        self.start.clear();
        self.start.extend_from_slice(x);
        self.last = None;
        self.done = step;
        Ok(())
    }

    /// Whether the next step adds noise.
    pub fn needs_noise(&self) -> bool {
        self.steps
            .get(self.done)
            .is_some_and(|step| noise(step) != 0.0)
    }

    /// Does the next step with standard normal `noise` `[B, C, I, I]`, which is read if [`Session::needs_noise`].
    ///
    /// # Errors
    /// [`Error::Config`] when there is no next step, [`Error::Shape`] for noise of another length, [`Error::Device`] when the
    /// device fails.
    pub async fn step(&mut self, noise: &[f32]) -> Result<()> {
        let Some(&step) = self.steps.get(self.done) else {
            return Err(Error::Config(format!(
                "already done: {}",
                count(self.steps.len(), "step")
            )));
        };
        let at = self.kinds[self.done];
        if self.last == Some(at) {
            self.programs[at].1.feed("x", "x")?;
        } else if self.last.is_some() || self.start.is_empty() {
            let x = self.read().await?;
            self.programs[at].1.write("x", &x)?;
        }
        let adds_noise = self.needs_noise();
        let kind = self.programs[at].0;
        self.write_times(at, step, kind)?;
        let program = &mut self.programs[at].1;
        if adds_noise {
            program.write("noise", noise)?;
        }
        let mut write = |name: &str, row: [f64; 4]| {
            let row = row.map(|c| c as f32);
            self.coef
                .chunks_exact_mut(4)
                .for_each(|c| c.copy_from_slice(&row));
            program.write(name, &self.coef)
        };
        match step.update {
            Update::Euler { x, out, noise } => write("coef", [x, out, noise, 0.0])?,
            Update::Heun { noise, mid, end } => {
                if kind.noisy {
                    write("start_coef", [1.0, noise, 0.0, 0.0])?;
                }
                write("mid_coef", [mid[0], mid[1], 0.0, 0.0])?;
                write("coef", [end[0], end[1], end[2], 0.0])?;
            }
        }
        program.run()?;
        self.last = Some(at);
        self.done += 1;
        Ok(())
    }

    fn write_times(&mut self, at: usize, step: Step, kind: StepKind) -> Result<()> {
        let program = &mut self.programs[at].1;
        let n = self.config.batch * (1 + usize::from(kind.guided));
        let evaluations = [
            ("t", "scale", step.t),
            ("t_next", "scale_next", step.t_next),
        ];
        for (t_input, scale_input, t) in evaluations.into_iter().take(1 + usize::from(kind.heun)) {
            self.times.fill(t as f32);
            program.write(t_input, &self.times[..n])?;
            if kind.guided {
                program.write(scale_input, &[self.config.guidance.scale_at(t) as f32])?;
            }
        }
        Ok(())
    }

    /// The network's output `[B, C, I, I]` at the state and time before the last step (Heun's first evaluation, after the
    /// step's noise); with guidance `[2B, C, I, I]`, first the classes' and then the null class's.
    ///
    /// # Errors
    /// [`Error::Config`] before the first step or without [`SampleConfig::keep_out`], [`Error::Device`] when the device fails.
    pub async fn read_out(&self) -> Result<Vec<f32>> {
        self.kept()?.read("out").await
    }

    /// What [`Session::read`] and [`Session::read_out`] return, on a GPU for one wait.
    ///
    /// # Errors
    /// As [`Session::read_out`].
    pub async fn read_both(&self) -> Result<[Vec<f32>; 2]> {
        self.kept()?.read_all(["x", "out"]).await
    }

    fn kept(&self) -> Result<&Program> {
        let program = self.program().filter(|_| self.config.keep_out);
        program.ok_or_else(|| {
            Error::Config(
                "the network's output is kept from the first step on, with keep_out".into(),
            )
        })
    }

    /// The program of the last step, none before the first: its outputs are the state `x` and, with
    /// [`SampleConfig::keep_out`], the network's output `out`, as [`Session::read`] and [`Session::read_out`] tell.
    pub fn program(&self) -> Option<&Program> {
        self.last.map(|at| &self.programs[at].1)
    }

    /// The state `[B, C, I, I]`.
    ///
    /// # Errors
    /// [`Error::Config`] when the session was not started, [`Error::Device`] when the device fails.
    pub async fn read(&self) -> Result<Vec<f32>> {
        match self.last {
            Some(at) => self.programs[at].1.read("x").await,
            None if self.start.is_empty() => {
                Err(Error::Config("the session was not started".into()))
            }
            None => Ok(self.start.clone()),
        }
    }
}

/// Standard normal noise for the images numbered `first..` of a sampling run, `[.., C, I, I]`: the initial noise.
///
/// A function of (seed, image number), so a sample does not depend on how the images are batched.
pub fn initial_noise(config: &ModelConfig, seed: u64, first: u64, out: &mut [f32]) {
    fill(config, seed, Stream::SampleNoise, 0, first, out);
}

/// The noise of SDE step number `step` for the images numbered `first..`, `[.., C, I, I]`.
pub fn step_noise(config: &ModelConfig, seed: u64, step: usize, first: u64, out: &mut [f32]) {
    fill(config, seed, Stream::SdeNoise, step as u32, first, out);
}

/// The noise of SDE step number `step` of `n_steps` equal ones for the images numbered `first..`, `[.., C, I, I]`, such that a
/// run of twice as many steps follows the same Brownian path: `noise = (noise' of 2 step + noise' of 2 step + 1) / sqrt 2`.
///
/// # Errors
/// [`Error::Config`] when `n_steps` is not a power of two, or `step` not below it.
pub fn brownian_noise(
    config: &ModelConfig,
    seed: u64,
    step: usize,
    n_steps: u32,
    first: u64,
    out: &mut [f32],
) -> Result<()> {
    if !n_steps.is_power_of_two() {
        return Err(Error::Config(format!(
            "steps on one Brownian path: got {n_steps}, expected a power of two, so that halving a step refines the path"
        )));
    }
    if step >= n_steps as usize {
        return Err(Error::Config(format!(
            "step on a Brownian path: got {step}, expected one below {n_steps}"
        )));
    }
    let (len, level) = (config.image_len(), n_steps.ilog2());
    let cost = 32 * len * (level as usize + 1);
    for_rows(rows_mut(out, len), grain(cost), |row, x| {
        fill_brownian(
            seed,
            level,
            step as u32,
            (first + row as u64) * len as u64,
            x,
        );
    });
    Ok(())
}

fn fill(config: &ModelConfig, seed: u64, stream: Stream, step: u32, first: u64, out: &mut [f32]) {
    let len = config.image_len();
    for_rows(rows_mut(out, len), grain(32 * len), |row, x| {
        fill_normal(seed, stream, step, (first + row as u64) * len as u64, x);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brownian_noise_refines_whatever_the_batch() {
        let config = ModelConfig {
            input_size: 5,
            channels: 3,
            ..ModelConfig::preset("SiT-S/2").unwrap()
        };
        let len = config.image_len();
        let noise = |step, n_steps, first, n: usize| {
            let mut out = vec![0.0; n * len];
            brownian_noise(&config, 7, step, n_steps, first, &mut out).unwrap();
            out
        };
        let (coarse, left, right) = (noise(3, 8, 0, 4), noise(6, 16, 0, 4), noise(7, 16, 0, 4));
        for ((n, a), b) in coarse.iter().zip(&left).zip(&right) {
            assert!((n - (a + b) * std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
        }
        assert_eq!(noise(3, 8, 2, 2), coarse[2 * len..]);
    }

    #[test]
    fn a_brownian_path_of_other_steps_is_refused() {
        let config = ModelConfig::preset("SiT-S/2").unwrap();
        let mut out = vec![0.0; config.image_len()];
        let mut refusal = |step, n_steps| {
            let result = brownian_noise(&config, 7, step, n_steps, 0, &mut out);
            result.unwrap_err().to_string()
        };
        assert!(refusal(0, 0).contains("got 0, expected a power of two"));
        assert!(refusal(0, 12).contains("got 12, expected a power of two"));
        assert!(refusal(8, 8).contains("got 8, expected one below 8"));
    }
}
