//! The settings of adaptive solvers.

use super::names::named_enum;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

named_enum! {
    /// Which samples share a step size.
    #[derive(Default)]
    pub enum ErrorNorm: "error norm" {
        /// None: each sample has its own, so that it does not depend on others.
        #[default]
        Sample = "sample",
        /// All samples of a batch, by the root mean square of all errors, as in torchdiffeq: a sample depends on its batch.
        Batch = "batch",
    }
}

/// When an adaptive solver accepts a step: the root mean square of `error / (atol + rtol max(|x|, |x'|))` is at most 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tolerance {
    /// Relative tolerance, at least 0; 1e-3 by default.
    pub rtol: f64,
    /// Absolute tolerance, above 0; 1e-6 by default.
    pub atol: f64,
    /// The most network evaluations of a sample; 10000 by default.
    pub max_nfe: u32,
    /// Which samples share a step size.
    pub norm: ErrorNorm,
}

impl Default for Tolerance {
    /// SiT's tolerances.
    fn default() -> Self {
        Tolerance {
            rtol: 1e-3,
            atol: 1e-6,
            max_nfe: 10_000,
            norm: ErrorNorm::Sample,
        }
    }
}

impl Tolerance {
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |key: &str, got: f64, expected: &str| {
            Err(Error::setting(
                key,
                format!("got {got}, expected {expected}"),
            ))
        };
        match *self {
            Tolerance { rtol, .. } if !(0.0..1.0).contains(&rtol) => {
                refuse("rtol", rtol, "a number from 0 to below 1")
            }
            Tolerance { atol, .. } if !(atol > 0.0 && atol.is_finite()) => {
                refuse("atol", atol, "a number above 0")
            }
            Tolerance { max_nfe: 0, .. } => refuse("max_nfe", 0.0, "at least 1"),
            _ => Ok(()),
        }
    }
}
