//! The distribution of training times.

use super::{Interval, Path, grid::shift, names::named_enum};
use crate::error::{Error, Result};

named_enum! {
    /// The kind of a distribution of training times.
    #[derive(Default)]
    pub enum TimesKind: "times" {
        /// Uniform over the training interval.
        #[default]
        Uniform = "uniform",
        /// `t = sigmoid(mean + std n)` with a standard normal `n` (arXiv 2403.03206): more times in the middle. By default mean 0 and
        /// deviation 1; JiT has -0.8 and 0.8.
        LogitNormal = "logit-normal",
        /// `ln(sigma / alpha) = mean + std n`, EDM's times, by default -1.2 and 1.2.
        LogNormal = "log-normal",
    }
}

/// The distribution of training times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// Its kind.
    pub kind: TimesKind,
    /// Mean of the normal number; 0 for uniform times.
    pub mean: f64,
    /// Standard deviation of the normal number; 1 for uniform times.
    pub std: f64,
    /// Moves the times to noise, above 1: a drawn `t` becomes `t / (s - (s - 1) t)`.
    pub shift: f64,
}

impl Default for Times {
    /// Uniform times.
    fn default() -> Self {
        Self::usual(TimesKind::Uniform)
    }
}

impl Times {
    /// The usual numbers of a kind.
    pub const fn usual(kind: TimesKind) -> Self {
        let (mean, std) = match kind {
            TimesKind::Uniform | TimesKind::LogitNormal => (0.0, 1.0),
            TimesKind::LogNormal => (-1.2, 1.2),
        };
        Times {
            kind,
            mean,
            std,
            shift: 1.0,
        }
    }

    pub(super) fn validate(&self, path: &Path) -> Result<()> {
        let checks = [
            (
                "times_mean",
                self.mean,
                self.mean.is_finite(),
                "a finite number",
            ),
            (
                "times_std",
                self.std,
                self.std > 0.0 && self.std.is_finite(),
                "a number above 0",
            ),
            (
                "times_shift",
                self.shift,
                self.shift > 0.0 && self.shift.is_finite(),
                "a number above 0",
            ),
        ];
        if let Some((key, got, _, expected)) = checks.into_iter().find(|check| !check.2) {
            return Err(Error::setting(
                key,
                format!("got {got}, expected {expected}"),
            ));
        }
        let usual = Self::usual(self.kind);
        if self.kind == TimesKind::Uniform && (self.mean, self.std) != (usual.mean, usual.std) {
            let key = match self.mean == usual.mean {
                true => "times_std",
                false => "times_mean",
            };
            return Err(Error::setting(
                key,
                "uniform times have no mean and deviation; use logit-normal or log-normal `times`",
            ));
        }
        if matches!(path, Path::Edm { .. }) && self.shift != 1.0 {
            return Err(Error::setting(
                "times_shift",
                format!(
                    "got {}, expected 1 on the EDM path; change the mean of log-normal times",
                    self.shift
                ),
            ));
        }
        Ok(())
    }

    /// A time of `interval` from a uniform number in `[0, 1)` and a standard normal one.
    pub(super) fn at(
        &self,
        path: &Path,
        interval: Interval,
        uniform: f64,
        normal: impl FnOnce() -> f64,
    ) -> f64 {
        let t = match self.kind {
            TimesKind::Uniform if self.shift == 1.0 => return interval.at(uniform),
            TimesKind::Uniform => interval.at(uniform),
            TimesKind::LogitNormal => 1.0 / (1.0 + libm::exp(-(self.mean + self.std * normal()))),
            TimesKind::LogNormal => path.time_of(-(self.mean + self.std * normal())),
        };
        shift(self.shift, t).clamp(interval.t0, interval.t1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::assert_near;

    const UNIT: Interval = Interval { t0: 0.0, t1: 1.0 };

    #[test]
    fn times_follow_their_distribution() {
        let at = |kind, path: &Path, n: f64| Times::usual(kind).at(path, UNIT, 0.25, || n);
        assert_eq!(at(TimesKind::Uniform, &Path::Linear, 9.0), 0.25);
        assert_eq!(at(TimesKind::LogitNormal, &Path::Linear, 0.0), 0.5);
        // On EDM's path, ln sigma is the normal number.
        for n in [-2.0, -0.3, 1.7] {
            let t = at(TimesKind::LogNormal, &Path::EDM, n);
            let sigma: f64 = Path::EDM.sigma(t);
            assert_near("ln sigma", sigma.ln(), -1.2 + 1.2 * n, 1e-12);
        }
        let shifted = Times {
            shift: 3.0,
            ..Times::default()
        };
        assert_eq!(shifted.at(&Path::Linear, UNIT, 0.5, || 0.0), 0.25);
    }

    #[test]
    fn wrong_numbers_are_refused_by_key() {
        let refusal = |times: Times, path: Path| times.validate(&path).unwrap_err().to_string();
        let logit = Times::usual(TimesKind::LogitNormal);
        assert!(refusal(Times { std: 0.0, ..logit }, Path::Linear).starts_with("times_std: got 0"));
        assert!(
            refusal(
                Times {
                    mean: 0.3,
                    ..Times::default()
                },
                Path::Linear
            )
            .starts_with("times_mean: uniform times")
        );
        assert!(
            refusal(
                Times {
                    shift: 2.0,
                    ..logit
                },
                Path::EDM
            )
            .starts_with("times_shift: got 2")
        );
    }
}
