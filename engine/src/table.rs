//! Fixed tensors given by formulas, which need not be stored in files and are not trained.

use crate::shape::Shape;

/// A fixed tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The position embedding `[side², dim]` of a square grid: token (row r, column q) is `[sin qω, cos qω, sin rω, cos rω]` with
    /// `ω_k = 10000^(-k/(dim/4))`, a quarter of `dim` each (MAE and DiT, `get_2d_sincos_pos_embed`). The column comes first, as in
    /// the official code.
    SinCos2d {
        /// Tokens per row, and number of rows.
        side: usize,
        /// Width, a multiple of 4.
        dim: usize,
    },
    /// The frequencies `[n]` of the time embedding: `f_i = 10000^(-i/n)`, i = 0..n (DiT, `timestep_embedding`).
    TimeFreqs {
        /// Number of frequencies.
        n: usize,
    },
}

impl Table {
    /// Its shape.
    pub fn shape(&self) -> Shape {
        match *self {
            Table::SinCos2d { side, dim } => [side * side, dim].into(),
            Table::TimeFreqs { n } => [n].into(),
        }
    }

    /// Its values, row by row.
    pub fn values(&self) -> Vec<f32> {
        match *self {
            Table::SinCos2d { side, dim } => sin_cos_2d(side, dim),
            Table::TimeFreqs { n } => (0..n)
                .map(|i| libm::exp(-libm::log(10_000.0) * i as f64 / n as f64) as f32)
                .collect(),
        }
    }
}

fn sin_cos_2d(side: usize, dim: usize) -> Vec<f32> {
    let quarter = dim / 4;
    let omega: Vec<f64> = (0..quarter)
        .map(|k| libm::pow(10_000.0, -(k as f64) / quarter as f64))
        .collect();
    let mut table = Vec::with_capacity(side * side * dim);
    for token in 0..side * side {
        for at in [token % side, token / side] {
            table.extend(omega.iter().map(|w| libm::sin(at as f64 * w) as f32));
            table.extend(omega.iter().map(|w| libm::cos(at as f64 * w) as f32));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_match_the_official_code() {
        let table = Table::SinCos2d { side: 4, dim: 32 }.values();
        // Token 1 is column 1 of row 0, token 4 is column 0 of row 1.
        let golden = [0.841_471, 0.3109836, 0.0998334, 0.0316175];
        for (i, want) in golden.into_iter().enumerate() {
            assert!((table[32 + i] - want).abs() < 1e-7, "{i}");
            assert!((table[4 * 32 + 16 + i] - want).abs() < 1e-7, "{i}");
        }
        let freqs = Table::TimeFreqs { n: 128 }.values();
        let at = |i: usize| 0.3 * f64::from(freqs[i]);
        for (got, want) in [
            (at(0).cos(), 0.9553365),
            (at(1).cos(), 0.961_284),
            (at(64).cos(), 0.9999955),
        ] {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        assert!((at(1).sin() - 0.2755594).abs() < 1e-7);
    }

    #[test]
    fn shapes_are_those_of_the_values() {
        for table in [
            Table::SinCos2d { side: 3, dim: 8 },
            Table::TimeFreqs { n: 5 },
        ] {
            assert_eq!(table.values().len(), table.shape().numel());
        }
    }
}
