//! Measures the cost of a sampler: a run with many steps as the reference, then runs with few steps.

use super::Field;
use super::Pace;
use super::Plan;
use super::run::Run;
use crate::state::{Lane, Measured, Point, RUNGS, Subject};
use crate::stats::path::strong_error;
use crate::stats::{Group, Sliced};
use crate::words::in_controls;
use sit_engine::error::{Error, Result};
use std::rc::Rc;

/// Directions of the sliced distance.
const DIRECTIONS: u32 = 48;

/// Relabelings that say what distance chance alone gives.
const RELABELINGS: u32 = 20;

/// Steps of the reference between two progress updates.
const NEWS_EVERY: usize = 16;

/// A measurement in progress.
pub struct Ladder {
    id: u64,
    of: Subject,
    field: Rc<Field>,
    labels: Vec<u32>,
    run: Option<Run>,
    /// The reference's samples at the end.
    reference: Option<Group>,
    /// Rungs done.
    done: usize,
}

impl Ladder {
    /// A curve to be measured with a field.
    pub fn new(id: u64, of: Subject, field: Rc<Field>) -> Self {
        Ladder {
            id,
            labels: of.classes.labels(field.io().n_classes, of.n),
            of,
            field,
            run: None,
            reference: None,
            done: 0,
        }
    }

    /// The curve's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether there is something to do.
    pub fn is_busy(&self) -> bool {
        self.done < RUNGS.len()
    }

    /// Does one piece of work: some samples of a step.
    pub async fn work(&mut self, pace: &Pace) -> Option<Measured> {
        let news = self.piece(pace).await;
        news.unwrap_or_else(|error| {
            self.done = RUNGS.len();
            Some(Measured::Failed(in_controls(&error)))
        })
    }

    async fn piece(&mut self, pace: &Pace) -> Result<Option<Measured>> {
        let run = match &mut self.run {
            Some(run) => run,
            None => {
                let run = self.start()?;
                self.run.insert(run)
            }
        };
        let x = match run.work(pace).await {
            Ok(Some(frame)) if run.is_over() => Some(frame.x),
            Ok(stepped) => {
                let done = run.done();
                let news = self.reference.is_none() && done.is_multiple_of(NEWS_EVERY);
                return Ok((stepped.is_some() && news).then_some(Measured::Reference(done)));
            }
            // A run with few steps may give numbers that are not finite although more steps do not.
            Err(Error::Config(_)) if self.reference.is_some() => None,
            Err(error) => return Err(error),
        };
        let nfe = run.nfe();
        self.run = None;
        let len = self.field.io().image_len();
        let x = x.map(|x| Group::new(x.to_vec(), len, self.labels.clone()));
        let sliced = |a: &Group, b: &Group| Sliced::new(a, b, DIRECTIONS, self.of.seed);
        let Some(reference) = &self.reference else {
            let chance = x
                .as_ref()
                .map_or(0.0, |x| sliced(x, x).noise(RELABELINGS, self.of.seed));
            self.reference = x;
            return Ok(Some(Measured::Chance(chance)));
        };
        let n_steps = RUNGS[self.done];
        self.done += 1;
        let far = |x: &Group| strong_error(x.values(), reference.values(), len);
        Ok(Some(Measured::Point(Point {
            n_steps,
            nfe,
            path: x.as_ref().filter(|_| self.of.has_path()).map(far),
            sliced: x.as_ref().map(|x| sliced(x, reference).distance()),
        })))
    }

    /// The next run: the reference, or a rung.
    fn start(&self) -> Result<Run> {
        let settings = match self.reference {
            None => self.of.reference()?,
            Some(_) => self.of.rung(RUNGS[self.done])?,
        };
        let steps = Lane::new(settings.clone()).steps(self.field.transport())?;
        let plan = Plan {
            run: self.id,
            network: None,
            classes: Vec::new(),
            steps,
            settings: vec![settings],
            labels: vec![self.labels.clone()],
            seed: self.of.seed,
            n: self.of.n,
            first: 0,
            from: None,
        };
        let (run, _) = Run::new(plan, Rc::clone(&self.field), None)?;
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Origin, open};
    use crate::state::{Classes, REFERENCE_STEPS, Settings, Source, ode, sde, slope};
    use sit_engine::transport::{DdpmSampler, Diffusion, Edm, Method, Sampler, SdeMethod};

    /// All points of a sampler with the exact field of two Gaussians.
    fn curve(sampler: Sampler) -> (f64, Vec<Point>) {
        let Ok(Origin::Exact(model, mixture)) = open(&Source::Exact("two-gaussians".into())) else {
            panic!("a mixture is known exactly");
        };
        let field = Field::Exact {
            io: model.io,
            transport: model.transport.clone(),
            mixture,
        };
        let of = Subject {
            network: None,
            settings: Settings {
                sampler,
                ..Settings::default()
            },
            classes: Classes::All,
            seed: 3,
            n: 256,
        };
        let mut ladder = Ladder::new(1, of, Rc::new(field));
        let pace = Pace::thread(false);
        let (mut chance, mut points, mut reference) = (0.0, Vec::new(), 0);
        while ladder.is_busy() {
            match pollster::block_on(ladder.work(&pace)) {
                Some(Measured::Reference(done)) => reference = done,
                Some(Measured::Chance(c)) => chance = c,
                Some(Measured::Point(point)) => points.push(point),
                Some(Measured::Failed(message)) => panic!("{message}"),
                None => {}
            }
        }
        // The last of the SDE's steps is one more than a power of two; a chain has fewer.
        assert!(reference + 2 * NEWS_EVERY >= REFERENCE_STEPS as usize);
        assert_eq!(points.len(), RUNGS.len());
        (chance, points)
    }

    fn slope_of(points: &[Point]) -> f64 {
        let line: Vec<[f64; 2]> = points
            .iter()
            .map(|p| [p.nfe as f64, p.path.unwrap()])
            .collect();
        slope(&line).unwrap()
    }

    #[test]
    fn paths_converge_with_the_order_of_the_solver() {
        let (_, euler) = curve(ode(Method::Euler, 1));
        let (_, heun) = curve(ode(Method::Heun, 1));
        // Additive noise: Euler-Maruyama has order 1 on one Brownian path. The reference has an eighth of the last point's error.
        let (_, noisy) = curve(sde(SdeMethod::Euler, Diffusion::default(), 50));
        for (what, points, order, within) in [
            ("Euler", &euler, 1.0, 0.15),
            ("Heun", &heun, 2.0, 0.25),
            ("Euler-Maruyama", &noisy, 1.0, 0.25),
        ] {
            let slope = slope_of(points);
            assert!(
                (slope + order).abs() < within,
                "{what}: {slope}, {points:?}"
            );
        }
        assert_eq!(heun[3].nfe, 2 * euler[3].nfe);
    }

    #[test]
    fn distributions_come_down_below_what_chance_gives() {
        let (chance, points) = curve(sde(SdeMethod::Euler, Diffusion::default(), 50));
        let of = |n: u32| {
            let point = points.iter().find(|p| p.n_steps == n);
            point.and_then(|p| p.sliced).unwrap()
        };
        assert!(
            of(1) > 3.0 * chance && of(128) < 0.5 * chance,
            "{points:?}, chance {chance}"
        );
        // In one dimension, the Wasserstein distance of two groups is at most the mean distance of their members.
        for point in &points {
            assert!(
                point.sliced <= point.path.map(|path| 1.5 * path),
                "{point:?}"
            );
        }
    }

    #[test]
    fn a_chain_is_measured_against_all_of_its_levels() {
        let (_, ddim) = curve(DdpmSampler::ddim(0.0).into());
        let path = |i: usize| ddim[i].path.unwrap();
        assert!(path(7) < 0.2 * path(2) && path(2).is_finite(), "{ddim:?}");
        assert_eq!(ddim.iter().map(|p| p.nfe as u32).collect::<Vec<_>>(), RUNGS);
        // Ancestral sampling draws other noise: there are crowds and no path.
        let (chance, ancestral) = curve(DdpmSampler::ancestral().into());
        assert!(ancestral.iter().all(|p| p.path.is_none()));
        let far = |i: usize| ancestral[i].sliced.unwrap();
        assert!(
            far(2) > far(7) && far(7) < 3.0 * chance,
            "{ancestral:?}, {chance}"
        );
    }

    #[test]
    fn an_adaptive_solver_costs_what_its_tolerance_asks_for() {
        let (_, points) = curve(ode(Method::Dopri5, 1));
        assert!(points.is_sorted_by_key(|point| point.nfe), "{points:?}");
        let (first, last) = (points[0].path.unwrap(), points[7].path.unwrap());
        assert!(last < 1e-3 * first, "{points:?}");
        // Far less than what Euler's method pays.
        assert!(points[7].nfe < 200, "{points:?}");
    }

    #[test]
    fn edm_converges_with_its_order_and_churn_has_no_path() {
        let edm = |churn| {
            curve(Sampler::Edm(Edm {
                churn,
                ..Edm::default()
            }))
        };
        let (_, still) = edm(0.0);
        let line: Vec<[f64; 2]> = still
            .iter()
            .map(|p| [p.nfe as f64, p.path.unwrap()])
            .collect();
        let slope = slope(&line).unwrap();
        assert!(slope < -1.5, "{slope}: {still:?}");
        // Two evaluations a step, one in the last.
        assert_eq!(still[3].nfe, 2 * 8 - 1);
        assert!(
            edm(10.0)
                .1
                .iter()
                .all(|p| p.path.is_none() && p.sliced.is_some())
        );
    }
}
