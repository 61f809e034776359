//! The Inception Score.

use super::{Error, Result, mean_and_deviation};
use std::ops::Range;

/// An Inception Score: the mean over splits, and their standard deviation over N.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InceptionScore {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a split.
    pub deviation: f64,
}

/// How samples are split. The score grows with the number of images of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    /// So many of about the same size, as torch-fidelity (10).
    Count(usize),
    /// Of so many samples each, the last one of what is left, as ADM's evaluator (5,000).
    Size(usize),
}

/// The Inception Score (Salimans et al., arXiv 1606.03498) of logits `[N, K]`, in the mean over splits:
///
/// `exp(1/n sum_i KL(p_i | p))`, `p_i` the softmax of the logits and `p` the mean of the split's `p_i`
///
/// Splits are of samples one after another, in the order `order` where it is given.
///
/// # Errors
/// [`Error::TooFew`] for fewer samples than splits or none, [`Error::NotFinite`] naming the sample, [`Error::Lengths`] for values that are no
/// whole vectors, [`Error::NoSuchRow`].
pub fn inception_score(
    logits: &[f32],
    n_classes: usize,
    splits: Splits,
    order: Option<&[u32]>,
) -> Result<InceptionScore> {
    // Whole and finite.
    super::Floats::new(logits, n_classes)?;
    let n = logits.len() / n_classes;
    let least = match splits {
        Splits::Count(k) => k.max(1),
        Splits::Size(_) => 1,
    };
    let n_ordered = order.map_or(n, <[u32]>::len);
    if n_ordered < least {
        return Err(Error::TooFew {
            got: n_ordered,
            least,
            what: "the splits of an Inception Score",
        });
    }
    let far = order.and_then(|order| order.iter().find(|number| **number as usize >= n));
    if let Some(number) = far {
        return Err(Error::NoSuchRow {
            got: *number as usize,
            most: n.saturating_sub(1),
        });
    }
    let at = |i: usize| {
        let row = order.map_or(i, |order| order[i] as usize);
        &logits[row * n_classes..][..n_classes]
    };
    let ranges: Vec<Range<usize>> = match splits {
        Splits::Count(k) => (0..k)
            .map(|i| i * n_ordered / k..(i + 1) * n_ordered / k)
            .collect(),
        Splits::Size(size) => {
            let size = size.max(1);
            let firsts = (0..n_ordered).step_by(size);
            firsts
                .map(|first| first..n_ordered.min(first + size))
                .collect()
        }
    };
    let of_split = |range: &Range<usize>| {
        let (mut mean, mut entropies) = (vec![0.0; n_classes], 0.0);
        let mut p = vec![0.0; n_classes];
        for i in range.clone() {
            entropies += softmax(at(i), &mut p);
            mean.iter_mut().zip(&p).for_each(|(sum, p)| *sum += p);
        }
        let n = range.len() as f64;
        let own = |p: &f64| match p / n {
            0.0 => 0.0,
            p => p * p.ln(),
        };
        // The mean of p log p, less p log p of the mean.
        (entropies / n - mean.iter().map(own).sum::<f64>()).exp()
    };
    let scores: Vec<f64> = ranges.iter().map(of_split).collect();
    let (mean, deviation) = mean_and_deviation(&scores);
    Ok(InceptionScore { mean, deviation })
}

/// Writes the softmax, and returns the sum of p log p.
fn softmax(logits: &[f32], p: &mut [f64]) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let shifted = |x: &f32| f64::from(*x) - f64::from(largest);
    let sum: f64 = logits.iter().map(|x| shifted(x).exp()).sum();
    let log = sum.ln();
    let mut entropy = 0.0;
    for (p, x) in p.iter_mut().zip(logits) {
        let log_p = shifted(x) - log;
        *p = log_p.exp();
        entropy += *p * log_p;
    }
    entropy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Certain of one of K classes, all equally often: K. Always of the same one, or of none: 1.
    #[test]
    fn its_bounds() {
        let one = |class: usize| (0..5).map(move |k| if k == class { 500.0 } else { 0.0 });
        let each: Vec<f32> = (0..20).flat_map(|i| one(i % 5)).collect();
        let score = inception_score(&each, 5, Splits::Count(4), None).unwrap();
        assert!((score.mean - 5.0).abs() < 1e-12 && score.deviation < 1e-12);
        let same: Vec<f32> = (0..20).flat_map(|_| one(2)).collect();
        let flat = [1.0; 100];
        for logits in [&same[..], &flat] {
            let score = inception_score(logits, 5, Splits::Size(7), None).unwrap();
            assert!((score.mean - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn an_order_is_that_of_the_splits() {
        let logits: Vec<f32> = (0..60)
            .map(|i| ((i * i) as f32 * 0.3).sin() * 3.0)
            .collect();
        let order: Vec<u32> = (0..12).rev().collect();
        let turned: Vec<f32> = order
            .iter()
            .flat_map(|i| logits[*i as usize * 5..][..5].to_vec())
            .collect();
        let own =
            |logits: &[f32], order| inception_score(logits, 5, Splits::Count(5), order).unwrap();
        assert_eq!(own(&logits, Some(&order)), own(&turned, None));
        assert_ne!(own(&logits, None), own(&turned, None));
    }

    #[test]
    fn odd_logits_are_refused() {
        let refused =
            |logits: &[f32], splits| inception_score(logits, 2, splits, None).unwrap_err();
        assert!(matches!(
            refused(&[0.0; 4], Splits::Count(3)),
            Error::TooFew {
                got: 2,
                least: 3,
                ..
            }
        ));
        assert!(matches!(
            refused(&[], Splits::Size(3)),
            Error::TooFew { got: 0, .. }
        ));
        assert_eq!(
            refused(&[0.0, f32::NAN], Splits::Size(1)),
            Error::NotFinite(0)
        );
        let order = inception_score(&[0.0; 4], 2, Splits::Size(1), Some(&[2]));
        assert_eq!(order, Err(Error::NoSuchRow { got: 2, most: 1 }));
    }
}
