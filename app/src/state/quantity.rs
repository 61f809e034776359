//! What is drawn, as a combination of recorded arrays: every quantity is linear in them.

use super::{LaneStep, Quantity, Record};
use sit_engine::transport::{Coefs, Reading, Transport};
use std::sync::Arc;

/// `coef · data` of a sum.
#[derive(Debug, Clone)]
pub struct Term {
    /// The factor.
    pub coef: f64,
    /// A recorded array, `[N, C, I, I]`.
    pub data: Arc<[f32]>,
}

fn term(coef: f64, data: &Arc<[f32]>) -> Option<Term> {
    (coef != 0.0).then(|| Term {
        coef,
        data: Arc::clone(data),
    })
}

/// The sum of the terms; `None` without one.
pub fn total(terms: &[Term]) -> Option<Vec<f32>> {
    let first = terms.first()?;
    let mut sum = vec![0.0; first.data.len()];
    for term in terms {
        for (s, x) in sum.iter_mut().zip(term.data.iter()) {
            *s += term.coef as f32 * x;
        }
    }
    Some(sum)
}

/// `quantity` of a lane after `n` steps, as a sum; empty if it does not exist, such as the noise of an ODE.
///
/// The network's output is the one at the state that is shown, which the next step computes. At the end of the path, and until the
/// next step is done, it is the last output. Adaptive Heun's is the one at its predictor ([`Frame::cond`](super::Frame::cond)). For a step of several evaluations it is the first one, after the step's noise.
pub fn terms(record: &Record, n: usize, quantity: Quantity, transport: &Transport) -> Vec<Term> {
    let Some(state) = record.state(n) else {
        return Vec::new();
    };
    if quantity == Quantity::State {
        return term(1.0, state).into_iter().collect();
    }
    if quantity == Quantity::Noise {
        let Some(last) = n.checked_sub(1) else {
            return Vec::new();
        };
        let noise = record.frames[last].noise.as_ref();
        let std = record.steps[last].step.noise_std();
        return noise
            .zip(std)
            .and_then(|(noise, std)| term(std, noise))
            .into_iter()
            .collect();
    }
    let at_end = record.steps.is_whole() && n == record.steps.len();
    if quantity == Quantity::Predicted && at_end {
        return term(1.0, state).into_iter().collect();
    }
    let step = n.min(record.frames.len().saturating_sub(1));
    let (Some(frame), Some(planned)) = (record.frames.get(step), record.steps.get(step)) else {
        return Vec::new();
    };
    let Some(input) = input(record, step, planned) else {
        return Vec::new();
    };
    let t = planned.step.times()[0];
    let guidance = &record.settings[planned.segment].guidance;
    // Weights of the two outputs in the one that is integrated. This ignores that some channels may be unguided.
    let scale = guidance.scale_at(t);
    let (cond, uncond) = match (&frame.uncond, quantity) {
        (Some(_), Quantity::VelocityUncond) => (0.0, 1.0),
        (Some(_), Quantity::VelocityGuide) => (1.0, -1.0),
        (None, Quantity::VelocityUncond | Quantity::VelocityGuide) => return Vec::new(),
        (None, _) | (_, Quantity::VelocityCond) => (1.0, 0.0),
        (Some(_), _) => (scale, 1.0 - scale),
    };
    let sampler = &record.settings[planned.segment].sampler;
    let reading = Reading::new(transport, sampler, &planned.step);
    let coefs = match quantity {
        Quantity::Predicted | Quantity::Difference => reading.data(),
        _ => reading.velocity(),
    };
    let Ok(Coefs { x, out }) = coefs else {
        // There is no prediction at a singular start.
        return Vec::new();
    };
    // The state cancels out in a difference of two velocities.
    let x = if quantity == Quantity::VelocityGuide {
        0.0
    } else {
        x
    };
    let mut sum: Vec<Term> = input
        .into_iter()
        .filter_map(|part| term(x * part.coef, &part.data))
        .collect();
    sum.extend(term(out * cond, &frame.cond));
    if let Some(array) = &frame.uncond {
        sum.extend(term(out * uncond, array));
    }
    sum
}

/// The state at the first evaluation of step `k` and the network's output there, with the guidance of the step; `None` before the step was computed.
///
/// This ignores that some channels may be unguided.
pub fn evaluation(record: &Record, k: usize) -> Option<(Vec<f32>, Vec<f32>)> {
    let (planned, frame) = (record.steps.get(k)?, record.frames.get(k)?);
    let x = total(&input(record, k, planned)?)?;
    let Some(uncond) = &frame.uncond else {
        return Some((x, frame.cond.to_vec()));
    };
    let guidance = &record.settings[planned.segment].guidance;
    let scale = guidance.scale_at(planned.step.times()[0]);
    let shares = [(scale, &frame.cond), (1.0 - scale, uncond)];
    let shares: Vec<Term> = shares
        .into_iter()
        .filter_map(|(share, out)| term(share, out))
        .collect();
    Some((x, total(&shares)?))
}

/// The state at a step's first evaluation: that before the step, and for methods that add their noise first, that noise.
fn input(record: &Record, step: usize, planned: &LaneStep) -> Option<Vec<Term>> {
    let mut input: Vec<Term> = term(1.0, record.state(step)?).into_iter().collect();
    if let Some(array) = &record.frames[step].noise
        && planned.step.form().adds_noise_first()
    {
        input.extend(term(planned.step.noise(), array));
    }
    Some(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Frame, Lane, Settings, ode};
    use sit_engine::transport::{Guidance, Method, Path};

    /// One sample of one number, on its way along a straight line with velocity 3, guided by 2 from 1.
    fn record() -> (Record, Transport) {
        let transport = Transport::default();
        assert_eq!(transport.path, Path::Linear);
        let settings = Settings {
            sampler: ode(Method::Euler, 4),
            guidance: Guidance {
                scale: 2.0,
                ..Guidance::default()
            },
            ..Settings::default()
        };
        let one = |x: f32| -> Arc<[f32]> { Arc::new([x]) };
        let frames = (1..=4).map(|k| Frame {
            x: one(-1.0 + 0.75 * k as f32),
            cond: one(2.0),
            uncond: Some(one(1.0)),
            noise: None,
            ms: 0.0,
            ..Frame::default()
        });
        let record = Record {
            settings: vec![settings.clone()],
            steps: Lane::new(settings).steps(&transport).unwrap(),
            start: one(-1.0),
            frames: frames.collect(),
            ..Record::default()
        };
        (record, transport)
    }

    #[test]
    fn quantities_of_a_straight_way() {
        let (record, transport) = record();
        let at = |n, quantity| total(&terms(&record, n, quantity, &transport)).map(|x| x[0]);
        for n in 0..=4 {
            assert_eq!(at(n, Quantity::State), Some(-1.0 + 0.75 * n as f32));
            assert_eq!(at(n, Quantity::Predicted), Some(2.0), "after {n}");
            assert_eq!(at(n, Quantity::Velocity), Some(3.0));
            assert_eq!(at(n, Quantity::VelocityCond), Some(2.0));
            assert_eq!(at(n, Quantity::VelocityUncond), Some(1.0));
            assert_eq!(at(n, Quantity::VelocityGuide), Some(1.0));
            assert_eq!(at(n, Quantity::Noise), None);
        }
    }

    #[test]
    fn a_step_under_way_shows_the_last_output() {
        let (mut record, transport) = record();
        record.frames.truncate(2);
        let predicted = total(&terms(&record, 2, Quantity::Predicted, &transport));
        // The output of step 1 with the state it saw.
        assert_eq!(predicted, Some(vec![2.0]));
        assert!(terms(&record, 3, Quantity::State, &transport).is_empty());
        record.frames.clear();
        assert!(terms(&record, 0, Quantity::Predicted, &transport).is_empty());
        assert_eq!(
            total(&terms(&record, 0, Quantity::State, &transport)),
            Some(vec![-1.0])
        );
    }
}
