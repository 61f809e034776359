//! The tables in Markdown, with what they say in numbers.

use super::orders;
use super::plan::{GUIDANCE, SIZE, TOP};
use super::results::{Measure, Results};
use crate::study::{self, Args, claim};
use anyhow::Result;

/// A step of the ladder.
pub struct Rung {
    pub label: &'static str,
    pub model: &'static str,
    pub sampler: &'static str,
    /// FID of SiT-B/2 after 400 thousand steps.
    pub fid: Option<f64>,
    /// NLL in the talks' table.
    nll: Option<f64>,
    /// What is published of another model instead.
    pub note: &'static str,
}

const fn rung(
    label: &'static str,
    [model, sampler]: [&'static str; 2],
    fid: Option<f64>,
    nll: Option<f64>,
) -> Rung {
    Rung {
        label,
        model,
        sampler,
        fid,
        nll,
        note: "",
    }
}

/// Guidance is published for SiT-XL/2 after 7 million steps.
const fn guided(label: &'static str, sampler: &'static str, note: &'static str) -> Rung {
    Rung {
        note,
        ..rung(label, [TOP, sampler], None, None)
    }
}

/// From the first to the last.
pub const RUNGS: [Rung; 11] = [
    rung("DDPM noise", ["ddpm", "ode"], Some(44.2), None),
    rung("VP score", ["vp-score", "ode"], Some(43.6), Some(6.01)),
    rung(
        "VP weighted score",
        ["vp-weighted", "ode"],
        Some(39.1),
        None,
    ),
    rung(
        "VP velocity",
        ["vp-velocity", "ode"],
        Some(39.8),
        Some(6.31),
    ),
    rung(
        "GVP velocity",
        ["gvp-velocity", "ode"],
        Some(34.6),
        Some(6.09),
    ),
    rung("Linear velocity", [TOP, "ode"], Some(34.8), Some(6.18)),
    rung("+ SDE, SBDM", [TOP, "sbdm"], Some(33.6), None),
    rung("+ SDE, sigma", [TOP, "sde"], Some(33.5), None),
    rung("+ SDE, w-kl-eta", [TOP, "kl-eta"], Some(33.0), None),
    guided("+ guidance, ODE", "ode-guided", "XL/2: 9.35 to 2.15"),
    guided("+ guidance, SDE", "sde-guided", "XL/2: 8.26 to 2.06"),
];

/// A row of the cross table: path, prediction, model, and the published FID with the ODE and with the SDE (w = σ), and NLL.
type Cross = (&'static str, &'static str, &'static str, [Option<f64>; 3]);

const CROSS: [Cross; 8] = [
    ("OU", "score", "ou-score", [None; 3]),
    ("OU", "velocity", "ou-velocity", [None; 3]),
    ("VP", "score", "vp-score", [Some(43.6), None, Some(6.01)]),
    (
        "VP",
        "velocity",
        "vp-velocity",
        [Some(39.8), Some(38.7), Some(6.31)],
    ),
    (
        "GVP",
        "score",
        "gvp-score",
        [Some(36.1), Some(33.5), Some(5.44)],
    ),
    (
        "GVP",
        "velocity",
        "gvp-velocity",
        [Some(34.6), Some(33.6), Some(6.09)],
    ),
    (
        "Linear",
        "score",
        "linear-score",
        [Some(37.4), Some(35.3), Some(5.22)],
    ),
    (
        "Linear",
        "velocity",
        TOP,
        [Some(34.8), Some(33.5), Some(6.18)],
    ),
];

/// Everything that ladder.md says.
pub fn markdown(results: &Results<'_>, args: &Args) -> Result<String> {
    let mut lines = vec![format!(
        "{}: the preset `digits` at {SIZE}, {} steps of 64 images, seeds: {}; mean ± deviation over the seeds. The distance is the Frechet distance \
         of {} samples from the real digits in the features of a classifier that `sit sweep` trains ({}); it is no FID. Passes are those of the network for an image. Agreement is \
         the share of samples that are of the class asked for. NLL is in bits per dimension of the held-out digits of 17 levels, along the ODE, \
         for DDPM, too. Published are FID-50K of SiT-B/2 on ImageNet 256x256 after 400 thousand steps, with 250 evaluations and without guidance \
         (SiT, arXiv 2401.08740), and the NLL of the authors' talks, whose unit is not stated.",
        study::today(),
        args.steps,
        args.seeds,
        args.count,
        results.judge.about,
    )];
    lines.push("\n### Rungs\n".into());
    lines.extend(ladder(results)?);
    lines.push(format!(
        "\nGuidance is {GUIDANCE}. Published for it: SiT-XL/2 after 7 million steps falls from 9.35 to 2.15 (ODE) and from \
         8.26 to 2.06 (SDE). `sigma` is the paper's w = σ, which is D = σ / 2."
    ));
    let [agreement, bound] = results.chain()?;
    lines.push(format!(
        "\nDDPM stands there by the ODE, as the others. Along its own chain (ancestral, 128 steps, clipped) the agreement is {agreement:.1} %; `sit sweep` \
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
            rung.fid
                .map_or_else(|| rung.note.to_owned(), |fid| format!("{fid:.1}")),
            published(rung.nll, 2)
        ));
    }
    Ok(lines)
}

fn cross(results: &Results<'_>) -> Result<Vec<String>> {
    let mut lines = vec![
        "| path | prediction | distance, ODE | distance, SDE | NLL | published FID, ODE | published FID, SDE | published NLL |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (path, prediction, model, [fid, fid_sde, published_nll]) in CROSS {
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
            published(fid, 1),
            published(fid_sde, 1),
            published(published_nll, 2)
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
fn published(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}
