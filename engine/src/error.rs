//! The one error type of the engine.

/// What can go wrong in the engine. Every message names the thing, what it got and what was expected.
///
/// The engine knows no flags and no controls: a message names a setting by its key, `steps` or `model.patch`, and in the middle of a
/// text puts it in back-quotes. [`Error::with_names`] puts a host's own names there.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that do not fit together, named by operation and argument.
    #[error("{0}")]
    Shape(String),
    /// One setting that is out of its range or refused beside the others.
    #[error("{key}: {problem}")]
    Setting {
        /// Its key, with dots between the tables of a configuration.
        key: String,
        /// What it is, what was expected, and what to do about it.
        problem: String,
    },
    /// Settings that do not go together, or a call that is out of turn, with the reason.
    #[error("{0}")]
    Config(String),
    /// A plan the device cannot hold or run (limits, memory), with the figure and what to do.
    #[error("{0}")]
    Limit(String),
    /// The device failed (lost, out of memory, validation), with what to do.
    #[error("{0}")]
    Device(String),
    /// A tensor file that is truncated, foreign or does not match the model, named by tensor.
    #[error("{0}")]
    Checkpoint(String),
    /// A stream that takes no more, such as a file on a full disk, with the system's error.
    #[error("cannot be written: {0}")]
    Write(String),
}

impl Error {
    /// A setting that is refused: its key, and what is wrong (`got 0, expected 1 to 100`).
    pub fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Setting {
            key: key.into(),
            problem: problem.into(),
        }
    }

    /// The same for a setting that lies in `table` of a configuration: `patch` becomes `model.patch`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        match self {
            Error::Setting { key, problem } => Error::setting(format!("{table}.{key}"), problem),
            Error::Config(text) => Error::Config(format!("{table}: {text}")),
            other => other,
        }
    }

    /// The message with a host's names in place of keys: `name` gives that of a key, or none where the key itself will do.
    pub fn with_names(&self, name: impl Fn(&str) -> Option<String>) -> String {
        if let Error::Setting { key, problem } = self {
            let shown = name(key).unwrap_or_else(|| key.clone());
            return format!("{shown}: {}", quoted_keys(problem, name));
        }
        quoted_keys(&self.to_string(), name)
    }
}

/// The text with the names of those keys in back-quotes that have one.
fn quoted_keys(text: &str, name: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    while let Some(key) = parts.next() {
        match name(key) {
            Some(name) => out += &name,
            None => out += &format!("`{key}`"),
        }
        out += parts.next().unwrap_or_default();
    }
    out
}

/// Result with the engine's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_puts_its_names_in_place_of_keys() {
        let flag = |key: &str| (key != "gpu").then(|| format!("--{}", key.replace('_', "-")));
        let error = Error::setting("last_step", "got 2; use `t_eps_sample` above 0 or `gpu`");
        assert_eq!(
            error.with_names(flag),
            "--last-step: got 2; use --t-eps-sample above 0 or `gpu`"
        );
        let error = Error::Limit("too large; use a smaller `batch`".into());
        assert_eq!(error.with_names(flag), "too large; use a smaller --batch");
        let within = Error::setting("patch", "got 0").within("model");
        assert_eq!(within.to_string(), "model.patch: got 0");
    }
}
