//! Whether a run still learns: compares its loss with its lowest loss so far.

/// A loss this many times the lowest one is not noise: the run has diverged.
const DIVERGED: f64 = 100.0;

/// Weight of a new loss in the moving average that is compared.
const RATE: f64 = 0.05;

/// Follows the loss of a run.
#[derive(Debug, Default)]
pub struct Health {
    /// Average of the last losses.
    recent: Option<f64>,
    /// The lowest that `recent` has been.
    lowest: Option<f64>,
    /// The last step whose loss was no worse than usual, and whether it was the last step of all.
    good: Option<(u64, bool)>,
}

impl Health {
    /// Adds the loss of a step, which is not finite when the step was skipped.
    pub fn add(&mut self, step: u64, loss: f64) {
        if loss.is_finite() {
            let recent = self.recent.map_or(loss, |old| old + RATE * (loss - old));
            self.recent = Some(recent);
            self.lowest = Some(self.lowest.map_or(recent, |lowest| lowest.min(recent)));
        }
        if loss.is_finite() && self.grown() < DIVERGED {
            self.good = Some((step, true));
        } else if let Some((_, last)) = &mut self.good {
            *last = false;
        }
    }

    /// The ratio of the average loss to its lowest value so far.
    fn grown(&self) -> f64 {
        match (self.recent, self.lowest) {
            (Some(recent), Some(lowest)) => recent / lowest.max(f64::MIN_POSITIVE),
            _ => 1.0,
        }
    }

    /// If the run has diverged, the last step after which the weights were still good: the step before the last good loss, because
    /// a loss is measured before the update of its step.
    pub fn diverged(&self) -> Option<u64> {
        match self.good {
            Some((_, true)) | None => None,
            Some((step, false)) => Some(step.saturating_sub(1)),
        }
    }

    /// What to say of a loss that has grown by orders of magnitude.
    pub fn warning(&self) -> Option<String> {
        (self.grown() >= DIVERGED).then(|| {
            format!(
                "the loss has grown to {:.3e}; it has been {:.3e}: this run has diverged",
                self.recent.unwrap_or(f64::NAN),
                self.lowest.unwrap_or(f64::NAN)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_divergence() {
        let mut health = Health::default();
        for step in 1..=1000_u32 {
            // Falls from 2 to 0.1, each loss up to four times another.
            let loss = (0.1 + 1.9 / f64::from(step)) * f64::from([1, 4, 2][step as usize % 3]);
            health.add(step.into(), loss);
            assert_eq!(
                (health.diverged(), health.warning()),
                (None, None),
                "{step}"
            );
        }
    }

    #[test]
    fn a_loss_that_grows_tells_where_the_weights_were_good() {
        let mut health = Health::default();
        (1..=50).for_each(|step| health.add(step, 0.5));
        health.add(51, 1e4);
        assert_eq!(health.diverged(), Some(49));
        let warning = health.warning().unwrap();
        assert!(warning.contains("5.005e2"), "{warning}");
        // A single skipped step does not mark the run as diverged for good.
        let mut health = Health::default();
        health.add(1, 0.5);
        health.add(2, f64::NAN);
        assert_eq!((health.diverged(), health.warning()), (Some(0), None));
        health.add(3, 0.5);
        assert_eq!(health.diverged(), None);
    }
}
