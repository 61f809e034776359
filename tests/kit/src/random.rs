//! Inputs that are the same on every machine.

/// `n` numbers k / 1024 in `[-1, 1)`, a function of `seed` alone (SplitMix64).
///
/// The numbers are so coarse that adding powers of two down to 2^-13 is exact in f32: differences have no rounding error.
pub fn uniform(seed: u64, n: usize) -> Vec<f32> {
    (0..n as u64)
        .map(|i| ((mix(seed, i) >> 53) as f32 - 1024.0) / 1024.0)
        .collect()
}

/// `n` numbers in `0..bound`, a function of `seed` alone.
pub fn below(seed: u64, n: usize, bound: u32) -> Vec<u32> {
    (0..n as u64)
        .map(|i| (mix(seed, i) >> 33) as u32 % bound)
        .collect()
}

fn mix(seed: u64, i: u64) -> u64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    // Otherwise seeds 1, 2, .. would give one sequence, shifted by one.
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add((i + 1).wrapping_mul(GAMMA));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_fills_its_range_and_depends_on_the_seed() {
        let x = uniform(1, 10_000);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        assert!(
            mean.abs() < 0.02 && (square - 1.0 / 3.0).abs() < 0.02,
            "{mean} {square}"
        );
        assert!(
            x.iter()
                .all(|x| (-1.0..1.0).contains(x) && (x * 1024.0).fract() == 0.0)
        );
        assert_ne!(uniform(2, 10_000), x);
        assert_eq!(uniform(1, 10), x[..10]);
    }

    #[test]
    fn below_reaches_every_number() {
        let x = below(3, 1000, 7);
        assert!((0..7).all(|k| x.contains(&k)) && x.iter().all(|&k| k < 7));
    }
}
