//! Distances of projections on random directions: sliced Wasserstein, MIND.

use super::rows::{PART, Rows, at_a_time, part, parts, times_transposed};
use super::{Band, Error, Resamples, Result, at_least, same_length};
use crate::signals::interrupted;
use rayon::prelude::*;
use sit_engine::rng::{Stream, normal};

/// Directions at a time, for which projections are kept.
const AT_A_TIME: usize = 64;

/// Unit vectors `[M, d]`.
#[derive(Debug, Clone)]
pub struct Directions {
    dim: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Given(Vec<f64>),
    /// A seed and the number; they are made when they are needed.
    Drawn(u64, usize),
}

impl Directions {
    /// `n` directions of `dim` values, uniform on the sphere: a function of the seed, and the first of more are the same.
    pub fn drawn(seed: u64, n: usize, dim: usize) -> Self {
        let kind = Kind::Drawn(seed, n);
        Directions { dim, kind }
    }

    /// Those of `values` `[M, d]`, each divided by its norm.
    pub fn given(mut values: Vec<f64>, dim: usize) -> Self {
        values.chunks_exact_mut(dim.max(1)).for_each(unit);
        let kind = Kind::Given(values);
        Directions { dim, kind }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Given(values) => values.len() / self.dim.max(1),
            Kind::Drawn(_, n) => *n,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of those that are there at a time.
    pub fn bytes(&self) -> u64 {
        8 * (self.len().min(AT_A_TIME) * self.dim) as u64
    }

    /// Some of them, `[n, d]`.
    fn some(&self, first: usize, n: usize) -> Vec<f64> {
        let d = self.dim;
        match &self.kind {
            Kind::Given(values) => values[first * d..][..n * d].to_vec(),
            Kind::Drawn(seed, _) => {
                let mut values = vec![0.0; n * d];
                let all = values.par_chunks_exact_mut(d.max(1)).enumerate();
                all.for_each(|(i, direction)| {
                    let step = (first + i) as u32;
                    for (x, index) in direction.iter_mut().zip(0..) {
                        *x = normal(*seed, Stream::Direction, step, index);
                    }
                    unit(direction);
                });
                values
            }
        }
    }
}

/// Divides a vector by its norm.
fn unit(direction: &mut [f64]) {
    let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
    direction.iter_mut().for_each(|x| *x /= norm);
}

/// The mean over directions u of `W2^2` of the projections x . u and y . u, and the same of resamples.
#[derive(Debug, Clone)]
pub struct Sliced {
    mean: f64,
    resampled: Vec<f64>,
    dim: usize,
}

impl Sliced {
    /// The sliced Wasserstein distance (Bonneel et al. 2015): `sqrt(mean over u of W2^2(x . u, y . u))`.
    pub fn wasserstein(&self) -> Band {
        self.band(f64::sqrt)
    }

    /// MIND (arXiv 2605.06797): `3 d / (n M) sum over M directions u of |sort(X u) - sort(Y u)|^2`. It takes sets of one number of vectors.
    pub fn mind(&self) -> Band {
        let scale = 3.0 * self.dim as f64;
        self.band(|mean| scale * mean)
    }

    fn band(&self, of: impl Fn(f64) -> f64) -> Band {
        let resampled: Vec<f64> = self.resampled.iter().map(|mean| of(*mean)).collect();
        Band::of(of(self.mean), &resampled)
    }
}

/// MIND of two sets of one number of vectors, see [`Sliced::mind`].
///
/// # Errors
/// As [`sliced`]; [`Error::Counts`] for sets of two numbers of vectors.
pub fn mind(x: &dyn Rows, y: &dyn Rows, directions: &Directions) -> Result<f64> {
    let (got, expected) = (x.len(), y.len());
    if got != expected {
        return Err(Error::Counts { got, expected });
    }
    let none = Resamples::none([got, expected]);
    Ok(sliced(x, y, directions, &none)?.mind().value)
}

/// Compares the projections of two sets. `W2^2` of two sets of numbers is the integral of the squared difference of their quantiles, of n
/// numbers each `1/n |sort(x) - sort(y)|^2`.
///
/// # Errors
/// [`Error::Lengths`], [`Error::TooFew`] for an empty set or no directions, [`Error::Interrupted`].
///
/// # Panics
/// If the resamples are of sets of other lengths.
pub fn sliced(
    x: &dyn Rows,
    y: &dyn Rows,
    directions: &Directions,
    resamples: &Resamples,
) -> Result<Sliced> {
    same_length(x, y)?;
    let (got, expected) = (directions.dim, x.dim());
    if got != expected {
        return Err(Error::Lengths { got, expected });
    }
    for rows in [x, y] {
        at_least(1, rows, "a sliced distance")?;
    }
    if directions.is_empty() {
        return Err(Error::TooFew {
            got: 0,
            least: 1,
            what: "the directions of a sliced distance",
        });
    }
    assert_eq!(
        resamples.lengths(),
        [x.len(), y.len()],
        "resamples of the sets"
    );
    let mut sums = vec![0.0; 1 + resamples.len()];
    let [m, n] = [x.len(), y.len()];
    for (first, n_group) in parts(directions.len(), AT_A_TIME) {
        let group = directions.some(first, n_group);
        let [x, y] = [x, y].map(|rows| projections(rows, &group));
        let both = x.par_chunks_exact(m).zip(y.par_chunks_exact(n));
        let of_direction = both.map(|(x, y)| match interrupted() {
            true => Err(Error::Interrupted),
            false => Ok(all_squares(x, y, resamples)),
        });
        for values in of_direction.collect::<Result<Vec<Vec<f64>>>>()? {
            sums.iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value);
        }
    }
    sums.iter_mut()
        .for_each(|sum| *sum /= directions.len() as f64);
    Ok(Sliced {
        mean: sums[0],
        resampled: sums.split_off(1),
        dim: directions.dim,
    })
}

/// Projections of all vectors on each of some directions, `[M, N]`.
fn projections(rows: &dyn Rows, directions: &[f64]) -> Vec<f64> {
    let (n, d) = (rows.len(), rows.dim());
    let m = directions.len() / d;
    let all: Vec<_> = parts(n, at_a_time(PART, d)).collect();
    let of_part = |at: &(usize, usize)| {
        let mut out = vec![0.0; m * at.1];
        times_transposed(&mut out, directions, &part(rows, *at), d);
        out
    };
    let found: Vec<Vec<f64>> = all.par_iter().map(of_part).collect();
    let mut out = vec![0.0; m * n];
    for ((first, len), found) in all.iter().zip(&found) {
        for (row, found) in out.chunks_exact_mut(n).zip(found.chunks_exact(*len)) {
            row[*first..first + len].copy_from_slice(found);
        }
    }
    out
}

/// `W2^2` of two sets of numbers, and of each resample of them.
fn all_squares(x: &[f64], y: &[f64], resamples: &Resamples) -> Vec<f64> {
    let [x, y] = [x, y].map(|values| {
        let mut sorted: Vec<(f64, usize)> = values.iter().copied().zip(0..).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        sorted
    });
    let once = [vec![1; x.len()], vec![1; y.len()]];
    let mut values = vec![squares(&x, &y, &once[0], &once[1])];
    values.extend(
        (0..resamples.len())
            .map(|b| squares(&x, &y, resamples.counts(0, b), resamples.counts(1, b))),
    );
    values
}

/// `W2^2` of two sorted sets with how often each number is there.
fn squares(x: &[(f64, usize)], y: &[(f64, usize)], in_x: &[u32], in_y: &[u32]) -> f64 {
    // In units of 1 / (n m).
    let (n, m) = (x.len() as u64, y.len() as u64);
    let mut y = y
        .iter()
        .map(|(value, at)| (*value, u64::from(in_y[*at]) * n));
    let mut other = (0.0, 0);
    let mut sum = 0.0;
    for (value, at) in x {
        let mut left = u64::from(in_x[*at]) * m;
        while left > 0 {
            if other.1 == 0 {
                match y.next() {
                    Some(next) => other = next,
                    // Both have n m units.
                    None => break,
                }
            }
            let taken = left.min(other.1);
            sum += taken as f64 * (value - other.0).powi(2);
            left -= taken;
            other.1 -= taken;
        }
    }
    sum / (n as f64 * m as f64)
}

#[cfg(test)]
mod tests {
    use super::super::Floats;
    use super::super::tests::vectors;
    use super::*;

    fn plain(x: &[f32], y: &[f32], d: usize, directions: &Directions) -> Sliced {
        let (x, y) = (Floats::new(x, d).unwrap(), Floats::new(y, d).unwrap());
        let none = Resamples::none([x.len(), y.len()]);
        sliced(&x, &y, directions, &none).unwrap()
    }

    #[test]
    fn on_a_line_it_is_the_distance_of_sorted_numbers() {
        let one = Directions::given(vec![-2.0], 1);
        let distance = plain(&[3.0, 1.0], &[5.0, 2.0], 1, &one);
        let expected = f64::midpoint(1.0, 4.0);
        assert_eq!(distance.wasserstein().value, expected.sqrt());
        assert_eq!(distance.mind().value, 3.0 * expected);
        // A number twice is as often as two numbers; of two lengths the quantiles are compared.
        let distance = plain(&[1.0, 1.0, 3.0, 3.0], &[5.0, 2.0], 1, &one);
        assert_eq!(distance.mind().value, 3.0 * expected);
        let distance = plain(&[0.0, 3.0, 6.0], &[1.0, 5.0], 1, &one);
        // Thirds against halves: 0-1, 3-1 and 3-5 for a sixth each, 6-5.
        let expected = (1.0 * 2.0 + 4.0 + 4.0 + 1.0 * 2.0) / 6.0;
        assert!((distance.mind().value - 3.0 * expected).abs() < 1e-12);
    }

    /// A shift by s is `(s . u)^2` along u, whose mean is `|s|^2 / d`: MIND is `3 |s|^2`, here of orthogonal directions.
    #[test]
    fn a_shift_is_known() {
        let x = vectors(300, 3, 0.0);
        let shift = [0.5, -1.0, 2.0];
        let y: Vec<f32> = x
            .iter()
            .zip(shift.iter().cycle())
            .map(|(x, s)| x + s)
            .collect();
        let axes = Directions::given(vec![2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3);
        let value = plain(&x, &y, 3, &axes).mind().value;
        assert!((value - 3.0 * 5.25).abs() < 1e-5, "{value}");
        let many = Directions::drawn(1, 5000, 3);
        let value = plain(&x, &y, 3, &many).mind().value;
        assert!((value - 3.0 * 5.25).abs() < 0.5, "{value}");
    }

    #[test]
    fn directions_are_those_of_the_seed() {
        let (few, many) = (Directions::drawn(5, 3, 7), Directions::drawn(5, 9, 7));
        let all = few.some(0, 3);
        assert_eq!(all, many.some(0, 9)[..21]);
        assert_eq!(all[7..], many.some(1, 2));
        assert_ne!(all, Directions::drawn(6, 3, 7).some(0, 3));
        let norm: f64 = all[7..14].iter().map(|x| x * x).sum();
        assert!((norm - 1.0).abs() < 1e-12);
    }

    /// The resamples of a set against itself vary about 0, those of a far one about the distance.
    #[test]
    fn bands_hold_the_number_and_grow_with_it() {
        let (x, y) = (vectors(200, 2, 0.0), vectors(150, 2, 1.0));
        let (x, y) = (Floats::new(&x, 2).unwrap(), Floats::new(&y, 2).unwrap());
        let directions = Directions::drawn(0, 20, 2);
        let resamples = Resamples::drawn(3, [200, 150], 50);
        let found = sliced(&x, &y, &directions, &resamples).unwrap();
        let band = found.wasserstein();
        let [low, high] = band.bounds.unwrap();
        assert!(
            low < band.value && band.value < high && low > 0.5,
            "{band:?}"
        );
        // By the counts, or by the vectors themselves.
        let own: Vec<f32> = (0..200)
            .flat_map(|i| {
                let mut row = [0.0; 2];
                x.read(i, &mut row);
                row.map(|x| x as f32)
                    .repeat(resamples.counts(0, 4)[i] as usize)
            })
            .collect();
        let other: Vec<f32> = (0..150)
            .flat_map(|i| {
                let mut row = [0.0; 2];
                y.read(i, &mut row);
                row.map(|x| x as f32)
                    .repeat(resamples.counts(1, 4)[i] as usize)
            })
            .collect();
        let direct = plain(&own, &other, 2, &directions);
        assert!((direct.mean - found.resampled[4]).abs() < 1e-12);
    }

    #[test]
    fn odd_sets_are_refused() {
        let two = [0.0; 4];
        let x = Floats::new(&two, 2).unwrap();
        let one = Floats::new(&two[..2], 2).unwrap();
        let directions = Directions::drawn(0, 1, 2);
        assert_eq!(
            mind(&x, &one, &directions),
            Err(Error::Counts {
                got: 2,
                expected: 1
            })
        );
        assert!(mind(&x, &x, &Directions::drawn(0, 1, 3)).is_err());
        assert!(mind(&x, &x, &Directions::drawn(0, 0, 2)).is_err());
        let none = Floats::new(&[], 2).unwrap();
        assert!(mind(&none, &none, &directions).is_err());
        assert_eq!(mind(&x, &x, &directions), Ok(0.0));
    }
}
