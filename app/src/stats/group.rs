//! Groups of samples.

/// `n` vectors of length `d`, each with its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    x: Vec<f32>,
    d: usize,
    labels: Vec<u32>,
}

impl Group {
    /// Vectors `x` `[n, d]` and their classes `[n]`.
    ///
    /// # Panics
    /// If `d` is 0 or the lengths do not fit.
    pub fn new(x: Vec<f32>, d: usize, labels: Vec<u32>) -> Self {
        assert!(
            d > 0 && x.len() == d * labels.len(),
            "{} values for {} vectors of length {d}",
            x.len(),
            labels.len()
        );
        Self { x, d, labels }
    }

    /// Vectors `x` `[n, d]` that are all of one class.
    ///
    /// # Panics
    /// If `d` is 0 or does not divide the length.
    pub fn unlabelled(x: Vec<f32>, d: usize) -> Self {
        assert!(d > 0, "vectors of length 0");
        let labels = vec![0; x.len() / d];
        Self::new(x, d, labels)
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Length of a vector.
    pub fn d(&self) -> usize {
        self.d
    }

    /// All values, `[n, d]`.
    pub fn values(&self) -> &[f32] {
        &self.x
    }

    /// The classes `[n]`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The vectors one by one.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.x.chunks_exact(self.d)
    }

    /// Whether every value is finite.
    pub fn is_finite(&self) -> bool {
        self.x.iter().all(|x| x.is_finite())
    }

    /// The vectors whose numbers are kept.
    pub(super) fn select(&self, keep: impl Fn(usize) -> bool) -> Self {
        let rows = self.rows().zip(&self.labels).enumerate();
        let (mut x, mut labels) = (Vec::new(), Vec::new());
        for (_, (row, &label)) in rows.filter(|(i, _)| keep(*i)) {
            x.extend_from_slice(row);
            labels.push(label);
        }
        Self::new(x, self.d, labels)
    }
}

/// The even-numbered members of each class of `a` and the odd-numbered ones of `b`.
///
/// Two lanes start from the same noise, so member `i` of one is anything but independent of member `i` of the other, and a
/// two-sample test on all members would see less distance than chance allows. Members with different numbers share no
/// noise, so these halves are independent; both hold the same classes, in numbers that differ by at most one.
///
/// # Panics
/// If the groups do not have the same classes in the same order.
pub fn independent_halves(a: &Group, b: &Group) -> (Group, Group) {
    assert_eq!(a.labels, b.labels, "lanes of different classes");
    let mut seen = std::collections::HashMap::new();
    let is_even: Vec<bool> = a
        .labels
        .iter()
        .map(|label| {
            let n: &mut usize = seen.entry(label).or_default();
            *n += 1;
            *n % 2 == 1
        })
        .collect();
    (a.select(|i| is_even[i]), b.select(|i| !is_even[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_share_no_member_and_hold_the_same_classes() {
        let labels = vec![7, 3, 7, 7, 3, 7, 7];
        let lane = |sign: f32| {
            let x = (0..labels.len()).flat_map(|i| [sign * i as f32; 2]);
            Group::new(x.collect(), 2, labels.clone())
        };
        let (a, b) = independent_halves(&lane(1.0), &lane(-1.0));
        let firsts = |g: &Group| g.rows().map(|row| row[0]).collect::<Vec<_>>();
        assert_eq!(firsts(&a), [0.0, 1.0, 3.0, 6.0]);
        assert_eq!(a.labels(), [7, 3, 7, 7]);
        assert_eq!(firsts(&b), [-2.0, -4.0, -5.0]);
        assert_eq!(b.labels(), [7, 3, 7]);
    }

    #[test]
    #[should_panic(expected = "5 values for 2 vectors of length 3")]
    fn lengths_that_do_not_fit_are_refused() {
        Group::new(vec![0.0; 5], 3, vec![0; 2]);
    }
}
