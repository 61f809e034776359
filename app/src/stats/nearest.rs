//! The training image nearest to a sample, and the nearest distances of held-out images: the samples of a model that copies its
//! data are nearer than those.

use super::{Group, resample::quantile, squared_distance};

/// The nearest of some images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Its number.
    pub index: usize,
    /// Its distance, the Euclidean one over all values (L2).
    pub distance: f64,
}

/// The image of `data` nearest to `x` `[d]`; `None` if there is none at a finite distance.
///
/// # Panics
/// If `x` has another length than the images.
pub fn nearest(x: &[f32], data: &Group) -> Option<Nearest> {
    assert_eq!(x.len(), data.d(), "vectors of different lengths");
    let (index, square) = data
        .rows()
        .map(|row| squared_distance(x, row))
        .enumerate()
        .filter(|(_, square)| square.is_finite())
        .min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Nearest {
        index,
        distance: f64::from(square).sqrt(),
    })
}

/// The distances from held-out images to their nearest training images.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    distances: Vec<f64>,
}

impl HeldOut {
    /// Measures all held-out images against the training images.
    ///
    /// # Panics
    /// If the images have different lengths.
    pub fn new(held_out: &Group, data: &Group) -> Self {
        let nearest = held_out.rows().filter_map(|row| nearest(row, data));
        let mut distances: Vec<f64> = nearest.map(|n| n.distance).collect();
        distances.sort_unstable_by(f64::total_cmp);
        Self { distances }
    }

    /// The median distance; NaN if there are no images.
    pub fn median(&self) -> f64 {
        quantile(&self.distances, 0.5)
    }

    /// The share of held-out images that are nearer to their nearest training image than this; NaN if there are no images.
    ///
    /// If samples are as new as held-out images, a tenth of them is at 0.1 or below.
    pub fn share_nearer(&self, distance: f64) -> f64 {
        let n_nearer = self.distances.partition_point(|d| *d < distance);
        n_nearer as f64 / self.distances.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Group {
        Group::unlabelled(vec![0.0, 0.0, 3.0, 4.0, f32::NAN, 1.0, -1.0, 0.0], 2)
    }

    #[test]
    fn nearest_is_the_nearest_at_its_distance() {
        let found = nearest(&[3.0, 2.0], &data()).unwrap();
        assert_eq!((found.index, found.distance), (1, 2.0));
        assert_eq!(nearest(&[0.2, 0.0], &data()).unwrap().index, 0);
        assert_eq!(nearest(&[-3.0, 0.0], &data()).unwrap().index, 3);
        assert_eq!(nearest(&[f32::NAN, 0.0], &data()), None);
        assert_eq!(nearest(&[0.0], &Group::unlabelled(vec![], 1)), None);
    }

    #[test]
    fn long_vectors_count_every_coordinate() {
        // 8 lanes and a tail.
        let far: Vec<f32> = (0..19).map(|i| i as f32).collect();
        let found = nearest(&[0.0; 19], &Group::unlabelled(far, 19)).unwrap();
        assert!((found.distance.powi(2) - 18.0 * 19.0 * 37.0 / 6.0).abs() < 1e-3);
    }

    #[test]
    fn held_out_images_give_the_typical_distance() {
        let held_out = Group::unlabelled(vec![0.0, 1.0, 3.0, 6.0, -1.0, 0.0], 2);
        let typical = HeldOut::new(&held_out, &data());
        assert_eq!(typical.distances, [0.0, 1.0, 2.0]);
        assert_eq!(typical.median(), 1.0);
        assert_eq!(typical.share_nearer(0.0), 0.0);
        assert_eq!(typical.share_nearer(1.5), 2.0 / 3.0);
        assert!(
            HeldOut::new(&Group::unlabelled(vec![], 2), &data())
                .median()
                .is_nan()
        );
    }
}
