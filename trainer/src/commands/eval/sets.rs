//! The samples of `sit eval`.

use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::evaluation;
use crate::metrics::picks;
use sit_engine::text::shown;
use std::path::Path;

/// Opens images as they are, at most `n` of them.
///
/// # Errors
/// [`Failure::Input`] naming the path: it cannot be read, has no images, or fewer than `n`.
pub fn open(path: &Path, n: Option<u32>, seed: u64) -> Result<ImageSet> {
    /// Of [`picks`], apart from those of subsets and pixels.
    const STEP: u32 = 1 << 31;
    let mut set = evaluation::plain(path)?;
    if let Some(n) = n {
        let n = n as usize;
        if n > set.len() {
            return Err(Failure::Input(format!(
                "{}: got {} images, expected at least {n} for --count",
                shown(path),
                set.len()
            )));
        }
        set.take(picks(seed, STEP, set.len(), n));
    }
    Ok(set)
}
