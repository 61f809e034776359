//! How an arena keeps the values of parameters.

use crate::error::{Error, Result};
use half::{bf16, f16};
use std::fmt;
use std::str::FromStr;

/// How weights are kept in memory. Operations compute in f32 whatever it is: weights of 16 bits are widened, which is exact, right before each
/// use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// As they are.
    #[default]
    F32,
    /// Matrices rounded to the nearest half: 11 bits of precision, and no value beyond 65504.
    F16,
    /// Matrices rounded to the nearest bfloat16: 8 bits of precision, over the range of f32.
    Bf16,
}

#[doc(hidden)]
impl Storage {
    /// Words of 32 bits that `n` values take.
    pub fn words(self, n: usize) -> usize {
        match self {
            Storage::F32 => n,
            Storage::F16 | Storage::Bf16 => n.div_ceil(2),
        }
    }

    /// Two values that a word of 16-bit values holds, the one in its low half first.
    pub fn widen(self, word: u32) -> [f32; 2] {
        let [low, high] = [word as u16, (word >> 16) as u16];
        match self {
            Storage::Bf16 => [low, high].map(|bits| bf16::from_bits(bits).to_f32()),
            _ => [low, high].map(|bits| f16::from_bits(bits).to_f32()),
        }
    }

    /// Rounds values into words.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that is not finite there, of the tensor `name`.
    pub(crate) fn pack(self, name: &str, values: &[f32], words: &mut [u32]) -> Result<()> {
        let bits = |value: f32| {
            let (bits, is_finite) = match self {
                Storage::Bf16 => {
                    let rounded = bf16::from_f32(value);
                    (rounded.to_bits(), rounded.is_finite())
                }
                _ => {
                    let rounded = f16::from_f32(value);
                    (rounded.to_bits(), rounded.is_finite())
                }
            };
            match is_finite {
                true => Ok(u32::from(bits)),
                false => Err(Error::Config(format!(
                    "{name} has the value {value}, which {self} cannot hold"
                ))),
            }
        };
        if self == Storage::F32 {
            words
                .iter_mut()
                .zip(values)
                .for_each(|(to, x)| *to = x.to_bits());
            return Ok(());
        }
        for (word, pair) in words.iter_mut().zip(values.chunks(2)) {
            let high = pair.get(1).map_or(Ok(0), |value| bits(*value))?;
            *word = bits(pair[0])? | high << 16;
        }
        Ok(())
    }

    /// The first `n` values that words hold.
    pub(crate) fn unpack(self, words: &[u32], n: usize) -> Vec<f32> {
        match self {
            Storage::F32 => words
                .iter()
                .take(n)
                .map(|bits| f32::from_bits(*bits))
                .collect(),
            _ => {
                let pairs = words.iter().flat_map(|word| self.widen(*word));
                pairs.take(n).collect()
            }
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::Bf16 => "bf16",
        })
    }
}

impl FromStr for Storage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Storage::F32, Storage::F16, Storage::Bf16]
            .into_iter()
            .find(|storage| storage.to_string() == text)
            .ok_or_else(|| Error::Config(format!("got {text:?}, expected f32, f16 or bf16")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_rounded() {
        let values = [1.0, -2.5, 3.0e-6, 65504.0, 0.1];
        for (storage, bits) in [(Storage::F16, 11), (Storage::Bf16, 8)] {
            let mut words = vec![0; storage.words(values.len())];
            assert_eq!(words.len(), 3);
            storage.pack("w", &values, &mut words).unwrap();
            let back = storage.unpack(&words, values.len());
            for (x, y) in values.iter().zip(&back) {
                // Half a unit in the last place, and of f16 half of the smallest number.
                let bound = x.abs() * 0.5_f32.powi(bits) + 2.0_f32.powi(-25);
                assert!((x - y).abs() <= bound, "{storage}: {x} became {y}");
            }
            assert_eq!(back[..2], values[..2]);
        }
        let message = Storage::F16.pack("w", &[65520.0], &mut [0]).unwrap_err();
        assert_eq!(
            message.to_string(),
            "w has the value 65520, which f16 cannot hold"
        );
        assert!(Storage::Bf16.pack("w", &[65520.0], &mut [0]).is_ok());
        assert!(Storage::Bf16.pack("w", &[f32::MAX], &mut [0]).is_err());
    }
}
