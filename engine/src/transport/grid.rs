//! The times between which a sampler steps.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How steps are spread over the interval of times.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "GridFile", into = "GridFile")]
#[non_exhaustive]
pub enum Grid {
    /// Equal steps.
    #[default]
    Uniform,
    /// Equal steps in `u`, with `t = u / (s - (s - 1) u)`: above 1, more of them are near noise (arXiv 2403.03206; `s` for images of
    /// D values is [`Grid::shift_by_dimension`]).
    Shift(f64),
    /// Equal steps in `u`, with `1 - t = (1 - u)^rho`: above 1, more of them are near data.
    Power(f64),
    /// These times, at least two, each above the one before.
    Times(Arc<[f64]>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum GridFile {
    Name(String),
    Times(Vec<f64>),
}

impl Grid {
    /// The times of a list.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two, or a time that is not above the one before or not in `[0, 1]`.
    pub fn times(times: Vec<f64>) -> Result<Self> {
        if times.len() < 2 {
            return Err(refused(format!(
                "got {} times, expected at least 2",
                times.len()
            )));
        }
        if let Some(t) = times.iter().find(|t| !(0.0..=1.0).contains(*t)) {
            return Err(refused(format!("got the time {t}, expected one in [0, 1]")));
        }
        if let Some(pair) = times.windows(2).find(|pair| pair[1] <= pair[0]) {
            let [from, to] = [pair[0], pair[1]];
            return Err(refused(format!(
                "got {to} after {from}, expected each time above the one before"
            )));
        }
        Ok(Grid::Times(times.into()))
    }

    /// The shift `s`; 1 is [`Grid::Uniform`].
    pub fn shifted(s: f64) -> Self {
        match s {
            1.0 => Grid::Uniform,
            s => Grid::Shift(s),
        }
    }

    /// The shift `sqrt(D / 4096)` for images of `len` values (RAE, arXiv 2510.11690).
    pub fn shift_by_dimension(len: usize) -> Self {
        Grid::Shift(libm::sqrt(len as f64 / 4096.0))
    }

    pub(super) fn validate(&self) -> Result<()> {
        match *self {
            Grid::Shift(s) if !(1e-6..=1e6).contains(&s) => Err(refused(format!(
                "got shift:{s}, expected a number from 0.000001 to 1000000"
            ))),
            Grid::Power(rho) if !(0.01..=100.0).contains(&rho) => Err(refused(format!(
                "got power:{rho}, expected a number from 0.01 to 100"
            ))),
            _ => Ok(()),
        }
    }

    /// The fraction of the interval at which step `u` of 1 starts; exact at both ends.
    pub(super) fn fraction(&self, u: f64) -> f64 {
        match *self {
            Grid::Shift(s) => shift(s, u),
            Grid::Power(rho) => 1.0 - libm::pow(1.0 - u, rho),
            Grid::Uniform | Grid::Times(_) => u,
        }
    }
}

/// `t / (s - (s - 1) t)`: a shift of the noise level `1 - t` by `s`.
pub(super) fn shift(s: f64, t: f64) -> f64 {
    t / (s - (s - 1.0) * t)
}

fn refused(problem: String) -> Error {
    Error::setting("time_grid", problem)
}

/// `uniform`, `shift:S`, `power:RHO` or `times`.
impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grid::Uniform => f.write_str("uniform"),
            Grid::Shift(s) => write!(f, "shift:{s}"),
            Grid::Power(rho) => write!(f, "power:{rho}"),
            Grid::Times(_) => f.write_str("times"),
        }
    }
}

impl FromStr for Grid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |number: &str| number.parse::<f64>().ok();
        let grid = match text.split_once(':') {
            None if text == "uniform" => Some(Grid::Uniform),
            Some(("shift", s)) => number(s).map(Grid::Shift),
            Some(("power", rho)) => number(rho).map(Grid::Power),
            _ => None,
        };
        let grid = grid.ok_or_else(|| {
            refused(format!(
                "got \"{text}\", expected uniform, shift:S or power:RHO"
            ))
        })?;
        grid.validate()?;
        Ok(grid)
    }
}

impl TryFrom<GridFile> for Grid {
    type Error = Error;

    fn try_from(file: GridFile) -> Result<Self> {
        match file {
            GridFile::Name(name) => name.parse(),
            GridFile::Times(times) => Grid::times(times),
        }
    }
}

impl From<Grid> for GridFile {
    fn from(grid: Grid) -> Self {
        match grid {
            Grid::Times(times) => GridFile::Times(times.to_vec()),
            named => GridFile::Name(named.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_come_back() {
        for text in ["uniform", "shift:6.93", "power:7"] {
            let grid: Grid = text.parse().unwrap();
            assert_eq!(grid.to_string(), text);
            let json = serde_json::to_string(&grid).unwrap();
            assert_eq!(serde_json::from_str::<Grid>(&json).unwrap(), grid);
        }
        let grid = Grid::times(vec![0.0, 0.25, 1.0]).unwrap();
        let json = serde_json::to_string(&grid).unwrap();
        assert_eq!(json, "[0.0,0.25,1.0]");
        assert_eq!(serde_json::from_str::<Grid>(&json).unwrap(), grid);
    }

    #[test]
    fn ends_are_exact_and_a_shift_moves_the_middle_to_noise() {
        for grid in [Grid::Uniform, Grid::Shift(3.0), Grid::Power(7.0)] {
            assert_eq!([grid.fraction(0.0), grid.fraction(1.0)], [0.0, 1.0]);
        }
        assert_eq!(Grid::Shift(3.0).fraction(0.5), 0.25);
        assert_eq!(Grid::Power(2.0).fraction(0.5), 0.75);
        assert_eq!(Grid::shift_by_dimension(4096), Grid::Shift(1.0));
    }

    #[test]
    fn wrong_grids_say_what_is_wrong() {
        let refusal = |text: &str| text.parse::<Grid>().unwrap_err().to_string();
        assert!(refusal("cosine").contains("got \"cosine\", expected uniform"));
        assert!(
            refusal("shift:0").contains("got shift:0, expected a number from 0.000001 to 1000000")
        );
        assert!(refusal("power:nan").contains("got power:NaN"));
        let refusal = |times: &[f64]| Grid::times(times.to_vec()).unwrap_err().to_string();
        assert!(refusal(&[0.5]).contains("got 1 times"));
        assert!(refusal(&[0.0, 0.5, 0.5]).contains("got 0.5 after 0.5"));
        assert!(refusal(&[0.0, 1.5]).contains("got the time 1.5"));
    }
}
