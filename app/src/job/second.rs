//! The noise of a second batch, which the test of two lanes needs.

use super::Plan;
use crate::stats::{Group, Test};
use sit_engine::model::NetworkIo;
use sit_engine::sample::initial_noise;

/// Noises that are tried.
const CANDIDATES: usize = 16;

/// The least p-value of the noise of a second batch against that of the lanes.
const BALANCED: f64 = 0.5;

/// Relabelings of a trial.
const PERMUTATIONS: u32 = 99;

/// The most products of values that a trial may take, about: the window waits for it.
const WORK: usize = 100_000_000;

/// Where the samples of a second batch begin: at the first block of samples whose noise is about as far from that of the lanes as chance alone
/// sets two noises apart, or nearer.
///
/// At the start both batches are known to be of one distribution. Where chance has set their noises apart, the lanes stay apart for half of the
/// way, and the test would call it a difference at every step of it. Drawing again until both are balanced is rerandomization (Morgan and Rubin,
/// "Rerandomization to improve covariate balance in experiments", Annals of Statistics 2012, arXiv 1207.5625): the usual test then finds a
/// difference where there is none at most as often as before.
#[derive(Default)]
pub struct Balance {
    /// What was balanced last, and the number of the first sample.
    known: Option<(Of, usize)>,
}

/// What it depends on: shape, seed, number of samples and classes.
type Of = ([usize; 3], u64, usize, Vec<u32>);

impl Balance {
    /// The number of the first sample of a second batch.
    pub fn first(&mut self, io: &NetworkIo, plan: &Plan) -> usize {
        let of = (io.image, plan.seed, plan.n, plan.labels[0].clone());
        match &self.known {
            Some((known, first)) if *known == of => *first,
            _ => {
                let first = balanced(io, plan);
                self.known = Some((of, first));
                first
            }
        }
    }
}

fn balanced(io: &NetworkIo, plan: &Plan) -> usize {
    let len = io.image_len();
    let most = (WORK / (4 * len)).isqrt().max(16);
    let labels = plan.labels[0].get(..plan.n.min(most));
    let labels = labels.unwrap_or(&plan.labels[0]);
    if labels.len() < 2 {
        // There is nothing to test.
        return plan.first;
    }
    let noise = |first: usize| {
        let mut x = vec![0.0; labels.len() * len];
        initial_noise(io, plan.seed, first as u64, &mut x);
        Group::new(x, len, labels.to_vec())
    };
    let own = noise(0);
    let blocks = (0..CANDIDATES).map(|k| plan.first + k * plan.n);
    let p_values = blocks.map(|first| {
        let test = Test::of_groups(&own, &noise(first), PERMUTATIONS, plan.seed);
        (first, test.p_value)
    });
    let mut best = (plan.first, 0.0);
    for (first, p_value) in p_values {
        if p_value >= BALANCED {
            return first;
        }
        if p_value > best.1 {
            best = (first, p_value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Lane, Settings};
    use sit_engine::transport::Transport;

    fn plan(seed: u64, n: usize) -> Plan {
        let settings = Settings::default();
        Plan {
            run: 1,
            network: None,
            classes: Vec::new(),
            steps: Lane::new(settings.clone())
                .steps(&Transport::default())
                .unwrap(),
            settings: vec![settings],
            labels: vec![(0..n as u32).map(|i| i % 10).collect()],
            seed,
            n,
            first: n,
            from: None,
        }
    }

    #[test]
    fn a_single_sample_has_nothing_to_balance() {
        let io = NetworkIo::new([1, 8, 8], 10);
        assert_eq!(Balance::default().first(&io, &plan(0, 1)), 1);
    }

    #[test]
    fn the_noises_of_both_batches_are_balanced() {
        let io = NetworkIo::new([1, 8, 8], 10);
        let mut moved = 0;
        for seed in 0..12 {
            let plan = plan(seed, 64);
            let first = Balance::default().first(&io, &plan);
            assert!(first >= 64 && first.is_multiple_of(64), "{first}");
            let noise = |first: usize| {
                let mut x = vec![0.0; 64 * 64];
                initial_noise(&io, seed, first as u64, &mut x);
                Group::new(x, 64, plan.labels[0].clone())
            };
            // By other relabelings the p-value is about the same.
            let test = Test::of_groups(&noise(0), &noise(first), 999, seed + 100);
            assert!(test.p_value > 0.35, "seed {seed}: {}", test.p_value);
            moved += usize::from(first > 64);
        }
        assert!((2..12).contains(&moved), "{moved} of 12 were drawn again");
    }
}
