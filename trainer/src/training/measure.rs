//! The lines of metrics.

use super::{Job, Stop};
use crate::error::{Failure, Result};
use crate::evaluation::InTraining;
use crate::log::{self, Logs, MetricsLine};
use crate::run::RunFolder;
use crate::validation::Validation;
use std::mem;

impl Job {
    /// Names of the numbers of evaluations.
    pub(super) fn evaluated(&self) -> &[String] {
        self.evaluation.as_ref().map_or(&[], InTraining::names)
    }

    /// Whether the line of the step at which the run was stopped is missing, since it was stopped during the evaluation.
    pub(super) fn has_line_due(&self) -> bool {
        let (step, total) = (self.state.step, self.config.train.steps);
        let is_step = step.is_multiple_of(self.config.log.every_steps) || step == total;
        step > 0 && is_step && self.state.window.n > 0 && self.evaluation.is_some()
    }

    /// Writes the line of measurements of this step.
    pub(super) fn write_line(
        &mut self,
        folder: &mut RunFolder,
        logs: &mut Logs,
        steps_per_sec: f64,
    ) -> std::result::Result<(), Stop> {
        // Notices a deleted folder before the next checkpoint.
        folder.path()?;
        match self.log(logs, steps_per_sec) {
            // The checkpoint keeps what the line is to say.
            Err(Failure::Interrupted) => {
                self.save(folder).map_err(Stop::Saving)?;
                Err(Stop::Interrupted)
            }
            done => Ok(done?),
        }
    }

    pub(super) fn log(&mut self, logs: &mut Logs, steps_per_sec: f64) -> Result<()> {
        let (step, total) = (self.state.step, self.config.train.steps);
        let is_due = |every: u64| every > 0 && step.is_multiple_of(every) || step == total;
        let log = &self.config.log;
        let evaluation = self.evaluation.as_mut();
        let evaluation = evaluation.filter(|_| is_due(log.eval.every_steps));
        let evaluated = match evaluation.map(|evaluation| evaluation.measure(step)) {
            Some(Err(Failure::Interrupted)) => return Err(Failure::Interrupted),
            // It would fail again when the run goes on.
            Some(Err(e)) => {
                tracing::warn!("step {step}: not evaluated: {e}");
                None
            }
            done => done.transpose()?,
        };
        let validation = self.validation.as_mut();
        let validation = validation.filter(|_| is_due(log.validation.every_steps));
        let training = self.trainer.training();
        let macs_per_step = self.trainer.macs() as f64 * training.batches_per_step() as f64;
        let flops = 2.0 * macs_per_step * steps_per_sec;
        let measured = validation.map(Validation::measure).transpose()?;
        // Only now, as an evaluation may be interrupted; the line is then written when the run goes on.
        let window = mem::take(&mut self.state.window);
        let psnr = measured.as_ref().and_then(|measured| measured.psnr);
        let mut more = window.mean_parts();
        more.extend(psnr.map(|psnr| (log::VALIDATION_PSNR.to_owned(), psnr)));
        more.extend(evaluated.into_iter().flatten());
        let names = log::more(&self.config)
            .iter()
            .map(|name| (*name).to_owned());
        let names = names.chain(self.evaluated().iter().cloned());
        let value = |name: String| {
            let value = more.get(&name).copied().unwrap_or(f64::NAN);
            (name, value)
        };
        let line = MetricsLine {
            step,
            loss: window.mean(),
            validation_loss: measured.map(|measured| measured.loss),
            grad_norm: self.grad_norm,
            lr: self.config.learning_rate().at(step - 1),
            steps_per_sec,
            images_per_sec: steps_per_sec * training.images_per_step() as f64,
            gflops_per_sec: flops / 1e9,
            mfu: flops / self.peak_flops,
            skipped: self.state.skipped,
            loss_by_t: window.mean_by_t(),
            more: names.map(value).collect(),
        };
        if let Some(loss) = line.validation_loss {
            let psnr = psnr.map_or(String::new(), |psnr| format!(", PSNR {psnr:.2} dB"));
            tracing::info!("step {step}: validation loss {loss:.4}{psnr}");
        }
        logs.write(&line)?;
        Ok(())
    }
}
