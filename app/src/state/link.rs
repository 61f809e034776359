//! The state in a link: everything needed to compute the same picture again.

use super::{Classes, Lane, Record, Source, State, View};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the format; a link of another one is refused.
const VERSION: u32 = 1;

/// The longest text that is read.
const MAX_LEN: usize = 1 << 16;

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

/// Why a link was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkError(String);

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this link cannot be restored: {}", self.0)
    }
}

impl std::error::Error for LinkError {}

impl Link {
    /// The current version's number.
    pub const VERSION: u32 = VERSION;

    /// Encodes it for a URL, to follow the `#`: JSON in base 64.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("plain numbers and names are JSON");
        BASE64.encode(&json)
    }

    /// Reads what [`Link::encode`] wrote, with or without a leading `#`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(text: &str) -> Result<Link, LinkError> {
        let refuse = |what: String| LinkError(what);
        let text = text.trim().trim_start_matches('#');
        if text.len() > MAX_LEN {
            return Err(refuse(format!(
                "it has {} characters, expected at most {MAX_LEN}",
                text.len()
            )));
        }
        let json = BASE64
            .decode(text)
            .map_err(|e| refuse(format!("it is cut off or changed: {e}")))?;
        let link: Link = serde_json::from_slice(&json).map_err(|e| refuse(e.to_string()))?;
        if link.version != VERSION {
            return Err(refuse(format!(
                "it is of version {}, this program reads version {VERSION}",
                link.version
            )));
        }
        link.check().map_err(refuse)?;
        Ok(link)
    }

    fn check(&self) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, LanesAction, of_kind};
    use sit_engine::transport::{Method, Path, Sampler};

    #[test]
    fn a_link_comes_back_whole() {
        let link = State::default().link();
        let text = link.encode();
        assert!(text.len() < 1500, "{} characters", text.len());
        assert_eq!(Link::decode(&text).unwrap(), link);
        assert_eq!(Link::decode(&format!("#{text}")).unwrap(), link);
    }

    #[test]
    fn bad_links_say_what_is_wrong() {
        let link = State::default().link();
        let cases = [
            ("?".to_string(), "cut off or changed"),
            (BASE64.encode(b"{}"), "missing field"),
            ("A".repeat(MAX_LEN + 1), "at most"),
            (
                Link {
                    version: 9,
                    ..link.clone()
                }
                .encode(),
                "version 9",
            ),
            (
                Link {
                    n_samples: 0,
                    ..link.clone()
                }
                .encode(),
                "number of samples is 0",
            ),
            (
                Link {
                    lanes: vec![],
                    ..link.clone()
                }
                .encode(),
                "number of lanes is 0",
            ),
        ];
        for (text, expected) in cases {
            let message = Link::decode(&text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let cut = &link.encode()[..40];
        assert!(Link::decode(cut).is_err());
    }

    #[test]
    fn every_kind_of_sampler_comes_back_and_older_links_still_open() {
        let mut state = State::default();
        for (kind, ..) in Kind::ALL {
            let mut settings = state.lanes[1].settings().clone();
            settings.sampler = of_kind(&settings.sampler, kind, &Path::Linear);
            if let Sampler::Ode(ode) = &mut settings.sampler {
                ode.along = Some(Path::VP);
            }
            state.apply(LanesAction::SetLane(1, settings));
            let link = state.link();
            let text = link.encode();
            assert!(text.len() < 1500, "{} characters", text.len());
            assert_eq!(Link::decode(&text).unwrap(), link);
        }
        // As it was written before there were other paths.
        let json = r#"{"version":1,"source":"digits","seed":3,"n_samples":8,"classes":"all","lanes":[{"segments":[{"from":0.0,
            "settings":{"sampler":{"kind":"ode","method":"heun","n_steps":7},"guidance":{"scale":1.0,"interval":[0.0,1.0],
            "channels":"all"},"noise":"independent","noise_seed":0,"class":null,"t_eps":null}}]}],"cursor":2,"speed":15.0,
            "view":{"quantity":"state","layout":"grid","tab":"lanes","sample":null}}"#;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let now = serde_json::to_value(State::default().link()).unwrap();
        let mut old = now.clone();
        for key in ["seed", "n_samples", "lanes", "cursor"] {
            old[key] = value[key].clone();
        }
        old["lanes"][0]["segments"][0]["settings"]["guidance"] =
            now["lanes"][0]["segments"][0]["settings"]["guidance"].clone();
        let link = Link::decode(&BASE64.encode(old.to_string())).unwrap();
        let sampler = &link.lanes[0].segments[0].settings.sampler;
        assert_eq!(*sampler, Sampler::ode(Method::Heun, 7));
        // Another path is one of those that have a name.
        old["lanes"][0]["segments"][0]["settings"]["sampler"]["along"] = "EDM".into();
        let refused = Link::decode(&BASE64.encode(old.to_string())).unwrap_err();
        assert!(refused.to_string().contains("expected Linear"), "{refused}");
    }
}
