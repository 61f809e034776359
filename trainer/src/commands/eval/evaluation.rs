//! What an evaluation compares, and the rows of its table.

use super::args::{Args, Metric};
use super::features;
use super::sets::{Images, Reference};
use super::table::{Number, Row};
use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::judge::{
    Copies, Extractor as _, InceptionFeatures, Keep, PixelSettings, Pixels, PixelsWanted, Trained,
    extract,
};
use crate::metrics::Reference as Root;
use crate::progress::Progress;
use crate::signals::interrupted;
use serde_json::{Value, json};
use sit_engine::backend::Device;
use sit_engine::text::{count, shown};
use std::path::Path;

/// What is evaluated.
pub struct Evaluation<'a> {
    pub args: &'a Args,
    samples: Vec<ImageSet>,
    pub reference: Reference,
    metrics: Vec<Metric>,
    /// Images of each set whose pixels are compared.
    n_pixels: usize,
}

impl<'a> Evaluation<'a> {
    /// Finds what can be measured, refuses what cannot, and opens the real images.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the argument, or the set that does not do.
    pub fn open(args: &'a Args, samples: Vec<ImageSet>) -> Result<Self> {
        let named = |e: Failure| e.context("--reference");
        let path = args.reference();
        let path =
            path.ok_or_else(|| Failure::Input("--reference: expected real images".into()))?;
        let mut reference = Reference::at(path).map_err(named)?;
        let metrics = metrics(args, &samples, &reference)?;
        let is_any = |is: fn(Metric) -> bool| metrics.iter().any(|metric| is(*metric));
        let needs_vectors = is_any(Metric::needs_vectors);
        let has_statistics = reference.statistics.is_some();
        let needs_plain = is_any(|metric| metric.is_of_inception() && metric != Metric::Is);
        if needs_vectors || (needs_plain && !has_statistics) {
            reference.plain = Some(super::sets::open(path, None, 0).map_err(named)?);
        }
        let shape = samples.first().map(ImageSet::shape);
        let trains = args.train_judge.is_some() && args.reference.is_none();
        if !has_statistics && (is_any(|metric| !metric.is_of_inception()) || trains) {
            reference.images = Some(Images::open(path, shape).map_err(named)?);
        }
        let mut lengths: Vec<usize> = samples.iter().map(ImageSet::len).collect();
        if let Some(images) = &reference.images {
            lengths.extend([images.training.len(), images.held_out.len()]);
        }
        let fewest = lengths.into_iter().min().unwrap_or(0);
        if fewest < 2 && !samples.is_empty() {
            return Err(Failure::Input(format!(
                "got a set of {}, expected at least 2 to compare with others",
                count(fewest, "image")
            )));
        }
        Ok(Evaluation {
            n_pixels: fewest.min(args.pixels as usize),
            args,
            samples,
            reference,
            metrics,
        })
    }

    /// Whether a metric is measured.
    pub fn has(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// Names of the metrics of one kind that are measured.
    pub fn names(&self, is: fn(Metric) -> bool) -> Vec<&'static str> {
        let metrics = self.metrics.iter().filter(|metric| is(**metric));
        metrics.map(|metric| metric.name()).collect()
    }

    fn wants(&self, is: impl Fn(Metric) -> bool) -> bool {
        self.metrics.iter().any(|metric| is(*metric))
    }

    /// Whether a network is evaluated or trained.
    pub fn needs_device(&self) -> bool {
        self.wants(|metric| !metric.is_of_pixels()) || self.args.train_judge.is_some()
    }

    /// The classifier, trained if it is not there.
    ///
    /// # Errors
    /// As of [`Trained::open`] and [`Trained::on`].
    pub fn judge(&self, file: &Path, device: &Device) -> Result<Trained> {
        let judge = match (&self.args.train_judge, &self.reference.images) {
            (None, _) => Trained::open(file, device)?,
            (Some(_), Some(images)) if self.args.reference.is_none() => {
                Trained::on(&images.real, file, device)?
            }
            (Some(data), _) => {
                let shape = self.samples.first().map(ImageSet::shape);
                let images = Images::open(data, shape).map_err(|e| e.context("--train-judge"))?;
                Trained::on(&images.real, file, device)?
            }
        };
        tracing::info!(
            "judge {}: {}, {}",
            judge.made().extractor,
            count(judge.classes().len(), "class"),
            count(judge.dim(), "feature")
        );
        Ok(judge)
    }

    /// A row for each set, and what the numbers are.
    ///
    /// # Errors
    /// Images that cannot be read or do not compare, a device that fails, or [`Failure::Interrupted`].
    pub fn measure(
        &self,
        judge: Option<Trained>,
        inception: Option<InceptionFeatures>,
    ) -> Result<(Vec<Row>, Vec<String>)> {
        let mut rows: Vec<Row> = self.samples.iter().map(row_of).collect();
        let mut sets: Vec<&ImageSet> = self.samples.iter().collect();
        let mut notes = Vec::new();
        if let Some(mut network) = inception.filter(|_| self.wants(Metric::is_of_inception)) {
            notes.extend(features::measure(
                self,
                &mut network,
                &self.samples,
                &mut rows,
            )?);
        }
        if let Some(images) = &self.reference.images {
            let held_out = &images.held_out;
            let title = format!("{}, held out", held_out.name());
            rows.push(Row {
                title,
                ..row_of(held_out)
            });
            sets.push(held_out);
        }
        if let Some(mut judge) = judge.filter(|_| self.wants(Metric::is_of_judge)) {
            notes.extend(self.by_judge(&mut judge, &sets, &mut rows)?);
        }
        if let Some(images) = &self.reference.images
            && self.wants(Metric::is_of_pixels)
        {
            notes.extend(self.by_pixels(&images.training, &sets, &mut rows)?);
        }
        Ok((rows, notes))
    }

    fn by_judge(
        &self,
        judge: &mut Trained,
        sets: &[&ImageSet],
        rows: &mut [Row],
    ) -> Result<Vec<String>> {
        let made = judge.made().clone();
        let root = match &self.reference {
            _ if !self.has(Metric::Frechet) => None,
            Reference {
                statistics: Some(statistics),
                path,
                ..
            } => {
                statistics.check(path, &made, judge.dim())?;
                Some(Root::new(statistics.features.clone())?)
            }
            Reference {
                images: Some(images),
                ..
            } => {
                let found = extract(judge, &images.training, Keep::default())?;
                Some(Root::new(found.moments.finish()?)?)
            }
            _ => None,
        };
        let keep = Keep {
            logits: self.has(Metric::Agreement),
            ..Keep::default()
        };
        let mut is_singular = false;
        for (set, row) in sets.iter().zip(rows) {
            let asked = match keep.logits && set.has_labels() {
                true => Some(judge.numbers(set)?),
                false => None,
            };
            let found = extract(judge, set, keep)?;
            if let Some(asked) = asked {
                let agree = judge.agreement(&found.logits, &asked);
                let percent = 100.0 * agree as f64 / asked.len() as f64;
                row.push("agreement %", Number::plain(percent, 1));
            }
            if let Some(root) = &root {
                let distance = root.distance(&found.moments.finish()?)?;
                is_singular |= distance.is_singular;
                row.push("frechet", Number::plain(distance.value, 4));
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
            notes.push(format!(
                "frechet: Frechet distance of {} features of {} from the reference{n}; it is no FID, and falls with the number of images{few}",
                judge.dim(),
                made.extractor
            ));
        }
        Ok(notes)
    }

    fn by_pixels(
        &self,
        training: &ImageSet,
        sets: &[&ImageSet],
        rows: &mut [Row],
    ) -> Result<Vec<String>> {
        let settings = PixelSettings {
            n: self.n_pixels,
            seed: self.args.seed,
            directions: self.args.directions as usize,
            resamples: self.args.resamples as usize,
        };
        let wanted = PixelsWanted {
            sliced: self.has(Metric::PixelSw) || self.has(Metric::PixelMind),
            energy: self.has(Metric::PixelEnergy),
        };
        let pixels = Pixels::new(training, settings)?;
        let mut bar = Progress::new("pixels", "sets", 0, sets.len() as u64);
        for (i, (set, row)) in sets.iter().zip(rows).enumerate() {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            let found = pixels.compare(set, wanted)?;
            for (metric, band, digits) in [
                (Metric::PixelSw, found.sliced, 4),
                (Metric::PixelMind, found.mind, 3),
                (Metric::PixelEnergy, found.energy, 4),
            ] {
                if let Some(band) = band.filter(|_| self.has(metric)) {
                    row.push(metric.name(), Number::band(band, digits));
                }
            }
            if self.has(Metric::Nearest) {
                let copies = pixels.copies(set, training)?;
                row.push("nearest", Number::plain(copies.quantile(0.5), 2));
                row.push("copies %", Number::plain(100.0 * copies.share(), 1));
                row.more
                    .insert("nearest_training_images".into(), self.copies(&copies));
            }
            bar.set(i as u64 + 1, String::new);
        }
        let n = count(self.n_pixels, "image");
        let mut notes = Vec::new();
        if wanted.sliced || wanted.energy {
            let bands = match self.args.resamples {
                0 | 1 => String::new(),
                b => format!(", with 95 % of {b} resamples"),
            };
            notes.push(format!(
                "pixel-: of {n} of each set and of the reference, values in [-1, 1]{bands}; the sliced ones fall with their number"
            ));
        }
        if self.has(Metric::Nearest) {
            notes.push(format!(
                "nearest: median distance of {n} of each set to the nearest of {}, as the rms of a value in levels of 0 to 255; copies: those on it, \
                 or at less than a third of the distance to the second",
                training.described()
            ));
        }
        Ok(notes)
    }

    /// Quantiles of the distances, and which images are copies of which.
    fn copies(&self, copies: &Copies) -> Value {
        let pairs = copies.nearest.iter().zip(&copies.numbers);
        let pairs = pairs.filter(|(two, _)| two.is_copy());
        let pairs = pairs.map(|(two, number)| {
            let ratio = if two.second > 0.0 {
                two.first / two.second
            } else {
                0.0
            };
            json!({ "image": number, "training_image": two.number, "ratio": ratio })
        });
        json!({
            "count": copies.nearest.len(),
            "rms_levels_quantiles": {
                "0.05": copies.quantile(0.05),
                "0.5": copies.quantile(0.5),
                "0.95": copies.quantile(0.95),
            },
            "copies": pairs.collect::<Vec<_>>(),
        })
    }

    /// What the numbers depend on beside the images.
    pub fn settings(&self) -> Value {
        json!({
            "reference": self.args.reference().map(shown),
            "inception": self.args.inception.as_ref().map(shown),
            "protocol": self.args.inception.as_ref().map(|_| self.args.protocol.name()),
            "judge": self.args.judge_file().map(shown),
            "metrics": self.names(|_| true),
            "pixels": self.n_pixels,
            "directions": self.args.directions,
            "resamples": self.args.resamples,
            "seed": self.args.seed,
        })
    }
}

/// What is measured: what is asked for, else all that can be. Pixels are not compared unasked where there are features of a network.
fn metrics(args: &Args, samples: &[ImageSet], reference: &Reference) -> Result<Vec<Metric>> {
    let has_labels = samples.iter().all(ImageSet::has_labels);
    let (has_judge, has_inception) = (args.judge_file().is_some(), args.inception.is_some());
    let statistics = reference.statistics.as_ref();
    let can = |metric: Metric| match metric {
        Metric::Fid => has_inception,
        Metric::Sfid => has_inception && statistics.is_none_or(|own| own.spatial.is_some()),
        Metric::Is => has_inception && args.protocol.has_score(),
        Metric::Kid | Metric::Pr | Metric::Mind => has_inception && reference.has_plain,
        Metric::Agreement => has_judge && has_labels,
        // Statistics are of one extractor.
        Metric::Frechet => has_judge && !(has_inception && statistics.is_some()),
        _ => statistics.is_none(),
    };
    let all = Metric::ALL.into_iter();
    let metrics: Vec<Metric> = match &args.metrics[..] {
        [] => all
            .filter(|metric| can(*metric) && !(has_inception && metric.is_of_pixels()))
            .collect(),
        asked => {
            if let Some(metric) = asked.iter().find(|metric| !can(**metric)) {
                let without = samples.iter().find(|set| !set.has_labels());
                let what = match (metric, without) {
                    (Metric::Agreement, Some(set)) => format!("{} has no labels", set.name()),
                    (Metric::Sfid, _) => "--reference has no mu_s and sigma_s".into(),
                    _ => "--reference is a file of statistics, expected images".into(),
                };
                let name = metric.name();
                return Err(Failure::Input(format!("--metrics {name}: {what}")));
            }
            all.filter(|metric| asked.contains(metric)).collect()
        }
    };
    match metrics.is_empty() {
        false => Ok(metrics),
        true => Err(Failure::Input(
            "--reference: a file of statistics compares with features: expected --inception FILE or --judge FILE, or real images".into(),
        )),
    }
}

fn row_of(set: &ImageSet) -> Row {
    Row {
        title: set.name().to_owned(),
        n: set.len(),
        ..Row::default()
    }
}
