//! Times drawn by the size of their losses (improved-diffusion, arXiv 2102.09672, section 3.3).

use crate::error::{Error, Result};

/// The last losses at each of some times. Once each time has as many as are kept, it is drawn in proportion to the root of their mean
/// square; a small part of the draws stays uniform.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct SecondMoment {
    /// Losses that are kept of a time.
    n_kept: usize,
    /// Probability of a uniform draw.
    uniform: f64,
    /// The last losses of each time, the oldest first.
    losses: Vec<Vec<f32>>,
}

impl SecondMoment {
    /// Of `n` times, with no losses yet.
    pub fn new(n: usize, n_kept: usize, uniform: f64) -> Self {
        SecondMoment {
            n_kept,
            uniform,
            losses: vec![Vec::new(); n],
        }
    }

    /// Whether each time has all its losses.
    pub fn is_warm(&self) -> bool {
        self.losses.iter().all(|losses| losses.len() == self.n_kept)
    }

    /// Takes note of a loss at a time.
    pub fn add(&mut self, time: usize, loss: f32) {
        let Some(losses) = self.losses.get_mut(time) else {
            return;
        };
        if losses.len() == self.n_kept {
            losses.remove(0);
        }
        losses.push(loss);
    }

    /// The probability of each time.
    pub fn probabilities(&self) -> Vec<f64> {
        let n = self.losses.len() as f64;
        let alike = || vec![1.0 / n; self.losses.len()];
        if !self.is_warm() {
            return alike();
        }
        let moment = |losses: &Vec<f32>| {
            let squares = losses.iter().map(|&loss| f64::from(loss) * f64::from(loss));
            libm::sqrt(squares.sum::<f64>() / self.n_kept as f64)
        };
        let moments: Vec<f64> = self.losses.iter().map(moment).collect();
        let total: f64 = moments.iter().sum();
        // Losses that are all 0 tell no time from another.
        if !(total > 0.0 && total.is_finite()) {
            return alike();
        }
        let share = |moment: &f64| (1.0 - self.uniform) * moment / total + self.uniform / n;
        moments.iter().map(share).collect()
    }

    /// The number of losses and the losses of each time, with zeros where there are none yet.
    pub fn state(&self) -> Vec<f32> {
        let counts = self.losses.iter().map(|losses| losses.len() as f32);
        let all = self.losses.iter().flat_map(|losses| {
            let none = std::iter::repeat_n(0.0, self.n_kept - losses.len());
            losses.iter().copied().chain(none)
        });
        counts.chain(all).collect()
    }

    /// Takes the place of what [`SecondMoment::state`] returned.
    ///
    /// # Errors
    /// [`Error::Shape`] for a state of another number of times or losses.
    pub fn restore(&mut self, state: &[f32]) -> Result<()> {
        let n = self.losses.len();
        let expected = n * (1 + self.n_kept);
        let is_count =
            |count: &f32| count.fract() == 0.0 && (0.0..=self.n_kept as f32).contains(count);
        if state.len() != expected || !state[..n].iter().all(is_count) {
            return Err(Error::Shape(format!(
                "got {} numbers, expected {expected}: for each of {n} times how many losses are kept, 0 to {}, then the losses",
                state.len(),
                self.n_kept
            )));
        }
        let (counts, losses) = state.split_at(n);
        let rows = losses.chunks_exact(self.n_kept.max(1));
        for ((to, &count), row) in self.losses.iter_mut().zip(counts).zip(rows) {
            *to = row[..count as usize].to_vec();
        }
        Ok(())
    }
}

/// The place of a uniform number in `[0, 1)` among these probabilities.
pub(super) fn pick(probabilities: &[f64], uniform: f64) -> usize {
    let mut sum = 0.0;
    let place = probabilities.iter().position(|p| {
        sum += p;
        uniform < sum
    });
    // The sum may round to a little less than 1.
    place.unwrap_or(probabilities.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_alike_until_each_has_its_losses() {
        let mut times = SecondMoment::new(2, 2, 0.1);
        for loss in [5.0, 1.0, 3.0] {
            times.add(0, loss);
            assert_eq!(times.probabilities(), [0.5, 0.5]);
        }
        times.add(1, 0.0);
        times.add(1, 0.0);
        // The oldest loss is gone.
        assert_eq!(times.state(), [2.0, 2.0, 1.0, 3.0, 0.0, 0.0]);
        let [first, second] = times.probabilities()[..] else {
            panic!("two times")
        };
        assert!((first - 0.95).abs() < 1e-15, "{first}");
        assert_eq!(second, 0.05);
    }

    #[test]
    fn a_state_comes_back_and_a_foreign_one_is_refused() {
        let mut times = SecondMoment::new(3, 2, 0.0);
        times.add(1, 4.0);
        let mut other = SecondMoment::new(3, 2, 0.0);
        other.restore(&times.state()).unwrap();
        assert_eq!(other, times);
        for wrong in [vec![0.0; 8], vec![f32::NAN; 9], vec![3.0; 9]] {
            let message = other.restore(&wrong).unwrap_err().to_string();
            assert!(message.contains("expected 9"), "{message}");
        }
    }

    #[test]
    fn a_pick_follows_the_probabilities() {
        let p = [0.25, 0.0, 0.75];
        assert_eq!(
            [0.0, 0.2, 0.25, 0.9, 1.0].map(|u| pick(&p, u)),
            [0, 0, 2, 2, 2]
        );
    }
}
