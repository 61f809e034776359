//! The 8x8 digits embedded in the program (`assets/digits`: origin, license, attribution).

use std::path::Path;

use super::idx;
use super::memory::InMemory;

const IMAGES: &[u8] = include_bytes!("../../assets/digits/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../assets/digits/digits-labels-idx1-ubyte.gz");

/// Attribution that the data's license (CC BY 4.0) asks for.
pub const ATTRIBUTION: &str = "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0";

/// One in this many images of each class is held out.
const HELD_OUT_ONE_IN: usize = 5;

/// All 1797 digits, in the order of the source.
pub fn all() -> InMemory {
    idx::parse(
        "digits",
        (Path::new("digits-images"), IMAGES),
        (Path::new("digits-labels"), LABELS),
        16,
    )
    .expect("the embedded digits are valid, a test reads them")
}

/// The digits to train on: all but the held-out ones, 1442 images.
pub fn train() -> InMemory {
    let digits = all();
    let held_out = held_out_mask(&digits.labels);
    digits.filter("digits (train)", |index| !held_out[index])
}

/// The held-out digits: the fifth, tenth, ... image of each class, 355 images.
pub fn held_out() -> InMemory {
    let digits = all();
    let held_out = held_out_mask(&digits.labels);
    digits.filter("digits (test)", |index| held_out[index])
}

fn held_out_mask(labels: &[u32]) -> Vec<bool> {
    let mut seen = [0; 10];
    labels
        .iter()
        .map(|&label| {
            let count = &mut seen[label as usize];
            *count += 1;
            *count % HELD_OUT_ONE_IN == 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    #[test]
    fn digits_are_those_of_the_source() {
        let digits = all();
        assert_eq!(
            (digits.len(), digits.shape(), digits.n_classes()),
            (1797, [1, 8, 8], 10)
        );
        let counts: Vec<usize> = (0..10)
            .map(|c| digits.labels.iter().filter(|&&l| l == c).count())
            .collect();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(digits.levels.iter().max(), Some(&16));
        // The first row of the source's table.
        assert_eq!(
            digits.levels(0)[..16],
            [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
        );
        let mut image = [0.0; 64];
        digits.read(0, &mut image).unwrap();
        assert_eq!(image[..4], [-1.0, -1.0, -0.375, 0.625]);
    }

    #[test]
    fn the_split_is_a_stratified_partition() {
        let (train, held_out) = (train(), held_out());
        assert_eq!((train.len(), held_out.len()), (1442, 355));
        for class in 0..10 {
            let count = |set: &InMemory| set.labels.iter().filter(|&&label| label == class).count();
            assert_eq!(
                count(&held_out),
                (count(&train) + count(&held_out)) / HELD_OUT_ONE_IN
            );
        }
        let mut images: Vec<&[u8]> = (0..train.len()).map(|i| train.levels(i)).collect();
        images.extend((0..held_out.len()).map(|i| held_out.levels(i)));
        let mut source: Vec<_> = (0..1797).collect();
        let digits = all();
        source.sort_by_key(|&i| digits.levels(i));
        images.sort();
        assert!(
            images
                .iter()
                .zip(&source)
                .all(|(image, &i)| *image == digits.levels(i))
        );
    }
}
