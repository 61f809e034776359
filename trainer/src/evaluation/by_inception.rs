//! What the Inception network says of samples: FID and its kin.

use super::{Evaluation, Number, Reference, Row, Settings};
use crate::config::{Metric, Protocol};
use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::judge::{
    Against, Extractor, FeatureSettings, Features, FeaturesWanted, InceptionFeatures, Keep,
    compare, extract,
};
use crate::metrics::{Draw, Reference as Root, Splits};
use sit_engine::text::count;

/// The seed by which torch-fidelity draws.
const TORCH_FIDELITY: u32 = 2020;

impl Evaluation {
    /// Adds the numbers of each set to its row, and tells what they are.
    ///
    /// # Errors
    /// Images that cannot be read, statistics of something else, too few images, or [`Failure::Interrupted`].
    pub(super) fn by_inception(
        &mut self,
        sets: &[&ImageSet],
        rows: &mut [Row],
    ) -> Result<Vec<String>> {
        let Some(network) = &mut self.inception else {
            return Ok(Vec::new());
        };
        let wanted = FeaturesWanted {
            fid: self.settings.has(Metric::Fid),
            sfid: self.settings.has(Metric::Sfid),
            score: self.settings.has(Metric::Is),
            kid: self.settings.has(Metric::Kid),
            precision_recall: self.settings.has(Metric::Pr),
            mind: self.settings.has(Metric::Mind),
        };
        let settings = settings(&self.settings);
        if self.against.is_none() {
            self.against = Some(against(
                &self.reference,
                network,
                wanted,
                self.settings.fewer,
            )?);
        }
        let Some((against, said)) = &self.against else {
            return Ok(Vec::new());
        };
        let keep = Keep {
            features: wanted.needs_features(),
            logits: wanted.score,
            spatial: wanted.sfid,
        };
        let dims = [network.dim(), InceptionFeatures::N_LOGITS];
        let mut is_singular = false;
        let mut sizes = [Vec::new(), Vec::new()];
        for (set, row) in sets.iter().zip(rows) {
            let found = extract(network, set, keep, self.settings.fewer)?;
            let found = compare(found, dims, against, wanted, &settings);
            let found = found.map_err(|e: Failure| e.context(set.name()))?;
            is_singular |= found.fid.is_some_and(|distance| distance.is_singular);
            sizes[0].extend(found.kid.map(|(_, n)| n));
            sizes[1].extend(found.mind.map(|(_, n)| n));
            push(row, &found);
        }
        let made = network.made();
        let names = self.settings.names(Metric::is_of_inception);
        let mut notes = vec![format!(
            "{}: by {} with images resized by {} (protocol {}){said}",
            names.join(", "),
            made.extractor,
            made.resize,
            self.settings.protocol.name()
        )];
        if is_singular {
            notes.push(format!(
                "fid: a set has no more images than the {} features, and its distance is large for that alone",
                dims[0]
            ));
        }
        if wanted.score {
            notes.push(match settings.splits {
                Splits::Count(k) => format!(
                    "is: of {k} splits, of the order by the seed {TORCH_FIDELITY}; logits without bias"
                ),
                Splits::Size(n) => format!("is: of splits of {n} images; logits without bias"),
            });
        }
        if let Some(n) = images(&sizes[0]) {
            let seed = match settings.draw {
                Draw::Own(seed) => seed,
                Draw::TorchFidelity(seed) => seed.into(),
            };
            notes.push(format!(
                "kid: {} subsets of {n}, drawn by the seed {seed}",
                settings.n_subsets
            ));
        }
        if wanted.precision_recall {
            notes.push(format!(
                "pr: precision and recall by {} neighbors",
                settings.neighbors
            ));
        }
        if let Some(n) = images(&sizes[1]) {
            notes.push(format!(
                "mind: {} directions, {n} of each set",
                settings.directions
            ));
        }
        Ok(notes)
    }
}

/// Numbers of images in words: one, or from the fewest to the most; `None` without any.
fn images(numbers: &[usize]) -> Option<String> {
    let (least, most) = (numbers.iter().min()?, numbers.iter().max()?);
    Some(match least == most {
        true => count(*most, "image"),
        false => format!("{least} to {most} images"),
    })
}

fn settings(of: &Settings) -> FeatureSettings {
    let is_torch_fidelity = of.protocol == Protocol::TorchFidelity;
    FeatureSettings {
        splits: match is_torch_fidelity {
            true => Splits::Count(10),
            false => Splits::Size(5000),
        },
        shuffle: is_torch_fidelity.then_some(TORCH_FIDELITY),
        draw: match is_torch_fidelity {
            true => Draw::TorchFidelity(TORCH_FIDELITY),
            false => Draw::Own(of.seed),
        },
        n_subsets: 100,
        subset: 1000,
        neighbors: 3,
        directions: of.directions,
        seed: of.seed,
    }
}

/// What samples are compared with, and in words: nothing for the Inception Score alone. A file that has statistics and images gives both.
fn against(
    reference: &Reference,
    network: &mut InceptionFeatures,
    wanted: FeaturesWanted,
    fewer: &str,
) -> Result<(Against, String)> {
    let mut against = Against::default();
    let mut said = Vec::new();
    let by_moments = wanted.fid || wanted.sfid;
    let statistics = reference.statistics.as_ref();
    if let Some(statistics) = statistics.filter(|_| by_moments) {
        let spatial = network.spatial_dim().filter(|_| wanted.sfid);
        statistics.check(&reference.path, network.made(), network.dim(), spatial)?;
        if wanted.fid {
            against.features = Some(Root::new(statistics.features.clone())?);
        }
        if let Some(spatial) = statistics.spatial.clone().filter(|_| wanted.sfid) {
            against.spatial = Some(Root::new(spatial)?);
        }
        let n = match statistics.features.n() {
            Some(n) => format!("statistics of {n} images"),
            None => {
                "statistics of a file that does not say its extractor, resize and number of images"
                    .into()
            }
        };
        said.push(n);
    }
    let has_statistics = statistics.is_some();
    let needs_images = wanted.needs_features() || by_moments && !has_statistics;
    if let Some(plain) = reference.plain.as_ref().filter(|_| needs_images) {
        let keep = Keep {
            features: wanted.needs_features(),
            logits: false,
            spatial: wanted.sfid && !has_statistics,
        };
        let found = extract(network, plain, keep, fewer)?;
        if wanted.fid && !has_statistics {
            against.features = Some(Root::new(found.moments.finish()?)?);
        }
        if let Some(moments) = found.spatial {
            against.spatial = Some(Root::new(moments.finish()?)?);
        }
        against.vectors = found.features;
        said.push(plain.described());
    }
    let said = match &said[..] {
        [] => String::new(),
        said => format!(", against {}", said.join(" and ")),
    };
    Ok((against, said))
}

fn push(row: &mut Row, found: &Features) {
    for (name, distance) in [("fid", found.fid), ("sfid", found.sfid)] {
        if let Some(distance) = distance {
            row.push(name, Number::plain(distance.value));
        }
    }
    if let Some(score) = found.score {
        row.push("is", Number::deviation(score.mean, score.deviation));
    }
    if let Some((kernel, _)) = found.kid {
        row.push("kid", Number::deviation(kernel.mean, kernel.deviation));
    }
    if let Some(both) = found.precision_recall {
        row.push("precision", Number::plain(both.precision));
        row.push("recall", Number::plain(both.recall));
    }
    if let Some((mind, _)) = found.mind {
        row.push("mind", Number::plain(mind));
    }
}
