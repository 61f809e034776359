//! Splits the error of an ODE lane at its points into the network's part and the solver's.
//!
//! With the exact field of the data, the true trajectory of a point is known. Let `x` be the lane's point, `c` the point that the
//! lane's steps reach with the exact field, and `f` the true one. Then `c - f` is the solver's error and `x - c` the network's.

use crate::state::{LaneStep, Record, Settings};
use sit_engine::analytic::Mixture;
use sit_engine::transport::{Adaptive, Path, Sampler, Transport};

/// Order-4 steps within each step of the lane, for the true trajectory.
const FINE: usize = 8;

/// Points that are followed.
const N_POINTS: usize = 64;

/// The exact trajectories of a run's points, computed as far as they were needed.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    run: u64,
    /// The points after each step: with the lane's own steps, and the true ones.
    coarse: Vec<Vec<f64>>,
    fine: Vec<Vec<f64>>,
    /// What the lane's last step kept for the next one, and its segment.
    history: Vec<f64>,
    segment: usize,
}

/// Root mean squares over points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// `x - f`.
    pub total: f64,
    /// `c - f`.
    pub solver: f64,
    /// `x - c`; 0 within rounding for the exact field itself.
    pub network: f64,
}

impl Ways {
    /// The errors of a lane's points after `n` steps; `None` if a step adds noise, because then there is no true trajectory, and for a
    /// sampler that does not integrate the velocity over time.
    pub fn errors(
        &mut self,
        record: &Record,
        n: usize,
        mixture: &Mixture,
        transport: &Transport,
    ) -> Option<Errors> {
        let x = record.state(n)?;
        let steps = record.steps.get(..n)?;
        let sampler = |s: &LaneStep| &record.settings[s.segment].sampler;
        let follows = |s: &LaneStep| matches!(sampler(s), Sampler::Ode(_) | Sampler::Sde(_));
        if !steps.iter().all(|s| s.noise() == 0.0 && follows(s)) {
            return None;
        }
        let len = x.len().min(2 * N_POINTS);
        if self.run != record.run || self.coarse.is_empty() {
            let start: Vec<f64> = record.start[..len].iter().map(|x| f64::from(*x)).collect();
            *self = Ways {
                run: record.run,
                coarse: vec![start.clone()],
                fine: vec![start],
                ..Ways::default()
            };
        }
        for step in &steps[(self.coarse.len() - 1).min(n)..] {
            let (path, _) = transport.place_of(sampler(step), step.step.t);
            let settings = &record.settings[step.segment];
            self.push(step, settings, mixture, transport, &path)?;
        }
        let (c, f) = (&self.coarse[n], &self.fine[n]);
        let rms = |a: &dyn Fn(usize) -> f64, b: &[f64]| {
            let sum: f64 = (0..len).map(|i| (a(i) - b[i]).powi(2)).sum();
            (sum / (len / 2) as f64).sqrt()
        };
        Some(Errors {
            total: rms(&|i| f64::from(x[i]), f),
            solver: rms(&|i| c[i], f),
            network: rms(&|i| f64::from(x[i]), c),
        })
    }

    fn push(
        &mut self,
        lane_step: &LaneStep,
        settings: &Settings,
        mixture: &Mixture,
        transport: &Transport,
        path: &Path,
    ) -> Option<()> {
        if lane_step.segment != self.segment {
            self.history.clear();
        }
        self.segment = lane_step.segment;
        let mut step = lane_step.step;
        let mut coarse = self.coarse[self.coarse.len() - 1].clone();
        if settings.sampler.is_adaptive() {
            let times = [step.t, step.t_next];
            let own = settings.transport(transport);
            let solver = Adaptive::new(&own, &settings.sampler).ok()?;
            let solver = solver.between(times);
            // Its first drift is what the step before kept.
            if self.history.is_empty() {
                let first = solver.drift(step.t).ok()?;
                self.history.clone_from(&coarse);
                mixture.step(transport, &first, &mut self.history, &mut Vec::new(), &[]);
            }
            step = solver.step(times[0], times[1] - times[0]).ok()?;
        }
        mixture.step(transport, &step, &mut coarse, &mut self.history, &[]);
        self.coarse.push(coarse);
        let mut fine = self.fine[self.fine.len() - 1].clone();
        let (t, dt) = (step.t, (step.t_next - step.t) / FINE as f64);
        for i in 0..FINE {
            rk4(mixture, path, t + i as f64 * dt, dt, &mut fine);
        }
        self.fine.push(fine);
        Some(())
    }
}

/// A step of the classical Runge-Kutta method with the exact velocity, for points `[n, 2]`.
fn rk4(mixture: &Mixture, path: &Path, t: f64, dt: f64, x: &mut [f64]) {
    let [now, half, next] = [0.0, 0.5, 1.0].map(|c| mixture.at(path, t + c * dt));
    for x in x.as_chunks_mut::<2>().0 {
        let from = *x;
        let at = |c: f64, k: &[f64]| [0, 1].map(|i| from[i] + c * dt * k[i]);
        let k1 = now.velocity(&from);
        let k2 = half.velocity(&at(0.5, &k1));
        let k3 = half.velocity(&at(0.5, &k2));
        let k4 = next.velocity(&at(1.0, &k3));
        for i in 0..2 {
            x[i] += dt / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Frame, Lane, Settings, ode};
    use sit_engine::analytic::Mixture;
    use sit_engine::analytic::{Points, Toy};
    use sit_engine::transport::Method;
    use std::sync::Arc;

    /// A lane in the exact field, with an error of `wrong` in each step as from an imperfect network.
    fn lane(n: u32, wrong: f64) -> (Record, Mixture, Transport) {
        let (mixture, transport) = (Toy::TwoGaussians.mixture().unwrap(), Transport::default());
        let settings = Settings {
            sampler: ode(Method::Euler, n),
            ..Settings::default()
        };
        let steps = Lane::new(settings.clone()).steps(&transport).unwrap();
        let mut x = vec![0.3, -0.8, -1.1, 0.2];
        let single = |x: &[f64]| -> Arc<[f32]> { x.iter().map(|x| *x as f32).collect() };
        let start = single(&x);
        let frames = steps.iter().map(|s| {
            mixture.step(&transport, &s.step, &mut x, &mut Vec::new(), &[]);
            x.iter_mut().for_each(|x| *x += wrong / f64::from(n));
            Frame {
                x: single(&x),
                cond: single(&x),
                uncond: None,
                noise: None,
                ms: 0.0,
                ..Frame::default()
            }
        });
        let frames = frames.collect();
        let record = Record {
            run: 1,
            settings: vec![settings],
            steps,
            start,
            frames,
            ..Record::default()
        };
        (record, mixture, transport)
    }

    fn errors(n: u32, wrong: f64) -> Errors {
        let (record, mixture, transport) = lane(n, wrong);
        let mut ways = Ways::default();
        let end = n as usize;
        // Computing all at once gives the same as computing on the way.
        ways.errors(&record, end / 2, &mixture, &transport).unwrap();
        let errors = ways.errors(&record, end, &mixture, &transport).unwrap();
        let at_once = Ways::default().errors(&record, end, &mixture, &transport);
        assert_eq!(Some(errors), at_once);
        errors
    }

    #[test]
    fn the_exact_field_has_the_solvers_error_alone_and_it_halves() {
        let (coarse, fine) = (errors(32, 0.0), errors(64, 0.0));
        assert!(coarse.network < 1e-6 && fine.network < 1e-6);
        assert!((coarse.total - coarse.solver).abs() < 1e-6);
        let ratio = coarse.solver / fine.solver;
        assert!((1.7..2.4).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_wrong_field_is_the_networks_error() {
        let errors = errors(256, 0.5);
        assert!(errors.network > 10.0 * errors.solver, "{errors:?}");
        assert!((errors.total / errors.network - 1.0).abs() < 0.1);
    }
}
