//! Tables and plots.

use super::plan::{DESIGN_SIZE, DESIGNS, PATCHES};
use super::published;
use super::results::{Measured, Point};
use crate::study::chart::{self, Axis, COLORS, Content, Plot, Series};
use crate::study::claim::{self, Claim};
use crate::study::{self, Args, Judge, Spread, rank_correlation};
use anyhow::{Context, Result};

/// Everything that scaling.md says.
pub fn markdown(results: &[Measured], args: &Args, judge: &Judge) -> Result<String> {
    let mut lines = vec![format!(
        "{}, {}: the preset `digits` at depth 4 with heads of 16 values, {} steps of 64 images at a constant learning rate, seeds: {}; mean ± deviation over the seeds. \
         The distance is the Frechet distance of {} samples (ODE, Heun, 16 steps) from the real digits in the features of a classifier that `sit sweep` \
         trains ({}); it is no FID. Work is in multiply-accumulates, which DiT calls flops; that of a training is 3 × forward × batch × steps.\n",
        study::today(),
        crate::bench::processor(),
        super::plan::step(args, super::plan::CHECKPOINTS),
        args.seeds,
        args.count,
        judge.about,
    )];
    lines.push(
        "| blocks | width | patch | forward, MMAC | training, TMAC | distance | agreement, % |"
            .into(),
    );
    lines.push("| --- | --- | --- | --- | --- | --- | --- |".into());
    for measured in results {
        let (model, last) = (measured.model, measured.last()?);
        lines.push(format!(
            "| {} | {} | {} | {:.2} | {:.2} | {:.3} | {:.1} |",
            model.design,
            model.width,
            model.patch,
            measured.work * 1e3,
            measured.training(last.step) / 1e3,
            end(measured)?,
            last.agreement
        ));
    }
    lines.push(format!("\n{}\n", trend(results)?));
    lines.push(claim::table(&claims(results)?));
    Ok(lines.join("\n") + "\n")
}

/// Rank correlations here and there.
fn trend(results: &[Measured]) -> Result<String> {
    let mut here = Vec::new();
    for measured in sizes(results) {
        here.push((measured.work, end(measured)?.mean));
    }
    let there: Vec<(f64, f64)> = published::SIZES
        .iter()
        .flat_map(|(_, sizes)| sizes.map(|[work, fid]| (work, fid)))
        .collect();
    let text = |points: &[(f64, f64)]| {
        rank_correlation(points).map_or_else(|| "none".into(), |r| format!("{r:.2}"))
    };
    Ok(format!(
        "Rank correlation of distance and forward over the {} sizes with adaLN-Zero: {}. Of the FID of DiT's 12 models (table 4): {}.",
        here.len(),
        text(&here),
        text(&there)
    ))
}

/// The sizes, with the one design that all have.
fn sizes(results: &[Measured]) -> impl Iterator<Item = &Measured> {
    results
        .iter()
        .filter(|measured| measured.model.design == "adaln-zero")
}

/// Of neighbors in size and in design.
fn claims(results: &[Measured]) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    let mut add =
        |text: String, published: String, better: &Measured, worse: &Measured| -> Result<()> {
            let pairs = worse
                .last()?
                .distances
                .iter()
                .zip(&better.last()?.distances);
            claims.push(Claim {
                text,
                published,
                gains: pairs.map(|(worse, better)| worse - better).collect(),
            });
            Ok(())
        };
    let sizes: Vec<&Measured> = sizes(results).collect();
    for a in &sizes {
        for b in &sizes {
            let (small, large) = (a.model, b.model);
            if small.patch == large.patch
                && small.width < large.width
                && large.width - small.width == 32
            {
                let text = format!(
                    "width {} below {} at patch {}",
                    large.width, small.width, small.patch
                );
                add(text, "wider is lower at each patch".into(), b, a)?;
            } else if small.width == large.width && small.patch == 2 * large.patch {
                let text = format!(
                    "patch {} below {} at width {}",
                    large.patch, small.patch, small.width
                );
                add(text, "smaller patches are lower at each size".into(), b, a)?;
            }
        }
    }
    let designs = designs(results)?;
    for (i, pair) in designs.windows(2).enumerate() {
        let [worse, better] = [published::DESIGNS[i], published::DESIGNS[i + 1]];
        let text = format!("{} below {}", DESIGNS[i + 1], DESIGNS[i]);
        add(
            text,
            format!("{}, {} (XL/2, 400K)", better[1], worse[1]),
            pair[1],
            pair[0],
        )?;
    }
    Ok(claims)
}

/// The designs at their one size, in the order of [`DESIGNS`].
fn designs(results: &[Measured]) -> Result<Vec<&Measured>> {
    let find = |design: &&str| {
        let is = |m: &&Measured| {
            m.model.design == *design && (m.model.width, m.model.patch) == DESIGN_SIZE
        };
        results
            .iter()
            .find(is)
            .with_context(|| format!("no {design}"))
    };
    DESIGNS.iter().map(find).collect()
}

/// Distance against the forward, beside DiT's.
pub fn forward(results: &[Measured]) -> Result<Vec<u8>> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for (i, patch) in PATCHES.iter().enumerate() {
        let mut points = Vec::new();
        for measured in sizes(results).filter(|m| m.model.patch == *patch) {
            points.push((measured.work, end(measured)?));
        }
        let name = format!("patch {patch}: width 32, 64, 96");
        here.push(joined(name, COLORS[i], points));
        let (name, figures) = published::SIZES[i];
        let name = format!("{name}: S, B, L, XL");
        there.push(joined(name, COLORS[i], figures.map(exact).to_vec()));
    }
    let designs = designs(results)?;
    for (i, design) in DESIGNS.iter().enumerate() {
        if *design != "adaln-zero" {
            let (name, color) = ((*design).to_owned(), COLORS[PATCHES.len() + i]);
            let point = (designs[i].work, end(designs[i])?);
            here.push(single(name, color, vec![point]));
            let name = format!("XL/2, {design}");
            there.push(single(name, color, vec![exact(published::DESIGNS[i])]));
        }
    }
    pair("GFLOP of a forward (multiply-accumulates)", here, there)
}

/// Distance against the work of the training, beside DiT's.
pub fn training(results: &[Measured]) -> Result<Vec<u8>> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for (i, patch) in PATCHES.iter().enumerate() {
        let mut name = format!("patch {patch}: width 32, 64, 96");
        for measured in sizes(results).filter(|m| m.model.patch == *patch) {
            let point = |p: &Point| Some((measured.training(p.step), p.distance()?));
            let points = measured.points.iter().filter_map(point).collect();
            here.push(joined(std::mem::take(&mut name), COLORS[i], points));
        }
        let (name, figures) = published::SIZES[i];
        let at = |[work, fid]: [f64; 2]| exact([published::training(work, 400.0), fid]);
        let name = format!("{name}, 400K steps");
        there.push(single(name, COLORS[i], figures.map(at).to_vec()));
    }
    let (work, steps) = published::XL;
    let longer = steps.map(|[kilosteps, fid]| exact([published::training(work, kilosteps), fid]));
    there.push(joined(
        "XL/2: 400K, 2.35M, 7M".into(),
        COLORS[3],
        longer.to_vec(),
    ));
    pair("training, GFLOP × batch × steps × 3", here, there)
}

/// The distance at the end of a training.
fn end(measured: &Measured) -> Result<Spread> {
    measured.last()?.distance().context("no seed")
}

fn joined(name: String, color: &'static str, points: Vec<(f64, Spread)>) -> Series {
    Series {
        name,
        color,
        points,
        joined: true,
    }
}

fn single(name: String, color: &'static str, points: Vec<(f64, Spread)>) -> Series {
    Series {
        joined: false,
        ..joined(name, color, points)
    }
}

/// A published value has no spread.
fn exact([x, mean]: [f64; 2]) -> (f64, Spread) {
    let deviation = None;
    (x, Spread { mean, deviation })
}

/// The study's plot and the published one.
fn pair(x: &str, here: Vec<Series>, there: Vec<Series>) -> Result<Vec<u8>> {
    let plot = |title: &str, y: &str, series| Plot {
        title: title.to_owned(),
        x: Axis::log(x),
        content: Content::Curves {
            y: Axis::log(y),
            series,
        },
        width: 500.0,
    };
    let plots = [
        plot(
            "here: digits, 8x8",
            "Frechet distance, classifier's features",
            here,
        ),
        plot("published: DiT, ImageNet 256x256", "FID-50K", there),
    ];
    chart::png(&plots, 420.0)
}
