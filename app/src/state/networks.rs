//! The networks that are open: that of the session, and others, which lanes may take in its place.

use super::{Lane, Model, Source, State};
use sit_engine::model::NetworkIo;

/// The most networks that stay open; those that no lane has go first.
const MOST: usize = 6;

impl State {
    /// The network of a lane: its own, or the session's; `None` while it is not there.
    pub fn model_of(&self, lane: usize) -> Option<&Model> {
        match &self.lanes.get(lane)?.network {
            None => self.model.as_ref(),
            Some(source) => self.networks.iter().find(|model| model.source == *source),
        }
    }

    /// The networks that are open beside the session's and make the same kind of samples.
    pub fn other_networks(&self) -> impl Iterator<Item = &Source> {
        let is_other = |model: &&Model| {
            let own = self.model.as_ref();
            model.source != self.source && own.is_some_and(|own| makes_the_same(&model.io, &own.io))
        };
        let others = self.networks.iter().filter(is_other);
        others.map(|model| &model.source)
    }

    /// The networks that lanes want and that are not open.
    pub fn missing_networks(&self) -> impl Iterator<Item = &Source> {
        let wanted = self.lanes.iter().filter_map(|lane| lane.network.as_ref());
        wanted.filter(|source| !self.networks.iter().any(|model| model.source == **source))
    }

    /// Adds a network, or puts it in the place of the one with its name.
    pub(super) fn open_network(&mut self, model: Model) {
        self.networks.retain(|known| known.source != model.source);
        self.networks.push(model);
        while self.networks.len() > MOST {
            let is_free = |model: &Model| {
                let of_lane = |lane: &Lane| lane.network.as_ref() == Some(&model.source);
                model.source != self.source && !self.lanes.iter().any(of_lane)
            };
            match self.networks.iter().position(is_free) {
                Some(at) => self.networks.remove(at),
                None => return,
            };
        }
    }

    /// A network is there: lanes that want it begin.
    pub(super) fn network_ready(&mut self, model: Model) {
        let source = model.source.clone();
        self.open_network(model);
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].network.as_ref() == Some(&source) {
                self.rerun(lane);
            }
        }
    }

    /// Gives a lane a network of its own, or the session's.
    pub(super) fn set_network(&mut self, lane: usize, network: Option<Source>) {
        if let Some(of_lane) = self.lanes.get_mut(lane) {
            of_lane.network = network;
            self.rerun(lane);
        }
    }

    /// Two lanes with the same settings and noise: the session's network, and another one.
    pub(super) fn compare_networks(&mut self, other: Source) {
        let settings = self.lanes[self.lead()].settings().clone();
        let own = Lane::new(settings);
        let with_other = Lane {
            network: Some(other),
            ..own.clone()
        };
        self.lanes = vec![own, with_other];
        self.restart();
    }

    /// Why the network of a lane does not go with the session's.
    pub(super) fn network_refusal(&self, lane: usize) -> Option<String> {
        let source = self.lanes[lane].network.as_ref()?;
        let (Some(own), Some(model)) = (self.model_of(lane), &self.model) else {
            return Some(needs(source));
        };
        let (a, b) = (own.io, model.io);
        if !makes_the_same(&a, &b) {
            let [c, h, w] = a.image;
            let [of_c, of_h, of_w] = b.image;
            return Some(format!(
                "{} makes {h}×{w}×{c} in {} classes, the session's network {of_h}×{of_w}×{of_c} in {}: they have no noise in common",
                source.title(),
                a.n_classes,
                b.n_classes
            ));
        }
        None
    }
}

fn makes_the_same(a: &NetworkIo, b: &NetworkIo) -> bool {
    a.image == b.image && a.n_classes == b.n_classes
}

/// What a network that is not open takes.
pub fn needs(source: &Source) -> String {
    match source {
        Source::File(name) => format!(
            "This needs {name}, which no link carries: open it here, or choose another network"
        ),
        Source::Trained(data) => format!(
            "This needs a network trained on {data}, which no link carries: train one here, open a checkpoint, or choose another network"
        ),
        other => format!("Loading {} …", other.title()),
    }
}
