//! Distances of features, by the protocol of an evaluation program.

use super::extract::Extracted;
use crate::error::{Failure, Result};
use crate::metrics::{
    Directions, Distance, Draw, Floats, InceptionScore, Kernel, Moments, Picked, PrecisionRecall,
    RandomState, Reference, Rows as _, Splits, inception_score, kernel_distance, mind, picks,
    precision_recall, subsets,
};
use crate::signals::interrupted;

/// Which numbers are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeaturesWanted {
    /// The Frechet distance of features.
    pub fid: bool,
    /// That of spatial features.
    pub sfid: bool,
    /// The Inception Score.
    pub score: bool,
    /// The kernel distance.
    pub kid: bool,
    /// Precision and recall.
    pub precision_recall: bool,
    /// MIND.
    pub mind: bool,
}

impl FeaturesWanted {
    /// Whether features of single images are compared.
    pub fn needs_features(self) -> bool {
        self.kid || self.precision_recall || self.mind
    }
}

/// How numbers are drawn and split.
#[derive(Debug, Clone, Copy)]
pub struct FeatureSettings {
    /// Splits of the Inception Score.
    pub splits: Splits,
    /// The seed by which NumPy shuffles the samples before they are split, where it does.
    pub shuffle: Option<u32>,
    /// How the subsets of the kernel distance are drawn.
    pub draw: Draw,
    /// Their number.
    pub n_subsets: usize,
    /// Images of each, at most.
    pub subset: usize,
    /// Neighbors of precision and recall.
    pub neighbors: usize,
    /// Directions of MIND.
    pub directions: usize,
    /// Key of what is drawn.
    pub seed: u64,
}

/// What a set has come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Features {
    /// The Frechet distance of features.
    pub fid: Option<Distance>,
    /// That of spatial features.
    pub sfid: Option<Distance>,
    /// The Inception Score.
    pub score: Option<InceptionScore>,
    /// The kernel distance, and images of a subset.
    pub kid: Option<(Kernel, usize)>,
    /// Precision and recall.
    pub precision_recall: Option<PrecisionRecall>,
    /// MIND, and images of each set.
    pub mind: Option<(f64, usize)>,
}

/// What samples are compared with; what is not wanted need not be there.
#[derive(Debug, Default)]
pub struct Against {
    /// Of the features.
    pub features: Option<Reference>,
    /// Of the spatial features.
    pub spatial: Option<Reference>,
    /// Features of single images, `[N, d]`.
    pub vectors: Vec<f32>,
}

/// Compares a set with real images.
///
/// # Errors
/// Too few images for a number, or [`Failure::Interrupted`].
pub fn compare(
    set: Extracted,
    dims: [usize; 2],
    against: &Against,
    wanted: FeaturesWanted,
    settings: &FeatureSettings,
) -> Result<Features> {
    let distance = |reference: &Option<Reference>, moments: Moments| -> Result<Option<Distance>> {
        match reference {
            Some(reference) => Ok(Some(reference.distance(&moments.finish()?)?)),
            None => Ok(None),
        }
    };
    let [dim, n_classes] = dims;
    let mut found = Features::default();
    if wanted.score {
        let n = set.logits.len() / n_classes.max(1);
        let order = settings
            .shuffle
            .map(|seed| RandomState::new(seed).permutation(n as u32));
        let score = inception_score(&set.logits, n_classes, settings.splits, order.as_deref())?;
        found.score = Some(score);
    }
    if wanted.fid {
        found.fid = distance(&against.features, set.moments)?;
    }
    if let Some(moments) = set.spatial.filter(|_| wanted.sfid) {
        found.sfid = distance(&against.spatial, moments)?;
    }
    if !wanted.needs_features() {
        return Ok(found);
    }
    let (x, y) = (
        Floats::new(&set.features, dim)?,
        Floats::new(&against.vectors, dim)?,
    );
    let lengths = [x.len(), y.len()];
    let fewest = lengths[0].min(lengths[1]);
    let go_on = || match interrupted() {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    };
    go_on()?;
    if wanted.kid {
        let size = settings.subset.min(fewest);
        let drawn = subsets(settings.draw, lengths, size, settings.n_subsets);
        found.kid = Some((kernel_distance(&x, &y, &drawn)?, size));
    }
    go_on()?;
    if wanted.precision_recall {
        found.precision_recall = Some(precision_recall(&x, &y, settings.neighbors)?);
    }
    go_on()?;
    if wanted.mind {
        /// Of [`picks`], apart from all other draws.
        const STEP: u32 = (1 << 31) + 1;
        let all = lengths.map(|n| picks(settings.seed, STEP, n, fewest));
        let (x, y) = (Picked::new(&x, &all[0])?, Picked::new(&y, &all[1])?);
        let directions = Directions::drawn(settings.seed, settings.directions, dim);
        found.mind = Some((mind(&x, &y, &directions)?, fewest));
    }
    Ok(found)
}
