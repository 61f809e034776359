//! [`Transport`] as it stands in files: a table of plain values.

use super::{
    Base, Ddpm, DdpmLoss, DdpmSchedule, DdpmTimes, LossWeight, Path, PathName, PathTable,
    Prediction, Respacing, Times, TimesKind, Transport, Variance,
};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The keys of a transport. Numbers of a path that is not the chosen one are refused.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TransportFile {
    path: PathName,
    prediction: Prediction,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_weight: Option<LossWeight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vp_beta: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ou_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edm_sigma: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edm_rho: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_std: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<TimesKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times_mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times_std: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times_shift: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t_eps_train: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t_eps_sample: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_table: Option<PathTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_schedule: Option<DdpmSchedule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_variance: Option<Variance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_loss: Option<DdpmLoss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_times: Option<DdpmTimes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_rescale_times: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ddpm_respacing: Option<Respacing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
    #[serde(skip_serializing_if = "Option::is_none")]
    student_steps: Option<u32>,
}

impl TransportFile {
    /// The settings of discrete diffusion, each with its usual value where the file has none.
    fn ddpm(&self) -> Result<Ddpm> {
        let mut ddpm = Ddpm::new(
            self.ddpm_schedule.unwrap_or_default(),
            self.ddpm_steps.unwrap_or(1000),
        )?;
        ddpm.variance = self.ddpm_variance.unwrap_or_default();
        ddpm.loss = self.ddpm_loss.unwrap_or_default();
        ddpm.times = self.ddpm_times.unwrap_or_default();
        ddpm.rescale_times = self.ddpm_rescale_times.unwrap_or_default();
        ddpm.respacing = self.ddpm_respacing.clone().unwrap_or_default();
        Ok(ddpm)
    }

    /// A key of discrete diffusion that the file has.
    fn ddpm_key(&self) -> Option<&'static str> {
        let keys = [
            ("ddpm_schedule", self.ddpm_schedule.is_some()),
            ("ddpm_steps", self.ddpm_steps.is_some()),
            ("ddpm_variance", self.ddpm_variance.is_some()),
            ("ddpm_loss", self.ddpm_loss.is_some()),
            ("ddpm_times", self.ddpm_times.is_some()),
            ("ddpm_rescale_times", self.ddpm_rescale_times.is_some()),
            ("ddpm_respacing", self.ddpm_respacing.is_some()),
        ];
        keys.iter()
            .find(|(_, is_given)| *is_given)
            .map(|(key, _)| *key)
    }
}

impl TryFrom<TransportFile> for Transport {
    type Error = Error;

    fn try_from(file: TransportFile) -> Result<Self> {
        let TransportFile {
            path: name,
            prediction,
            ..
        } = file;
        let ddpm = match (name, file.ddpm_key()) {
            (PathName::Ddpm, _) => Some(file.ddpm()?),
            (_, Some(key)) => return Err(foreign(key, "DDPM", name)),
            (_, None) => None,
        };
        let mut path = match (name, file.path_table) {
            (PathName::Table, Some(table)) => Path::Table(Arc::new(table)),
            (PathName::Table, None) => {
                return Err(Error::setting(
                    "path_table",
                    "the path table needs rows of t, alpha and sigma",
                ));
            }
            (_, Some(_)) => return Err(foreign("path_table", "table", name)),
            (_, None) => match ddpm {
                Some(ddpm) => Path::Ddpm(Arc::new(ddpm)),
                None => name.usual().unwrap_or_default(),
            },
        };
        if let Some(given) = file.vp_beta {
            match &mut path {
                Path::Vp { beta } => *beta = given,
                _ => return Err(foreign("vp_beta", "VP", name)),
            }
        }
        if let Some(given) = file.ou_time {
            match &mut path {
                Path::Ou { time } => *time = given,
                _ => return Err(foreign("ou_time", "OU", name)),
            }
        }
        if let Some(given) = file.edm_sigma {
            match &mut path {
                Path::Edm { sigma, .. } => *sigma = given,
                _ => return Err(foreign("edm_sigma", "EDM", name)),
            }
        }
        if let Some(given) = file.edm_rho {
            match &mut path {
                Path::Edm { rho, .. } => *rho = given,
                _ => return Err(foreign("edm_rho", "EDM", name)),
            }
        }
        // JiT's loss is the usual one for data.
        let usual = match prediction {
            Prediction::Data if name != PathName::Ddpm => LossWeight::Velocity,
            _ => LossWeight::None,
        };
        let usual_times = Times::usual(file.times.unwrap_or_default());
        let transport = Transport {
            prediction,
            loss_weight: file.loss_weight.unwrap_or(usual),
            t_eps_train: file.t_eps_train,
            t_eps_sample: file.t_eps_sample,
            times: Times {
                mean: file.times_mean.unwrap_or(usual_times.mean),
                std: file.times_std.unwrap_or(usual_times.std),
                shift: file.times_shift.unwrap_or(usual_times.shift),
                ..usual_times
            },
            data_std: match file.data_std {
                Some(_) if !matches!(path, Path::Edm { .. }) => {
                    return Err(foreign("data_std", "EDM", name));
                }
                given => given.unwrap_or(Transport::default().data_std),
            },
            base: file.base.unwrap_or_default(),
            student_steps: file.student_steps,
            path,
        };
        Ok(transport)
    }
}

fn foreign(key: &str, of: &str, name: PathName) -> Error {
    Error::setting(
        key,
        format!("it belongs to the path {of}, and the path is {name}"),
    )
}

impl From<Transport> for TransportFile {
    fn from(transport: Transport) -> Self {
        let Transport { path, times, .. } = transport;
        let unusual = |value: f64, usual: f64| (value != usual).then_some(value);
        let usual = Times::usual(times.kind);
        let is_edm = matches!(path, Path::Edm { .. });
        let mut file = TransportFile {
            path: path.name(),
            prediction: transport.prediction,
            loss_weight: Some(transport.loss_weight),
            vp_beta: None,
            ou_time: None,
            edm_sigma: None,
            edm_rho: None,
            data_std: is_edm.then_some(transport.data_std),
            times: (times.kind != TimesKind::Uniform).then_some(times.kind),
            times_mean: unusual(times.mean, usual.mean),
            times_std: unusual(times.std, usual.std),
            times_shift: unusual(times.shift, usual.shift),
            t_eps_train: transport.t_eps_train,
            t_eps_sample: transport.t_eps_sample,
            path_table: None,
            ddpm_schedule: None,
            ddpm_steps: None,
            ddpm_variance: None,
            ddpm_loss: None,
            ddpm_times: None,
            ddpm_rescale_times: None,
            ddpm_respacing: None,
            base: (transport.base != Base::Gaussian).then_some(transport.base),
            student_steps: transport.student_steps,
        };
        match path {
            Path::Vp { .. } if path == Path::VP => {}
            Path::Vp { beta } => file.vp_beta = Some(beta),
            Path::Ou { time } => file.ou_time = Some(time),
            Path::Edm { sigma, rho } => {
                (file.edm_sigma, file.edm_rho) = (Some(sigma), Some(rho));
            }
            Path::Table(table) => file.path_table = Some(Arc::unwrap_or_clone(table)),
            Path::Ddpm(ddpm) => {
                // These say what samples and what was trained, so that a file does not depend on defaults.
                file.ddpm_schedule = Some(ddpm.schedule());
                file.ddpm_steps = Some(ddpm.n_levels());
                file.ddpm_variance = Some(ddpm.variance);
                file.ddpm_loss = Some(ddpm.loss);
                file.ddpm_times = (ddpm.times != DdpmTimes::default()).then_some(ddpm.times);
                file.ddpm_rescale_times = ddpm.rescale_times.then_some(true);
                file.ddpm_respacing =
                    (ddpm.respacing != Respacing::All).then(|| ddpm.respacing.clone());
            }
            Path::Linear | Path::Gvp => {}
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back_with_its_numbers() {
        let table = PathTable::new(vec![[0.0, 0.1, 1.0], [1.0, 1.0, 0.0]]).unwrap();
        let mut paths = Path::NAMED.to_vec();
        paths.extend([
            Path::Vp { beta: [0.2, 10.0] },
            Path::Ou { time: 3.0 },
            Path::Edm {
                sigma: [0.01, 20.0],
                rho: 5.0,
            },
            Path::Table(Arc::new(table)),
        ]);
        for path in paths {
            let transport = Transport {
                path,
                prediction: Prediction::Data,
                loss_weight: LossWeight::Velocity,
                times: Times::usual(TimesKind::LogitNormal),
                ..Transport::default()
            };
            let json = serde_json::to_string(&transport).unwrap();
            assert_eq!(
                serde_json::from_str::<Transport>(&json).unwrap(),
                transport,
                "{json}"
            );
        }
    }

    #[test]
    fn the_default_stands_as_it_always_did() {
        let json = serde_json::to_string(&Transport::default()).unwrap();
        assert_eq!(
            json,
            r#"{"path":"Linear","prediction":"velocity","loss_weight":"none"}"#
        );
    }

    #[test]
    fn defaults_follow_the_prediction_and_foreign_numbers_are_refused() {
        let parse = |text: &str| serde_json::from_str::<Transport>(text);
        let data = parse(r#"{"prediction": "data"}"#).unwrap();
        assert_eq!(data.loss_weight, LossWeight::Velocity);
        for (text, expected) in [
            (
                r#"{"vp_beta": [0.1, 20.0]}"#,
                "vp_beta: it belongs to the path VP, and the path is Linear",
            ),
            (r#"{"path": "VP", "ou_time": 3.0}"#, "ou_time"),
            (r#"{"path": "table"}"#, "path_table"),
            (
                r#"{"path": "table", "path_table": [[0.0, 0.0, 1.0]]}"#,
                "got 1 rows",
            ),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
