//! What a path begins with: noise, or another data set (stochastic interpolants, arXiv 2209.15571).

use super::{Path, Prediction, Sampler, Transport};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The distribution of `x0` in `x_t = alpha x1 + sigma x0`.
///
/// With data the velocity `E[d_alpha x1 + d_sigma x0 | x_t]` and its ODE carry one data set to another. What follows from Gaussian noise does
/// not hold then: the score, and with it the SDE, and the density at `t = 0`. A file has `"gaussian"`, `"paired"` or `"data:PATH"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Base {
    /// Standard normal noise.
    #[default]
    Gaussian,
    /// Standard normal noise, of which each value is paired with its image (reflow, arXiv 2209.03003). The score does not follow from the
    /// velocity, but the density at `t = 0` is known.
    Paired,
    /// Another data set of images of the same shape, by its path or name; independent of `x1`.
    Data(String),
}

impl Base {
    /// The path or the name of the data set, if it is one.
    pub fn data(&self) -> Option<&str> {
        match self {
            Base::Gaussian | Base::Paired => None,
            Base::Data(path) => Some(path),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Gaussian => f.write_str("gaussian"),
            Base::Paired => f.write_str("paired"),
            Base::Data(path) => write!(f, "data:{path}"),
        }
    }
}

impl TryFrom<String> for Base {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.strip_prefix("data:") {
            Some(path) if !path.is_empty() => Ok(Base::Data(path.to_owned())),
            None if text.eq_ignore_ascii_case("gaussian") => Ok(Base::Gaussian),
            None if text.eq_ignore_ascii_case("paired") => Ok(Base::Paired),
            _ => Err(format!(
                "got \"{text}\", expected gaussian, paired or data:PATH"
            )),
        }
    }
}

impl From<Base> for String {
    fn from(base: Base) -> Self {
        base.to_string()
    }
}

impl FromStr for Base {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Base::try_from(text.to_owned()).map_err(|problem| Error::setting("base", problem))
    }
}

impl Transport {
    /// Refuses what needs Gaussian noise at `t = 0` that is independent of the image, naming the setting `key` that asks for it, and `why`.
    pub(crate) fn require_gaussian(&self, key: &str, why: &str) -> Result<()> {
        match &self.base {
            Base::Gaussian => Ok(()),
            Base::Paired => Err(Error::setting(
                key,
                format!("the noise of this model is paired with its images, and {why}"),
            )),
            base => Err(Error::setting(
                key,
                format!("this model begins with {base} in the place of noise, and {why}"),
            )),
        }
    }

    /// Refuses to draw the state at `t = 0` of a model that begins with data.
    pub(crate) fn require_noise(&self, key: &str, why: &str) -> Result<()> {
        match &self.base {
            Base::Data(_) => self.require_gaussian(key, why),
            Base::Gaussian | Base::Paired => Ok(()),
        }
    }

    /// Checks path and prediction of a base that is not independent noise.
    pub(super) fn validate_base(&self) -> Result<()> {
        if self.base == Base::Gaussian {
            return Ok(());
        }
        let (alpha, base) = (self.path.alpha(0.0), &self.base);
        if alpha != 0.0 || self.path.ddpm().is_some() {
            return Err(Error::setting(
                "base",
                format!(
                    "got {base}, expected gaussian on the {} path, whose state at t = 0 is not x0 alone (alpha is {alpha:.3e} there); use the \
                     path Linear, GVP, or a table that begins with alpha 0",
                    self.path
                ),
            ));
        }
        if self.base == Base::Paired && self.path != Path::Linear {
            return Err(Error::setting(
                "base",
                format!(
                    "got paired, expected gaussian on the {} path: only on the path Linear are the ways between pairs straight",
                    self.path
                ),
            ));
        }
        if self.prediction != Prediction::Velocity {
            return Err(Error::setting(
                "prediction",
                format!(
                    "got {}, expected velocity with base {base}: only the velocity does without Gaussian noise",
                    self.prediction
                ),
            ));
        }
        Ok(())
    }

    /// Refuses a sampler that needs Gaussian noise, and another path that does not begin with x0 alone.
    pub(super) fn check_base(&self, sampler: &Sampler) -> Result<()> {
        const SCORE: &str =
            "the score follows from the velocity only with Gaussian noise; use a solver of the ODE";
        match sampler {
            Sampler::Ode(_) => {}
            Sampler::Sde(_) => self.require_gaussian("sde", SCORE)?,
            Sampler::Edm(_) => self.require_gaussian(
                "edm",
                "noise levels are those of Gaussian noise; use a solver of the ODE",
            )?,
            Sampler::Ddpm(_) => self.require_gaussian(
                "ddpm",
                "a chain of discrete diffusion ends in Gaussian noise; use a solver of the ODE",
            )?,
        }
        match sampler.along() {
            Some(path) if !begins_with_x0(&path) => self.require_gaussian(
                "along",
                &format!("the {path} path does not begin with x0 alone; use linear or gvp"),
            ),
            _ => Ok(()),
        }
    }
}

fn begins_with_x0(path: &Path) -> bool {
    path.alpha(0.0) == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Method, Ode, PathTable, Sde, schedule};
    use std::sync::Arc;

    fn bridge(path: Path) -> Transport {
        Transport {
            path,
            base: Base::Data("toy:moons".into()),
            ..Transport::default()
        }
    }

    #[test]
    fn a_base_has_a_name_in_files() {
        let transport = bridge(Path::Linear);
        let json = serde_json::to_string(&transport).unwrap();
        assert!(json.contains(r#""base":"data:toy:moons""#), "{json}");
        assert_eq!(serde_json::from_str::<Transport>(&json).unwrap(), transport);
        for text in ["data:", "moons", ""] {
            let message = text.parse::<Base>().unwrap_err().to_string();
            let expected = format!("base: got \"{text}\", expected gaussian, paired or data:PATH");
            assert_eq!(message, expected);
        }
        assert_eq!("Gaussian".parse::<Base>(), Ok(Base::Gaussian));
    }

    #[test]
    fn only_paths_that_begin_with_x0_alone_have_a_base() {
        let table = |alpha| {
            let rows = vec![[0.0, alpha, 2.0], [1.0, 1.0, 0.0]];
            Path::Table(Arc::new(PathTable::new(rows).unwrap()))
        };
        for path in [Path::Linear, Path::Gvp, table(0.0)] {
            bridge(path).validate().unwrap();
        }
        for path in [Path::VP, Path::OU, Path::EDM, table(0.1)] {
            let message = bridge(path).validate().unwrap_err().to_string();
            assert!(message.starts_with("base: got data:toy:moons"), "{message}");
            assert!(message.contains("not x0 alone"), "{message}");
        }
    }

    #[test]
    fn what_needs_noise_is_refused_by_its_own_key() {
        let refusal = |transport: &Transport, sampler: &Sampler| {
            schedule(transport, sampler).unwrap_err().to_string()
        };
        let transport = bridge(Path::Linear);
        for method in [Method::Euler, Method::Rk4, Method::DpmPlusPlus2m] {
            schedule(&transport, &Sampler::ode(method, 5)).unwrap();
        }
        let along = |path| {
            Sampler::Ode(Ode {
                along: Some(path),
                ..Ode::default()
            })
        };
        schedule(&transport, &along(Path::Gvp)).unwrap();
        let message = refusal(&transport, &along(Path::VP));
        assert!(message.starts_with("along: this model begins with data:toy:moons"));
        let cases = [
            (Sampler::Sde(Sde::default()), "sde: "),
            (Sampler::Edm(Default::default()), "edm: "),
            (Sampler::Ddpm(Default::default()), "ddpm: "),
        ];
        for (sampler, key) in cases {
            let message = refusal(&transport, &sampler);
            assert!(message.starts_with(key), "{message}");
            assert!(message.contains("Gaussian noise"), "{message}");
        }
        for prediction in [Prediction::Score, Prediction::Noise, Prediction::Data] {
            let transport = Transport {
                prediction,
                ..bridge(Path::Linear)
            };
            let message = transport.validate().unwrap_err().to_string();
            assert!(message.starts_with("prediction: got"), "{message}");
        }
    }
}
