//! NumPy's old generator, for numbers that other programs have drawn with a seed.

const N: usize = 624;
const M: usize = 397;

/// `numpy.random.RandomState(seed)`: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded by its published recurrence, and the
/// shuffle of Fisher and Yates with numbers below a limit by rejection.
///
/// torch-fidelity draws subsets and shuffles samples with it, by default with the seed 2020. All else here is drawn with the generator of
/// [`sit_engine::rng`].
#[derive(Debug, Clone)]
pub struct RandomState {
    words: [u32; N],
    at: usize,
}

impl RandomState {
    /// The generator of a seed.
    pub fn new(seed: u32) -> Self {
        let mut words = [seed; N];
        for i in 1..N {
            let last = words[i - 1];
            words[i] = (last ^ (last >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(i as u32);
        }
        RandomState { words, at: N }
    }

    fn turn(&mut self) {
        for i in 0..N {
            let y = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.at = 0;
    }

    fn word(&mut self) -> u32 {
        if self.at == N {
            self.turn();
        }
        let mut y = self.words[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number of 0 to `most`.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.word() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// `permutation(n)`: the numbers 0 to n - 1 in an order of chance.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            let j = self.up_to(i);
            order.swap(i as usize, j as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 10,000th word of the seed 5489, as the C++ standard states it of `mt19937`.
    #[test]
    fn words_are_those_of_the_standard() {
        let mut state = RandomState::new(5489);
        let word = (0..10_000).map(|_| state.word()).last();
        assert_eq!(word, Some(4_123_659_995));
    }

    #[test]
    fn small_permutations() {
        let mut state = RandomState::new(0);
        assert!(state.permutation(0).is_empty());
        assert_eq!(state.permutation(1), [0]);
        let mut all = state.permutation(100);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..100));
    }
}
