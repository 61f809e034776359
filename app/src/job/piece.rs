//! One piece of each kind of work beside the lanes; each returns whether there was something to do.

use super::Worker;
use super::pace::Pace;
use crate::state::{Action, CostAction, DecodingAction, TrainingAction};
use crate::words::in_controls;

impl Worker {
    pub(super) async fn sweep(&mut self) -> bool {
        let Some(sweep) = &mut self.sweep else {
            return false;
        };
        let (device, answers) = (&self.device, &self.answers);
        if !sweep.work(device, |action| answers.say(action)).await {
            self.sweep = None;
        }
        true
    }

    pub(super) async fn judge(&mut self) -> bool {
        let Some(judge) = &mut self.judge else {
            return false;
        };
        match judge.work(&self.runs).await {
            None => return false,
            Some(Ok(None)) => {}
            Some(Ok(Some(action))) => self.answers.say(action),
            Some(Err(error)) => self.answers.say(Action::Notify(in_controls(&error))),
        }
        true
    }

    pub(super) async fn weigh(&mut self) -> bool {
        let news = self.likelihoods.work(&self.runs).await;
        let is_busy = news.is_some();
        news.into_iter().for_each(|news| self.answers.say(news));
        is_busy
    }

    pub(super) async fn decode(&mut self) -> bool {
        let Some(decoding) = &mut self.decoding else {
            return false;
        };
        match decoding.work().await {
            None => return false,
            Some(Ok(None)) => {}
            Some(Ok(Some(decoded))) => self.answers.say(DecodingAction::Done(decoded)),
            Some(Err(error)) => {
                self.decoding = None;
                let message = in_controls(&error);
                self.answers.say(DecodingAction::Failed(message));
            }
        }
        true
    }

    pub(super) async fn measure(&mut self, pace: &Pace) -> bool {
        let Some(ladder) = self.ladders.iter_mut().find(|ladder| ladder.is_busy()) else {
            return false;
        };
        if let Some(news) = ladder.work(pace).await {
            let curve = ladder.id();
            self.answers.say(CostAction::Measured { curve, news });
        }
        true
    }

    pub(super) async fn train(&mut self) -> bool {
        let Some(training) = self.training.as_mut().filter(|t| t.is_busy()) else {
            return false;
        };
        match training.work().await {
            Ok(None) => {}
            Ok(Some(action)) => self.answers.say(action),
            Err(error) => {
                // Pause and keep what was learned: a missing image may be back when training resumes.
                training.running = false;
                self.answers.say(TrainingAction::Paused(true));
                self.answers.say(Action::Notify(in_controls(&error)));
            }
        }
        true
    }
}
