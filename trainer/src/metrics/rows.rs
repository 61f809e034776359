//! Sets of vectors, read in parts as f64, and products of such parts.

use super::{Error, Result};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Vectors that are handed out in parts.
pub trait Rows: Sync {
    /// How many they are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of a vector.
    fn dim(&self) -> usize;

    /// Writes the vectors from `first` on, as many as fit into `out`, `[n, dim]`.
    fn read(&self, first: usize, out: &mut [f64]);
}

/// Vectors in memory, `[N, D]`, all finite.
#[derive(Debug, Clone, Copy)]
pub struct Floats<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Floats<'a> {
    /// Whole vectors of `dim` values.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the vector; [`Error::Lengths`] for values that are no whole vectors.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Error::Lengths {
                got: values.len().checked_rem(dim).unwrap_or(0),
                expected: dim,
            });
        }
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::NotFinite(at / dim)),
            None => Ok(Floats { values, dim }),
        }
    }
}

impl Rows for Floats<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, first: usize, out: &mut [f64]) {
        let values = &self.values[first * self.dim..][..out.len()];
        for (x, value) in out.iter_mut().zip(values) {
            *x = f64::from(*value);
        }
    }
}

/// Images of levels 0 to 255 in memory, `[N, H, W, C]`, as vectors of numbers in [-1, 1]: `x = 2 level / 255 - 1`.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    values: &'a [u8],
    dim: usize,
}

impl<'a> Levels<'a> {
    /// Whole images of `dim` values.
    ///
    /// # Errors
    /// [`Error::Lengths`] for values that are no whole images.
    pub fn new(values: &'a [u8], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Error::Lengths {
                got: values.len().checked_rem(dim).unwrap_or(0),
                expected: dim,
            });
        }
        Ok(Levels { values, dim })
    }
}

impl Rows for Levels<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, first: usize, out: &mut [f64]) {
        let values = &self.values[first * self.dim..][..out.len()];
        for (x, level) in out.iter_mut().zip(values) {
            *x = f64::from(*level) / 127.5 - 1.0;
        }
    }
}

/// Some vectors of a set, in an order of their own.
#[derive(Clone, Copy)]
pub struct Picked<'a> {
    rows: &'a dyn Rows,
    numbers: &'a [u32],
}

impl<'a> Picked<'a> {
    /// Those with these numbers.
    ///
    /// # Errors
    /// [`Error::NoSuchRow`] for a number of none.
    pub fn new(rows: &'a dyn Rows, numbers: &'a [u32]) -> Result<Self> {
        match numbers
            .iter()
            .find(|number| **number as usize >= rows.len())
        {
            Some(number) => Err(Error::NoSuchRow {
                got: *number as usize,
                most: rows.len().saturating_sub(1),
            }),
            None => Ok(Picked { rows, numbers }),
        }
    }
}

impl Rows for Picked<'_> {
    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn read(&self, first: usize, out: &mut [f64]) {
        let numbers = &self.numbers[first..];
        for (row, number) in out.chunks_exact_mut(self.dim()).zip(numbers) {
            self.rows.read(*number as usize, row);
        }
    }
}

/// Vectors of a set at a time: constant, so that the bits of a sum depend on the set alone.
pub const PART: usize = 256;

/// Vectors of the other set at a time, which all threads share.
pub const OTHERS: usize = 1024;

/// Bytes of a part, at most, unless a vector has more.
const PART_BYTES: usize = 32 << 20;

/// At most `most` vectors of `dim` values: a function of the length of a vector alone.
pub fn at_a_time(most: usize, dim: usize) -> usize {
    (PART_BYTES / 8 / dim.max(1)).clamp(1, most)
}

/// Bytes that distances of vectors of `dim` values take beside the sets: a part that all threads share, and one for each thread.
pub fn work_bytes(dim: usize) -> u64 {
    let threads = rayon::current_num_threads();
    let rows = at_a_time(OTHERS, dim) + threads * at_a_time(PART, dim);
    8 * dim as u64 * rows as u64
}

/// The first vectors of each part, and how many it has.
pub fn parts(len: usize, part: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..len)
        .step_by(part)
        .map(move |first| (first, part.min(len - first)))
}

/// The vectors of a part, `[n, dim]`.
pub fn part(rows: &dyn Rows, (first, n): (usize, usize)) -> Vec<f64> {
    let mut out = vec![0.0; n * rows.dim()];
    rows.read(first, &mut out);
    out
}

/// `out = a b^T` for row-major a `[m, k]` and b `[n, k]`, on this thread.
pub fn times_transposed(out: &mut [f64], a: &[f64], b: &[f64], k: usize) {
    let (m, n) = (a.len() / k, b.len() / k);
    matmul(
        MatMut::from_row_major_slice_mut(out, m, n),
        Accum::Replace,
        MatRef::from_row_major_slice(a, m, k),
        MatRef::from_row_major_slice(b, n, k).transpose(),
        1.0,
        Par::Seq,
    );
}

/// `out = a b` for row-major a `[m, k]` and b `[k, n]`, on this thread.
pub fn times(out: &mut [f64], a: &[f64], b: &[f64], k: usize) {
    let (m, n) = (a.len() / k, b.len() / k);
    matmul(
        MatMut::from_row_major_slice_mut(out, m, n),
        Accum::Replace,
        MatRef::from_row_major_slice(a, m, k),
        MatRef::from_row_major_slice(b, k, n),
        1.0,
        Par::Seq,
    );
}

/// `|x|^2` of each vector.
fn squares(x: &[f64], dim: usize) -> Vec<f64> {
    let rows = x.chunks_exact(dim);
    rows.map(|row| row.iter().map(|x| x * x).sum()).collect()
}

/// A part of a set with what distances need.
pub struct Part {
    values: Vec<f64>,
    squares: Vec<f64>,
    dim: usize,
}

impl Part {
    /// Reads it.
    pub fn read(rows: &dyn Rows, at: (usize, usize)) -> Self {
        let (values, dim) = (part(rows, at), rows.dim());
        Part {
            squares: squares(&values, dim),
            values,
            dim,
        }
    }

    /// How many vectors it has.
    pub fn len(&self) -> usize {
        self.squares.len()
    }

    /// Squared Euclidean distances to another part, `[n, m]`, into `out`.
    ///
    /// `|a|^2 + |b|^2 - 2 a b` loses digits where a and b are close, so that such distances are computed again from the differences.
    pub fn distances(&self, other: &Part, out: &mut Vec<f64>) {
        const CLOSE: f64 = 1e-6;
        let (n, m, dim) = (self.len(), other.len(), self.dim);
        out.clear();
        out.resize(n * m, 0.0);
        times_transposed(out, &self.values, &other.values, dim);
        for (i, row) in out.chunks_exact_mut(m).enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                let all = self.squares[i] + other.squares[j];
                *value = all - 2.0 * *value;
                if *value < CLOSE * all {
                    let [a, b] = [(self, i), (other, j)].map(|(p, i)| &p.values[i * dim..][..dim]);
                    *value = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_close_has_an_exact_distance() {
        let a = [1e4_f32, 1e4, 1e4 + 1.0, 1e4, 0.0, 0.0];
        let rows = Floats::new(&a, 2).unwrap();
        let part = Part::read(&rows, (0, 3));
        let mut out = Vec::new();
        part.distances(&part, &mut out);
        assert_eq!(out[..2], [0.0, 1.0]);
        assert_eq!(out[2], 2e8);
    }

    #[test]
    fn parts_are_of_a_limited_size() {
        assert_eq!(
            [at_a_time(PART, 2048), at_a_time(OTHERS, 2048)],
            [256, 1024]
        );
        let large = 256 * 256 * 3;
        assert_eq!([at_a_time(PART, large), at_a_time(OTHERS, large)], [21, 21]);
        assert_eq!(at_a_time(PART, 1 << 30), 1);
        let parts = 1 + rayon::current_num_threads() as u64;
        let bytes = work_bytes(large);
        assert!(
            bytes > parts * (31 << 20) && bytes <= parts * (32 << 20),
            "{bytes}"
        );
    }

    #[test]
    fn vectors_are_whole_and_finite() {
        assert_eq!(
            Floats::new(&[0.0; 5], 2).unwrap_err(),
            Error::Lengths {
                got: 1,
                expected: 2
            }
        );
        let bad = [0.0, 1.0, f32::INFINITY, 0.0];
        assert_eq!(Floats::new(&bad, 2).unwrap_err(), Error::NotFinite(1));
        assert!(Levels::new(&[0; 5], 2).is_err() && Levels::new(&[], 0).is_err());
    }

    #[test]
    fn picked_vectors_have_their_order() {
        let all = [0, 255, 51, 0];
        let rows = Levels::new(&all, 1).unwrap();
        let numbers = [2, 1, 1];
        let picked = Picked::new(&rows, &numbers).unwrap();
        assert_eq!(part(&picked, (0, 3)), [-0.6, 1.0, 1.0]);
        let refused = Picked::new(&rows, &[4]).map(|_| ());
        assert_eq!(refused, Err(Error::NoSuchRow { got: 4, most: 3 }));
    }
}
