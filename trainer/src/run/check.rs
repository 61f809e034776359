//! Checks of a state before anything relies on it.

use super::State;
use crate::error::{Failure, Result};

impl State {
    /// Checks all numbers that going on or sampling relies on.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the key, what it is and what was expected.
    pub(super) fn validate(&self) -> Result<()> {
        let config = |e| Failure::Input(format!("config.{e}"));
        self.config.validate().map_err(config)?;
        self.recipe().validate()?;
        let images = self.n_samples;
        let by_t = self.window.by_t.iter().map(|&(_, n)| n).max();
        let numbers = [
            ("step", self.step, self.config.train.steps),
            ("n_updates", self.n_updates, self.step),
            ("skipped", self.skipped, self.step),
            ("skipped_in_a_row", self.skipped_in_a_row, self.skipped),
            ("window.n", self.window.n, self.step),
            ("window.by_t", by_t.unwrap_or(0), images),
            // Leaves room for the samples that are still to be drawn.
            ("n_samples", images, u64::MAX / 2),
        ];
        for (key, got, most) in numbers {
            if got > most {
                return Err(Failure::Input(format!(
                    "{key}: got {got}, expected at most {most}"
                )));
            }
        }
        Ok(())
    }
}
