//! A classifier of noisy images.

use super::dit::Trunk;
use super::{Dit, Inputs, Network, NetworkIo, Output, Outputs};
use crate::error::{Error, Result};
use crate::nn::{Init, Linear, Scope, TokenNorm};
use crate::ops::reduce;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The probability of each class given a state x at time t: a transformer without labels, whose tokens are averaged, normalized and
/// mapped to a logit for each class. Its gradient with respect to x guides a sampler (Dhariwal and Nichol 2021, arXiv 2105.05233).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Classifier {
    /// Sizes and blocks. `n_classes` is the number of logits.
    pub trunk: Dit,
}

impl Network for Classifier {
    fn io(&self) -> NetworkIo {
        self.trunk.io()
    }

    fn output(&self) -> Output {
        Output::Logits
    }

    fn validate(&self, batch: usize) -> Result<()> {
        // 0 before the data has told their number.
        if self.trunk.n_classes == 1 {
            return Err(Error::setting(
                "model.n_classes",
                "got 1, expected at least 2 for a classifier",
            ));
        }
        if self.trunk.class_tokens > 0 {
            return Err(Error::setting(
                "model.class_tokens",
                format!(
                    "got {}, expected 0: a classifier is not told the class",
                    self.trunk.class_tokens
                ),
            ));
        }
        if self.trunk.span {
            return Err(Error::setting(
                "model.span",
                "got true, expected false: a classifier predicts no mean velocity",
            ));
        }
        self.trunk.validate(batch)
    }

    /// `head(norm(mean_t h))` of the tokens h; the labels are not read.
    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        let (d, n_classes) = (self.trunk.dim, self.trunk.n_classes);
        let blind = Dit {
            n_classes: 0,
            ..self.trunk
        };
        let trunk = Trunk::new(&blind, s)?;
        let norm = TokenNorm::new(s, "norm", self.trunk.norm, d)?;
        let head = Linear::new(s, "head", [n_classes, d], Init::Xavier)?;

        let g = s.graph();
        let (h, _) = trunk.forward(g, inputs)?;
        let h = reduce::mean(g, h, &[1])?;
        let h = norm.forward(g, h, None, None)?;
        let h = g.reshape(h, [g.shape(h)[0], d])?;
        Ok(Outputs {
            features: Some(h),
            ..Outputs::new(head.forward(g, h)?)
        })
    }
}

/// `classifier: width 96, depth 2, ...`.
impl fmt::Display for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "classifier: {}", self.trunk)
    }
}
