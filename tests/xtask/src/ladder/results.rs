//! What the jobs wrote, by model, sampler and seed.

use super::plan;
use crate::study::{Judge, Row, Spread, Study};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// A number that a model and its samples have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Frechet distance of the samples: less is better.
    Distance,
    /// Percent of the samples that are of the class asked for: more is better.
    Agreement,
    /// Bits per dimension of held-out images: less is better.
    Nll,
}

/// Reads them from the study's folder.
pub struct Results<'a> {
    study: &'a Study,
    seeds: u64,
    pub judge: Judge,
}

impl<'a> Results<'a> {
    pub fn of(study: &'a Study, seeds: u64) -> Result<Self> {
        let judge = Judge::of(study, &plan::name(plan::TOP, "ode", 0))?;
        Ok(Results {
            study,
            seeds,
            judge,
        })
    }

    /// A value of each seed. `sampler` is of no account for the likelihood.
    pub fn values(&self, model: &str, sampler: &str, measure: Measure) -> Result<Vec<f64>> {
        let value = |seed| match measure {
            Measure::Nll => {
                let name = plan::name(model, "nll", seed);
                let printed = self.study.printed(&name)?;
                bits(&printed).with_context(|| name)
            }
            Measure::Distance => self.only(model, sampler, seed, |row| self.judge.distance(row)),
            Measure::Agreement => self.only(model, sampler, seed, |row| row.number("agreement")),
        };
        (0..self.seeds).map(value).collect()
    }

    /// The same as mean and spread.
    pub fn spread(&self, model: &str, sampler: &str, measure: Measure) -> Result<Spread> {
        Spread::of(&self.values(model, sampler, measure)?).context("no seed")
    }

    /// Of discrete diffusion, the agreement along its own chain in percent, and its bound in bits per dimension of 256 levels.
    pub fn chain(&self) -> Result<[Spread; 2]> {
        let (mut agreement, mut bound) = (Vec::new(), Vec::new());
        for seed in 0..self.seeds {
            let [chain, vlb] =
                [plan::CHAIN, plan::BOUND].map(|what| plan::name(plan::DDPM, what, seed));
            agreement.push(agreed(&self.study.printed(&chain)?).with_context(|| chain)?);
            bound.push(bits(&self.study.printed(&vlb)?).with_context(|| vlb)?);
        }
        let spread = |values: &[f64]| Spread::of(values).context("no seed");
        Ok([spread(&agreement)?, spread(&bound)?])
    }

    /// Passes of the network for an image, those of guidance included.
    pub fn passes(&self, model: &str, sampler: &str) -> Result<f64> {
        self.only(model, sampler, 0, |row| row.number("passes"))
    }

    fn only<T>(
        &self,
        model: &str,
        sampler: &str,
        seed: u64,
        of: impl Fn(Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let file = plan::sweep_table(model, sampler, seed);
        let table = self.study.table(&file)?;
        table.only().and_then(of).with_context(|| file)
    }

    /// Distances of the seeds by the number of evaluations.
    pub fn curve(&self, sampler: &str) -> Result<BTreeMap<u64, Vec<f64>>> {
        let mut curve: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for seed in 0..self.seeds {
            let file = plan::sweep_table(plan::TOP, sampler, seed);
            let table = self.study.table(&file)?;
            let mut add = |row: Row<'_>| -> Result<()> {
                let evaluations = row.number("evaluations")? as u64;
                curve
                    .entry(evaluations)
                    .or_default()
                    .push(self.judge.distance(row)?);
                Ok(())
            };
            table.rows().try_for_each(&mut add).with_context(|| file)?;
        }
        Ok(curve)
    }
}

/// The percentage in `469 of 500 (93.8 %) are what was asked for`, which `sit sample` printed.
fn agreed(printed: &str) -> Result<f64> {
    let line = printed
        .lines()
        .find(|line| line.contains("are what was asked for"));
    let line = line.context("no line about what was asked for")?;
    let inside = line
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(" %)"));
    let number = inside.and_then(|(number, _)| number.parse().ok());
    number.with_context(|| format!("got {line:?}, expected a percentage"))
}

/// The number before "bits per dimension" in what `sit nll` printed after the line of its command.
fn bits(printed: &str) -> Result<f64> {
    let line = printed
        .lines()
        .find(|line| line.contains("bits per dimension"));
    let line = line.context("no line with bits per dimension")?;
    let word = line.split_whitespace().next().unwrap_or_default();
    word.parse()
        .ok()
        .with_context(|| format!("got {line:?}, expected a number first"))
}

#[cfg(test)]
mod tests {
    use super::{agreed, bits};

    #[test]
    fn percentage_of_what_is_printed() {
        let printed = "$ sit sample run\n469 of 500 (93.8 %) are what was asked for, says the nearest real digit\n";
        assert_eq!(agreed(printed).unwrap(), 93.8);
        assert!(agreed("500 images\n").is_err());
    }

    #[test]
    fn bits_of_what_is_printed() {
        let printed = "$ sit nll run\n2.792 ± 0.025 bits per dimension\nlog p = 13.1\n";
        assert_eq!(bits(printed).unwrap(), 2.792);
        assert!(bits("$ sit nll run\n").is_err());
    }
}
