//! The settings of a run as TensorBoard's HParams plugin takes them (`plugins/hparams/plugin_data.proto`): two summaries, the
//! experiment (which settings and measurements there are) and the start of the session (their values).

use super::tensorboard::Message;
use crate::config::RunConfig;

/// A value that TensorBoard sorts and filters by.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A word; also a list, as text.
    Text(String),
    /// True or false.
    Switch(bool),
    /// A number.
    Number(f64),
}

/// The configuration by dotted key.
pub fn of(config: &RunConfig) -> Vec<(String, Setting)> {
    let setting = |value: toml::Value| match value {
        toml::Value::Boolean(on) => Setting::Switch(on),
        toml::Value::Integer(n) => Setting::Number(n as f64),
        toml::Value::Float(x) => Setting::Number(x),
        toml::Value::String(text) => Setting::Text(text),
        other => Setting::Text(other.to_string()),
    };
    // If TOML cannot hold a value, writing config.toml has already failed.
    let keys = config.keys().unwrap_or_default();
    keys.into_iter()
        .map(|(key, value)| (key, setting(value)))
        .collect()
}

/// The measurements that the table of runs always shows beside the settings.
const METRICS: [&str; 2] = ["loss", "validation_loss"];

/// Two `tensorflow.Summary` messages.
pub(super) fn messages(settings: &[(String, Setting)], measured: &[String]) -> [Message; 2] {
    let experiment = summary("_hparams_/experiment", 2, |experiment| {
        for (name, setting) in settings {
            experiment.message(4, |info| {
                info.bytes(1, name.as_bytes());
                let data_type = match setting {
                    Setting::Text(_) => 1,
                    Setting::Switch(_) => 2,
                    Setting::Number(_) => 3,
                };
                info.int(4, data_type);
            });
        }
        let measured = measured.iter().map(String::as_str);
        for metric in METRICS.into_iter().chain(measured) {
            experiment.message(5, |info| {
                info.message(1, |name| name.bytes(2, metric.as_bytes()));
            });
        }
    });
    let start = summary("_hparams_/session_start_info", 3, |start| {
        for (name, setting) in settings {
            // An entry of a map.
            start.message(1, |entry| {
                entry.bytes(1, name.as_bytes());
                entry.message(2, |value| match setting {
                    Setting::Number(x) => value.fixed64(2, x.to_le_bytes()),
                    Setting::Text(text) => value.bytes(3, text.as_bytes()),
                    Setting::Switch(on) => value.int(4, u64::from(*on)),
                });
            });
        }
    });
    [experiment, start]
}

/// A summary with one value whose metadata hold the plugin's data in `field`.
fn summary(tag: &str, field: u64, fill: impl FnOnce(&mut Message)) -> Message {
    let mut data = Message::default();
    data.message(field, fill);
    let mut summary = Message::default();
    summary.message(1, |value| {
        value.bytes(1, tag.as_bytes());
        // An empty tensor of floats, without which TensorBoard ignores the value.
        value.message(8, |tensor| {
            tensor.int(1, 1);
            tensor.message(2, |shape| {
                shape.message(2, |axis| axis.int(1, 0));
            });
        });
        value.message(9, |metadata| {
            metadata.message(1, |plugin| {
                plugin.bytes(1, b"hparams");
                plugin.bytes(2, &data.0);
            });
        });
    });
    summary
}
