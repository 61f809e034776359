//! Fits a training step into a memory budget: by smaller batches whose gradients are added, and by blocks that are computed again.

use crate::config::RunConfig;
use crate::error::{Failure, Result};
use crate::memory;
use sit_engine::backend::Device;

/// What [`BudgetArg`] is called.
const FLAG: &str = "--memory-budget";

/// Images of a batch below which a device is not busy any more.
const BUSY: usize = 8;

/// The argument `--memory-budget`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct BudgetArg {
    /// Memory that training may take, in MiB: train.batch is divided over train.accumulate, and train.recompute is raised, as far as it takes.
    /// The images of a step stay the same; of the ways that fit, the one that is estimated to be the fastest is taken.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory_budget: Option<u32>,
}

/// A way to make a step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    /// Parts of a batch.
    parts: usize,
    recompute: usize,
    /// Time relative to a whole batch of which nothing is computed again, as a guess.
    cost: f64,
}

impl Way {
    fn new(batch: usize, parts: usize, recompute: usize, blocks: usize) -> Self {
        let images = batch / parts;
        // Of three parts of work, forward and twice that backward, one is done again.
        let again = recompute as f64 / (3 * blocks.max(1)) as f64;
        let begun = 0.01 * (parts as f64).log2();
        let idle = 0.15 * (BUSY.min(batch) as f64 / images as f64).log2().max(0.0);
        Way {
            parts,
            recompute,
            cost: 1.0 + again + begun + idle,
        }
    }

    fn of(self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        config.train.batch /= self.parts;
        config.train.accumulate *= self.parts;
        config.train.recompute = config.train.recompute.max(self.recompute);
        config
    }
}

impl BudgetArg {
    /// Whether there is a budget.
    pub fn is_given(self) -> bool {
        self.memory_budget.is_some()
    }

    /// The configuration whose step is the fastest one that fits into the budget on `device`; the same one without a budget.
    ///
    /// # Errors
    /// [`Failure::Input`] with the least that training needs, if that is more.
    pub fn fit(self, config: RunConfig, device: &Device) -> Result<RunConfig> {
        let Some(mib) = self.memory_budget else {
            return Ok(config);
        };
        let budget = u64::from(mib) << 20;
        let (batch, blocks) = (config.train.batch, config.step().n_blocks()?);
        let bytes = |way: Way| memory::training(&way.of(&config), device).bytes();
        let mut refused = None;
        let mut best: Option<Way> = None;
        let mut least = u64::MAX;
        for parts in (1..=batch).filter(|parts| batch.is_multiple_of(*parts)) {
            let way = |recompute| Way::new(batch, parts, recompute, blocks);
            if best.is_some_and(|best| best.cost <= way(0).cost) {
                continue;
            }
            let all = match bytes(way(blocks)) {
                Ok(all) => all,
                // A smaller batch may be within the limits of the network.
                Err(e) => {
                    refused = Some(e);
                    continue;
                }
            };
            least = least.min(all);
            if all > budget {
                continue;
            }
            // The least number of blocks that is enough.
            let (mut few, mut enough) = (0, blocks);
            while few < enough {
                let middle = usize::midpoint(few, enough);
                match bytes(way(middle))? <= budget {
                    true => enough = middle,
                    false => few = middle + 1,
                }
            }
            let found = way(enough);
            if best.is_none_or(|best| found.cost < best.cost) {
                best = Some(found);
            }
        }
        let Some(best) = best else {
            if let Some(e) = refused.filter(|_| least == u64::MAX) {
                return Err(e);
            }
            return Err(Failure::Input(format!(
                "{FLAG}: got {mib} MiB, expected at least {} MiB, the least that smaller batches and blocks which are computed again lead to",
                least.div_ceil(1 << 20)
            )));
        };
        let fitted = best.of(&config);
        let train = &fitted.train;
        if train != &config.train {
            tracing::info!(
                "{FLAG}: train.batch = {}, train.accumulate = {}, train.recompute = {} (of {blocks})",
                train.batch,
                train.accumulate,
                train.recompute
            );
        }
        Ok(fitted)
    }
}
