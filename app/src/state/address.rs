//! A link as text, which follows the `#` of an address: what differs from a stop of the program's tour.

use super::{Link, stops};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;
use std::fmt;

/// The longest text that is read.
const MAX_LEN: usize = 1 << 16;

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
    /// Encodes it for a URL, to follow the `#`: what differs from a stop of the program's tour, or from the state at first.
    ///
    /// That is `tour=4`, or `tour=4&` and the difference, or the difference alone: JSON in base 64.
    pub fn encode(&self) -> String {
        let own = stops::own();
        let stops = own.iter().map(|stop| &stop.link).enumerate();
        let first = (String::new(), Link::default());
        let bases = stops.map(|(i, link)| (format!("tour={}", i + 1), link.clone()));
        let texts = std::iter::once(first).chain(bases).map(|(name, base)| {
            let difference = difference(&json(&base), &json(self));
            let text = difference.map(|value| BASE64.encode(value.to_string()));
            match (name.is_empty(), text) {
                (true, text) => text.unwrap_or_else(|| BASE64.encode("{}")),
                (false, None) => name,
                (false, Some(text)) => format!("{name}&{text}"),
            }
        });
        let shortest = texts.min_by_key(String::len);
        shortest.expect("the state at first is one")
    }

    /// Reads what [`Link::encode`] wrote, with or without a leading `#` or `?`, and the whole JSON of older links.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(text: &str) -> Result<Link, LinkError> {
        let refuse = |what: String| LinkError(what);
        let text = text.trim().trim_start_matches(['#', '?']);
        if text.len() > MAX_LEN {
            return Err(refuse(format!(
                "it has {} characters, expected at most {MAX_LEN}",
                text.len()
            )));
        }
        let (base, difference) = match text.strip_prefix("tour=") {
            Some(rest) => {
                let (number, difference) = rest.split_once('&').unwrap_or((rest, ""));
                let stops = stops::own();
                let stop = number
                    .parse()
                    .ok()
                    .and_then(|n: usize| stops.get(n.wrapping_sub(1)));
                let stop = stop.ok_or_else(|| {
                    refuse(format!(
                        "tour={number}: expected a stop from 1 to {}",
                        stops.len()
                    ))
                })?;
                (stop.link.clone(), difference)
            }
            None if text.is_empty() => return Err(refuse("it is empty".into())),
            None => (Link::default(), text),
        };
        let mut value = json(&base);
        if !difference.is_empty() || base == Link::default() {
            let bytes = BASE64
                .decode(difference)
                .map_err(|e| refuse(format!("it is cut off or changed: {e}")))?;
            let change: Value =
                serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
            if !change.is_object() {
                return Err(refuse("it holds no settings".into()));
            }
            merge(&mut value, change);
        }
        let version = &value["version"];
        if *version != Self::VERSION {
            return Err(refuse(format!(
                "it is of version {version}, this program reads version {}",
                Self::VERSION
            )));
        }
        let link: Link = serde_json::from_value(value).map_err(|e| refuse(e.to_string()))?;
        link.check().map_err(refuse)?;
        Ok(link)
    }
}

fn json(link: &Link) -> Value {
    serde_json::to_value(link).expect("plain numbers and names are JSON")
}

/// What has to be merged into `from` to make it `to`; `None` if nothing has. The name of a key that is gone gets a [`GONE`].
fn difference(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let changed = to.iter().filter_map(|(key, value)| {
                let change = difference(from.get(key).unwrap_or(&Value::Null), value)?;
                Some((key.clone(), change))
            });
            let gone = from.keys().filter(|key| !to.contains_key(*key));
            let gone = gone.map(|key| (format!("{GONE}{key}"), Value::Null));
            let changes: serde_json::Map<String, Value> = changed.chain(gone).collect();
            (!changes.is_empty()).then_some(Value::Object(changes))
        }
        (Value::Array(from), Value::Array(to)) if from.len() == to.len() => {
            // Lanes are changed one by one: the numbers of those that differ are the keys.
            let pairs = from.iter().zip(to).enumerate();
            let changes = pairs
                .filter_map(|(i, (from, to))| Some((format!("{AT}{i}"), difference(from, to)?)));
            let changes: serde_json::Map<String, Value> = changes.collect();
            (!changes.is_empty()).then_some(Value::Object(changes))
        }
        _ => (from != to).then(|| to.clone()),
    }
}

/// The beginning of a key that is a place in a list, and of one that is gone.
const AT: &str = "@";
const GONE: &str = "-";

/// Changes a value as [`difference`] says.
fn merge(value: &mut Value, change: Value) {
    match (value, change) {
        (Value::Object(value), Value::Object(changes)) => {
            for (key, change) in changes {
                match key.strip_prefix(GONE) {
                    Some(gone) => {
                        value.remove(gone);
                    }
                    None => merge(value.entry(key).or_insert(Value::Null), change),
                }
            }
        }
        (Value::Array(value), Value::Object(changes)) => {
            for (key, change) in changes {
                let at = key.strip_prefix(AT).and_then(|i| i.parse::<usize>().ok());
                if let Some(item) = at.and_then(|i| value.get_mut(i)) {
                    merge(item, change);
                }
            }
        }
        (value, change) => *value = change,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, LanesAction, State, of_kind};
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
            ("?".to_string(), "it is empty"),
            ("!".to_string(), "cut off or changed"),
            (BASE64.encode(b"[]"), "holds no settings"),
            (BASE64.encode(b"{\"seed\":\"x\"}"), "invalid type"),
            (BASE64.encode(b"{\"sed\":1}"), "unknown field"),
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
        let other = Link {
            seed: 1 << 40,
            ..link
        };
        let text = other.encode();
        assert!(Link::decode(&text[..text.len() - 5]).is_err());
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
        let value: Value = serde_json::from_str(json).unwrap();
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
