//! What a run writes beside its lines: previews, snapshots and checkpoints.

use super::Job;
use crate::error::Result;
use crate::log::Logs;
use crate::run::{self, RunFolder};

impl Job {
    /// Writes a preview of this step.
    pub(super) fn preview(&mut self, folder: &mut RunFolder, logs: &mut Logs) -> Result<()> {
        let Some(previews) = &mut self.previews else {
            return Ok(());
        };
        let image = previews.make(folder.path()?, self.state.step)?;
        Ok(logs.image(self.state.step, "preview", &image)?)
    }

    /// Writes a snapshot of the averages, once there are any.
    pub(super) fn snapshot(&mut self, folder: &mut RunFolder) -> Result<()> {
        if self.state.n_updates > 0 {
            run::save_snapshot(folder.path()?, &self.state, &self.trainer)?;
        }
        Ok(())
    }

    /// Writes a checkpoint, unless the last one already has everything that was learned, and deletes old ones, but keeps a good one
    /// of a run that has diverged. Returns whether it wrote one.
    pub(super) fn save(&mut self, folder: &mut RunFolder) -> Result<bool> {
        self.is_due = false;
        if self.state.n_updates == self.saved_updates {
            // Notices a deleted folder.
            folder.path()?;
            return Ok(false);
        }
        let mut scales = Vec::new();
        if let Some(scale) = &self.latent_scale {
            for weights in self.trainer.training().weights() {
                scales.push((weights, scale.measure(&self.trainer.model(weights))?));
            }
        }
        let scale_of = |weights| {
            let found = scales.iter().find(|(other, _)| *other == weights);
            found.and_then(|(_, scale)| *scale)
        };
        self.state.objective = self.trainer.objective_state();
        // After the measurement, during which it may have moved.
        let path = folder.path()?;
        run::save(path, &self.state, &self.trainer, scale_of)?;
        self.saved_updates = self.state.n_updates;
        let log = &self.config.log;
        run::prune(
            path,
            log.keep_last,
            log.keep_every_steps,
            self.health.diverged(),
        )?;
        Ok(true)
    }
}
