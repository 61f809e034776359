//! The state in a link: everything needed to compute the same picture again.

use super::{Classes, Lane, Record, Source, State, View};
use serde::{Deserialize, Serialize};

/// Version of the format; a link of another one is refused.
const VERSION: u32 = 1;

/// The content of a link, also stored in pictures and animations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Version of the format.
    pub version: u32,
    /// The network.
    pub source: Source,
    /// Seed of the noise.
    pub seed: u64,
    /// Samples of each lane.
    pub n_samples: usize,
    /// Classes asked for.
    pub classes: Classes,
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// Steps of the lead lane that are shown.
    pub cursor: usize,
    /// Steps a second.
    pub speed: f64,
    /// What is looked at.
    pub view: View,
}

impl Link {
    /// The current version's number.
    pub const VERSION: u32 = VERSION;

    /// Refuses what no state can be.
    pub(super) fn check(&self) -> Result<(), String> {
        let between = |name: &str, got: usize, most: usize| match (1..=most).contains(&got) {
            true => Ok(()),
            false => Err(format!("{name} is {got}, expected 1 to {most}")),
        };
        between("the number of samples", self.n_samples, super::MAX_SAMPLES)?;
        between("the number of lanes", self.lanes.len(), super::MAX_LANES)?;
        for lane in &self.lanes {
            between("the number of a lane's segments", lane.segments.len(), 64)?;
            for segment in &lane.segments {
                let n = segment.settings.sampler.n_steps() as usize;
                between("the number of steps", n, super::MAX_STEPS)?;
            }
            if !lane.segments.iter().all(|s| (0.0..=1.0).contains(&s.from)) {
                return Err("a branch is outside of times 0 to 1".into());
            }
        }
        if !self.speed.is_finite() {
            return Err("the speed is not a number".into());
        }
        Ok(())
    }
}

impl Default for Link {
    /// The state at first.
    fn default() -> Self {
        State::without_tour().link()
    }
}

impl State {
    /// A link to this state.
    pub fn link(&self) -> Link {
        Link {
            version: Link::VERSION,
            source: self.source.clone(),
            seed: self.seed,
            n_samples: self.n_samples,
            classes: self.classes,
            lanes: self.lanes.clone(),
            cursor: self.playback.cursor,
            speed: self.playback.speed,
            view: self.view,
        }
    }

    /// Restores the state of a link.
    pub(super) fn restore(&mut self, link: Link) {
        let Link {
            version: _,
            source,
            seed,
            n_samples,
            classes,
            lanes,
            cursor,
            speed,
            view,
        } = link;
        self.records = vec![Record::default(); lanes.len()];
        (self.seed, self.n_samples, self.classes) = (seed, n_samples, classes);
        (self.lanes, self.view) = (lanes, view);
        if source != self.source {
            (self.source, self.model) = (source, None);
        }
        self.restart();
        self.playback.set_speed(speed);
        self.playback.playing = false;
        self.playback.seek(cursor);
    }
}
