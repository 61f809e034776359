//! Published figures, each of them once.

use super::plan::{DDPM, TOP};

/// FID-50K of SiT-B/2 on ImageNet 256x256 after 400 thousand steps, with 250 evaluations and without guidance (arXiv 2401.08740), by model
/// and sampler.
const FID: [(&str, &str, f64); 15] = [
    (DDPM, "ode", 44.2),
    ("vp-score", "ode", 43.6),
    ("vp-weighted", "ode", 39.1),
    ("vp-velocity", "ode", 39.8),
    ("vp-velocity", "sde", 38.7),
    ("gvp-score", "ode", 36.1),
    ("gvp-score", "sde", 33.5),
    ("gvp-velocity", "ode", 34.6),
    ("gvp-velocity", "sde", 33.4),
    ("linear-score", "ode", 37.4),
    ("linear-score", "sde", 35.3),
    (TOP, "ode", 34.8),
    (TOP, "sde", 33.5),
    (TOP, "sbdm", 33.6),
    (TOP, "kl-eta", 33.0),
];

/// NLL in the talks of SiT's authors, whose unit is not stated.
const NLL: [(&str, f64); 6] = [
    ("vp-score", 6.01),
    ("vp-velocity", 6.31),
    ("gvp-score", 5.44),
    ("gvp-velocity", 6.09),
    ("linear-score", 5.22),
    (TOP, 6.18),
];

/// FID-50K of SiT-XL/2 after 7 million steps, without guidance and with a guidance of 1.5, by sampler.
const GUIDED: [(&str, [f64; 2]); 2] = [("ode-guided", [9.35, 2.15]), ("sde-guided", [8.26, 2.06])];

/// FID of a model and its sampler without guidance.
pub fn fid(model: &str, sampler: &str) -> Option<f64> {
    let found = FID.iter().find(|(m, s, _)| (*m, *s) == (model, sampler));
    found.map(|(_, _, fid)| *fid)
}

/// NLL of a model.
pub fn nll(model: &str) -> Option<f64> {
    NLL.iter().find(|(m, _)| *m == model).map(|(_, nll)| *nll)
}

/// FID of the largest model without guidance and with it.
pub fn guided(sampler: &str) -> Option<[f64; 2]> {
    let found = GUIDED.iter().find(|(name, _)| *name == sampler);
    found.map(|(_, fids)| *fids)
}

#[cfg(test)]
mod tests {
    use super::{FID, GUIDED, NLL};
    use crate::ladder::plan::{MODELS, SAMPLERS};

    #[test]
    fn figures_belong_to_what_is_measured() {
        let models = FID.iter().map(|f| f.0).chain(NLL.iter().map(|n| n.0));
        for model in models {
            assert!(MODELS.iter().any(|m| m.name == model), "{model}");
        }
        let samplers = FID.iter().map(|f| f.1).chain(GUIDED.iter().map(|g| g.0));
        for sampler in samplers {
            assert!(SAMPLERS.iter().any(|s| s.name == sampler), "{sampler}");
        }
    }
}
