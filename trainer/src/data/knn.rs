//! A nearest-neighbor classifier on pixels, the judge of generated samples.

use super::{DataError, Dataset};

/// Classifies an image by the majority of its `k` nearest reference images (Euclidean distance of pixels in [-1, 1]).
///
/// Among classes with equally many neighbors the one with the nearest neighbor wins.
#[derive(Debug, Clone)]
pub struct Knn {
    k: usize,
    image_size: usize,
    /// `[N, C · H · W]`.
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Knn {
    /// The number of neighbors, among 1 to 5, with which the held-out digits classify the training digits best: 1408 of
    /// 1442 (97.6 %).
    pub const DEFAULT_K: usize = 1;

    /// Keeps a copy of the images and labels of `reference`.
    ///
    /// # Errors
    /// Those of [`Dataset::read`].
    ///
    /// # Panics
    /// If `k` is 0.
    pub fn new(reference: &dyn Dataset, k: usize) -> Result<Self, DataError> {
        assert!(k > 0, "at least one neighbor");
        let image_size = reference.shape().iter().product();
        let mut images = vec![0.0; reference.len() * image_size];
        for (index, image) in images.chunks_exact_mut(image_size).enumerate() {
            reference.read(index, image)?;
        }
        let labels = (0..reference.len())
            .map(|index| reference.label(index))
            .collect();
        Ok(Self {
            k,
            image_size,
            images,
            labels,
        })
    }

    /// The class of `image`, `[C, H, W]` in [-1, 1]; `None` if a value is not finite.
    ///
    /// # Panics
    /// If the image has another size than the reference images.
    pub fn classify(&self, image: &[f32]) -> Option<u32> {
        assert_eq!(image.len(), self.image_size, "the reference's image size");
        if image.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let references = self.images.chunks_exact(self.image_size).zip(&self.labels);
        let mut neighbors: Vec<(f32, u32)> = references
            .map(|(reference, &label)| (squared_distance(image, reference), label))
            .collect();
        neighbors.sort_by(|a, b| a.0.total_cmp(&b.0));
        neighbors.truncate(self.k);
        let votes = |label| {
            neighbors
                .iter()
                .filter(|neighbor| neighbor.1 == label)
                .count()
        };
        // `max_by_key` takes the last of equals, the nearest neighbor comes first.
        let winner = neighbors
            .iter()
            .rev()
            .max_by_key(|neighbor| votes(neighbor.1));
        winner.map(|neighbor| neighbor.1)
    }

    /// Renumbers the classes of the reference images.
    pub fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        self.labels
            .iter_mut()
            .for_each(|label| *label = number(*label));
    }

    /// Classifies at most 500 evenly spread reference images, each by its nearest other one: (number right, number classified).
    pub fn among_themselves(&self) -> (usize, usize) {
        const MOST: usize = 500;
        let n = self.labels.len();
        let image = |index: usize| &self.images[index * self.image_size..][..self.image_size];
        let is_right = |&index: &usize| {
            let others = (0..n).filter(|&other| other != index);
            let nearest = others
                .map(|other| (squared_distance(image(index), image(other)), other))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            nearest.is_some_and(|(_, other)| self.labels[other] == self.labels[index])
        };
        let tried: Vec<usize> = (0..n).step_by(n.div_ceil(MOST)).collect();
        (
            tried.iter().filter(|index| is_right(index)).count(),
            tried.len(),
        )
    }

    /// How many of `samples`, `[B, C, H, W]` in [-1, 1], are assigned to the class of `labels`, `[B]`.
    ///
    /// # Panics
    /// If there is not one label per sample of the reference's image size.
    pub fn agreement(&self, samples: &[f32], labels: &[u32]) -> usize {
        assert_eq!(
            samples.len(),
            labels.len() * self.image_size,
            "one label per sample"
        );
        let samples = samples.chunks_exact(self.image_size);
        samples
            .zip(labels)
            .filter(|&(sample, &label)| self.classify(sample) == Some(label))
            .count()
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::digits;
    use crate::data::memory::InMemory;

    fn points(levels: &[u8], labels: &[u32]) -> InMemory {
        InMemory {
            name: "points".into(),
            source: PathBuf::from("points"),
            labels_source: PathBuf::from("points"),
            shape: [1, 1, 1],
            max_level: 2,
            levels: levels.to_vec(),
            labels: labels.to_vec(),
            n_classes: 10,
            class_names: Vec::new(),
            first_label: None,
            transpose: None,
        }
    }

    #[test]
    fn the_majority_wins_and_the_nearest_breaks_ties() {
        let points = points(&[0, 1, 2, 2], &[7, 8, 9, 9]);
        let knn = |k| Knn::new(&points, k).unwrap();
        assert_eq!(knn(1).classify(&[0.1]), Some(8));
        assert_eq!(knn(2).classify(&[0.1]), Some(8));
        assert_eq!(knn(4).classify(&[-1.0]), Some(9));
        assert_eq!(knn(2).classify(&[-0.9]), Some(7));
        assert_eq!(knn(1).classify(&[f32::NAN]), None);
        assert_eq!(knn(1).agreement(&[-1.0, 0.0, f32::INFINITY], &[7, 9, 9]), 1);
        // Between two others, the first is nearest.
        assert_eq!(knn(1).among_themselves(), (2, 4));
    }

    /// Distances are sums of 64 multiples of 1/64 below 4, hence exact: the counts hold on every machine.
    #[test]
    fn the_default_k_is_the_best_on_the_digits() {
        let (train, held_out) = (digits::train(), digits::held_out());
        let mut samples = vec![0.0; train.len() * 64];
        for (index, image) in samples.chunks_exact_mut(64).enumerate() {
            train.read(index, image).unwrap();
        }
        let labels: Vec<u32> = (0..train.len()).map(|index| train.label(index)).collect();
        let count = |k| Knn::new(&held_out, k).unwrap().agreement(&samples, &labels);
        let counts = [1, 2, 3, 4, 5].map(count);
        assert_eq!(counts, [1408, 1408, 1406, 1403, 1394]);
        assert_eq!(counts.iter().max(), Some(&count(Knn::DEFAULT_K)));
    }
}
