//! What the jobs wrote.

use super::plan::{self, Model};
use crate::study::{Args, Judge, Spread, Study};
use anyhow::{Context, Result};

/// A checkpoint of a model, over all seeds.
#[derive(Debug)]
pub struct Point {
    pub step: u64,
    pub distances: Vec<f64>,
    pub agreement: Spread,
}

impl Point {
    pub fn distance(&self) -> Option<Spread> {
        Spread::of(&self.distances)
    }
}

/// A model with its checkpoints, the last one at the end.
#[derive(Debug)]
pub struct Measured {
    pub model: Model,
    /// Work of a forward in GMAC.
    pub work: f64,
    pub points: Vec<Point>,
}

impl Measured {
    /// Work of a training in GMAC.
    pub fn training(&self, step: u64) -> f64 {
        3.0 * self.work * (plan::BATCH * step) as f64
    }

    /// The end of the training.
    pub fn last(&self) -> Result<&Point> {
        self.points.last().context("no checkpoint")
    }
}

/// Multiply-accumulates of each model's forward, in the order of [`plan::models`].
pub fn works(study: &Study) -> Result<Vec<f64>> {
    let work = |model: &Model| {
        let name = plan::info(model);
        work(&study.printed(&name)?).with_context(|| name)
    };
    plan::models().iter().map(work).collect()
}

/// The number of `forward of one image: 3.41 MMAC`.
fn work(printed: &str) -> Result<f64> {
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("forward of one image: "));
    let line = line.context("no line with the forward of one image")?;
    let mut words = line.split_whitespace();
    let number: Option<f64> = words.next().and_then(|word| word.parse().ok());
    let unit = match words.next() {
        Some("MMAC") => 1e6,
        Some("GMAC") => 1e9,
        _ => anyhow::bail!("got {line:?}, expected a number of MMAC or GMAC"),
    };
    Ok(unit * number.with_context(|| format!("got {line:?}, expected a number first"))?)
}

/// The judge of all distances.
pub fn judge(study: &Study, args: &Args) -> Result<Judge> {
    let models = plan::models();
    let first = models.first().context("no model")?;
    Judge::of(study, &plan::samples(first, 0, plan::step(args, 1)))
}

/// All models.
pub fn read(study: &Study, args: &Args, works: &[f64], judge: &Judge) -> Result<Vec<Measured>> {
    let measured = |(model, work): (Model, &f64)| {
        let steps = (1..=plan::CHECKPOINTS).map(|i| plan::step(args, i));
        Ok(Measured {
            model,
            work: work / 1e9,
            points: steps
                .map(|step| point(study, args.seeds, judge, (&model, step)))
                .collect::<Result<_>>()?,
        })
    };
    plan::models()
        .into_iter()
        .zip(works)
        .map(measured)
        .collect()
}

fn point(study: &Study, seeds: u64, judge: &Judge, (model, step): (&Model, u64)) -> Result<Point> {
    let (mut distances, mut agreements) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let file = format!("sweeps/{}/table.csv", plan::samples(model, seed, step));
        let table = study.table(&file)?;
        let mut read = || -> Result<()> {
            let row = table.only()?;
            distances.push(judge.distance(row)?);
            agreements.push(row.number("agreement")?);
            Ok(())
        };
        read().with_context(|| file)?;
    }
    Ok(Point {
        step,
        distances,
        agreement: Spread::of(&agreements).context("no seed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::work;

    #[test]
    fn work_of_what_is_printed() {
        let printed =
            "parameters\n  all 5\n\nforward of one image: 3.41 MMAC (multiply-accumulates)\n";
        assert_eq!(work(printed).unwrap(), 3.41e6);
        assert!(work("forward of one image: 3.41 apples").is_err());
        assert!(work("").is_err());
    }
}
