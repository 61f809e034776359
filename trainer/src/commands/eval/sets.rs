//! The samples of `sit eval`.

use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::evaluation;
use crate::metrics::picks;
use crate::run;
use sit_engine::text::shown;
use std::collections::BTreeMap;
use std::path::Path;

/// Opens samples as they are, at most `n` of them, with the shares of classes that the set has: at random, sets of a few hundred images would differ
/// by their classes alone.
///
/// # Errors
/// [`Failure::Input`] naming the path: it is a run, cannot be read, has no images, or fewer than `n`.
pub fn open(path: &Path, n: Option<u32>, seed: u64) -> Result<ImageSet> {
    if run::is_run(path) {
        let run = shown(path);
        return Err(Failure::Input(format!(
            "{run}: is a run, expected samples: sit sample {run} --count 1000 --balanced --npz samples.npz makes them"
        )));
    }
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
        set.take(by_class(set.labels(), set.len(), n, seed));
    }
    Ok(set)
}

/// Numbers of `n` of `len` images, drawn within each class. Of each class are as many as its share, rounded down; the largest remainders get the others.
fn by_class(labels: Option<Vec<u32>>, len: usize, n: usize, seed: u64) -> Vec<u32> {
    /// Of [`picks`], apart from those of subsets and pixels.
    const STEP: u32 = 1 << 31;
    let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for i in 0..len {
        let class = labels.as_ref().map_or(0, |labels| labels[i]);
        classes.entry(class).or_default().push(i as u32);
    }
    let (mut share, rest): (Vec<usize>, Vec<usize>) = classes
        .values()
        .map(|own| (own.len() * n / len, own.len() * n % len))
        .unzip();
    let mut most: Vec<usize> = (0..rest.len()).collect();
    most.sort_by_key(|class| std::cmp::Reverse(rest[*class]));
    let left = n - share.iter().sum::<usize>();
    most[..left].iter().for_each(|class| share[*class] += 1);
    let of_class = classes.values().enumerate().flat_map(|(class, own)| {
        let n = share[class];
        let picked = picks(seed, STEP + class as u32, own.len(), n);
        picked.into_iter().map(|i| own[i as usize])
    });
    of_class.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn fewer_images_have_the_shares_of_all() {
        // 60 of class 7, 30 of class 2 and 10 of class 4, mixed.
        let label = |i: u32| match i * 7 % 100 {
            0..60 => 7,
            60..90 => 2,
            _ => 4,
        };
        let labels: Vec<u32> = (0..100).map(label).collect();
        let shares = |numbers: &[u32]| {
            [7, 2, 4].map(|class| {
                let of_class = numbers.iter().filter(|i| labels[**i as usize] == class);
                of_class.collect::<BTreeSet<_>>().len()
            })
        };
        for (n, expected) in [(10, [6, 3, 1]), (2, [1, 1, 0]), (100, [60, 30, 10])] {
            let numbers = by_class(Some(labels.clone()), 100, n, 3);
            assert_eq!((numbers.len(), shares(&numbers)), (n, expected));
        }
        let [one, other] = [0, 1].map(|seed| by_class(Some(labels.clone()), 100, 10, seed));
        assert_ne!(one, other);
        assert_eq!(shares(&other), [6, 3, 1]);
        let all = by_class(None, 100, 40, 0);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 40);
    }
}
