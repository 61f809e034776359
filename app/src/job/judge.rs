//! A classifier that says how many of a lane's finished samples have the class that was asked for.

use super::run::Run;
use crate::source::WeightStream;
use crate::state::{Model, RunAction, Verdict};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::error::{Error, Result};
use sit_engine::model::{self, Features, NetworkIo};

/// Samples at a time: the window has its turn after each piece.
const PIECE: usize = 16;

/// The classifier, and what it has looked at.
pub struct Judge {
    network: Features,
    io: NetworkIo,
    /// Names of its classes.
    classes: Vec<String>,
    /// Runs that are judged.
    done: Vec<u64>,
    /// A run at which it failed, before its lane is told.
    failed: Option<u64>,
    /// The run that it looks at: its number, and the samples that were looked at.
    at: Option<(u64, usize)>,
    /// Of these the ones that were asked for by a class, and those that have it.
    of: usize,
    right: usize,
}

impl Judge {
    /// Loads it.
    ///
    /// # Errors
    /// As of [`Reader::load`], and when the device cannot hold it.
    pub fn load(
        device: &Device,
        model: &Model,
        mut weights: Reader<Box<dyn WeightStream>>,
    ) -> Result<Self> {
        let config = model.network.clone();
        let config = config.ok_or_else(|| Error::Config("a judge is a network".into()))?;
        let network = model::Model::zeros(device, config, model.transport.clone())?;
        weights.load(&network)?;
        Ok(Judge {
            network: Features::new(&network, PIECE)?,
            io: model.io,
            classes: model.classes.clone(),
            done: Vec::new(),
            failed: None,
            at: None,
            of: 0,
            right: 0,
        })
    }

    /// Looks at some samples of a run that is over, if there is one that was not judged. Returns what came of it when it has seen all of them;
    /// `None` when there is nothing to do.
    pub async fn work(&mut self, runs: &[Run]) -> Option<Result<Option<RunAction>>> {
        if let Some(run) = self.failed.take() {
            let verdict = Verdict::Failed;
            return Some(Ok(Some(RunAction::Judged { run, verdict })));
        }
        self.done
            .retain(|id| runs.iter().any(|run| run.id() == *id));
        let is_new = |run: &&Run| run.is_shown() && run.is_over() && !self.done.contains(&run.id());
        let at = self.at.map(|(id, _)| id);
        let under_way = runs.iter().find(|run| Some(run.id()) == at);
        let run = under_way.or_else(|| runs.iter().find(is_new))?;
        Some(self.piece(run).await)
    }

    async fn piece(&mut self, run: &Run) -> Result<Option<RunAction>> {
        let (id, io) = (run.id(), run.io());
        let names = run.class_names();
        let other_names = !names.is_empty() && !self.classes.is_empty() && names != self.classes;
        if (io.image, io.n_classes) != (self.io.image, self.io.n_classes) || other_names {
            self.done.push(id);
            let verdict = Verdict::Other;
            return Ok(Some(RunAction::Judged { run: id, verdict }));
        }
        let first = match self.at {
            Some((at, first)) if at == id => first,
            _ => {
                (self.of, self.right) = (0, 0);
                0
            }
        };
        let (x, labels) = run.samples();
        let (len, n) = (io.image_len(), labels.len());
        let end = n.min(first + PIECE);
        let read = self.network.read_async(&x[first * len..end * len]).await;
        // A judge that fails is not asked again about this run.
        let read = read.inspect_err(|_| {
            self.done.push(id);
            self.failed = Some(id);
        })?;
        let logits = read.logits.chunks_exact(self.io.n_classes);
        for (logits, label) in logits.zip(&labels[first..end]) {
            let is_larger = |own: &f32| logits.iter().all(|other| other <= own);
            let largest = logits.iter().position(is_larger);
            // The last label is that of no class.
            self.of += usize::from((*label as usize) < self.io.n_classes);
            self.right += usize::from(largest == Some(*label as usize));
        }
        self.at = (end < n).then_some((id, end));
        if end < n {
            return Ok(None);
        }
        self.done.push(id);
        let verdict = match (self.right, self.of) {
            (_, 0) => Verdict::NoClass,
            (right, of) => Verdict::Agreement { right, of },
        };
        Ok(Some(RunAction::Judged { run: id, verdict }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::model::{Classifier, Dit, ModelConfig};
    use sit_engine::transport::Transport;

    #[test]
    fn a_lane_is_told_of_a_failure_and_runs_that_are_gone_are_forgotten() {
        let trunk = Dit {
            dim: 8,
            depth: 1,
            n_heads: 2,
            patch: 4,
            input_size: 8,
            channels: 1,
            n_classes: 2,
            learn_sigma: false,
            ..Dit::preset("SiT-S/2").unwrap()
        };
        let config = ModelConfig::Classifier(Classifier { trunk });
        let network = model::Model::zeros(&Device::Cpu, config, Transport::default()).unwrap();
        let mut judge = Judge {
            network: Features::new(&network, PIECE).unwrap(),
            io: network.io(),
            done: vec![1, 2],
            classes: Vec::new(),
            failed: Some(2),
            at: None,
            of: 0,
            right: 0,
        };
        let told = pollster::block_on(judge.work(&[])).unwrap().unwrap();
        let verdict = Verdict::Failed;
        assert_eq!(told, Some(RunAction::Judged { run: 2, verdict }));
        assert!(pollster::block_on(judge.work(&[])).is_none());
        assert!(judge.done.is_empty());
    }
}
