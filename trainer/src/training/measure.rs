//! The lines of metrics.

use super::Job;
use crate::error::Result;
use crate::log::{self, Logs, MetricsLine};
use crate::validation::Validation;
use std::mem;

impl Job {
    pub(super) fn log(&mut self, logs: &mut Logs, steps_per_sec: f64) -> Result<()> {
        let window = mem::take(&mut self.state.window);
        let step = self.state.step;
        let every = self.config.log.validation.every_steps;
        let is_due = every > 0 && step.is_multiple_of(every) || step == self.config.train.steps;
        let validation = self.validation.as_mut().filter(|_| is_due);
        let training = self.trainer.training();
        let macs_per_step = self.trainer.macs() as f64 * training.batches_per_step() as f64;
        let flops = 2.0 * macs_per_step * steps_per_sec;
        let measured = validation.map(Validation::measure).transpose()?;
        let psnr = measured.as_ref().and_then(|measured| measured.psnr);
        let mut more = window.mean_parts();
        more.extend(psnr.map(|psnr| (log::VALIDATION_PSNR.to_owned(), psnr)));
        let value = |name: &&'static str| (*name, more.get(*name).copied().unwrap_or(f64::NAN));
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
            more: log::more(&self.config).iter().map(value).collect(),
        };
        if let Some(loss) = line.validation_loss {
            let psnr = psnr.map_or(String::new(), |psnr| format!(", PSNR {psnr:.2} dB"));
            tracing::info!("step {step}: validation loss {loss:.4}{psnr}");
        }
        logs.write(&line)?;
        Ok(())
    }
}
