//! How far images are from real ones: the numbers of `sit eval`, of files and of a model in training.

mod by_inception;
mod by_judge;
mod by_pixels;
mod in_training;
mod reference;
mod row;

pub use in_training::{InTraining, Prepared, check};
pub use reference::{Images, Reference, plain};
pub use row::{Number, Row, shown};

use crate::config::{Metric, Protocol};
use crate::data::ImageSet;
use crate::error::Result;
use crate::judge::{Against, Extractor, InceptionFeatures, Pixels, Trained};
use crate::metrics::Reference as Root;
use sit_engine::inception::Resize;
use std::sync::Arc;

/// What is measured, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In the order of the columns.
    pub metrics: Vec<Metric>,
    /// Whose numbers the Inception network gives.
    pub protocol: Protocol,
    /// Images of each set whose pixels are compared.
    pub n_pixels: usize,
    /// Directions of the sliced distances and of MIND.
    pub directions: usize,
    /// Resamples of the bands.
    pub resamples: usize,
    /// Key of what is drawn.
    pub seed: u64,
    /// What takes less memory, for refusals.
    pub fewer: &'static str,
}

impl Settings {
    /// Whether a metric is measured.
    pub fn has(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// Whether one of a kind is.
    pub fn wants(&self, is: impl Fn(Metric) -> bool) -> bool {
        self.metrics.iter().any(|metric| is(*metric))
    }

    /// Names of the metrics of a kind that are measured.
    pub fn names(&self, is: fn(Metric) -> bool) -> Vec<&'static str> {
        let metrics = self.metrics.iter().filter(|metric| is(**metric));
        metrics.map(|metric| metric.name()).collect()
    }
}

/// How images come to the size of the Inception network.
pub fn resize(protocol: Protocol) -> Resize {
    match protocol {
        Protocol::Adm | Protocol::TorchFidelity => Resize::Tf1,
        Protocol::PytorchFid => Resize::HalfPixel,
        Protocol::CleanFid => Resize::Antialias,
    }
}

/// Measures sets of images. What is known of the real images is found once, for all sets.
pub struct Evaluation {
    settings: Settings,
    reference: Reference,
    judge: Option<Trained>,
    inception: Option<InceptionFeatures>,
    /// Of the judge's features of the real images.
    judged: Option<Root>,
    /// Of the Inception network's.
    against: Option<(Against, String)>,
    pixels: Option<Pixels>,
}

impl Evaluation {
    /// Takes the networks that the metrics need.
    pub fn new(
        settings: Settings,
        reference: Reference,
        judge: Option<Trained>,
        inception: Option<InceptionFeatures>,
    ) -> Self {
        Evaluation {
            judge: judge.filter(|_| settings.wants(Metric::is_of_judge)),
            inception: inception.filter(|_| settings.wants(Metric::is_of_inception)),
            settings,
            reference,
            judged: None,
            against: None,
            pixels: None,
        }
    }

    /// Images that a metric is of, of a set of `n`.
    pub fn n_compared(&self, metric: Metric, n: usize) -> usize {
        match &self.reference.plain {
            Some(real) if metric == Metric::Mind => n.min(real.len()),
            _ if metric.is_of_pixels() => self.settings.n_pixels,
            _ => n,
        }
    }

    /// Refuses images called `name` of a shape `[H, W, C]` that a network cannot read, and statistics of another network, before the work.
    ///
    /// # Errors
    /// [`crate::error::Failure::Input`] with what was expected.
    pub fn check(&self, name: &str, shape: [usize; 3]) -> Result<()> {
        let settings = &self.settings;
        let is_distance = |metric| matches!(metric, Metric::Fid | Metric::Sfid);
        let judge = self.judge.as_ref().map(|judge| judge as &dyn Extractor);
        let inception = self
            .inception
            .as_ref()
            .map(|network| network as &dyn Extractor);
        for (network, compares) in [
            (judge, settings.has(Metric::Frechet)),
            (inception, settings.wants(is_distance)),
        ] {
            let Some(network) = network else {
                continue;
            };
            network.check(shape).map_err(|e| e.context(name))?;
            if let Some(statistics) = self.reference.statistics.as_ref().filter(|_| compares) {
                let spatial = network.spatial_dim().filter(|_| settings.has(Metric::Sfid));
                statistics.check(&self.reference.path, network.made(), network.dim(), spatial)?;
            }
        }
        Ok(())
    }

    /// A row for each set, and what the numbers are. With `floor` the last row is that of the real images that judges have not seen, where there are
    /// some; it has the columns of the judge and of pixels.
    ///
    /// # Errors
    /// Images that cannot be read or do not compare, a device that fails, or [`Failure::Interrupted`].
    pub fn measure(&mut self, sets: &[&ImageSet], floor: bool) -> Result<(Vec<Row>, Vec<String>)> {
        let mut rows: Vec<Row> = sets.iter().map(|set| Row::of(set)).collect();
        let mut notes = Vec::new();
        if self.inception.is_some() {
            notes.extend(self.by_inception(sets, &mut rows)?);
        }
        let held_out = self.reference.images.as_ref().filter(|_| floor);
        let held_out = held_out.map(|images| (Arc::clone(&images.held_out), images.real.floor()));
        let mut sets = sets.to_vec();
        if let Some((held_out, title)) = &held_out {
            rows.push(Row {
                title: title.clone(),
                ..Row::of(held_out)
            });
            sets.push(held_out);
        }
        if self.judge.is_some() {
            notes.extend(self.by_judge(&sets, &mut rows)?);
        }
        if self.reference.images.is_some() && self.settings.wants(Metric::is_of_pixels) {
            notes.extend(self.by_pixels(&sets, &mut rows)?);
        }
        Ok((rows, notes))
    }
}
