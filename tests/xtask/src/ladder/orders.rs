//! The published orders of methods, and whether the seeds have them.

use super::plan::{DDPM, TOP};
use super::published;
use super::results::{Measure, Results};
use crate::study::claim::Claim;
use anyhow::{Context, Result};

/// A published order: the first model and sampler are lower than the second.
struct Order {
    text: &'static str,
    measure: Measure,
    lower: [&'static str; 2],
    higher: [&'static str; 2],
}

const fn distance(
    text: &'static str,
    lower: [&'static str; 2],
    higher: [&'static str; 2],
) -> Order {
    let measure = Measure::Distance;
    Order {
        text,
        measure,
        lower,
        higher,
    }
}

const fn nll(text: &'static str, lower: &'static str, higher: &'static str) -> Order {
    Order {
        text,
        measure: Measure::Nll,
        lower: [lower, ""],
        higher: [higher, ""],
    }
}

const ORDERS: [Order; 20] = [
    distance(
        "VP score below DDPM noise",
        ["vp-score", "ode"],
        [DDPM, "ode"],
    ),
    distance(
        "VP weighted score below VP score",
        ["vp-weighted", "ode"],
        ["vp-score", "ode"],
    ),
    distance(
        "VP velocity below VP score",
        ["vp-velocity", "ode"],
        ["vp-score", "ode"],
    ),
    distance(
        "GVP velocity below GVP score",
        ["gvp-velocity", "ode"],
        ["gvp-score", "ode"],
    ),
    distance(
        "Linear velocity below Linear score",
        [TOP, "ode"],
        ["linear-score", "ode"],
    ),
    distance(
        "GVP velocity below VP velocity",
        ["gvp-velocity", "ode"],
        ["vp-velocity", "ode"],
    ),
    distance(
        "Linear velocity below VP velocity",
        [TOP, "ode"],
        ["vp-velocity", "ode"],
    ),
    distance(
        "GVP velocity below Linear velocity",
        ["gvp-velocity", "ode"],
        [TOP, "ode"],
    ),
    distance(
        "VP velocity, SDE below ODE",
        ["vp-velocity", "sde"],
        ["vp-velocity", "ode"],
    ),
    distance(
        "GVP velocity, SDE below ODE",
        ["gvp-velocity", "sde"],
        ["gvp-velocity", "ode"],
    ),
    distance("Linear velocity, SDE below ODE", [TOP, "sde"], [TOP, "ode"]),
    distance(
        "Linear velocity, w-kl-eta below SBDM",
        [TOP, "kl-eta"],
        [TOP, "sbdm"],
    ),
    distance(
        "guidance 1.5 lowers the distance, ODE",
        [TOP, "ode-guided"],
        [TOP, "ode"],
    ),
    distance(
        "guidance 1.5 lowers the distance, SDE",
        [TOP, "sde-guided"],
        [TOP, "sde"],
    ),
    nll(
        "NLL of VP score below VP velocity",
        "vp-score",
        "vp-velocity",
    ),
    nll(
        "NLL of GVP score below GVP velocity",
        "gvp-score",
        "gvp-velocity",
    ),
    nll(
        "NLL of Linear score below Linear velocity",
        "linear-score",
        TOP,
    ),
    nll(
        "NLL of GVP velocity below VP velocity",
        "gvp-velocity",
        "vp-velocity",
    ),
    nll(
        "NLL of Linear velocity below VP velocity",
        TOP,
        "vp-velocity",
    ),
    nll(
        "NLL of Linear score below GVP score",
        "linear-score",
        "gvp-score",
    ),
];

impl Order {
    /// The published values, the lower one first.
    fn published(&self) -> Option<[f64; 2]> {
        let (lower, higher) = (self.lower, self.higher);
        if self.measure == Measure::Nll {
            return Some([published::nll(lower[0])?, published::nll(higher[0])?]);
        }
        if let Some([without, with]) = published::guided(lower[1]) {
            return Some([with, without]);
        }
        let [lower, higher] =
            [lower, higher].map(|[model, sampler]| published::fid(model, sampler));
        Some([lower?, higher?])
    }

    /// The same for a table.
    fn figures(&self) -> Result<String> {
        let [lower, higher] = self.published().with_context(|| self.text)?;
        Ok(match self.measure {
            Measure::Nll => format!("{lower:.2}, {higher:.2} (talks)"),
            _ if published::guided(self.lower[1]).is_some() => {
                format!("{lower:.2}, {higher:.2} (XL/2, 7M)")
            }
            _ => format!("{lower:.1}, {higher:.1}"),
        })
    }
}

/// All orders with the gains of each seed.
pub fn claims(results: &Results<'_>) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for order in &ORDERS {
        let [lower, higher] = [order.lower, order.higher]
            .map(|[model, sampler]| results.values(model, sampler, order.measure));
        claims.push(Claim {
            text: order.text.to_owned(),
            published: order.figures()?,
            gains: gains(&lower?, &higher?),
        });
    }
    let [ode, sde] = ["curve-ode", "curve-sde"].map(|sampler| results.curve(sampler));
    let (ode, sde) = (ode?, sde?);
    let shared: Vec<u64> = ode
        .keys()
        .filter(|n| sde.contains_key(n))
        .copied()
        .collect();
    let (few, many) = (shared.first(), shared.last());
    let (few, many) = few
        .zip(many)
        .context("ODE and SDE share no number of evaluations")?;
    claims.push(Claim {
        text: format!("ODE below SDE at {few} evaluations"),
        published: "SiT, figure 5".into(),
        gains: gains(&ode[few], &sde[few]),
    });
    claims.push(Claim {
        text: format!("SDE below ODE at {many} evaluations"),
        published: "SiT, figure 5".into(),
        gains: gains(&sde[many], &ode[many]),
    });
    Ok(claims)
}

/// Of each seed, by how much the first is lower.
fn gains(lower: &[f64], higher: &[f64]) -> Vec<f64> {
    let pairs = lower.iter().zip(higher);
    pairs.map(|(lower, higher)| higher - lower).collect()
}

#[cfg(test)]
mod tests {
    use super::{Measure, ORDERS};
    use crate::ladder::plan::{MODELS, SAMPLERS};

    #[test]
    fn orders_are_published_and_speak_of_what_is_measured() {
        for order in &ORDERS {
            let [lower, higher] = order.published().expect(order.text);
            assert!(lower < higher, "{}", order.text);
            for [model, sampler] in [order.lower, order.higher] {
                assert!(MODELS.iter().any(|m| m.name == model), "{}", order.text);
                let known = SAMPLERS.iter().any(|s| s.name == sampler);
                assert!(known || order.measure == Measure::Nll, "{}", order.text);
            }
        }
    }
}
