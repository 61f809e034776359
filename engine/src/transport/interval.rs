//! The time intervals of training and sampling, and the only place that handles singular ends: SiT's `Transport.check_interval`.

use super::{Grid, Path, Prediction, Sampler, Transport};
use crate::error::{Error, Result};

/// An interval of times, `0 <= t0 < t1 <= 1`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// First time, nearer to noise.
    pub t0: f64,
    /// Last time, nearer to data.
    pub t1: f64,
}

impl Interval {
    /// The time at a fraction of the interval; exact at both ends.
    pub fn at(self, fraction: f64) -> f64 {
        self.t0 * (1.0 - fraction) + self.t1 * fraction
    }
}

impl Transport {
    /// The interval of training times. Differs from SiT: an explicit `t_eps_train` also applies to velocity on Linear and GVP.
    ///
    /// # Errors
    /// As [`Transport::validate`].
    pub(crate) fn train_interval(&self) -> Result<Interval> {
        self.validate()?;
        let default = match &self.path {
            // The noise level nearest to the image.
            Path::Ddpm(ddpm) => 1.0 - ddpm.time(0),
            path if path.is_decay() => 1e-5,
            path => self.default_t_eps(path),
        };
        Ok(interval(
            &self.path,
            self.t_eps_train.unwrap_or(default),
            None,
        ))
    }

    /// The interval that a sampler integrates over; every coefficient that it needs is finite at both ends. Differs from SiT: an
    /// explicit `t_eps_sample` applies to every combination, and a combination that is not finite is rejected.
    ///
    /// # Errors
    /// [`Error::Setting`] for an invalid setting, and [`Error::Config`] for a singular end, naming the settings that avoid it.
    pub(crate) fn sample_interval(&self, sampler: &Sampler) -> Result<Interval> {
        self.validate()?;
        sampler.validate()?;
        self.check_base(sampler)?;
        let along = sampler.along();
        let path = along.as_ref().unwrap_or(&self.path);
        path.validate()?;
        let default = match path {
            Path::Ddpm(ddpm) => 1.0 - ddpm.time(0),
            path if path.is_decay() => 1e-3,
            path => self.default_t_eps(path),
        };
        let last = match sampler {
            Sampler::Sde(sde) => sde.last(),
            Sampler::Ode(_) | Sampler::Edm(_) | Sampler::Ddpm(_) => None,
        };
        let last_step_size = last.map(|(_, size)| size);
        let mut interval = interval(path, self.t_eps_sample.unwrap_or(default), last_step_size);
        if let Grid::Times(times) = sampler.grid() {
            // Given times are the interval; an SDE's last step starts at the last one.
            let (first, end) = (times[0], times[times.len() - 1]);
            if last_step_size.is_some() && (end - interval.t1).abs() > 1e-9 {
                return Err(Error::setting(
                    "time_grid",
                    format!(
                        "the times end at {end}, expected {}, where the last step begins; change `last_step_size`, or use `last_step` none",
                        interval.t1
                    ),
                ));
            }
            interval = Interval { t0: first, t1: end };
        }
        let Interval { t0, t1 } = interval;
        if t0 >= t1 {
            return Err(Error::setting(
                "last_step_size",
                format!(
                    "the last step would start at t = {t1}, before the first time {t0}; use a smaller one"
                ),
            ));
        }
        self.check_ends(sampler, interval)?;
        Ok(interval)
    }

    fn default_t_eps(&self, path: &Path) -> f64 {
        match self.prediction {
            _ if matches!(path, Path::Edm { .. }) => 0.0,
            Prediction::Velocity | Prediction::Data | Prediction::Denoiser => 0.0,
            Prediction::Score | Prediction::Noise | Prediction::Mean => 1e-3,
        }
    }
}

fn interval(path: &Path, t_eps: f64, last_step_size: Option<f64>) -> Interval {
    let t0 = if path.is_decay() { 0.0 } else { t_eps };
    Interval {
        t0,
        t1: 1.0 - last_step_size.unwrap_or(t_eps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{
        Diffusion, DiffusionForm, LastStep, Method, Sde, SdeMethod,
        testing::{diffusion, predictions},
    };

    fn transport(path: Path, prediction: Prediction) -> Transport {
        Transport {
            path,
            prediction,
            ..Transport::default()
        }
    }

    fn ode() -> Sampler {
        Sampler::ode(Method::Heun, 10)
    }

    fn sde(method: SdeMethod, form: DiffusionForm, last_step: LastStep) -> Sampler {
        Sampler::Sde(Sde {
            method,
            diffusion: diffusion(form, 1.0),
            last_step,
            n_steps: 10,
            ..Sde::default()
        })
    }

    fn refusal(transport: &Transport, sampler: &Sampler) -> String {
        transport.sample_interval(sampler).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_the_reference_table() {
        let with_last = sde(SdeMethod::Heun, DiffusionForm::Sigma, LastStep::Mean);
        let without_last = sde(SdeMethod::Heun, DiffusionForm::Sigma, LastStep::None);
        for path in Path::NAMED {
            for &prediction in predictions(&path) {
                let transport = transport(path.clone(), prediction);
                let (train, to_end, sde, sde_to_end) = match (&path, prediction) {
                    (Path::Vp { .. } | Path::Ou { .. }, _) => {
                        ([0.0, 0.99999], [0.0, 0.999], [0.0, 0.96], [0.0, 0.999])
                    }
                    (_, Prediction::Velocity | Prediction::Data | Prediction::Denoiser) => {
                        ([0.0, 1.0], [0.0, 1.0], [0.0, 0.96], [0.0, 1.0])
                    }
                    _ => (
                        [0.001, 0.999],
                        [0.001, 0.999],
                        [0.001, 0.96],
                        [0.001, 0.999],
                    ),
                };
                let expect = |what: &str, got: Result<Interval>, [t0, t1]: [f64; 2]| {
                    assert_eq!(
                        got.as_ref(),
                        Ok(&Interval { t0, t1 }),
                        "{what} of {path} {prediction}"
                    );
                };
                expect("training", transport.train_interval(), train);
                let euler = Sampler::ode(Method::Euler, 10);
                expect("Euler ODE", transport.sample_interval(&euler), to_end);
                expect(
                    "SDE to the end",
                    transport.sample_interval(&without_last),
                    sde_to_end,
                );
                expect("Heun ODE", transport.sample_interval(&ode()), to_end);
                expect("SDE", transport.sample_interval(&with_last), sde);
            }
        }
    }

    /// SiT ignores the distances for velocity, and confuses the two in one place.
    #[test]
    fn given_distances_count_for_every_combination_and_only_where_they_belong() {
        for path in Path::NAMED {
            for &prediction in predictions(&path) {
                let base = transport(path.clone(), prediction);
                let t0 = |e: f64| if path.is_decay() { 0.0 } else { e };
                let train_only = Transport {
                    t_eps_train: Some(0.01),
                    ..base.clone()
                };
                assert_eq!(
                    train_only.train_interval().unwrap(),
                    Interval {
                        t0: t0(0.01),
                        t1: 0.99
                    }
                );
                assert_eq!(
                    train_only.sample_interval(&ode()),
                    base.sample_interval(&ode())
                );
                let sample_only = Transport {
                    t_eps_sample: Some(0.02),
                    ..base.clone()
                };
                assert_eq!(sample_only.train_interval(), base.train_interval());
                assert_eq!(
                    sample_only.sample_interval(&ode()).unwrap(),
                    Interval {
                        t0: t0(0.02),
                        t1: 0.98
                    }
                );
                let sde = sde(SdeMethod::Euler, DiffusionForm::Sbdm, LastStep::Mean);
                assert_eq!(
                    sample_only.sample_interval(&sde).unwrap(),
                    Interval {
                        t0: t0(0.02),
                        t1: 0.96
                    }
                );
            }
        }
    }

    #[test]
    fn the_size_of_a_missing_last_step_does_not_count() {
        let size = |last_step_size| {
            Sampler::Sde(Sde {
                last_step: LastStep::None,
                last_step_size,
                ..Sde::default()
            })
        };
        let transport = transport(Path::VP, Prediction::Velocity);
        assert_eq!(
            transport.sample_interval(&size(0.4)),
            transport.sample_interval(&size(0.0))
        );
    }

    /// SiT produces NaN images here (its issue 22).
    #[test]
    fn sbdm_from_an_infinite_start_names_the_flag() {
        let sbdm = sde(SdeMethod::Euler, DiffusionForm::Sbdm, LastStep::Mean);
        for path in [Path::Linear, Path::Gvp] {
            let message = refusal(&transport(path.clone(), Prediction::Velocity), &sbdm);
            let expected = format!(
                "the SBDM diffusion is infinite at t = 0 on the {path} path; set `t_eps_sample` above 0"
            );
            assert!(message.starts_with(&expected), "{message}");
        }
        for path in [Path::VP, Path::OU] {
            let transport = transport(path, Prediction::Velocity);
            assert!(transport.sample_interval(&sbdm).is_ok());
        }
    }

    /// SiT produces NaN images for Heun without a last step, for every diffusion.
    #[test]
    fn heun_to_one_has_its_limit_or_names_the_flags() {
        for path in [Path::Linear, Path::Gvp] {
            let transport = transport(path, Prediction::Velocity);
            for &form in DiffusionForm::ALL {
                let result = transport.sample_interval(&sde(SdeMethod::Heun, form, LastStep::None));
                match form {
                    DiffusionForm::Sbdm => assert!(result.is_err()),
                    DiffusionForm::Constant => {
                        let message = result.unwrap_err().to_string();
                        for part in ["t = 1", "`last_step`", "`t_eps_sample`", "`diffusion`"] {
                            assert!(message.contains(part), "{message}");
                        }
                    }
                    _ => assert_eq!(result, Ok(Interval { t0: 0.0, t1: 1.0 }), "{form}"),
                }
                let inside = Transport {
                    t_eps_sample: Some(1e-3),
                    ..transport.clone()
                };
                assert!(
                    inside
                        .sample_interval(&sde(SdeMethod::Heun, form, LastStep::None))
                        .is_ok(),
                    "{form}"
                );
            }
        }
    }

    #[test]
    fn singular_ends_of_the_ode_name_the_flag() {
        let at_zero = |path: Path, prediction| Transport {
            t_eps_sample: Some(0.0),
            ..transport(path, prediction)
        };
        for prediction in [Prediction::Score, Prediction::Noise] {
            for path in [Path::Linear, Path::Gvp] {
                let message = refusal(&at_zero(path, prediction), &ode());
                assert!(
                    message.contains("not finite at t = 0 ") && message.contains("`t_eps_sample`"),
                    "{message}"
                );
            }
        }
        for path in [Path::VP, Path::OU] {
            let message = refusal(&at_zero(path, Prediction::Noise), &ode());
            assert!(
                message.contains("not finite at t = 1 ") && message.contains("`t_eps_sample`"),
                "{message}"
            );
        }
        // Finite in f64, not in f32.
        let tiny = Transport {
            t_eps_sample: Some(1e-40),
            ..transport(Path::Linear, Prediction::Score)
        };
        assert!(refusal(&tiny, &ode()).contains("not finite at t = "));
    }

    #[test]
    fn bad_settings_are_refused_by_flag() {
        let transport = transport(Path::Linear, Prediction::Velocity);
        let sampler = |norm, last_step_size, n_steps| {
            Sampler::Sde(Sde {
                diffusion: Diffusion::new(DiffusionForm::Sigma, norm),
                last_step: LastStep::Tweedie,
                last_step_size,
                n_steps,
                ..Sde::default()
            })
        };
        let cases = [
            (sampler(-1.0, 0.04, 10), "diffusion_norm: got -1,"),
            (sampler(f64::NAN, 0.04, 10), "diffusion_norm: got NaN,"),
            (sampler(f64::INFINITY, 0.04, 10), "diffusion_norm: got inf,"),
            (sampler(1.0, 0.0, 10), "last_step_size: got 0,"),
            (sampler(1.0, 1.0, 10), "last_step_size: got 1,"),
            (sampler(1.0, f64::NAN, 10), "last_step_size: got NaN,"),
            (sampler(1.0, 0.04, 0), "steps: got 0,"),
            (sampler(1.0, 0.04, u32::MAX), "steps: got 4294967295,"),
            (Sampler::ode(Method::Euler, 0), "steps: got 0,"),
        ];
        for (sampler, expected) in cases {
            let message = refusal(&transport, &sampler);
            assert!(message.starts_with(expected), "{message}");
        }
        let late = Transport {
            t_eps_sample: Some(0.4),
            ..transport.clone()
        };
        assert!(
            refusal(&late, &sampler(1.0, 0.7, 10))
                .starts_with("last_step_size: the last step would start at t = ")
        );
        // A last step so short that it starts at 1 in f64.
        let short = Sampler::Sde(Sde {
            diffusion: Diffusion::new(DiffusionForm::Constant, 1.0),
            last_step_size: 1e-30,
            ..Sde::default()
        });
        assert!(refusal(&transport, &short).ends_with("use a larger `last_step_size`"));
    }
}
