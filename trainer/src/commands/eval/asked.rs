//! What the arguments of `sit eval` ask for.

use super::args::Args;
use crate::config::Metric;
use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::evaluation::{Images, Reference, Settings};
use crate::judge::{Extractor as _, Trained};
use serde_json::{Value, json};
use sit_engine::backend::Device;
use sit_engine::text::{count, shown};
use std::path::Path;

/// What takes less memory.
pub const FEWER: &str =
    "--count takes fewer images, --pixels compares fewer, and fid and sfid keep nothing of each";

/// Samples that have labels.
const LABELED: &str = "a folder for each class, or an .npz file of sit sample --npz";

/// What is measured, and the real images.
pub struct Asked {
    pub settings: Settings,
    pub reference: Reference,
    /// What was left out or made smaller unasked.
    pub notes: Vec<String>,
    /// `[H, W, C]` of the samples, if there are any.
    shape: Option<[usize; 3]>,
}

impl Asked {
    /// Finds what can be measured, refuses what cannot, and opens the real images.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the argument, or the set that does not do.
    pub fn open(args: &Args, samples: &[ImageSet]) -> Result<Self> {
        let named = |e: Failure| e.context(args.reference_flag());
        let path = args.reference();
        let path =
            path.ok_or_else(|| Failure::Input("--reference: expected real images".into()))?;
        let mut reference = Reference::at(path).map_err(named)?;
        let metrics = metrics(args, samples, &reference)?;
        let shape = samples.first().map(ImageSet::shape);
        let trains = args.train_judge.is_some() && args.reference.is_none();
        reference.open(&metrics, shape, trains).map_err(named)?;
        let mut sets: Vec<&ImageSet> = samples.iter().collect();
        if let Some(images) = &reference.images {
            sets.extend([&*images.training, &*images.held_out]);
        }
        let fewest = sets.into_iter().min_by_key(|set| set.len());
        let mut notes = Vec::new();
        let unlabeled = samples.iter().find(|set| !set.has_labels());
        if let Some(set) =
            unlabeled.filter(|_| args.judge_file().is_some() && args.metrics.is_empty())
        {
            notes.push(format!(
                "agreement: left out, as {} has no labels; {LABELED} has them",
                set.name()
            ));
        }
        let n_pixels = args.pixels as usize;
        let is_fewer = |set: &&ImageSet| {
            let has_more = |own: &ImageSet| own.len() > set.len();
            set.len() < n_pixels && samples.iter().any(has_more)
        };
        let by_pixels = metrics.iter().any(|metric| metric.is_of_pixels());
        if let Some(set) = fewest.filter(is_fewer).filter(|_| by_pixels) {
            notes.push(format!(
                "pixel-, nearest: of {} of each set, as {} has no more",
                count(set.len(), "image"),
                set.name()
            ));
        }
        let settings = Settings {
            metrics,
            protocol: args.protocol,
            n_pixels: fewest.map_or(0, |set| set.len().min(n_pixels)),
            directions: args.directions as usize,
            resamples: args.resamples as usize,
            seed: args.seed,
            fewer: FEWER,
        };
        let counts: Vec<_> = samples.iter().map(|set| (set.name(), set.len())).collect();
        if !counts.is_empty() {
            reference.check(&settings, &counts)?;
        }
        Ok(Asked {
            settings,
            reference,
            notes,
            shape,
        })
    }

    /// Whether a network is evaluated or trained.
    pub fn needs_device(&self, args: &Args) -> bool {
        self.settings.wants(|metric| !metric.is_of_pixels()) || args.train_judge.is_some()
    }

    /// The classifier, trained if it is not there.
    ///
    /// # Errors
    /// As of [`Trained::open`] and [`Trained::on`].
    pub fn judge(&self, args: &Args, file: &Path, device: &Device) -> Result<Trained> {
        let judge = match (&args.train_judge, &self.reference.images) {
            (None, _) => Trained::open(file, device)?,
            (Some(_), Some(images)) if args.reference.is_none() => {
                Trained::on(&images.real, file, device)?
            }
            (Some(data), _) => {
                let images =
                    Images::open(data, self.shape).map_err(|e| e.context("--train-judge"))?;
                Trained::on(&images.real, file, device)?
            }
        };
        tracing::info!(
            "judge {}: {}, {}",
            judge.name(),
            count(judge.classes().len(), "class"),
            count(judge.dim(), "feature")
        );
        Ok(judge)
    }

    /// What the numbers depend on beside the images.
    pub fn to_json(&self, args: &Args) -> Value {
        json!({
            "reference": args.reference().map(shown),
            "inception": args.inception.as_ref().map(shown),
            "protocol": args.inception.as_ref().map(|_| args.protocol.name()),
            "judge": args.judge_file().map(shown),
            "metrics": self.settings.names(|_| true),
            "pixels": self.settings.n_pixels,
            "directions": args.directions,
            "resamples": args.resamples,
            "seed": args.seed,
        })
    }
}

/// What is measured: what is asked for, else all that can be. Pixels are not compared unasked where there are features of a network.
fn metrics(args: &Args, samples: &[ImageSet], reference: &Reference) -> Result<Vec<Metric>> {
    let (has_judge, has_inception) = (args.judge_file().is_some(), args.inception.is_some());
    let statistics = reference.statistics.as_ref();
    let can = |metric: Metric| match metric {
        Metric::Fid => has_inception,
        Metric::Sfid => has_inception && statistics.is_none_or(|own| own.spatial.is_some()),
        Metric::Is => has_inception && args.protocol.has_score(),
        Metric::Kid | Metric::Pr | Metric::Mind => has_inception && reference.has_plain,
        Metric::Agreement => has_judge && samples.iter().all(ImageSet::has_labels),
        Metric::Frechet => has_judge,
        _ => statistics.is_none(),
    };
    // Statistics are of one extractor.
    let is_left_out =
        |metric: Metric| metric.is_of_pixels() || metric == Metric::Frechet && statistics.is_some();
    let all = Metric::ALL.into_iter();
    let metrics: Vec<Metric> = match &args.metrics[..] {
        [] => all
            .filter(|metric| can(*metric) && !(has_inception && is_left_out(*metric)))
            .collect(),
        asked => {
            // Of sFID the reference says what it lacks.
            let refused = |metric: &&Metric| !can(**metric) && **metric != Metric::Sfid;
            if let Some(metric) = asked.iter().find(refused) {
                let without = samples.iter().find(|set| !set.has_labels());
                let what = match (metric, without) {
                    (Metric::Agreement, Some(set)) => {
                        format!("{} has no labels, expected {LABELED}", set.name())
                    }
                    _ => format!(
                        "{} is a file of statistics, expected images",
                        args.reference_flag()
                    ),
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
