//! Numbers for every step of a lane: norms of its terms, its local error, how straight the trajectory is.

use crate::state::{Record, State, evaluation};
use crate::stats::path::{Drift, Norms, Straightness, drift, local_error, rms, weak_error};
use sit_engine::transport::{Coefs, Reading, Sampler, Transport};
use web_time::{Duration, Instant};

/// Time budget of a frame for these numbers.
const BUDGET: Duration = Duration::from_millis(3);

/// Numbers of a step; root mean squares over all values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// First and last time.
    pub t: [f64; 2],
    /// Velocity, score, drift and noise; `None` where the drift is infinite.
    pub norms: Option<Norms>,
    /// The difference of the velocities with and without the class, where guidance is active.
    pub guide: Option<f64>,
    /// The estimated local error, Heun minus Euler. `None` for a step with noise, whose velocity changes mostly by that noise, and
    /// if the velocity at the end of the step has not been computed; also for samplers that do not integrate it over t.
    pub error: Option<f64>,
    /// The estimated local error of the mean of all samples in a step with noise, of whose drift the mean hardly depends on that noise.
    pub weak: Option<f64>,
    /// Length of the trajectory so far divided by the length of its chord.
    pub length_ratio: Option<f64>,
    /// How far the trajectory so far is from a straight line at constant speed: 0 is straight.
    pub bend: Option<f64>,
}

/// The numbers of a run.
struct Trace {
    run: u64,
    /// Values of a sample.
    d: usize,
    rows: Vec<Row>,
    way: Straightness,
    /// The velocity of the last row, and what its sampler integrates.
    velocity: Option<Vec<f32>>,
    drift: Option<Vec<f32>>,
}

/// The numbers of all lanes.
#[derive(Default)]
pub struct Traces {
    lanes: Vec<Option<Trace>>,
}

impl Traces {
    /// The numbers of a lane's steps, as far as they have been computed. A long trajectory takes several frames; the bool says
    /// whether these are all.
    pub fn rows(&mut self, state: &State, lane: usize) -> (&[Row], bool) {
        self.lanes.resize_with(state.lanes.len(), || None);
        let record = &state.records[lane];
        let slot = &mut self.lanes[lane];
        let Some(model) = state.model_of(lane).filter(|_| record.is_started()) else {
            *slot = None;
            return (&[], true);
        };
        if slot.as_ref().is_none_or(|trace| trace.run != record.run) {
            let way = Straightness::new(record.t(0), &record.start, model.io.image_len());
            *slot = Some(Trace {
                run: record.run,
                d: model.io.image_len(),
                rows: Vec::new(),
                way,
                velocity: None,
                drift: None,
            });
        }
        let Some(trace) = slot else {
            return (&[], true);
        };
        let begin = Instant::now();
        while trace.rows.len() < record.frames.len() && begin.elapsed() < BUDGET {
            trace.push(record, &model.transport);
        }
        let all = trace.rows.len() == record.frames.len();
        (&trace.rows, all)
    }
}

impl Trace {
    /// Adds the numbers of the next computed step.
    fn push(&mut self, record: &Record, transport: &Transport) {
        let k = self.rows.len();
        let (planned, frame) = (&record.steps[k], &record.frames[k]);
        let step = &planned.step;
        let sampler = &record.settings[planned.segment].sampler;
        let seen = evaluation(record, k);
        let noise = frame.noise.as_deref().unwrap_or(&[]);
        let norms = seen
            .as_ref()
            .and_then(|(x, out)| Norms::new(transport, sampler, step, x, out, noise));
        let coefs = Reading::new(transport, sampler, step).velocity().ok();
        let drift = match drift(transport, sampler, step) {
            Drift::Of(coefs) => seen.as_ref().map(|(x, out)| combine(coefs, x, out)),
            Drift::None | Drift::Infinite => None,
        };
        let velocity = coefs.zip(seen).map(|(c, (x, out))| combine(c, &x, &out));
        // A method that adds its noise first evaluates the velocity after the noise, not where the step before ended.
        let kicked = step.form().adds_noise_first();
        // The others do not integrate the velocity over t.
        let integrates = matches!(sampler, Sampler::Ode(_) | Sampler::Sde(_));
        if let Some(last) = k.checked_sub(1)
            && record.steps[last].noise() == 0.0
            && !kicked
            && integrates
            && let (Some(v), Some(next)) = (&self.velocity, &velocity)
        {
            let [from, to] = self.rows[last].t;
            self.rows[last].error = Some(local_error(to - from, v, next));
        }
        if let Some(last) = k.checked_sub(1)
            && record.steps[last].noise() != 0.0
            && !kicked
            && integrates
            && let (Some(f), Some(next)) = (&self.drift, &drift)
            && f.len() > self.d
        {
            let [from, to] = self.rows[last].t;
            self.rows[last].weak = Some(weak_error(to - from, f, next, self.d));
        }
        let guide = frame.uncond.as_ref().zip(coefs).map(|(uncond, c)| {
            let difference = Coefs {
                x: -c.out,
                out: c.out,
            };
            rms(&combine(difference, uncond, &frame.cond))
        });
        self.way.push(step.t_next, &frame.x);
        (self.velocity, self.drift) = (velocity, drift);
        self.rows.push(Row {
            t: [step.t, step.t_next],
            norms,
            guide,
            error: None,
            weak: None,
            length_ratio: self.way.length_ratio(),
            bend: self.way.bend(),
        });
    }
}

/// `coefs.x x + coefs.out out`.
fn combine(coefs: Coefs, x: &[f32], out: &[f32]) -> Vec<f32> {
    let (of_x, of_out) = (coefs.x as f32, coefs.out as f32);
    x.iter()
        .zip(out)
        .map(|(x, out)| of_x * x + of_out * out)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Origin, open};
    use crate::state::{Frame, Lane, Settings, Source, ode, sde};
    use sit_engine::transport::{Diffusion, Guidance, Method, SdeMethod};
    use std::sync::Arc;

    /// Points of the plane that all move along `velocity(t)` times (3, 4) in four Euler steps; without a class they do not move.
    fn state(velocity: impl Fn(f64) -> f64, guidance: Guidance) -> State {
        let Ok(Origin::Exact(model, _)) = open(&Source::Exact("two-gaussians".into())) else {
            panic!("a mixture is known exactly");
        };
        let settings = Settings {
            sampler: ode(Method::Euler, 4),
            guidance,
            ..Settings::default()
        };
        let lane = Lane::new(settings.clone());
        let steps = lane.steps(&model.transport).unwrap();
        let array =
            |scale: f64| -> Arc<[f32]> { [3.0, 4.0, 3.0, 4.0].map(|x| (scale * x) as f32).into() };
        let mut x = -1.0;
        let frames = steps.iter().map(|planned| {
            let v = velocity(planned.step.t);
            x += 0.25 * guidance.scale * v;
            Frame {
                x: array(x),
                cond: array(v),
                uncond: (guidance.scale != 1.0).then(|| array(0.0)),
                noise: None,
                ms: 0.0,
                ..Frame::default()
            }
        });
        let record = Record {
            run: 1,
            settings: vec![settings],
            start: array(-1.0),
            frames: frames.collect(),
            steps,
            failure: None,
            verdict: None,
            density: None,
        };
        let mut state = State::default();
        state.model = Some(model);
        state.n_samples = 2;
        state.lanes = vec![lane];
        state.records = vec![record];
        state
    }

    /// Root mean square of (3, 4).
    const RMS: f64 = 3.535_533_905_932_738;

    fn near(got: Option<f64>, expected: f64) {
        let got = got.unwrap();
        assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
    }

    #[test]
    fn a_straight_way_has_no_error_and_no_bend() {
        let state = state(|_| 2.0, Guidance::default());
        let mut traces = Traces::default();
        let (rows, all) = traces.rows(&state, 0);
        assert!(all && rows.len() == 4);
        for (k, row) in rows.iter().enumerate() {
            assert_eq!(row.t, [0.25 * k as f64, 0.25 * (k + 1) as f64]);
            let norms = row.norms.unwrap();
            near(Some(norms.velocity), 2.0 * RMS);
            near(norms.drift, 2.0 * RMS);
            assert_eq!((norms.noise, row.guide), (Some(0.0), None));
            near(row.length_ratio, 1.0);
            near(row.bend, 0.0);
            match row.error {
                Some(error) => near(Some(error), 0.0),
                None => assert_eq!(k, 3, "only the last step has no velocity after it"),
            }
        }
    }

    #[test]
    fn a_way_that_speeds_up_errs_by_half_its_acceleration() {
        let state = state(|t| 2.0 * t, Guidance::default());
        let mut traces = Traces::default();
        let (rows, _) = traces.rows(&state, 0);
        // h/2 (v(t + h) - v(t)) = h^2.
        near(rows[1].error, 0.0625 * RMS);
        // Straight, but not at constant speed.
        near(rows[3].length_ratio, 1.0);
        assert!(rows[3].bend.unwrap() > 0.1);
    }

    #[test]
    fn guidance_is_in_the_velocity_and_told_apart() {
        let guidance = Guidance {
            scale: 3.0,
            ..Guidance::default()
        };
        let state = state(|_| 2.0, guidance);
        let mut traces = Traces::default();
        let (rows, _) = traces.rows(&state, 0);
        near(rows[2].guide, 2.0 * RMS);
        near(rows[2].norms.map(|n| n.velocity), 6.0 * RMS);
        near(rows[2].error, 0.0);
    }

    #[test]
    fn another_run_starts_again_and_new_steps_are_added() {
        let mut state = state(|_| 2.0, Guidance::default());
        let frames = state.records[0].frames.split_off(2);
        let mut traces = Traces::default();
        assert_eq!(traces.rows(&state, 0).0.len(), 2);
        assert_eq!(traces.rows(&state, 0).0[1].error, None);
        state.records[0].frames.extend(frames);
        assert_eq!(traces.rows(&state, 0).0.len(), 4);
        near(traces.rows(&state, 0).0[1].error, 0.0);
        state.records[0].run = 2;
        state.records[0].frames.clear();
        assert_eq!(traces.rows(&state, 0), (&[][..], true));
    }

    #[test]
    fn a_corrector_takes_no_time() {
        let mut state = state(|_| 2.0, Guidance::default());
        let sampler = sde(SdeMethod::PredictorCorrector, Diffusion::default(), 3);
        let settings = Settings {
            sampler,
            ..Settings::default()
        };
        let record = &mut state.records[0];
        record.steps = Lane::new(settings.clone())
            .steps(&state.model.as_ref().unwrap().transport)
            .unwrap();
        record.settings = vec![settings];
        let steps = record.steps.iter().zip(&mut record.frames);
        for (k, (planned, frame)) in steps.enumerate() {
            frame.noise = (planned.noise() != 0.0).then(|| [0.5; 4].into());
            assert_eq!(frame.noise.is_some(), k % 2 == 1);
        }
        let mut traces = Traces::default();
        let (rows, _) = traces.rows(&state, 0);
        assert_eq!(rows[1].t[0], rows[1].t[1]);
        let norms = rows[1].norms.unwrap();
        assert_eq!(
            (norms.drift, rows[1].error, rows[1].bend),
            (None, None, None)
        );
        assert!(norms.noise.unwrap() > 0.0);
        // The predictor's error is known from the evaluation after it; its drift is the velocity.
        near(rows[0].error, 0.0);
        let norms = rows[2].norms.unwrap();
        near(norms.drift, norms.velocity);
        near(rows[0].bend, 0.0);
        near(rows[3].length_ratio, 1.0);
    }
}
