//! Some of the images of a data set, and the split into images to train on and images held out.

use std::sync::Arc;

use super::{DataError, Dataset, Draw};
use sit_engine::checkpoint;
use sit_engine::text::{count, shown};

/// Some images of a data set, in order.
pub struct Subset {
    data: Arc<dyn Dataset>,
    /// At least one.
    indices: Vec<u32>,
}

impl Subset {
    /// The images `indices` of `data`.
    ///
    /// # Panics
    /// Without an index.
    pub fn new(data: Arc<dyn Dataset>, indices: Vec<u32>) -> Self {
        assert!(!indices.is_empty(), "at least one image");
        Self { data, indices }
    }

    fn index(&self, index: usize) -> usize {
        self.indices[index] as usize
    }
}

impl Dataset for Subset {
    fn name(&self) -> &str {
        self.data.name()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.data.shape()
    }

    fn max_level(&self) -> u8 {
        self.data.max_level()
    }

    fn has_levels(&self) -> bool {
        self.data.has_levels()
    }

    fn latents(&self) -> Option<checkpoint::Latents> {
        self.data.latents()
    }

    fn n_classes(&self) -> usize {
        self.data.n_classes()
    }

    fn class_names(&self) -> &[String] {
        self.data.class_names()
    }

    fn label(&self, index: usize) -> u32 {
        self.data.label(self.index(index))
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        self.data.read(self.index(index), image)
    }

    fn draw(&self, index: usize, draw: Draw, image: &mut [f32]) -> Result<(), DataError> {
        self.data.draw(self.index(index), draw, image)
    }

    fn item_name(&self, index: usize) -> String {
        self.data.item_name(self.index(index))
    }
}

/// Splits off a `share` of the images: (to train on, held out).
///
/// An image is held out if the FNV-1a hash of its name below the data's own name, as a number in [0, 1), is below `share`. The
/// choice is the same on every machine and in every location of the folder, and added images do not change it for the others.
///
/// # Errors
/// [`DataError::Config`] when one of the two would be empty.
pub fn hold_out(data: Arc<dyn Dataset>, share: f64) -> Result<(Subset, Subset), DataError> {
    let is_held = |index: &u32| {
        let name = data.item_name(*index as usize);
        // Windows writes paths with backslashes.
        let name = name.replace('\\', "/");
        let root = data.name().replace('\\', "/");
        // The folder's name may end in slashes. For images in a single file, the folder does not count either.
        let below = match name.strip_prefix(root.trim_end_matches('/')) {
            Some(below) => {
                let plain = below.trim_start_matches('/');
                // Keep one slash, if there is any.
                &below[(below.len() - plain.len()).saturating_sub(1)..]
            }
            None => name.rsplit('/').next().unwrap_or(&name),
        };
        unit(below) < share
    };
    let (held, kept): (Vec<u32>, Vec<u32>) = (0..data.len() as u32).partition(is_held);
    if held.is_empty() || kept.is_empty() {
        return Err(DataError::config(
            "hold_out",
            share,
            format!(
                "a share that leaves at least one of the {} of {} on either side",
                count(data.len(), "image"),
                shown(data.name())
            ),
        ));
    }
    Ok((
        Subset::new(Arc::clone(&data), kept),
        Subset::new(data, held),
    ))
}

/// 64-bit FNV-1a as a number in [0, 1). It is mixed because its high bits depend little on the last bytes.
fn unit(text: &str) -> f64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    // The finalizer of MurmurHash3.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let hash = hash ^ (hash >> 33);
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits;

    #[test]
    fn every_image_is_on_one_side_and_the_share_is_kept() {
        let digits: Arc<dyn Dataset> = Arc::new(digits::train());
        for share in [0.05, 0.2, 0.9] {
            let (kept, held) = hold_out(Arc::clone(&digits), share).unwrap();
            assert_eq!(kept.len() + held.len(), digits.len());
            let got = held.len() as f64 / digits.len() as f64;
            // Three standard deviations of a share of 1442 coins.
            let deviation = (share * (1.0 - share) / digits.len() as f64).sqrt();
            assert!((got - share).abs() < 3.0 * deviation, "{share}: {got}");
            assert!(held.indices.iter().all(|i| !kept.indices.contains(i)));
            let [mut a, mut b] = [[0.0; 64]; 2];
            held.read(3, &mut a).unwrap();
            digits.read(held.index(3), &mut b).unwrap();
            assert_eq!(a, b);
            assert_eq!(held.label(3), digits.label(held.index(3)));
        }
    }

    #[test]
    fn an_empty_side_is_refused() {
        for share in [0.0, 1e-9, 1.0 - 1e-12] {
            let error = hold_out(Arc::new(digits::train()), share).err().unwrap();
            let text = error.to_string();
            assert!(
                text.starts_with("data.hold_out: got ")
                    && text.contains(" of digits (train) on either side"),
                "{text}"
            );
        }
    }

    /// As people type the folder, and as a run that goes on from elsewhere finds it.
    #[test]
    fn a_slash_at_the_end_of_the_folder_changes_nothing() {
        let named = |folder: &str| {
            let mut data = digits::train();
            data.name = folder.into();
            data.source = folder.trim_end_matches('/').into();
            let (_, held) = hold_out(Arc::new(data), 0.2).unwrap();
            held.indices
        };
        assert_eq!(named("a/photos/"), named("photos"));
        assert_eq!(named("a/photos//"), named("photos"));
    }

    #[test]
    fn the_hash_does_not_change() {
        // A resumed run must hold out what it held out.
        assert_eq!(unit("/cat/1.png"), 0.32329713424513185);
    }
}
