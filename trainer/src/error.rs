//! How a command can end, and its exit code.

use crate::data::DataError;
use crate::files::FileError;
use std::fmt;
use std::io::ErrorKind;

/// Why a command did not finish.
#[derive(Debug, Clone)]
pub enum Failure {
    /// Bad usage or input, or a machine that cannot do what was asked; exit code 2.
    Input(String),
    /// The work failed on the way: a full disk, a folder that has gone, a lost device; exit code 1.
    Run(String),
    /// Ctrl-C or another signal to stop, after everything was left in order; exit code 130.
    Interrupted,
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Input(_) => 2,
            Failure::Run(_) => 1,
            Failure::Interrupted => 130,
        }
    }

    /// Bad input with this message.
    pub fn input(message: impl fmt::Display) -> Self {
        Failure::Input(message.to_string())
    }

    /// The same message as a failure of the work itself, for errors that occur after the checks have passed.
    #[must_use]
    pub fn on_the_way(self) -> Self {
        match self {
            Failure::Input(message) => Failure::Run(message),
            other => other,
        }
    }

    /// Puts `what` before the message: a file or an argument.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        match self {
            Failure::Input(message) => Failure::Input(format!("{what}: {message}")),
            Failure::Run(message) => Failure::Run(format!("{what}: {message}")),
            Failure::Interrupted => Failure::Interrupted,
        }
    }

    /// A file error found before the work starts: the argument is wrong, unless the disk is full.
    pub fn beforehand(error: FileError) -> Self {
        match error.source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::Run(error.to_string()),
            _ => Failure::Input(error.to_string()),
        }
    }

    /// Adds a hint on a line of its own.
    #[must_use]
    pub fn hint(self, hint: impl fmt::Display) -> Self {
        match self {
            Failure::Input(message) => Failure::Input(format!("{message}\n{hint}")),
            Failure::Run(message) => Failure::Run(format!("{message}\n{hint}")),
            Failure::Interrupted => Failure::Interrupted,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(message) | Failure::Run(message) => f.write_str(message),
            Failure::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Engine settings that are flags of the command; the others are keys of a configuration.
const FLAGS: [&str; 47] = [
    "along",
    "atol",
    "autoguide",
    "autoguide_scale",
    "backend",
    "churn",
    "churn_noise",
    "churn_window",
    "classifier",
    "classifier_scale",
    "clip_x0",
    "corrector_steps",
    "ddpm",
    "ddpm_schedule",
    "ddpm_variance",
    "decay",
    "diffusion",
    "diffusion_norm",
    "edm",
    "error_norm",
    "eta",
    "fresh_probes",
    "guidance",
    "guidance_channels",
    "guidance_interval",
    "input_size",
    "kl_eta",
    "last_step",
    "last_step_size",
    "loss_table",
    "max_nfe",
    "n_heads",
    "noise_window",
    "ode",
    "ode_last_step",
    "probes",
    "respacing",
    "resume",
    "reverse",
    "rtol",
    "sde",
    "snr",
    "steps",
    "t_eps_sample",
    "teacher",
    "time_grid",
    "width",
];

/// The engine's message, with flags instead of the names of settings.
pub fn in_flags(error: &sit_engine::Error) -> String {
    error.with_names(|key| {
        let is_flag = FLAGS.contains(&key);
        is_flag.then(|| format!("--{}", key.replace('_', "-")))
    })
}

impl From<sit_engine::Error> for Failure {
    fn from(error: sit_engine::Error) -> Self {
        let message = in_flags(&error);
        match error {
            sit_engine::Error::Device(_) | sit_engine::Error::Write(_) => Failure::Run(message),
            _ => Failure::Input(message),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Changed(_) => Failure::Run(error.to_string()),
            _ => Failure::Input(error.to_string()),
        }
    }
}

/// Features are computed on the way, of images that have been checked.
#[cfg(feature = "cli")]
impl From<crate::metrics::Error> for Failure {
    fn from(error: crate::metrics::Error) -> Self {
        match error {
            crate::metrics::Error::Interrupted => Failure::Interrupted,
            other => Failure::Run(other.to_string()),
        }
    }
}

/// A file error during the work is [`Failure::Run`], because arguments are checked beforehand, with [`Failure::Input`]. A file with
/// unexpected content is [`Failure::Input`], too.
impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error.source.kind() {
            ErrorKind::InvalidData => Failure::Input(error.to_string()),
            _ => Failure::Run(error.to_string()),
        }
    }
}
