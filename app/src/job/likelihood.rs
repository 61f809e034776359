//! The likelihood of the samples that lanes end with, by the lane's own network.

use super::Field;
use super::run::Run;
use crate::state::{LogDensity, RunAction};
use sit_engine::error::Result;
use sit_engine::sample::{Draw, Likelihood, Sampling, Trace};
use sit_engine::transport::{Method, Sampler};

/// Steps of Heun's method from data to noise.
pub const LIKELIHOOD_STEPS: u32 = 25;

/// Random probes of the trace.
pub const LIKELIHOOD_PROBES: usize = 4;

/// Dimensions up to which the trace is exact, by a backward pass for each of them.
const EXACT: usize = 8;

/// Samples on their way at a time.
const BATCH: usize = if cfg!(target_arch = "wasm32") { 4 } else { 16 };

/// What is measured of the runs.
#[derive(Default)]
pub struct Likelihoods {
    /// Whether it is asked for.
    pub wanted: bool,
    /// Runs that are done.
    done: Vec<u64>,
    at: Option<Walking>,
}

/// A run whose samples are on their way.
struct Walking {
    run: u64,
    likelihood: Likelihood,
    added: usize,
    nats: Vec<f64>,
}

impl Likelihoods {
    /// Does a piece of work: an evaluation of the network and its derivative. Returns `None` when there is nothing to do.
    pub async fn work(&mut self, runs: &[Run]) -> Option<RunAction> {
        self.done
            .retain(|id| runs.iter().any(|run| run.id() == *id));
        if !self.wanted {
            self.at = None;
            return None;
        }
        let is_new = |run: &&Run| run.is_shown() && run.is_over() && !self.done.contains(&run.id());
        let at = self.at.as_ref().map(|at| at.run);
        let under_way = runs.iter().find(|run| Some(run.id()) == at);
        let run = under_way.or_else(|| runs.iter().find(is_new))?;
        let density = match self.piece(run).await {
            Ok(density) => density,
            Err(error) => LogDensity::Refused(crate::words::in_controls(&error)),
        };
        if !matches!(density, LogDensity::Share(_)) {
            self.done.push(run.id());
            self.at = None;
        }
        Some(RunAction::Weighed {
            run: run.id(),
            density,
        })
    }

    async fn piece(&mut self, run: &Run) -> Result<LogDensity> {
        let (x, labels) = run.samples();
        let len = run.io().image_len();
        let network = match run.field() {
            Field::Network(network) => network,
            Field::Exact {
                transport, mixture, ..
            } => {
                let exact = mixture.at(&transport.path, 1.0);
                let nats = x.chunks_exact(len).map(|point| {
                    let point: Vec<f64> = point.iter().map(|&x| x.into()).collect();
                    exact.log_density(&point)
                });
                return Ok(mean(&nats.collect::<Vec<f64>>(), len));
            }
        };
        let walking = match self.at.take().filter(|at| at.run == run.id()) {
            Some(walking) => self.at.insert(walking),
            None => {
                let sampling = Sampling::new(
                    network.clone(),
                    Sampler::ode(Method::Heun, LIKELIHOOD_STEPS),
                );
                let n_probes = LIKELIHOOD_PROBES;
                let trace = match len <= EXACT {
                    true => Trace::Exact,
                    false => Trace::Hutchinson {
                        n_probes,
                        draw: Draw::Rademacher,
                        is_fresh: false,
                    },
                };
                let batch = BATCH.min(labels.len());
                self.at.insert(Walking {
                    run: run.id(),
                    likelihood: sampling.batch(batch).likelihood(trace)?,
                    added: 0,
                    nats: Vec::new(),
                })
            }
        };
        let Walking {
            likelihood,
            added,
            nats,
            ..
        } = walking;
        let n = labels.len();
        let until = n.min(*added + likelihood.room());
        let numbers: Vec<u64> = (*added as u64..until as u64).collect();
        likelihood.add(
            &numbers,
            &x[*added * len..until * len],
            &labels[*added..until],
        )?;
        *added = until;
        nats.extend(likelihood.step_async().await?.iter().map(|one| one.nats));
        Ok(match nats.len() == n {
            true => mean(nats, len),
            false => LogDensity::Share((nats.len() as f64 + likelihood.progress()) / n as f64),
        })
    }
}

/// The mean over samples of `len` values, and its standard error.
fn mean(nats: &[f64], len: usize) -> LogDensity {
    let n = nats.len() as f64;
    let mean = nats.iter().sum::<f64>() / n;
    let squares: f64 = nats.iter().map(|x| (x - mean).powi(2)).sum();
    if !mean.is_finite() {
        return LogDensity::Refused("log p of a sample is not finite".into());
    }
    LogDensity::Mean {
        nats: mean,
        error: (n > 1.0).then(|| (squares / (n - 1.0) / n).sqrt()),
        per_value: mean / len as f64,
    }
}
