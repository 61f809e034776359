//! What a recorded step says: where its state lies, and what the network's output means there.

use super::along::Along;
use super::{Coefs, Ddpm, Diffusion, Path, Sampler, Step, Transport};
use crate::error::Result;
use std::sync::Arc;

#[doc(hidden)]
impl Transport {
    /// The path of a sampler's states, and the time on it of a state at time `t` of the sampler's steps.
    pub fn place_of(&self, sampler: &Sampler, t: f64) -> (Path, f64) {
        match sampler {
            // Its last step reaches the data, beyond the last of its levels.
            Sampler::Edm(_) if t == 1.0 => (Path::Linear, 1.0),
            Sampler::Edm(edm) => {
                // Its steps count the level 0 as well.
                let n = f64::from(edm.n_steps);
                (edm.path(), (t * n / (n - 1.0).max(1.0)).min(1.0))
            }
            Sampler::Ddpm(ddpm) if self.path.ddpm().is_none() => {
                let levels = Ddpm::usual(ddpm.schedule);
                (Path::Ddpm(Arc::new(levels)), t)
            }
            _ => (sampler.along().unwrap_or_else(|| self.path.clone()), t),
        }
    }
}

/// The network's first evaluation in a step, as coefficients of the state there and of the output.
///
/// Velocity, score and drift are those of the path of the states. EDM's sampler and a chain of noise levels have no time of their own:
/// theirs are those of the model's path at the same noise level.
#[doc(hidden)]
#[derive(Debug)]
pub struct Reading<'a> {
    along: Along<'a>,
    t: f64,
    /// The factor that takes the state to the path.
    scale: f64,
}

#[doc(hidden)]
impl<'a> Reading<'a> {
    /// Reads a step of a sampler.
    pub fn new(transport: &'a Transport, sampler: &'a Sampler, step: &Step) -> Self {
        let time = step.times()[0];
        let (path, t, scale) = match sampler {
            Sampler::Ode(ode) => (ode.along.as_ref(), step.t, 1.0),
            Sampler::Sde(sde) => (sde.along.as_ref(), step.t, 1.0),
            Sampler::Edm(_) | Sampler::Ddpm(_) => {
                let of_input = transport.input_scale(time);
                (None, time, step.row(0)[0] / of_input)
            }
        };
        Reading {
            along: Along::new(transport, path),
            t: if path.is_some() { t } else { time },
            scale,
        }
    }

    /// `E[x1 | x]`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] where it is not finite, as for all of these.
    pub fn data(&self) -> Result<Coefs> {
        self.of_state(self.along.data(self.t))
    }

    /// The velocity.
    ///
    /// # Errors
    /// As [`Reading::data`].
    pub fn velocity(&self) -> Result<Coefs> {
        self.of_state(self.along.velocity(self.t))
    }

    /// The score.
    ///
    /// # Errors
    /// As [`Reading::data`].
    pub fn score(&self) -> Result<Coefs> {
        self.of_state(self.along.score(self.t))
    }

    /// The SDE's drift with this diffusion.
    ///
    /// # Errors
    /// As [`Reading::data`].
    pub fn drift(&self, diffusion: &Diffusion) -> Result<Coefs> {
        self.of_state(self.along.drift(diffusion, self.t))
    }

    fn of_state(&self, coefs: Result<Coefs>) -> Result<Coefs> {
        let Coefs { x, out } = coefs?;
        let x = self.scale * x;
        Ok(Coefs { x, out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::{Gaussian, assert_near};
    use crate::transport::{
        DdpmSampler, Edm, Method, Ode, Prediction, Respacing, Sde, SdeMethod, schedule,
    };

    const DATA: Gaussian = Gaussian {
        mean: 0.6,
        std: 0.5,
    };

    fn samplers() -> Vec<Sampler> {
        let mut samplers = vec![
            Sampler::ode(Method::Heun, 8),
            Edm {
                churn: 4.0,
                ..Edm::default()
            }
            .into(),
            DdpmSampler {
                respacing: Some(Respacing::Sections(vec![9])),
                ..DdpmSampler::ancestral()
            }
            .into(),
        ];
        for path in [Path::Linear, Path::Gvp, Path::VP] {
            samplers.push(Sampler::Ode(Ode {
                n_steps: 8,
                along: Some(path.clone()),
                ..Ode::default()
            }));
            samplers.push(Sampler::Sde(Sde {
                method: SdeMethod::Heun,
                n_steps: 8,
                along: Some(path),
                ..Sde::default()
            }));
        }
        samplers
    }

    /// The predicted data of every step is that of Gaussian data at the place of the state.
    #[test]
    fn the_predicted_data_is_that_of_the_states_path() {
        for prediction in [Prediction::Velocity, Prediction::Data] {
            let transport = Transport {
                prediction,
                ..Transport::default()
            };
            for sampler in samplers() {
                let what = format!("{prediction}, {sampler:?}");
                for step in schedule(&transport, &sampler).unwrap() {
                    let (path, t) = transport.place_of(&sampler, step.t);
                    let raised = match (&sampler, step.noise()) {
                        // Churn raises the level before the evaluation.
                        (Sampler::Edm(_), noise) => {
                            libm::sqrt(path.sigma(t).powi(2) + noise * noise)
                        }
                        _ => path.sigma(t),
                    };
                    if prediction == Prediction::Data && raised < 0.1 {
                        // Its sigma has a minimum.
                        continue;
                    }
                    let x = 0.4 * path.alpha(t) + 0.9 * raised;
                    let time = step.times()[0];
                    let out = DATA.network(&transport, time).at(step.row(0)[0] * x);
                    let total = path.alpha(t).powi(2) * DATA.std.powi(2) + raised * raised;
                    let share = path.alpha(t) * DATA.std.powi(2) / total;
                    let exact = DATA.mean + share * (x - path.alpha(t) * DATA.mean);
                    let read = Reading::new(&transport, &sampler, &step);
                    let data = read.data().unwrap();
                    assert_near(&what, data.x * x + data.out * out, exact, 1e-6);
                }
                let (path, t) = transport.place_of(&sampler, 1.0);
                assert_eq!((path.alpha(t), path.sigma(t)), (1.0, 0.0), "{what}");
            }
        }
    }

    #[test]
    fn the_velocity_of_other_samplers_is_that_of_the_models_path() {
        let transport = Transport::default();
        let edm = Sampler::Edm(Edm::default());
        let step = schedule(&transport, &edm).unwrap()[4];
        let read = Reading::new(&transport, &edm, &step);
        // The network's output itself.
        let velocity = read.velocity().unwrap();
        assert_eq!((velocity.x, velocity.out), (0.0, 1.0));
        let ode = Sampler::Ode(Ode {
            along: Some(Path::VP),
            ..Ode::default()
        });
        let step = schedule(&transport, &ode).unwrap()[4];
        let read = Reading::new(&transport, &ode, &step);
        // The state of an Euler step along the path moves by it.
        let along = Along::new(&transport, Some(&Path::VP));
        assert_eq!(read.velocity(), along.velocity(step.t));
        assert_ne!(read.velocity().unwrap().x, 0.0);
    }
}
