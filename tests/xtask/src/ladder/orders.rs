//! The published orders of methods, and whether the seeds have them.

use super::plan::TOP;
use super::results::{Measure, Results};
use crate::study::claim::Claim;
use anyhow::{Context, Result};

/// A published order: the first model and sampler are better than the second.
struct Order {
    text: &'static str,
    published: &'static str,
    measure: Measure,
    better: [&'static str; 2],
    worse: [&'static str; 2],
}

const fn distance(
    text: &'static str,
    published: &'static str,
    better: [&'static str; 2],
    worse: [&'static str; 2],
) -> Order {
    Order {
        text,
        published,
        measure: Measure::Distance,
        better,
        worse,
    }
}

const fn nll(
    text: &'static str,
    published: &'static str,
    better: &'static str,
    worse: &'static str,
) -> Order {
    Order {
        text,
        published,
        measure: Measure::Nll,
        better: [better, ""],
        worse: [worse, ""],
    }
}

const ORDERS: [Order; 21] = [
    distance(
        "VP score below DDPM noise",
        "43.6, 44.2",
        ["vp-score", "ode"],
        ["ddpm", "ode"],
    ),
    distance(
        "VP weighted score below VP score",
        "39.1, 43.6",
        ["vp-weighted", "ode"],
        ["vp-score", "ode"],
    ),
    distance(
        "VP velocity below VP score",
        "39.8, 43.6",
        ["vp-velocity", "ode"],
        ["vp-score", "ode"],
    ),
    distance(
        "GVP velocity below GVP score",
        "34.6, 36.1",
        ["gvp-velocity", "ode"],
        ["gvp-score", "ode"],
    ),
    distance(
        "Linear velocity below Linear score",
        "34.8, 37.4",
        [TOP, "ode"],
        ["linear-score", "ode"],
    ),
    distance(
        "GVP velocity below VP velocity",
        "34.6, 39.8",
        ["gvp-velocity", "ode"],
        ["vp-velocity", "ode"],
    ),
    distance(
        "Linear velocity below VP velocity",
        "34.8, 39.8",
        [TOP, "ode"],
        ["vp-velocity", "ode"],
    ),
    distance(
        "GVP velocity below Linear velocity",
        "34.6, 34.8",
        ["gvp-velocity", "ode"],
        [TOP, "ode"],
    ),
    distance(
        "VP velocity, SDE below ODE",
        "38.7, 39.8",
        ["vp-velocity", "sde"],
        ["vp-velocity", "ode"],
    ),
    distance(
        "GVP velocity, SDE below ODE",
        "33.6, 34.6",
        ["gvp-velocity", "sde"],
        ["gvp-velocity", "ode"],
    ),
    distance(
        "Linear velocity, SDE below ODE",
        "33.5, 34.8",
        [TOP, "sde"],
        [TOP, "ode"],
    ),
    distance(
        "Linear velocity, w-kl-eta below SBDM",
        "33.0, 33.6",
        [TOP, "kl-eta"],
        [TOP, "sbdm"],
    ),
    distance(
        "guidance 1.5 lowers the distance, ODE",
        "2.15, 9.35 (XL/2, 7M)",
        [TOP, "ode-guided"],
        [TOP, "ode"],
    ),
    distance(
        "guidance 1.5 lowers the distance, SDE",
        "2.06, 8.26 (XL/2, 7M)",
        [TOP, "sde-guided"],
        [TOP, "sde"],
    ),
    Order {
        text: "guidance 1.5 raises the agreement with the class, ODE",
        published: "what guidance is for",
        measure: Measure::Agreement,
        better: [TOP, "ode-guided"],
        worse: [TOP, "ode"],
    },
    nll(
        "NLL of VP score below VP velocity",
        "6.01, 6.31",
        "vp-score",
        "vp-velocity",
    ),
    nll(
        "NLL of GVP score below GVP velocity",
        "5.44, 6.09",
        "gvp-score",
        "gvp-velocity",
    ),
    nll(
        "NLL of Linear score below Linear velocity",
        "5.22, 6.18",
        "linear-score",
        TOP,
    ),
    nll(
        "NLL of GVP velocity below VP velocity",
        "6.09, 6.31",
        "gvp-velocity",
        "vp-velocity",
    ),
    nll(
        "NLL of Linear velocity below VP velocity",
        "6.18, 6.31",
        TOP,
        "vp-velocity",
    ),
    nll(
        "NLL of Linear score below GVP score",
        "5.22, 5.44",
        "linear-score",
        "gvp-score",
    ),
];

/// All claims with the gains of each seed.
pub fn claims(results: &Results<'_>) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for order in &ORDERS {
        let [better, worse] = [order.better, order.worse]
            .map(|[model, sampler]| results.values(model, sampler, order.measure));
        claims.push(claim(
            order.text,
            order.published,
            gains(&better?, &worse?, order.measure),
        ));
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
    claims.push(claim(
        &format!("ODE below SDE at {few} evaluations"),
        "SiT, figure 5",
        gains(&ode[few], &sde[few], Measure::Distance),
    ));
    claims.push(claim(
        &format!("SDE below ODE at {many} evaluations"),
        "SiT, figure 5",
        gains(&sde[many], &ode[many], Measure::Distance),
    ));
    Ok(claims)
}

fn claim(text: &str, published: &str, gains: Vec<f64>) -> Claim {
    Claim {
        text: text.to_owned(),
        published: published.to_owned(),
        gains,
    }
}

/// Of each seed, by how much the first is better.
fn gains(better: &[f64], worse: &[f64], measure: Measure) -> Vec<f64> {
    let gain = |(better, worse): (&f64, &f64)| {
        if measure.less_is_better() {
            worse - better
        } else {
            better - worse
        }
    };
    better.iter().zip(worse).map(gain).collect()
}

#[cfg(test)]
mod tests {
    use super::{Measure, ORDERS, gains};
    use crate::ladder::plan::{MODELS, SAMPLERS};

    #[test]
    fn a_gain_is_positive_where_the_first_is_better() {
        assert_eq!(gains(&[1.0], &[3.0], Measure::Distance), [2.0]);
        assert_eq!(gains(&[90.0], &[80.0], Measure::Agreement), [10.0]);
    }

    #[test]
    fn orders_speak_of_what_is_measured() {
        for order in &ORDERS {
            for [model, sampler] in [order.better, order.worse] {
                assert!(MODELS.iter().any(|m| m.name == model), "{}", order.text);
                let known = SAMPLERS.iter().any(|s| s.name == sampler);
                assert!(known || order.measure == Measure::Nll, "{}", order.text);
            }
        }
    }
}
