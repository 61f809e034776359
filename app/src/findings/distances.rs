//! How far lanes are from each other and from the data.

use super::data::{Known, at};
use super::{Place, badge, group, place, time};
use crate::state::{Source, State};
use crate::stats::histogram::Histogram;
use crate::stats::nearest::{Nearest, nearest};
use crate::stats::{Band, Energy, Group, Sliced, direction};

/// Members of the data that lanes are compared with.
const MOST_DATA: usize = 128;

/// Directions of the sliced distance.
const DIRECTIONS: u32 = 48;

/// Bootstrap resamples.
const RESAMPLES: u32 = 50;

/// Share of the resampled values that a band holds.
pub const LEVEL: f64 = 0.9;

/// Relabelings that estimate the distance from chance alone.
const RELABELINGS: u32 = 20;

/// Bins of a histogram.
const BINS: usize = 24;

/// Least seconds between two measurements while the lanes play.
const PAUSE: f64 = 0.1;

/// One of the two things that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A lane, by its number.
    Lane(usize),
    /// What was trained on, at the same time of the path.
    Data,
}

/// Two distances of the same groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Time they are about.
    pub t: f64,
    /// The sliced Wasserstein distance.
    pub sliced: f64,
    /// What chance alone gives it.
    pub chance: f64,
    /// The energy distance.
    pub energy: Band,
}

/// A direction to look along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Along {
    /// The first principal component of the data, or of the first lane where that is unknown.
    #[default]
    Principal,
    /// One value, such as a pixel.
    Value(usize),
    /// A random direction, by its number.
    Random(u32),
}

/// Identifies what a distance was computed from.
type Key = (Place, Option<Place>);

/// A distance that is measured in two parts, one per frame: the sliced distance is done, and the energy distance needs the groups.
struct Half {
    lane: usize,
    side: Side,
    key: Key,
    t: f64,
    sliced: f64,
    chance: f64,
    groups: [Group; 2],
    seed: u64,
}

/// Distances, histograms and nearest images so far.
#[derive(Default)]
pub struct Distances {
    /// The direction of the histogram.
    pub along: Along,
    known: Option<(Source, Option<Known>)>,
    rows: Vec<(usize, Side, Key, Distance)>,
    half: Option<Half>,
    histogram: Option<(Vec<Place>, Along, Histogram)>,
    /// When the last piece of one was measured.
    worked: Option<f64>,
}

impl Distances {
    /// The data of the lanes' network, read at the first call.
    pub fn known(&mut self, state: &State) -> Option<&Known> {
        let model = state.model.as_ref()?;
        if self
            .known
            .as_ref()
            .is_none_or(|(of, _)| *of != model.source)
        {
            self.known = Some((model.source.clone(), Known::of(model)));
        }
        self.known.as_ref().and_then(|(_, known)| known.as_ref())
    }

    /// The data at the time a lane shows, of the lane's classes.
    fn data(&mut self, state: &State, lane: usize) -> Option<Group> {
        let labels = state.labels(state.lanes[lane].settings_at(time(state, lane)));
        let transport = &state.model_of(lane)?.transport;
        let (path, t) = state.records[lane].place(state.position(lane), transport);
        let like = self.known(state)?.like(&labels, MOST_DATA);
        Some(at(&like, &path, t, state.seed))
    }

    /// The distance of a lane from another or from the data, and whether it is that of the present state; else the last one. `None`
    /// if there is none. A call measures at most half a distance, and while the lanes play it starts one only after `PAUSE`.
    pub fn distance(
        &mut self,
        state: &State,
        lane: usize,
        side: Side,
        now: f64,
    ) -> Option<(Distance, bool)> {
        let other = match side {
            Side::Lane(lane) => Some(place(state, lane)),
            Side::Data => None,
        };
        let key: Key = (place(state, lane), other);
        let waited = self.worked.map_or(f64::INFINITY, |worked| now - worked);
        // Finish any half-measured distance: the one that started it may no longer be shown.
        if waited > 0.0
            && let Some(half) = self.half.take()
        {
            self.worked = Some(now);
            let (lane, side, key) = (half.lane, half.side, half.key);
            self.rows.retain(|(l, s, ..)| (*l, *s) != (lane, side));
            self.rows.push((lane, side, key, half.whole()));
        }
        let of_row = |(l, s, ..): &&(usize, Side, Key, Distance)| (*l, *s) == (lane, side);
        let row = self.rows.iter().find(of_row);
        let last = match row {
            Some((_, _, of, distance)) if *of == key => return Some((*distance, true)),
            Some((_, _, of, distance)) => {
                let same_runs = of.0.0 == key.0.0 && of.1.map(|p| p.0) == key.1.map(|p| p.0);
                same_runs.then_some((*distance, false))
            }
            None => None,
        };
        let waits = state.playback.playing && row.is_some();
        let waited = self.worked.map_or(f64::INFINITY, |worked| now - worked);
        if waited <= if waits { PAUSE } else { 0.0 } {
            return last;
        }
        let groups = self.groups(state, lane, side)?;
        let [a, b] = &groups;
        if a.len() < 2 || b.len() < 2 || !(a.is_finite() && b.is_finite()) {
            return None;
        }
        self.worked = Some(now);
        let sliced = Sliced::new(a, b, DIRECTIONS, state.seed);
        self.half = Some(Half {
            lane,
            side,
            key,
            t: time(state, lane),
            sliced: sliced.distance(),
            chance: sliced.noise(RELABELINGS, state.seed),
            groups,
            seed: state.seed,
        });
        last
    }

    /// The groups whose distance is that of a lane from another or from the data.
    fn groups(&mut self, state: &State, lane: usize, side: Side) -> Option<[Group; 2]> {
        let a = group(state, lane, badge::MOST)?;
        let groups = match side {
            Side::Lane(other) => {
                let b = group(state, other, badge::MOST)?;
                let pair = (a.labels() == b.labels()).then_some([a, b])?;
                badge::independent(state, other, pair)?.0
            }
            Side::Data => [a, self.data(state, lane)?],
        };
        Some(groups)
    }

    /// Histograms of the lanes, and of the data where it is known, along the chosen direction.
    pub fn histogram(&mut self, state: &State, lanes: &[usize]) -> Option<&Histogram> {
        let places: Vec<Place> = lanes.iter().map(|lane| place(state, *lane)).collect();
        let known = self.histogram.as_ref();
        if known.is_none_or(|(of, along, _)| (of, *along) != (&places, self.along)) {
            let histogram = self.project(state, lanes)?;
            self.histogram = Some((places, self.along, histogram));
        }
        self.histogram.as_ref().map(|(.., histogram)| histogram)
    }

    fn project(&mut self, state: &State, lanes: &[usize]) -> Option<Histogram> {
        let groups: Option<Vec<Group>> = lanes
            .iter()
            .map(|&l| group(state, l, state.n_samples))
            .collect();
        let mut groups = groups?;
        groups.extend(lanes.first().and_then(|&lane| self.data(state, lane)));
        let first = groups.first()?;
        let direction = match self.along {
            Along::Value(k) => direction::axis(k.min(first.d() - 1), first.d()),
            Along::Random(number) => direction::random(0, number, first.d()),
            Along::Principal => match self.known(state) {
                Some(known) => known.principal.clone(),
                None => direction::principal(first, 1).pop()?.direction,
            },
        };
        let project = |g: &Group| direction::project(g.values(), &direction);
        let values: Vec<Vec<f32>> = groups.iter().map(project).collect();
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        Some(Histogram::new(&values, BINS))
    }

    /// The training image nearest to `x`, and the share of held-out images with a smaller nearest distance; `None` if no images are
    /// known.
    pub fn nearest(&mut self, state: &State, x: &[f32]) -> Option<(Nearest, &Known, f64)> {
        let known = self.known(state)?;
        let nearest = nearest(x, &known.all)?;
        let share = known.held_out.as_ref()?.share_nearer(nearest.distance);
        Some((nearest, known, share))
    }
}

impl Half {
    fn whole(self) -> Distance {
        let [a, b] = &self.groups;
        Distance {
            t: self.t,
            sliced: self.sliced,
            chance: self.chance,
            energy: Energy::new(a, b).band(RESAMPLES, LEVEL, self.seed),
        }
    }
}
