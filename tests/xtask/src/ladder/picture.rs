//! The ladder beside the published one, and the distance by evaluations.

use super::published;
use super::report::RUNGS;
use super::results::{Measure, Results};
use crate::study::Spread;
use crate::study::chart::{self, Axis, COLORS, Content, Mark, Plot, Series};
use anyhow::Result;

/// The picture as PNG.
pub fn png(results: &Results<'_>) -> Result<Vec<u8>> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for rung in &RUNGS {
        let color = match rung.sampler {
            "ode" | "ode-guided" => COLORS[0],
            _ => COLORS[1],
        };
        let mark = |value| Mark {
            row: rung.label.to_owned(),
            value,
            note: rung.note(),
            color,
        };
        here.push(mark(Some(results.spread(
            rung.model,
            rung.sampler,
            Measure::Distance,
        )?)));
        let fid = published::fid(rung.model, rung.sampler);
        there.push(mark(fid.map(|mean| Spread {
            mean,
            deviation: None,
        })));
    }
    let rows = |title: &str, x, marks, named, width| Plot {
        title: title.to_owned(),
        x,
        content: Content::Rows { marks, named },
        width,
    };
    let plots = [
        rows(
            "here: digits",
            Axis::log("Frechet distance, classifier's features"),
            here,
            true,
            480.0,
        ),
        rows(
            "published: SiT-B/2, ImageNet",
            Axis::linear("FID-50K"),
            there,
            false,
            250.0,
        ),
        curves(results)?,
    ];
    chart::png(&plots, 420.0)
}

fn curves(results: &Results<'_>) -> Result<Plot> {
    let mut series = Vec::new();
    let mut ticks = Vec::new();
    for (name, sampler, color) in [
        ("ODE (Heun)", "curve-ode", COLORS[0]),
        ("SDE (Euler-Maruyama)", "curve-sde", COLORS[1]),
    ] {
        let curve = results.curve(sampler)?;
        ticks = curve.keys().map(|n| *n as f64).collect();
        let point = |(n, values): (&u64, &Vec<f64>)| Some((*n as f64, Spread::of(values)?));
        series.push(Series {
            name: name.to_owned(),
            color,
            points: curve.iter().filter_map(point).collect(),
            joined: true,
        });
    }
    Ok(Plot {
        title: "here: Linear velocity".into(),
        x: Axis {
            ticks,
            ..Axis::log("evaluations of the network")
        },
        content: Content::Curves {
            y: Axis::log("Frechet distance"),
            series,
        },
        width: 430.0,
    })
}
