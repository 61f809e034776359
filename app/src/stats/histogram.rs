//! Histograms of several groups over the same bins.

/// Densities of groups over shared bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Left end of the first bin.
    pub start: f64,
    /// Width of a bin.
    pub width: f64,
    /// Density of each group in each bin; sums to `1 / width` over a group's bins, or to 0 for a group without values.
    pub densities: Vec<Vec<f64>>,
    /// Values of each group that are not finite and in no bin.
    pub left_out: Vec<usize>,
}

impl Histogram {
    /// `n_bins` equal bins over all finite values of all groups; a maximum is in the last bin.
    ///
    /// # Panics
    /// If `n_bins` is 0.
    pub fn new(groups: &[&[f32]], n_bins: usize) -> Self {
        assert!(n_bins > 0, "no bins");
        let finite = |group: &[f32]| -> Vec<f64> {
            let values = group.iter().filter(|x| x.is_finite());
            values.map(|&x| f64::from(x)).collect()
        };
        let values: Vec<Vec<f64>> = groups.iter().map(|group| finite(group)).collect();
        let all = || values.iter().flatten().copied();
        let (mut start, mut end) = (
            all().fold(f64::MAX, f64::min),
            all().fold(f64::MIN, f64::max),
        );
        if start >= end {
            // One value, or none.
            let middle = if start > end { 0.0 } else { start };
            (start, end) = (middle - 0.5, middle + 0.5);
        }
        let width = (end - start) / n_bins as f64;
        let density = |values: &Vec<f64>| {
            let mut bins = vec![0.0; n_bins];
            for x in values {
                let bin = ((x - start) / width) as usize;
                bins[bin.min(n_bins - 1)] += 1.0 / (values.len() as f64 * width);
            }
            bins
        };
        Self {
            start,
            width,
            densities: values.iter().map(density).collect(),
            left_out: groups
                .iter()
                .zip(&values)
                .map(|(g, v)| g.len() - v.len())
                .collect(),
        }
    }

    /// The middle of a bin.
    pub fn middle(&self, bin: usize) -> f64 {
        self.start + (bin as f64 + 0.5) * self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_share_bins_and_each_has_unit_area() {
        let (a, b) = ([0.0, 0.1, 1.9, 2.0], [4.0, 3.0, f32::NAN]);
        let histogram = Histogram::new(&[&a, &b, &[]], 4);
        assert_eq!((histogram.start, histogram.width), (0.0, 1.0));
        assert_eq!(histogram.middle(2), 2.5);
        assert_eq!(histogram.densities[0], [0.5, 0.25, 0.25, 0.0]);
        assert_eq!(histogram.densities[1], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(histogram.densities[2], [0.0; 4]);
        assert_eq!(histogram.left_out, [0, 1, 0]);
    }

    #[test]
    fn one_value_or_none_still_has_bins() {
        let one = Histogram::new(&[&[3.0, 3.0]], 2);
        assert_eq!((one.start, one.width), (2.5, 0.5));
        assert_eq!(one.densities[0], [0.0, 2.0]);
        let none = Histogram::new(&[&[f32::INFINITY]], 2);
        assert_eq!(
            (none.start, none.width, &none.densities[0][..]),
            (-0.5, 0.5, &[0.0; 2][..])
        );
    }
}
