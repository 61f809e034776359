//! What the small classifier says of images: how many are of their class, and the distance of its features.

use super::{Evaluation, Number, Reference, Row};
use crate::config::Metric;
use crate::data::ImageSet;
use crate::error::Result;
use crate::judge::{Extractor as _, Keep, extract};
use crate::metrics::{Reference as Root, Within};
use sit_engine::text::count;

impl Evaluation {
    /// Adds the numbers of each set to its row, and tells what they are.
    ///
    /// # Errors
    /// Images that cannot be read or have other classes, statistics of something else, or [`crate::error::Failure::Interrupted`].
    pub(super) fn by_judge(&mut self, sets: &[&ImageSet], rows: &mut [Row]) -> Result<Vec<String>> {
        let Some(judge) = &mut self.judge else {
            return Ok(Vec::new());
        };
        let made = judge.made().clone();
        let is_missing = self.settings.has(Metric::Frechet) && self.judged.is_none();
        let found = match &self.reference {
            _ if !is_missing => None,
            Reference {
                statistics: Some(statistics),
                path,
                ..
            } => {
                statistics.check(path, &made, judge.dim(), None)?;
                Some(Root::new(statistics.features.clone())?)
            }
            Reference {
                images: Some(images),
                ..
            } => {
                let found = extract(
                    judge,
                    &images.training,
                    Keep::default(),
                    self.settings.fewer,
                )?;
                Some(Root::new(found.moments.finish()?)?)
            }
            _ => None,
        };
        self.judged = self.judged.take().or(found);
        let root = &self.judged;
        let has_band = root.is_some() && self.settings.resamples > 1;
        let keep = Keep {
            features: has_band,
            logits: self.settings.has(Metric::Agreement),
            ..Keep::default()
        };
        let mut is_singular = false;
        for (set, row) in sets.iter().zip(rows) {
            let asked = match keep.logits && set.has_labels() {
                true => Some(judge.numbers(set)?),
                false => None,
            };
            let found = extract(judge, set, keep, self.settings.fewer)?;
            if let Some(asked) = asked {
                let agree = judge.agreement(&found.logits, &asked);
                let percent = 100.0 * agree as f64 / asked.len() as f64;
                row.push("agreement %", Number::plain(percent));
            }
            if let Some(root) = root {
                let distance = root.distance(&found.moments.finish()?)?;
                is_singular |= distance.is_singular;
                row.push(
                    "frechet",
                    match has_band {
                        true => {
                            let labels = set.labels().unwrap_or_else(|| vec![0; set.len()]);
                            let (seed, n) = (self.settings.seed, self.settings.resamples);
                            let resamples = Within::of(seed, &labels, n);
                            let band = root.band(distance.value, &found.features, &resamples);
                            Number::band(band?)
                        }
                        false => Number::plain(distance.value),
                    },
                );
            }
        }
        let mut notes = Vec::new();
        if keep.logits {
            notes.push(format!(
                "agreement: percent of the images that {} takes for what was asked for",
                made.extractor
            ));
        }
        if let Some(root) = root {
            let n = root
                .gaussian()
                .n()
                .map_or(String::new(), |n| format!(" of {}", count(n, "image")));
            let few = match is_singular {
                true => {
                    "; a set has no more images than there are features, and its distance is large for that alone"
                }
                false => "",
            };
            let bands = match has_band {
                true => format!(
                    "; with 95 % of {} resamples of each set within its classes: where bands overlap no order is shown",
                    self.settings.resamples
                ),
                false => String::new(),
            };
            notes.push(format!(
                "frechet: Frechet distance of {} features of {} from the reference{n}; it is no FID, and falls with the number of images{few}{bands}",
                judge.dim(),
                made.extractor
            ));
        }
        Ok(notes)
    }
}
