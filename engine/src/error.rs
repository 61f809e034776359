//! The one error type of the engine.

/// What can go wrong in the engine. Every message names the thing, what it got and what was expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that do not fit together, named by operation and argument.
    #[error("{0}")]
    Shape(String),
    /// A model, transport or sampler setting that is invalid or a combination that is refused, with the reason.
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

/// Result with the engine's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
