//! The cost of a lane's samples: their distance from those of many steps, by the number of network evaluations.

use super::{Classes, Lane, LaneStep, Noise, Settings, Source, State};
use sit_engine::error::{Error, Result};
use sit_engine::transport::{DdpmMethod, EdmMethod, Grid, Method, Respacing, Sampler, Transport};

/// Numbers of steps that are measured. An adaptive solver has the relative tolerance `0.1 / n^2` in place of n steps.
pub const RUNGS: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Steps of the reference, but of a chain. It has an error too: with a method of order 1, an eighth of that of the last rung.
pub const REFERENCE_STEPS: u32 = 1024;

/// Most samples that are measured.
const MOST: usize = 256;

/// The most curves that are kept.
const KEPT: usize = 32;

/// What a curve depends on. Lanes that differ only in their number of steps have the same curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The network, if it is not the session's.
    pub network: Option<Source>,
    /// The settings, with one step.
    pub settings: Settings,
    /// The classes asked for.
    pub classes: Classes,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of samples.
    pub n: usize,
}

/// A sampler's distances from its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its number, which answers refer to.
    pub id: u64,
    /// What it depends on.
    pub of: Subject,
    /// Steps of the reference done.
    pub reference: usize,
    /// The sliced distance that chance alone gives as many samples from other noise; `None` until the reference is done.
    pub chance: Option<f64>,
    /// What was measured, by the number of steps.
    pub points: Vec<Point>,
    /// Why it cannot be measured, if so.
    pub failure: Option<String>,
}

/// A sampler with some number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The number.
    pub n_steps: u32,
    /// Network evaluations of a sample.
    pub nfe: usize,
    /// Strong error: the mean distance between a sample and the reference's from the same noise; `None` if samples are not finite, or
    /// if other numbers of steps draw other noise ([`Subject::has_path`]).
    pub path: Option<f64>,
    /// Sliced Wasserstein distance of the two groups of samples. Common noise makes it less random, and on average it is never too
    /// small, because it is convex in both distributions.
    pub sliced: Option<f64>,
}

/// Progress of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// Steps of the reference done.
    Reference(usize),
    /// The reference is done, and this is the distance from chance alone.
    Chance(f64),
    /// One more point.
    Point(Point),
    /// It cannot be measured.
    Failed(String),
}

/// What can happen to what is measured.
#[derive(Debug, Clone, PartialEq)]
pub enum CostAction {
    /// Measure what the lanes' samplers cost.
    Measure,
    /// Stop measuring.
    Stop,
    /// Something was measured.
    Measured {
        /// The curve.
        curve: u64,
        /// The result.
        news: Measured,
    },
}

impl Subject {
    /// What the curve of a lane depends on: the settings of its last segment, used from the start.
    pub fn of(state: &State, lane: usize) -> Self {
        let settings = state.lanes[lane].settings();
        Subject {
            network: state.lanes[lane].network.clone(),
            settings: with_steps(settings, 1),
            classes: settings.class.map_or(state.classes, Classes::One),
            seed: state.seed,
            n: state.n_samples.min(MOST),
        }
    }

    /// The settings with this many steps, or as an adaptive solver the tolerance for it ([`RUNGS`]). An SDE always uses one Brownian path, which its steps refine, whatever noise the lane
    /// uses. The increments have the same distribution, and paths can be compared.
    ///
    /// # Errors
    /// [`Error::Config`] for a list of times, which has its own number of steps.
    pub fn rung(&self, n_steps: u32) -> Result<Settings> {
        if let Grid::Times(_) = self.settings.sampler.grid() {
            return Err(Error::Config(
                "a list of times has its own number of steps, so there is no curve of it".into(),
            ));
        }
        Ok(Settings {
            noise: Noise::Brownian,
            ..with_steps(&self.settings, n_steps)
        })
    }

    /// The settings of the reference. An ODE uses Heun's method, which is practically exact with so many steps; an SDE uses its own
    /// method. A chain uses all of its noise levels, of which there may be fewer.
    ///
    /// # Errors
    /// As [`Subject::rung`].
    pub fn reference(&self) -> Result<Settings> {
        let mut settings = self.rung(REFERENCE_STEPS)?;
        match &mut settings.sampler {
            Sampler::Ode(ode) => ode.method = Method::Heun,
            Sampler::Edm(edm) if edm.churn == 0.0 => edm.method = EdmMethod::Heun,
            Sampler::Ddpm(ddpm) => ddpm.respacing = Some(Respacing::All),
            _ => {}
        }
        Ok(settings)
    }

    /// Whether runs with other numbers of steps have the same noise, so that their samples can be compared one by one.
    pub fn has_path(&self) -> bool {
        match &self.settings.sampler {
            Sampler::Edm(edm) => edm.churn == 0.0,
            Sampler::Ddpm(ddpm) => ddpm.method == DdpmMethod::Ddim && ddpm.eta == 0.0,
            _ => true,
        }
    }
}

fn with_steps(settings: &Settings, n: u32) -> Settings {
    let mut settings = settings.clone();
    match &mut settings.sampler {
        Sampler::Ode(ode) => {
            ode.n_steps = n;
            if ode.method.is_adaptive() {
                ode.tolerance.rtol = 0.1 / f64::from(n).powi(2);
                ode.tolerance.atol = 1e-3 * ode.tolerance.rtol;
            }
        }
        Sampler::Sde(sde) => sde.n_steps = n,
        Sampler::Edm(edm) => edm.n_steps = n,
        Sampler::Ddpm(ddpm) => ddpm.respacing = Some(Respacing::Sections(vec![n])),
        _ => {}
    }
    settings
}

/// The network evaluations of these settings from the start, where an evaluation with guidance counts twice; `None` for an adaptive
/// solver, which finds out on its way.
///
/// # Errors
/// As of [`Lane::steps`].
pub fn price(settings: &Settings, transport: &Transport) -> Result<Option<usize>> {
    let steps = Lane::new(settings.clone()).steps(transport)?;
    let guided = |t| settings.guidance.active(t);
    let price = |LaneStep { step, nfe, .. }: &LaneStep| {
        let twice = step.times().iter().any(|&t| guided(t));
        nfe * (1 + usize::from(twice))
    };
    Ok(steps.is_whole().then(|| steps.iter().map(price).sum()))
}

impl Curve {
    /// Whether no more results will come.
    pub fn is_done(&self) -> bool {
        self.failure.is_some() || self.points.len() == RUNGS.len()
    }

    /// The points with a known distance, by network evaluations, without distances of 0, which a logarithmic axis cannot show.
    pub fn line(&self, distance: impl Fn(&Point) -> Option<f64>) -> Vec<[f64; 2]> {
        let place = |p: &Point| Some([p.nfe as f64, distance(p).filter(|d| *d > 0.0)?]);
        self.points.iter().filter_map(place).collect()
    }
}

/// The slope of a line on logarithmic axes, by least squares over its last five points: minus the order of the solver if the
/// distances are those of paths. `None` with fewer points.
pub fn slope(line: &[[f64; 2]]) -> Option<f64> {
    const LAST: usize = 5; // 8 to 128 steps
    let last = &line[line.len().checked_sub(LAST)?..];
    let log: Vec<[f64; 2]> = last.iter().map(|p| p.map(libm::log)).collect();
    let mean = |i: usize| log.iter().map(|p| p[i]).sum::<f64>() / LAST as f64;
    let (x, y) = (mean(0), mean(1));
    let covariance: f64 = log.iter().map(|p| (p[0] - x) * (p[1] - y)).sum();
    Some(covariance / log.iter().map(|p| (p[0] - x).powi(2)).sum::<f64>())
}

/// The height of a line on logarithmic axes over `x`; `None` outside of it.
pub fn height(line: &[[f64; 2]], x: f64) -> Option<f64> {
    let piece = line.windows(2).find(|w| (w[0][0]..=w[1][0]).contains(&x))?;
    let [a, b] = [piece[0], piece[1]].map(|p| p.map(libm::log));
    let part = (libm::log(x) - a[0]) / (b[0] - a[0]);
    Some(libm::exp(a[1] + part * (b[1] - a[1])))
}

impl State {
    /// The curve of a lane, if it was asked for.
    pub fn curve(&self, lane: usize) -> Option<&Curve> {
        let of = Subject::of(self, lane);
        self.cost.iter().find(|curve| curve.of == of)
    }

    /// The curves of the lanes that are not done.
    pub fn measuring(&self) -> Vec<&Curve> {
        let all = 0..self.lanes.len();
        let of_lanes: Vec<Subject> = all.map(|lane| Subject::of(self, lane)).collect();
        let wanted = |curve: &&Curve| !curve.is_done() && of_lanes.contains(&curve.of);
        self.cost.iter().filter(wanted).collect()
    }

    /// Starts or stops measuring, or stores a result.
    pub(super) fn price(&mut self, action: CostAction) {
        match action {
            CostAction::Measure => self.measure(),
            CostAction::Stop => self.stop_measuring(),
            CostAction::Measured { curve, news } => self.measured(curve, news),
        }
    }

    /// A curve for every lane that has none.
    fn measure(&mut self) {
        self.stop_measuring();
        if self.model.is_none() {
            return;
        }
        let excess = (self.cost.len() + self.lanes.len()).saturating_sub(KEPT);
        self.cost.drain(..excess);
        for lane in 0..self.lanes.len() {
            if self.curve(lane).is_none() {
                self.runs += 1;
                self.cost.push(Curve {
                    id: self.runs,
                    of: Subject::of(self, lane),
                    reference: 0,
                    chance: None,
                    points: Vec::new(),
                    failure: None,
                });
            }
        }
    }

    fn stop_measuring(&mut self) {
        self.cost.retain(Curve::is_done);
    }

    fn measured(&mut self, id: u64, news: Measured) {
        let Some(curve) = self.cost.iter_mut().find(|curve| curve.id == id) else {
            return;
        };
        match news {
            Measured::Reference(done) => curve.reference = done,
            Measured::Chance(chance) => curve.chance = Some(chance),
            Measured::Failed(message) => curve.failure = Some(message),
            // A curve that is measured again after a stop gets its first points twice.
            Measured::Point(point) => {
                let at = curve.points.partition_point(|p| p.n_steps < point.n_steps);
                let end = at
                    + usize::from(
                        curve
                            .points
                            .get(at)
                            .is_some_and(|p| p.n_steps == point.n_steps),
                    );
                curve.points.splice(at..end, [point]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Origin, open};
    use crate::state::{Action, CostAction, LanesAction, Source, ode, sde};
    use sit_engine::transport::{Diffusion, Guidance, SdeMethod};

    fn ready() -> State {
        let Ok(Origin::Network((model, _))) = open(&Source::Digits) else {
            panic!("the embedded digits open");
        };
        let mut state = State::default();
        state.apply(Action::ModelReady(Box::new(model)));
        state
    }

    fn point(n_steps: u32, path: f64) -> Point {
        Point {
            n_steps,
            nfe: n_steps as usize,
            path: Some(path),
            sliced: None,
        }
    }

    #[test]
    fn a_curve_is_of_settings_and_not_of_their_number_of_steps() {
        let mut state = ready();
        assert!(state.measuring().is_empty() && state.curve(0).is_none());
        state.apply(CostAction::Measure);
        let ids: Vec<u64> = state.measuring().iter().map(|c| c.id).collect();
        assert!(ids.len() == 2 && ids[0] != ids[1]);
        // More steps are further to the right on the same curve; another method has its own.
        let settings = |method, n| Settings {
            sampler: ode(method, n),
            ..Settings::default()
        };
        state.apply(LanesAction::SetLane(0, settings(Method::Euler, 10)));
        assert_eq!(state.curve(0).unwrap().id, ids[0]);
        state.apply(LanesAction::SetLane(0, settings(Method::Heun, 10)));
        assert!(state.curve(0).is_none());
        assert_eq!(state.measuring().len(), 1);
        state.apply(LanesAction::SetSeed(7));
        assert!(state.measuring().is_empty());
        // Returning to the earlier seed finds the earlier curve; two equal lanes share a curve.
        state.apply(LanesAction::SetSeed(0));
        state.apply(LanesAction::SetLane(0, settings(Method::Euler, 20)));
        state.apply(LanesAction::SetLane(1, settings(Method::Euler, 30)));
        assert_eq!(state.measuring().len(), 1);
        state.apply(CostAction::Stop);
        assert!(state.measuring().is_empty() && state.curve(0).is_none());
    }

    #[test]
    fn points_that_arrive_twice_are_there_once_and_in_order() {
        let mut state = ready();
        state.apply(CostAction::Measure);
        let id = state.measuring()[0].id;
        for (n, path) in [(2, 0.4), (1, 0.9), (4, 0.3), (2, 0.5)] {
            let news = Measured::Point(point(n, path));
            state.apply(CostAction::Measured { curve: id, news });
        }
        let line = state.curve(0).unwrap().line(|p| p.path);
        assert_eq!(line, [[1.0, 0.9], [2.0, 0.5], [4.0, 0.3]]);
        // Results of a curve that is no longer wanted change nothing.
        state.apply(CostAction::Stop);
        let news = Measured::Failed("late".into());
        state.apply(CostAction::Measured { curve: id, news });
        assert!(state.curve(0).is_none());
        // A finished curve stays.
        state.apply(CostAction::Measure);
        let id = state.curve(0).unwrap().id;
        for n in RUNGS {
            let news = Measured::Point(point(n, 0.1));
            state.apply(CostAction::Measured { curve: id, news });
        }
        state.apply(CostAction::Measure);
        assert_eq!(state.curve(0).unwrap().id, id);
        assert_eq!(state.measuring().len(), 1);
    }

    #[test]
    fn the_price_counts_heun_and_guidance_twice() {
        let transport = Transport::default();
        let price = |sampler, scale| {
            let guidance = Guidance {
                scale,
                interval: [0.0, 0.5],
                ..Guidance::default()
            };
            let settings = Settings {
                sampler,
                guidance,
                ..Settings::default()
            };
            price(&settings, &transport).unwrap()
        };
        assert_eq!(price(ode(Method::Euler, 8), 1.0), Some(8));
        assert_eq!(price(ode(Method::Heun, 8), 1.0), Some(16));
        assert_eq!(
            price(sde(SdeMethod::Euler, Diffusion::default(), 8), 1.0),
            Some(8)
        );
        // Euler at 0, 1/8, 2/8, 3/8, 4/8; Heun's step from 4/8 on as well.
        assert_eq!(price(ode(Method::Euler, 8), 2.0), Some(8 + 5));
        assert_eq!(price(ode(Method::Heun, 8), 2.0), Some(16 + 10));
        // An adaptive solver finds out on its way.
        assert_eq!(price(ode(Method::Dopri5, 8), 1.0), None);
    }

    #[test]
    fn rungs_share_one_brownian_path_and_everything_but_their_steps() {
        let mut state = ready();
        state.apply(LanesAction::SetSamples(1000));
        let of = Subject::of(&state, 1);
        assert_eq!(of.n, MOST);
        let transport = Transport::default();
        let end = |settings: &Settings| {
            let steps = Lane::new(settings.clone()).steps(&transport).unwrap();
            // The last step with noise ends at the end of the path.
            steps[steps.len() - 2].step.t_next
        };
        for n in RUNGS {
            let rung = of.rung(n).unwrap();
            assert_eq!((rung.noise, rung.sampler.n_steps()), (Noise::Brownian, n));
            assert_eq!(end(&rung), end(&of.reference().unwrap()));
        }
        assert_eq!(
            Subject::of(&state, 0).reference().unwrap().sampler,
            ode(Method::Heun, REFERENCE_STEPS)
        );
    }

    #[test]
    fn slope_and_height_are_those_of_a_power() {
        let line: Vec<[f64; 2]> = RUNGS
            .map(|n| [f64::from(n), 3.0 / f64::from(n).powi(2)])
            .into();
        assert!((slope(&line).unwrap() + 2.0).abs() < 1e-12);
        assert_eq!(slope(&line[..4]), None);
        assert!((height(&line, 50.0).unwrap() - 3.0 / 2500.0).abs() < 1e-12);
        assert_eq!((height(&line, 0.5), height(&line, 200.0)), (None, None));
    }
}
