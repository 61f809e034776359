//! Distances of pixels, and how near images lie to those that a model was trained on.

use super::{Evaluation, Number, Row};
use crate::config::Metric;
use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::judge::{Copies, PixelSettings, Pixels, PixelsWanted};
use crate::progress::Progress;
use crate::signals::interrupted;
use serde_json::{Value, json};
use sit_engine::text::count;

/// Of fewer images than these some resamples are of one image alone.
const FEW: usize = 8;

impl Evaluation {
    /// Adds the numbers of each set to its row, and tells what they are.
    ///
    /// # Errors
    /// Images that cannot be read, too little memory, or [`Failure::Interrupted`].
    pub(super) fn by_pixels(
        &mut self,
        sets: &[&ImageSet],
        rows: &mut [Row],
    ) -> Result<Vec<String>> {
        let has = |metric| self.settings.has(metric);
        let settings = PixelSettings {
            n: self.settings.n_pixels,
            seed: self.settings.seed,
            directions: self.settings.directions,
            resamples: self.settings.resamples,
            fewer: self.settings.fewer,
        };
        let Some(images) = &self.reference.images else {
            return Ok(Vec::new());
        };
        let wanted = PixelsWanted {
            sliced: has(Metric::PixelSw) || has(Metric::PixelMind),
            energy: has(Metric::PixelEnergy),
        };
        let known = match self.pixels.take() {
            Some(pixels) => pixels,
            None => Pixels::new(&images.training, settings)?,
        };
        let pixels = self.pixels.insert(known);
        let mut bar = Progress::new("pixels", "sets", 0, sets.len() as u64);
        for (i, (set, row)) in sets.iter().zip(rows).enumerate() {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            let found = pixels.compare(set, wanted)?;
            for (metric, band) in [
                (Metric::PixelSw, found.sliced),
                (Metric::PixelMind, found.mind),
                (Metric::PixelEnergy, found.energy),
            ] {
                if let Some(band) = band.filter(|_| has(metric)) {
                    row.push(metric.name(), Number::band(band));
                }
            }
            if has(Metric::Nearest) {
                // The images of the floor may be training images, and are then no copies of themselves.
                let is_floor = std::ptr::eq(*set, &*images.held_out);
                let training = if is_floor {
                    &images.training
                } else {
                    &images.all
                };
                let copies = pixels.copies(set, training)?;
                row.push("nearest", Number::plain(copies.quantile(0.5)));
                row.push("copies %", Number::plain(100.0 * copies.share()));
                row.more
                    .insert("nearest_training_images".into(), found_copies(&copies));
            }
            bar.set(i as u64 + 1, String::new);
        }
        let n = count(settings.n, "image");
        let mut notes = Vec::new();
        if wanted.sliced || wanted.energy {
            let bands = match settings.resamples {
                0 | 1 => String::new(),
                b => format!(", with 95 % of {b} resamples"),
            };
            if has(Metric::PixelEnergy) && !bands.is_empty() && settings.n < FEW {
                notes.push(
                    "pixel-energy: resamples of one image alone have no number, and the band is without them".into(),
                );
            }
            notes.push(format!(
                "pixel-: of {n} of each set and of the reference, values in [-1, 1]{bands}; the sliced ones fall with their number"
            ));
        }
        if has(Metric::Nearest) {
            notes.push(format!(
                "nearest: median distance of {n} of each set to the nearest of {}, as the rms of a value in levels of 0 to 255; copies: those on it, \
                 or at less than a third of the distance to the second",
                images.all.described()
            ));
        }
        Ok(notes)
    }
}

/// Quantiles of the distances, and which images are copies of which.
fn found_copies(copies: &Copies) -> Value {
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
