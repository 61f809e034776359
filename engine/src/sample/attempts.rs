//! The programs of an adaptive solver: the drift, and an attempt of a step.

use super::Sampling;
use super::plan::{Form, NEXT, TAKEN, TOLERANCE};
use super::write::{FormProgram, Writer, write_labels};
use crate::error::{Error, Result};
use crate::model::{Model, NetworkIo};
use crate::transport::{Adaptive, Step};

/// Evaluates drifts and attempts steps of an adaptive solver, for at most a batch of samples at a time.
#[derive(Debug)]
pub struct Attempts {
    pub(super) sampling: Sampling<Model>,
    pub(super) solver: Adaptive,
    pub(super) io: NetworkIo,
    /// Evaluates the drift.
    pub(super) drift: FormProgram,
    /// Attempts a step.
    pub(super) attempt: FormProgram,
    pub(super) writer: Writer,
    /// Labels `[2B]`: those of the samples, and null classes.
    pub(super) labels: Vec<u32>,
}

/// What an attempt of a step leads to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// The states after it, `[N, C, H, W]`.
    pub x: Vec<f32>,
    /// The drifts with which a step from there begins.
    pub drift: Vec<f32>,
    /// The network's outputs that gave those drifts, with guidance `[2N, C, H, W]`; empty without [`Sampling::keep_out`].
    pub out: Vec<f32>,
    /// The mean square of each sample's error, relative to what is tolerated.
    pub squares: Vec<f32>,
}

impl Sampling<Model> {
    /// Creates the programs of an adaptive solver.
    ///
    /// # Errors
    /// As [`Sampling::pool`].
    #[doc(hidden)]
    pub fn attempts(self) -> Result<Attempts> {
        self.validate()?;
        let solver = Adaptive::new(self.model.transport(), &self.sampler)?;
        let [drift, attempt] = self.adaptive_forms(&solver)?;
        let (io, batch) = (self.io(), self.batch);
        let mut attempts = Attempts {
            drift: FormProgram::new(&self, drift)?,
            attempt: FormProgram::new(&self, attempt)?,
            writer: Writer::new(batch),
            labels: vec![0; 2 * batch],
            sampling: self,
            solver,
            io,
        };
        if let Some(null) = io.null_class() {
            attempts.labels[batch..].fill(null);
        }
        let tolerance = attempts.solver.weights().map(|weight| weight as f32);
        let program = &mut attempts.attempt.program;
        program.write(TOLERANCE, &tolerance)?;
        // What a step that is not taken would go on from.
        let nothing = vec![0.0; batch * io.image_len()];
        program.write("x", &nothing)?;
        program.write("history0", &nothing)?;
        program.write(TAKEN, &vec![1.0; batch])?;
        Ok(attempts)
    }
}

impl<M: AsRef<crate::model::Blueprint>> Sampling<M> {
    /// Forms of the evaluation of the drift and of an attempt.
    pub(super) fn adaptive_forms(&self, solver: &Adaptive) -> Result<[Form; 2]> {
        let t = solver.times[0];
        let form = |step: Step, is_adaptive: bool| Form {
            step: crate::transport::StepForm {
                has_first_row: true,
                ..step.form()
            },
            // Every image has its own times, so the guided program also serves times outside the interval.
            guided: self.guides(true),
            has_error: is_adaptive,
            is_adaptive,
        };
        Ok([
            form(solver.drift(t)?, false),
            form(solver.step(t, 1.0)?, true),
        ])
    }
}

impl Attempts {
    /// The drifts of states x `[N, C, H, W]` at the times t `[N]`, or `[1]` for all of them, and the network's outputs that gave them as
    /// in [`Attempt`].
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::Config`] for a label beyond the null class or a time at which the drift is
    /// infinite, [`Error::Device`] when the device fails.
    pub async fn drifts(&mut self, t: &[f64], x: &[f32], y: &[u32]) -> Result<[Vec<f32>; 2]> {
        let n = self.check(x, y)?;
        if t.len() != n && t.len() != 1 {
            return Err(Error::Shape(format!(
                "t got {} times, expected {n} or 1",
                t.len()
            )));
        }
        let at = |b: usize| self.solver.drift(t[b.min(t.len() - 1)]);
        let steps = (0..self.sampling.batch)
            .map(at)
            .collect::<Result<Vec<_>>>()?;
        self.writer.step(&mut self.drift, &self.sampling, &steps)?;
        let states = self.padded(x);
        let labels = self.all_labels(y);
        write_labels(&mut self.drift.program, &labels)?;
        self.drift.program.write("x", &states)?;
        self.drift.program.run()?;
        let program = &self.drift.program;
        let [drifts, out] = match self.sampling.keep_out {
            true => program.read_all(["x", "out"]).await?,
            false => [program.read("x").await?, Vec::new()],
        };
        Ok([self.first(drifts, n), self.both(out, n)])
    }

    /// Attempts `step` for states x `[N, C, H, W]`, whose drifts are known.
    ///
    /// # Errors
    /// As [`Attempts::drifts`].
    pub async fn attempt(
        &mut self,
        step: &Step,
        x: &[f32],
        drift: &[f32],
        y: &[u32],
    ) -> Result<Attempt> {
        let n = self.check(x, y)?;
        self.check(drift, y)?;
        let next = [x, drift].map(|values| self.padded(values));
        let labels = self.all_labels(y);
        self.writer
            .step(&mut self.attempt, &self.sampling, &[*step])?;
        write_labels(&mut self.attempt.program, &labels)?;
        let program = &mut self.attempt.program;
        for (name, values) in NEXT.into_iter().zip(&next) {
            program.write(name, values)?;
        }
        program.run()?;
        let [x, drift, mut squares] = program.read_all([NEXT[0], NEXT[1], "error"]).await?;
        squares.truncate(n);
        let out = match self.sampling.keep_out {
            true => program.read("out").await?,
            false => Vec::new(),
        };
        Ok(Attempt {
            x: self.first(x, n),
            drift: self.first(drift, n),
            out: self.both(out, n),
            squares,
        })
    }

    /// The number of samples in `x`, each with its label.
    fn check(&self, x: &[f32], y: &[u32]) -> Result<usize> {
        let (batch, len) = (self.sampling.batch, self.io.image_len());
        let n = x.len() / len;
        if x.len() != n * len || !(1..=batch).contains(&n) {
            return Err(Error::Shape(format!(
                "x got {} values, expected 1 to {batch} samples of {len}",
                x.len()
            )));
        }
        self.io.check_labels(y, n)?;
        Ok(n)
    }

    /// The states of a whole batch: places without a sample repeat the last one.
    fn padded(&self, x: &[f32]) -> Vec<f32> {
        let (batch, len) = (self.sampling.batch, self.io.image_len());
        let mut states = x.to_vec();
        for _ in x.len() / len..batch {
            states.extend_from_slice(&x[x.len() - len..]);
        }
        states
    }

    /// Labels `[2B]` of a whole batch.
    fn all_labels(&self, y: &[u32]) -> Vec<u32> {
        let mut labels = self.labels.clone();
        for (b, label) in labels[..self.sampling.batch].iter_mut().enumerate() {
            *label = y.get(b).or(y.last()).copied().unwrap_or(0);
        }
        labels
    }

    /// The values of the first `n` samples.
    fn first(&self, mut values: Vec<f32>, n: usize) -> Vec<f32> {
        values.truncate(n * self.io.image_len());
        values
    }

    /// The values of the first `n` samples, and of their evaluation without a class if there was one.
    fn both(&self, mut values: Vec<f32>, n: usize) -> Vec<f32> {
        let (batch, len) = (self.sampling.batch, self.io.image_len());
        if values.len() > batch * len {
            values.drain(n * len..batch * len);
            values.truncate(2 * n * len);
        } else {
            values.truncate(n * len);
        }
        values
    }
}
