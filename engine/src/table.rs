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
    /// Rotary angles of a square grid `[n_first + side², head_dim]`: the first half of a head's pairs turns by the token's row, the
    /// second by its column, pair j of a half by `at · 10000^(-2j / (head_dim / 2))` (EVA-02's `VisionRotaryEmbeddingFast`, as in
    /// LightningDiT and JiT).
    Rotary2d {
        /// Tokens per row, and number of rows.
        side: usize,
        /// Values of a head, a multiple of 4.
        head_dim: usize,
        /// Tokens before the grid, which do not turn.
        n_first: usize,
        /// What the table has of an angle.
        part: RotaryPart,
    },
}

/// What a rotary table has of the angle of a pair of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryPart {
    /// Its cosine and its sine, as [`rotary`](crate::ops::rotary::rotary) reads them.
    Turn,
    /// Its cosine twice, as in the file of a LightningDiT.
    Cos,
    /// Its sine twice.
    Sin,
}

impl Table {
    /// Its shape.
    pub fn shape(&self) -> Shape {
        match *self {
            Table::SinCos2d { side, dim } => [side * side, dim].into(),
            Table::TimeFreqs { n } => [n].into(),
            Table::Rotary2d {
                side,
                head_dim,
                n_first,
                ..
            } => [n_first + side * side, head_dim].into(),
        }
    }

    /// Its values, row by row.
    pub fn values(&self) -> Vec<f32> {
        match *self {
            Table::SinCos2d { side, dim } => sin_cos_2d(side, dim),
            Table::TimeFreqs { n } => (0..n)
                .map(|i| libm::exp(-libm::log(10_000.0) * i as f64 / n as f64) as f32)
                .collect(),
            Table::Rotary2d {
                side,
                head_dim,
                n_first,
                part,
            } => rotary_2d(side, head_dim, n_first, part),
        }
    }

    /// Whether PyTorch's code counts it among the parameters: rotary tables are buffers there.
    pub(crate) fn is_counted(&self) -> bool {
        !matches!(self, Table::Rotary2d { .. })
    }
}

fn rotary_2d(side: usize, head_dim: usize, n_first: usize, part: RotaryPart) -> Vec<f32> {
    let half = head_dim / 2;
    let mut table = Vec::with_capacity((n_first + side * side) * head_dim);
    let mut push = |angle: f64| {
        let (cosine, sine) = (libm::cos(angle) as f32, libm::sin(angle) as f32);
        table.extend(match part {
            RotaryPart::Turn => [cosine, sine],
            RotaryPart::Cos => [cosine; 2],
            RotaryPart::Sin => [sine; 2],
        });
    };
    (0..n_first * half).for_each(|_| push(0.0));
    for token in 0..side * side {
        for at in [token / side, token % side] {
            for j in 0..half / 2 {
                push(at as f64 * libm::pow(10_000.0, -2.0 * j as f64 / half as f64));
            }
        }
    }
    table
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
            Table::Rotary2d {
                side: 3,
                head_dim: 8,
                n_first: 2,
                part: RotaryPart::Turn,
            },
        ] {
            assert_eq!(table.values().len(), table.shape().numel());
        }
    }
}
