//! The judge whose distances a study compares.

use super::{Row, Study};
use anyhow::{Context, Result, ensure};

/// The classifier of `sit sweep`.
#[derive(Debug)]
pub struct Judge {
    hash: String,
    /// What it is, and the distance of real images that it was not trained on.
    pub about: String,
}

impl Judge {
    /// That of a sweep, from what the sweep said.
    pub fn of(study: &Study, job: &str) -> Result<Self> {
        Self::parse(&study.said(job)?).with_context(|| job.to_owned())
    }

    /// From a line such as `judge HASH: classifier-NAME, 64 features; 355 held-out images have the distance 0.5`.
    fn parse(said: &str) -> Result<Self> {
        let is_it = |line: &&str| line.contains("held-out images have the distance");
        let line = said
            .lines()
            .find(is_it)
            .context("no line about the judge")?;
        let parts = line
            .split_once("judge ")
            .and_then(|(_, rest)| rest.split_once(": "));
        let (hash, about) =
            parts.with_context(|| format!("got {line:?}, expected judge HASH: ..."))?;
        Ok(Judge {
            hash: hash.to_owned(),
            about: about.trim().to_owned(),
        })
    }

    /// The distance in a row of a sweep's table.
    ///
    /// # Errors
    /// If another judge has measured it.
    pub fn distance(&self, row: Row<'_>) -> Result<f64> {
        let hash = row.text("judge")?;
        ensure!(
            hash == self.hash,
            "the judge {hash} has measured this, expected {}: distances of different judges do not compare",
            self.hash
        );
        row.number("frechet")
    }
}

#[cfg(test)]
mod tests {
    use super::Judge;
    use crate::study::Table;

    #[test]
    fn a_judge_measures_its_own_distances_alone() {
        let said = " INFO 1 cell\n INFO judge 00ff: classifier, 64 features; 355 held-out images have the distance 0.5\n";
        let judge = Judge::parse(said).unwrap();
        assert_eq!(
            judge.about,
            "classifier, 64 features; 355 held-out images have the distance 0.5"
        );
        let table = Table::parse("judge,frechet\n00ff,1.5\n00fe,1.5\n").unwrap();
        let distances: Vec<_> = table.rows().map(|row| judge.distance(row)).collect();
        assert_eq!(*distances[0].as_ref().unwrap(), 1.5);
        let error = distances[1].as_ref().unwrap_err().to_string();
        assert!(error.contains("00fe"), "{error}");
        assert!(Judge::parse("").is_err());
    }
}
