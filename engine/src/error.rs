//! The error type of the engine.

/// The errors of the engine. Every message names its subject, what it got and what was expected.
///
/// The engine does not know the host's flags or controls. A message names a setting by its key (`steps`, `model.patch`), in
/// backquotes when it occurs inside the text. [`Error::with_names`] replaces the keys with the host's own names.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shapes do not match; the message names the operation and the argument.
    #[error("{0}")]
    Shape(String),
    /// A setting that is out of range, or not allowed in combination with the others.
    #[error("{key}: {problem}")]
    Setting {
        /// Its key, with dots between the tables of a configuration.
        key: String,
        /// The value, what was expected, and what to do about it.
        problem: String,
    },
    /// Settings that cannot be combined, or a call in the wrong order, with the reason.
    #[error("{0}")]
    Config(String),
    /// A plan the device cannot hold or run (limits, memory), with the number and what to do.
    #[error("{0}")]
    Limit(String),
    /// The device failed (lost, out of memory, validation), with what to do.
    #[error("{0}")]
    Device(String),
    /// A tensor file that is truncated, has an unknown format or does not match the model; the message names the tensor.
    #[error("{0}")]
    Checkpoint(String),
    /// Writing to a stream failed (for example a full disk), with the system's error.
    #[error("cannot be written: {0}")]
    Write(String),
}

impl Error {
    /// An invalid setting: its key, and what is wrong (`got 0, expected 1 to 100`).
    pub fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Setting {
            key: key.into(),
            problem: problem.into(),
        }
    }

    /// The message with the host's names in place of keys. `name` maps a key to the host's name; `None` keeps the key.
    pub fn with_names(&self, name: impl Fn(&str) -> Option<String>) -> String {
        if let Error::Setting { key, problem } = self {
            let shown = name(key).unwrap_or_else(|| key.clone());
            return format!("{shown}: {}", quoted_keys(problem, name));
        }
        quoted_keys(&self.to_string(), name)
    }
}

#[doc(hidden)]
impl Error {
    /// Prefixes the key with the name of a configuration `table`: `patch` becomes `model.patch`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        match self {
            Error::Setting { key, problem } => Error::setting(format!("{table}.{key}"), problem),
            Error::Config(text) => Error::Config(format!("{table}: {text}")),
            other => other,
        }
    }
}

/// Replaces backquoted keys in `text` by their names, where `name` knows one.
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
