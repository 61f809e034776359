//! A network read along a path: the path that it was trained on, or another one by the exact change of scale and time.

use super::step::At;
use super::{Coefs, Diffusion, Path, Transport};
use crate::error::{Error, Result};

/// Samplers of a network along `path`.
///
/// All Gaussian paths with the same data have the same marginals up to scale: where `alpha / sigma` agree, `x / alpha` has the same
/// distribution (Karras et al., arXiv 2206.00364, equation 4; Lipman et al., arXiv 2412.06264, section 4.6.2). So the network of
/// one path gives `E[x1 | x]` and `E[x0 | x]` on any other one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Along<'a> {
    transport: &'a Transport,
    path: Option<&'a Path>,
}

impl<'a> Along<'a> {
    pub fn new(transport: &'a Transport, path: Option<&'a Path>) -> Self {
        let path = path.filter(|path| **path != transport.path);
        Along { transport, path }
    }

    /// The path of the states.
    pub fn path(&self) -> &'a Path {
        self.path.unwrap_or(&self.transport.path)
    }

    /// The network's time where the signal-to-noise ratio is that of time `t`, and the factor of the state there.
    fn change(&self, path: &Path, t: f64) -> At {
        let model = &self.transport.path;
        let time = match t {
            // Both paths begin with noise alone and end with data alone, or the interval has been checked.
            1.0 if path.sigma(1.0) == 0.0 => 1.0,
            t => model.time_of(path.half_log_snr(t)),
        };
        // The larger of alpha and sigma has the smaller relative error in time.
        let scale = match path.sigma(t) < path.alpha(t) {
            true => model.alpha(time) / path.alpha(t),
            false => model.sigma(time) / path.sigma(t),
        };
        At { time, scale }
    }

    /// Where the network is evaluated for a state at time `t`.
    pub fn at(&self, t: f64) -> At {
        let At { time, scale } = match self.path {
            None => At::plain(t),
            Some(path) => self.change(path, t),
        };
        let scale = scale * self.transport.input_scale(time);
        At { time, scale }
    }

    /// `E[x1 | x]` from the state and the output.
    pub fn data(&self, t: f64) -> Result<Coefs> {
        self.read(t, Transport::x1_pred)
    }

    /// `E[x0 | x]` from the state and the output.
    pub fn noise(&self, t: f64) -> Result<Coefs> {
        self.read(t, |transport, t| Ok(transport.noise(t)))
    }

    fn read(&self, t: f64, of: impl Fn(&Transport, f64) -> Result<Coefs>) -> Result<Coefs> {
        let Some(path) = self.path else {
            return of(self.transport, t);
        };
        let At { time, scale } = self.change(path, t);
        let Coefs { x, out } = of(self.transport, time)?;
        Ok(Coefs { x: scale * x, out })
    }

    /// The velocity of the path.
    pub fn velocity(&self, t: f64) -> Result<Coefs> {
        let Some(path) = self.path else {
            return self.transport.velocity(t);
        };
        let (data, noise) = (self.data(t)?, self.noise(t)?);
        let velocity = data
            .scaled(path.d_alpha(t))
            .plus(noise.scaled(path.d_sigma(t)));
        self.finite("velocity", t, velocity)
    }

    /// The score of the path's marginal.
    pub fn score(&self, t: f64) -> Result<Coefs> {
        let Some(path) = self.path else {
            return self.transport.score(t);
        };
        self.finite("score", t, self.noise(t)?.scaled(-1.0 / path.sigma(t)))
    }

    /// The SDE's drift `v + D s`.
    pub fn drift(&self, diffusion: &Diffusion, t: f64) -> Result<Coefs> {
        let Some(path) = self.path else {
            return self.transport.drift(diffusion, t);
        };
        let velocity = self.velocity(t)?;
        let d = diffusion.at(path, t);
        let score = match d == 0.0 && path.sigma(t) > 0.0 {
            true => Some(Coefs::ZERO),
            false if path.sigma(t) > 0.0 => Some(self.noise(t)?.scaled(-d / path.sigma(t))),
            false => match diffusion.over_sigma_at_one(path) {
                Some(ratio) => Some(self.noise(t)?.scaled(-ratio)),
                None => None,
            },
        };
        let drift = score.map_or(
            Coefs {
                x: f64::INFINITY,
                out: 0.0,
            },
            |score| velocity.plus(score),
        );
        self.finite("SDE drift", t, drift)
    }

    fn finite(&self, what: &str, t: f64, coefs: Coefs) -> Result<Coefs> {
        match coefs.is_finite_f32() {
            true => Ok(coefs),
            false => Err(Error::Config(format!(
                "the {what} is not finite at t = {t} on the {} path for a model of {} prediction on the {} path",
                self.path(),
                self.transport.prediction,
                self.transport.path
            ))),
        }
    }

    /// Rejects times at which the model's path does not have the signal-to-noise ratio of the sampler's.
    pub fn check_reach(&self, times: [f64; 2]) -> Result<()> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let model = &self.transport.path;
        let reached = [model.half_log_snr(0.0), model.half_log_snr(1.0)];
        for t in times {
            let wanted = path.half_log_snr(t);
            // Rounding may leave an end by a little.
            const ROOM: f64 = 1e-6;
            let is_below = wanted < reached[0] && reached[0] - wanted >= ROOM;
            let is_above = wanted > reached[1] && wanted - reached[1] >= ROOM;
            if is_below || is_above {
                let [from, to] = reached.map(|snr| path.time_of(snr));
                // Rounded inwards, so that what is said can be set.
                let (from, to) = (libm::ceil(1e4 * from) / 1e4, libm::floor(1e4 * to) / 1e4);
                return Err(Error::Config(format!(
                    "the model's {model} path has the noise levels of t = {from:.4} to {to:.4} on the {path} path, and the sampler \
                     begins or ends at t = {t}; set `t_eps_sample` so that it stays between them"
                )));
            }
        }
        Ok(())
    }
}

/// A path in files, by the name of one with its usual numbers.
pub(super) mod by_name {
    use crate::transport::{Path, PathName};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    pub fn serialize<S: Serializer>(path: &Option<Path>, to: S) -> Result<S::Ok, S::Error> {
        let name = path.as_ref().map(Path::name);
        match name.and_then(PathName::usual) == *path {
            true => name.serialize(to),
            false => Err(ser::Error::custom(
                "a path with numbers of its own has no name",
            )),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Path>, D::Error> {
        let Some(name) = Option::<PathName>::deserialize(from)? else {
            return Ok(None);
        };
        match name {
            PathName::Linear | PathName::Gvp | PathName::Vp | PathName::Ou => Ok(name.usual()),
            _ => Err(de::Error::custom(format!(
                "along: got {name}, expected Linear, GVP, VP or OU"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::{Gaussian, assert_near, diffusion, predictions};
    use crate::transport::{DiffusionForm, Method, Ode, Prediction, Sampler, schedule};

    const DATA: Gaussian = Gaussian {
        mean: 0.8,
        std: 0.5,
    };

    /// Every pair of a model and another path, with times at which the model's path has the noise levels of the other one and sigma
    /// is above its minimum for data.
    fn pairs() -> Vec<(Transport, Path, [f64; 2])> {
        let mut pairs = Vec::new();
        for model in Path::NAMED {
            for path in Path::NAMED.into_iter().filter(|path| *path != model) {
                for &prediction in predictions(&model) {
                    let transport = Transport {
                        path: model.clone(),
                        prediction,
                        ..Transport::default()
                    };
                    let times = [-3.0, 2.0].map(|lambda| path.time_of(lambda));
                    pairs.push((transport, path.clone(), times));
                }
            }
        }
        pairs
    }

    #[test]
    fn a_network_read_along_another_path_is_that_paths() {
        for (transport, path, [t0, t1]) in pairs() {
            let along = Along::new(&transport, Some(&path));
            for t in [t0, 0.3 * t0 + 0.7 * t1, t1] {
                let x = 0.9 * path.sigma(t) + 0.4 * path.alpha(t);
                let At { time, scale } = along.at(t);
                let out = DATA.network(&transport, time).at(scale * x);
                let what = format!(
                    "{} {} along {path} at {t}",
                    transport.path, transport.prediction
                );
                let near = |name: &str, got: Coefs, prediction| {
                    let want = DATA.output(&path, prediction, t).at(x);
                    let got = got.x * x + got.out * out;
                    assert_near(&format!("{name} of {what}"), got, want, 1e-8);
                };
                near("data", along.data(t).unwrap(), Prediction::Data);
                near("noise", along.noise(t).unwrap(), Prediction::Noise);
                near("velocity", along.velocity(t).unwrap(), Prediction::Velocity);
                near("score", along.score(t).unwrap(), Prediction::Score);
                let sigma = diffusion(DiffusionForm::Sigma, 1.0);
                let drift = along.drift(&sigma, t).unwrap();
                let [velocity, score] = [along.velocity(t), along.score(t)].map(Result::unwrap);
                let want = velocity.plus(score.scaled(path.sigma(t)));
                assert_near(&what, drift.x, want.x, 1e-12);
                assert_near(&what, drift.out, want.out, 1e-12);
            }
        }
    }

    #[test]
    fn noise_levels_that_the_model_does_not_know_are_refused() {
        let mut wrong = Vec::new();
        for model in [Path::VP, Path::OU, Path::EDM] {
            let prediction = predictions(&model)[0];
            let transport = Transport {
                path: model.clone(),
                prediction,
                t_eps_sample: Some(0.0),
                ..Transport::default()
            };
            for method in [Method::Euler, Method::DpmPlusPlus2m] {
                let sampler = Sampler::Ode(Ode {
                    method,
                    along: Some(Path::Linear),
                    ..Ode::default()
                });
                let result = schedule(&transport, &sampler);
                let message = match result {
                    Ok(_) => "not refused".to_owned(),
                    Err(error) => error.to_string(),
                };
                if !message.contains(&format!("the model's {model} path has the noise levels")) {
                    wrong.push(format!("{model} {method}: {message}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_path_is_stored_by_its_name() {
        let ode = |along| {
            Sampler::Ode(Ode {
                along,
                ..Ode::default()
            })
        };
        for along in [None, Some(Path::Gvp), Some(Path::VP)] {
            let text = serde_json::to_string(&ode(along.clone())).unwrap();
            assert_eq!(text.contains("along"), along.is_some(), "{text}");
            assert_eq!(
                serde_json::from_str::<Sampler>(&text).unwrap(),
                ode(along.clone())
            );
        }
        let own = ode(Some(Path::Ou { time: 3.0 }));
        assert!(serde_json::to_string(&own).is_err());
        for name in ["EDM", "table", "DDPM"] {
            let text = format!(r#"{{"kind":"ode","along":"{name}"}}"#);
            let error = serde_json::from_str::<Sampler>(&text).unwrap_err();
            assert!(error.to_string().contains("expected Linear"), "{error}");
        }
    }
}
