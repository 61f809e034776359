//! Which noise levels of a chain are used.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A choice of indices of a chain (improved-diffusion, arXiv 2102.09672, section 4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Respacing {
    /// All of them.
    #[default]
    All,
    /// The chain is cut into as many equal sections as there are counts; of each section as many indices are taken, evenly spread
    /// from its first to its last one. A half is rounded to the even index.
    Sections(Vec<u32>),
    /// As many indices from 0 on, in steps of a whole number: DDIM's.
    Ddim(u32),
}

impl Respacing {
    /// Number of steps; `None` for all.
    pub fn n_steps(&self) -> Option<u32> {
        match self {
            Self::All => None,
            Self::Ddim(n) => Some(*n),
            Self::Sections(counts) => {
                Some(counts.iter().fold(0, |sum: u32, n| sum.saturating_add(*n)))
            }
        }
    }

    /// The indices, rising, of a chain of `n` noise levels.
    ///
    /// # Errors
    /// [`Error::Setting`] of `key` when there are not as many.
    pub fn indices(&self, n: u32, key: &str) -> Result<Vec<usize>> {
        let refuse = |what: String| Err(Error::setting(key, format!("got {self}, {what}")));
        let (counts, n) = match self {
            Self::All => return Ok((0..n as usize).collect()),
            Self::Ddim(count) => {
                let (n, count) = (n as usize, *count as usize);
                // Steps of a size give between n / size and n / size + 1 indices.
                let stride = (1..=n).find(|stride| n.div_ceil(*stride) == count);
                return match stride {
                    Some(stride) => Ok((0..n).step_by(stride).collect()),
                    None => refuse(format!(
                        "and no whole step takes {count} of {n} noise levels; expected ddim with another number, or the number alone"
                    )),
                };
            }
            Self::Sections(counts) => (counts, n as usize),
        };
        if counts.is_empty() || counts.contains(&0) {
            return refuse("expected numbers of at least 1".into());
        }
        let (size, extra) = (n / counts.len(), n % counts.len());
        let mut indices = Vec::new();
        let mut start = 0;
        for (i, &count) in counts.iter().enumerate() {
            let size = size + usize::from(i < extra);
            if count as usize > size {
                return refuse(format!(
                    "but section {} has {size} of {n} noise levels and not {count}; expected at most {size}",
                    i + 1
                ));
            }
            let stride = match count {
                0 | 1 => 1.0,
                _ => (size as f64 - 1.0) / (f64::from(count) - 1.0),
            };
            // Added up as the reference does: where a half comes from rounding, the index depends on it.
            let mut at = 0.0;
            for _ in 0..count {
                indices.push(start + libm::rint(at) as usize);
                at += stride;
            }
            start += size;
        }
        Ok(indices)
    }
}

/// `all`, `250`, `10,15,20` or `ddim50`.
impl fmt::Display for Respacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Ddim(n) => write!(f, "ddim{n}"),
            Self::Sections(counts) => {
                let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
                f.write_str(&counts.join(","))
            }
        }
    }
}

impl FromStr for Respacing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n > 0);
        let parsed = match text.strip_prefix("ddim") {
            _ if text == "all" => Some(Self::All),
            Some(n) => count(n).map(Self::Ddim),
            None => text
                .split(',')
                .map(count)
                .collect::<Option<Vec<u32>>>()
                .map(Self::Sections),
        };
        parsed.ok_or_else(|| {
            Error::setting(
                "respacing",
                format!(
                    "got \"{text}\", expected all, a number of steps such as 250, one for each section such as 10,15,20, or ddim and a \
                     number such as ddim50"
                ),
            )
        })
    }
}

impl TryFrom<String> for Respacing {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Respacing> for String {
    fn from(respacing: Respacing) -> Self {
        respacing.to_string()
    }
}
