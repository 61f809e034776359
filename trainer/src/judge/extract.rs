//! Features of a set of images, by any network.

use super::Made;
use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::memory;
use crate::metrics::Moments;
use crate::progress::Progress;
use crate::signals::interrupted;

/// What makes features of images.
pub trait Extractor {
    /// What it is, and how images come to its size.
    fn made(&self) -> &Made;

    /// The length of a vector of features.
    fn dim(&self) -> usize;

    /// The length of a vector of spatial features, for a network that has them.
    fn spatial_dim(&self) -> Option<usize> {
        None
    }

    /// The number of classes that it has logits of.
    fn n_logits(&self) -> usize;

    /// Images at a time.
    fn batch(&self) -> usize;

    /// Refuses images of a shape `[H, W, C]` that it cannot read.
    ///
    /// # Errors
    /// [`Failure::Input`] with what it expects.
    fn check(&self, shape: [usize; 3]) -> Result<()>;

    /// Reads images of levels `[n, H, W, C]` of the shape `[H, W, C]`, at most as many as [`Extractor::batch`].
    ///
    /// # Errors
    /// A device that fails.
    fn read(&mut self, levels: &[u8], shape: [usize; 3]) -> Result<Taken>;
}

/// What a network says of some images.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// `[n, d]`.
    pub features: Vec<f32>,
    /// `[n, d]` of [`Extractor::spatial_dim`]; empty without.
    pub spatial: Vec<f32>,
    /// Logits of the classes, `[n, K]`, without a bias for the Inception Score.
    pub logits: Vec<f32>,
}

/// What is kept of each image; moments always are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Its features.
    pub features: bool,
    /// Its logits.
    pub logits: bool,
    /// Moments of spatial features.
    pub spatial: bool,
}

/// What is known of a set of images.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// Of the features.
    pub moments: Moments,
    /// Of the spatial features, if they were kept.
    pub spatial: Option<Moments>,
    /// `[N, d]`, empty if they were not kept.
    pub features: Vec<f32>,
    /// `[N, K]`, empty if they were not kept.
    pub logits: Vec<f32>,
}

/// Reads a whole set. Memory is that of what is kept and of a batch, whatever the number of images; where it is not free, the refusal says what takes
/// `fewer`.
///
/// # Errors
/// Images that cannot be read or have another shape, too little memory for what is kept, features that are not finite, a device that fails, or
/// [`Failure::Interrupted`].
pub fn extract(
    extractor: &mut dyn Extractor,
    set: &ImageSet,
    keep: Keep,
    fewer: &str,
) -> Result<Extracted> {
    let named = |e: Failure| e.context(set.name());
    extractor.check(set.shape()).map_err(named)?;
    let (n, dim) = (set.len(), extractor.dim());
    let spatial_dim = extractor.spatial_dim().filter(|_| keep.spatial);
    let squares = |dim: usize| 16 * (dim as u64).pow(2);
    let of_each = |is_kept: bool, len: usize| if is_kept { 4 * len as u64 } else { 0 };
    let kept = of_each(keep.features, dim) + of_each(keep.logits, extractor.n_logits());
    let kept = n as u64 * kept;
    memory::require_host(
        &format!("the features of {}", set.described()),
        Some(kept + squares(dim) + spatial_dim.map_or(0, squares)),
        fewer,
    )?;
    let mut all = Extracted {
        moments: Moments::new(dim),
        spatial: spatial_dim.map(Moments::new),
        features: Vec::with_capacity(if keep.features { n * dim } else { 0 }),
        logits: Vec::new(),
    };
    let mut bar = Progress::new("features", "images", 0, n as u64);
    set.each(extractor.batch(), |first, levels| {
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        let taken = extractor.read(levels, set.shape())?;
        let finite = |e: crate::metrics::Error| Failure::from(e).context(set.name());
        all.moments.add(&taken.features).map_err(finite)?;
        if let Some(spatial) = &mut all.spatial {
            spatial.add(&taken.spatial).map_err(finite)?;
        }
        if keep.features {
            all.features.extend_from_slice(&taken.features);
        }
        if keep.logits {
            all.logits.extend_from_slice(&taken.logits);
        }
        bar.set((first + levels.len() / set.image_len()) as u64, String::new);
        Ok(())
    })?;
    Ok(all)
}
