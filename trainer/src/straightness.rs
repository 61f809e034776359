//! How straight the paths of an ODE are.

use crate::sampling::State;
use sit_engine::transport::Step;
use std::fmt;

/// The mean over images, values and time of `|v - d|^2`, with the velocity v along a path and its displacement d over the whole time
/// (rectified flow, arXiv 2209.03003, section 2.2). It is 0 for straight paths at constant speed, which one Euler step follows exactly.
/// The velocity is that between the states that it is given.
#[derive(Debug, Default)]
pub struct Straightness {
    start: (f64, Vec<f32>),
    last: (f64, Vec<f32>),
    /// `sum |dx|^2 / dt` of the images under way.
    length: f64,
    sum: f64,
    n: usize,
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(b - a).powi(2));
    squares.sum()
}

impl Straightness {
    /// Begins with the states x of some images at time t.
    pub fn start(&mut self, t: f64, x: &[f32]) {
        self.start = (t, x.to_vec());
        self.last = self.start.clone();
        self.length = 0.0;
    }

    /// Their states at a later time.
    pub fn step(&mut self, t: f64, x: &[f32]) {
        let (before, from) = &mut self.last;
        self.length += square(from, x) / (t - *before);
        *before = t;
        from.copy_from_slice(x);
    }

    /// Looks at images on their way through `steps`.
    pub fn look(&mut self, state: &State<'_>, steps: &[Step]) {
        match state.step {
            0 => self.start(steps[0].t, state.x),
            n => self.step(steps[n - 1].t_next, state.x),
        }
        if state.done {
            self.finish();
        }
    }

    /// Ends with these images.
    pub fn finish(&mut self) {
        let ((t0, from), (t1, to)) = (&self.start, &self.last);
        let time = t1 - t0;
        // The mean of |v - d|^2 over time is that of |v|^2 less |d|^2, as d is the mean of v.
        self.sum += self.length / time - square(from, to) / (time * time);
        self.n += from.len();
    }

    /// The mean over all images.
    pub fn mean(&self) -> f64 {
        let mean = self.sum / self.n as f64;
        // Rounding may fall below 0; what is not a number stays.
        if mean < 0.0 { 0.0 } else { mean }
    }
}

/// `straightness 0.0123 (0 for straight paths)`.
impl fmt::Display for Straightness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "straightness {:.4} (0 for straight paths)", self.mean())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detour_is_measured_in_squares_of_its_speed() {
        let mut straight = Straightness::default();
        straight.start(0.0, &[0.0, 1.0]);
        straight.step(0.25, &[0.25, 1.5]);
        straight.step(1.0, &[1.0, 3.0]);
        straight.finish();
        assert!(straight.mean() < 1e-12);
        // Velocities 2 and 0 for half the time each, about the displacement 1: a mean square of 1, in one of four values.
        straight.start(0.0, &[0.0, 0.0]);
        straight.step(0.5, &[1.0, 0.0]);
        straight.step(1.0, &[1.0, 0.0]);
        straight.finish();
        assert!((straight.mean() - 0.25).abs() < 1e-12);
    }
}
