//! `sit eval`: how far samples are from real images.

mod args;
mod sets;
mod table;

pub use args::Args;

use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::judge::{
    Copies, Extractor as _, Keep, PixelSettings, Pixels, PixelsWanted, Statistics, Trained, extract,
};
use crate::metrics::Reference as Root;
use crate::progress::Progress;
use crate::signals::{self, interrupted};
use crate::stdout;
use args::Metric;
use serde_json::{Value, json};
use sets::Reference;
use sit_engine::backend::Device;
use sit_engine::text::{count, shown};
use std::io::Write as _;
use std::path::Path;
use table::{Number, Row};

/// Runs it.
///
/// # Errors
/// Images or statistics that cannot be read or do not compare, arguments that do not go together, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    args.check()?;
    let open = |path| sets::open(path, args.count, args.seed);
    let samples = args.samples.iter().map(|path| open(path));
    let samples = samples.collect::<Result<Vec<ImageSet>>>()?;
    if let [first, others @ ..] = &samples[..]
        && let Some(other) = others.iter().find(|other| other.shape() != first.shape())
    {
        return Err(Failure::Input(format!(
            "SAMPLES: got {} and {}, expected images of one size",
            first.described(),
            other.described()
        )));
    }
    let shape = samples.first().map(ImageSet::shape);
    if let Some(path) = &args.save_statistics {
        return save_statistics(args, &samples[0], path);
    }
    let reference = args
        .reference()
        .ok_or_else(|| Failure::Input("--reference".into()))?;
    let reference = Reference::open(reference, shape).map_err(|e| e.context("--reference"))?;
    let eval = Eval::new(args, samples, reference)?;
    let device = match eval.wants(Metric::is_of_judge) || args.train_judge.is_some() {
        true => Some(args.backend.open()?),
        false => None,
    };
    signals::catch();
    let judge = match (&device, args.judge_file()) {
        (Some(device), Some(file)) => Some(eval.judge(file, device)?),
        _ => None,
    };
    if let Some(judge) = judge.as_ref().filter(|_| eval.samples.is_empty()) {
        let file = args.judge_file().map(shown).unwrap_or_default();
        return stdout::print(&format!("{} in {file}\n", judge.made().extractor));
    }
    let (rows, notes) = eval.measure(judge)?;
    if let Some(path) = &args.json {
        let json = table::to_json(&rows, &notes, eval.settings());
        write_atomically(path, |out| {
            serde_json::to_writer_pretty(&mut *out, &json)?;
            out.write_all(b"\n")
        })?;
    }
    stdout::print(&table::markdown(&rows, &notes))
}

/// The features of one set, for later.
fn save_statistics(args: &Args, set: &ImageSet, path: &Path) -> Result<()> {
    let device = args.backend.open()?;
    signals::catch();
    let mut judge = match (args.judge_file(), &args.train_judge) {
        (Some(file), Some(data)) => {
            let [height, width, channels] = set.shape();
            let real = super::real::of_path(data, Some([channels, height, width]))?;
            Trained::on(&real, file, &device)?
        }
        (Some(file), None) => Trained::open(file, &device)?,
        (None, _) => return Err(Failure::Input("--judge".into())),
    };
    let found = extract(&mut judge, set, Keep::default())?;
    let statistics = Statistics {
        made: Some(judge.made().clone()),
        features: found.moments.finish()?,
        spatial: None,
    };
    statistics.write(path)?;
    stdout::print(&format!(
        "wrote {}: mean and covariance of {} features of {}, by {}\n",
        shown(path),
        statistics.features.dim(),
        set.described(),
        judge.made().extractor
    ))
}

/// What is evaluated.
struct Eval<'a> {
    args: &'a Args,
    samples: Vec<ImageSet>,
    reference: Reference,
    metrics: Vec<Metric>,
    /// Images of each set whose pixels are compared.
    n_pixels: usize,
}

impl<'a> Eval<'a> {
    /// Finds what can be measured, and refuses what cannot.
    fn new(args: &'a Args, samples: Vec<ImageSet>, reference: Reference) -> Result<Self> {
        let has_images = matches!(reference, Reference::Images { .. });
        let has_labels = samples.iter().all(ImageSet::has_labels);
        let has_judge = args.judge_file().is_some();
        let can = |metric: &Metric| match metric {
            Metric::Agreement => has_judge && has_labels,
            Metric::Frechet => has_judge,
            _ => has_images,
        };
        let metrics: Vec<Metric> = match &args.metrics[..] {
            [] => Metric::ALL.into_iter().filter(can).collect(),
            asked => {
                if let Some(metric) = asked.iter().find(|metric| !can(metric)) {
                    let without = samples.iter().find(|set| !set.has_labels());
                    let what = match (metric, without) {
                        (Metric::Agreement, Some(set)) => format!("{} has no labels", set.name()),
                        _ => "--reference is a file of statistics, expected images".into(),
                    };
                    return Err(Failure::Input(format!(
                        "--metrics {}: {what}",
                        metric.name()
                    )));
                }
                Metric::ALL
                    .into_iter()
                    .filter(|metric| asked.contains(metric))
                    .collect()
            }
        };
        if metrics.is_empty() {
            return Err(Failure::Input(
                "--reference: a file of statistics compares with features: expected --judge FILE, or real images".into(),
            ));
        }
        let mut lengths: Vec<usize> = samples.iter().map(ImageSet::len).collect();
        if let Reference::Images {
            training, held_out, ..
        } = &reference
        {
            lengths.extend([training.len(), held_out.len()]);
        }
        let fewest = lengths.into_iter().min().unwrap_or(0);
        if fewest < 2 && !samples.is_empty() {
            return Err(Failure::Input(format!(
                "got a set of {}, expected at least 2 to compare with others",
                count(fewest, "image")
            )));
        }
        Ok(Eval {
            n_pixels: fewest.min(args.pixels as usize),
            args,
            samples,
            reference,
            metrics,
        })
    }

    fn wants(&self, is: impl Fn(Metric) -> bool) -> bool {
        self.metrics.iter().any(|metric| is(*metric))
    }

    fn has(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// The classifier, trained if it is not there.
    fn judge(&self, file: &Path, device: &Device) -> Result<Trained> {
        let judge = match &self.args.train_judge {
            None => Trained::open(file, device)?,
            Some(data) => {
                let shape = self.samples.first().map(ImageSet::shape);
                let shape = shape.map(|[height, width, channels]| [channels, height, width]);
                let own = match (&self.reference, &self.args.reference) {
                    (Reference::Images { real, .. }, None) => {
                        return self.named(Trained::on(real, file, device)?);
                    }
                    _ => {
                        super::real::of_path(data, shape).map_err(|e| e.context("--train-judge"))?
                    }
                };
                Trained::on(&own, file, device)?
            }
        };
        self.named(judge)
    }

    /// Says what the judge is called.
    fn named(&self, judge: Trained) -> Result<Trained> {
        tracing::info!(
            "judge {}: {}, {}",
            judge.made().extractor,
            count(judge.classes().len(), "class"),
            count(judge.dim(), "feature")
        );
        Ok(judge)
    }

    /// A row for each set, and what the numbers are.
    fn measure(&self, mut judge: Option<Trained>) -> Result<(Vec<Row>, Vec<String>)> {
        let mut rows: Vec<Row> = self.samples.iter().map(row_of).collect();
        let mut sets: Vec<&ImageSet> = self.samples.iter().collect();
        let mut notes = Vec::new();
        if let Reference::Images { held_out, .. } = &self.reference {
            let title = format!("{}, held out", held_out.name());
            rows.push(Row {
                title,
                ..row_of(held_out)
            });
            sets.push(held_out);
        }
        if let Some(judge) = judge.as_mut().filter(|_| self.wants(Metric::is_of_judge)) {
            notes.extend(self.by_judge(judge, &sets, &mut rows)?);
        }
        if let Reference::Images { training, .. } = &self.reference
            && self.wants(Metric::is_of_pixels)
        {
            notes.extend(self.by_pixels(training, &sets, &mut rows)?);
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
            Reference::Statistics(path, statistics) => {
                statistics.check(path, &made, judge.dim())?;
                Some(Root::new(statistics.features.clone())?)
            }
            Reference::Images { training, .. } => {
                let found = extract(judge, training, Keep::default())?;
                Some(Root::new(found.moments.finish()?)?)
            }
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
    fn settings(&self) -> Value {
        let names = self.metrics.iter().map(|metric| metric.name());
        json!({
            "reference": self.args.reference().map(shown),
            "judge": self.args.judge_file().map(shown),
            "metrics": names.collect::<Vec<_>>(),
            "pixels": self.n_pixels,
            "directions": self.args.directions,
            "resamples": self.args.resamples,
            "seed": self.args.seed,
        })
    }
}

fn row_of(set: &ImageSet) -> Row {
    Row {
        title: set.name().to_owned(),
        n: set.len(),
        ..Row::default()
    }
}
