//! The tables in Markdown, with what they say in numbers.

use super::orders;
use super::plan::{self, DDPM, TOP};
use super::published;
use super::results::{Measure, Results};
use crate::study::{self, Args, claim};
use anyhow::Result;

/// A step of the ladder.
pub struct Rung {
    pub label: &'static str,
    pub model: &'static str,
    pub sampler: &'static str,
}

const fn rung(label: &'static str, model: &'static str, sampler: &'static str) -> Rung {
    Rung {
        label,
        model,
        sampler,
    }
}

/// From the first to the last.
pub const RUNGS: [Rung; 11] = [
    rung("DDPM noise", DDPM, "ode"),
    rung("VP score", "vp-score", "ode"),
    rung("VP weighted score", "vp-weighted", "ode"),
    rung("VP velocity", "vp-velocity", "ode"),
    rung("GVP velocity", "gvp-velocity", "ode"),
    rung("Linear velocity", TOP, "ode"),
    rung("+ SDE, SBDM", TOP, "sbdm"),
    rung("+ SDE, sigma", TOP, "sde"),
    rung("+ SDE, w-kl-eta", TOP, "kl-eta"),
    rung("+ guidance 1.5, ODE", TOP, "ode-guided"),
    rung("+ guidance 1.5, SDE", TOP, "sde-guided"),
];

impl Rung {
    /// What is published of a larger model instead, or nothing.
    pub fn note(&self) -> String {
        let guided = published::guided(self.sampler);
        guided.map_or_else(String::new, |[without, with]| {
            format!("XL/2: {without:.2} to {with:.2}")
        })
    }
}

/// Rows of the cross table: path, prediction, model.
const CROSS: [[&str; 3]; 8] = [
    ["OU", "score", "ou-score"],
    ["OU", "velocity", "ou-velocity"],
    ["VP", "score", "vp-score"],
    ["VP", "velocity", "vp-velocity"],
    ["GVP", "score", "gvp-score"],
    ["GVP", "velocity", "gvp-velocity"],
    ["Linear", "score", "linear-score"],
    ["Linear", "velocity", TOP],
];

/// Everything that ladder.md says.
pub fn markdown(results: &Results<'_>, args: &Args) -> Result<String> {
    let mut lines = vec![format!(
        "{}, {}: the preset `digits` at {}, {} steps of 64 images, seeds: {}; mean ± deviation over the seeds. The distance is the Frechet distance \
         of {} samples from the real digits in the features of a classifier that `sit sweep` trains ({}); it is no FID. Passes are those of the network for an image. Agreement is \
         the share of samples that are of the class asked for. NLL is in bits per dimension of the held-out digits of 17 levels, along the ODE, \
         for DDPM, too. Published are FID-50K of SiT-B/2 on ImageNet 256x256 after 400 thousand steps, with 250 evaluations and without guidance \
         (SiT, arXiv 2401.08740), and the NLL of talks of SiT's authors, whose unit is not stated.",
        study::today(),
        crate::bench::processor(),
        plan::size(),
        args.steps,
        args.seeds,
        args.count,
        results.judge.about,
    )];
    lines.push("\n### Rungs\n".into());
    lines.extend(ladder(results)?);
    lines.push(
        "\nGuidance 1.5 is published for SiT-XL/2 after 7 million steps: its FID without and with it. SBDM is the paper's w of the KL bound, `sigma` its w = σ, which is D = σ / 2, and `w-kl-eta` the one with the loss over time, at η = 0.01."
            .into(),
    );
    let [agreement, bound] = results.chain()?;
    lines.push(format!(
        "\nDDPM is sampled by the ODE there, like the others. Along its own chain (ancestral, 128 steps, clipped) the agreement is {agreement:.1} %; `sit sweep` \
         has no distance of it. Its variational bound along the chain is {bound:.2} bits per dimension, of 256 levels, which does not compare with those of 17."
    ));
    lines.push("\n### Paths and predictions\n".into());
    lines.extend(cross(results)?);
    lines.push(
        "\nThe times of OU are moved to the data by a shift of 0.15, as in the preset `digits-ou`. The target of its velocity, T (α x1 − α² / σ x0), grows \
         without bound near the data, so that its gradient is mostly noise there."
            .into(),
    );
    lines.push("\n### Distance by evaluations, Linear velocity\n".into());
    lines.extend(curves(results)?);
    lines.push("\n### Where the small scale agrees\n".into());
    lines.push(claim::table(&orders::claims(results)?));
    Ok(lines.join("\n") + "\n")
}

fn ladder(results: &Results<'_>) -> Result<Vec<String>> {
    let mut lines = vec![
        "| rung | passes | distance | NLL | agreement, % | published FID | published NLL |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for rung in &RUNGS {
        let [distance, agreement, nll] = [Measure::Distance, Measure::Agreement, Measure::Nll]
            .map(|measure| results.spread(rung.model, rung.sampler, measure));
        lines.push(format!(
            "| {} | {} | {:.3} | {:.2} | {:.1} | {} | {} |",
            rung.label,
            results.passes(rung.model, rung.sampler)?,
            distance?,
            nll?,
            agreement?,
            published::fid(rung.model, rung.sampler)
                .map_or_else(|| rung.note(), |fid| format!("{fid:.1}")),
            // The samplers of the upper rungs share one likelihood.
            shown(
                published::nll(rung.model).filter(|_| rung.sampler == "ode"),
                2
            )
        ));
    }
    Ok(lines)
}

fn cross(results: &Results<'_>) -> Result<Vec<String>> {
    let mut lines = vec![
        "| path | prediction | distance, ODE | distance, SDE | NLL | published FID, ODE | published FID, SDE | published NLL |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for [path, prediction, model] in CROSS {
        let [ode, sde, nll] = [
            ("ode", Measure::Distance),
            ("sde", Measure::Distance),
            ("", Measure::Nll),
        ]
        .map(|(sampler, measure)| results.spread(model, sampler, measure));
        lines.push(format!(
            "| {path} | {prediction} | {:.3} | {:.3} | {:.2} | {} | {} | {} |",
            ode?,
            sde?,
            nll?,
            shown(published::fid(model, "ode"), 1),
            shown(published::fid(model, "sde"), 1),
            shown(published::nll(model), 2)
        ));
    }
    Ok(lines)
}

fn curves(results: &Results<'_>) -> Result<Vec<String>> {
    let mut lines = vec![
        "| evaluations | ODE, heun | SDE, euler, sigma |".to_owned(),
        "| --- | --- | --- |".to_owned(),
    ];
    let sde = results.curve("curve-sde")?;
    for (evaluations, ode) in results.curve("curve-ode")? {
        let text = |values: Option<&Vec<f64>>| {
            values
                .and_then(|v| study::Spread::of(v))
                .map_or_else(String::new, |s| format!("{s:.3}"))
        };
        lines.push(format!(
            "| {evaluations} | {} | {} |",
            text(Some(&ode)),
            text(sde.get(&evaluations))
        ));
    }
    Ok(lines)
}

/// With as many digits as are published.
fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}
