//! The trajectory from noise to data: the norms of what moves it, how straight it is, and the error of a step.

use sit_engine::transport::{Coefs, Reading, Sampler, Sde, Step, Transport};

/// Root mean square over all values; NaN of none.
pub fn rms(x: &[f32]) -> f64 {
    (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
}

/// The strong error `E|X - Y|` of samples `x` `[n, d]` against `y` from the same noise (Kloeden and Platen, section 9.6), in the unit
/// of one value: the mean over samples of the root mean square over values.
///
/// # Panics
/// If the lengths differ or `d` is 0.
pub fn strong_error(x: &[f32], y: &[f32], d: usize) -> f64 {
    let rows = x.chunks_exact(d).zip(y.chunks_exact(d));
    rows.map(|(x, y)| rms_of(MINUS, x, y)).sum::<f64>() / (x.len() / d) as f64
}

/// The difference of two arrays.
const MINUS: Coefs = Coefs { x: -1.0, out: 1.0 };

/// What moves the state in one step, as root mean squares over all samples and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norms {
    /// The velocity, per unit of time.
    pub velocity: f64,
    /// The score; `None` where it is infinite (t = 1).
    pub score: Option<f64>,
    /// The drift the sampler integrates, `v` or `v + D s`, per unit of time; `None` in a step that takes no time, and for a sampler
    /// that integrates over noise levels.
    pub drift: Option<f64>,
    /// The noise the step adds; `None` where the network chooses its size.
    pub noise: Option<f64>,
}

impl Norms {
    /// The norms at the start of a step, from the state `x`, the network's output `out` at it and the standard normal `noise` of
    /// the step, each `[n, d]`; the noise is not read where the step adds none. `None` where the drift is not finite.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(
        transport: &Transport,
        sampler: &Sampler,
        step: &Step,
        x: &[f32],
        out: &[f32],
        noise: &[f32],
    ) -> Option<Self> {
        let norm = |coefs: Coefs| rms_of(coefs, x, out);
        let reading = Reading::new(transport, sampler, step);
        let velocity = reading.velocity().ok()?;
        let drift = match drift(transport, sampler, step) {
            Drift::Of(coefs) => Some(coefs),
            Drift::None => None,
            Drift::Infinite => return None,
        };
        let added = |std: f64| match std {
            0.0 => 0.0,
            std => {
                assert_eq!(noise.len(), x.len(), "noise of another length");
                std * rms(noise)
            }
        };
        Some(Self {
            velocity: norm(velocity),
            score: reading.score().ok().map(norm),
            drift: drift.map(norm),
            noise: step.noise_std().map(added),
        })
    }
}

/// What a sampler integrates over t.
#[derive(Debug, Clone, Copy)]
pub enum Drift {
    /// `v` or `v + D s`, of the state and the network's output.
    Of(Coefs),
    /// The step takes no time, or the sampler integrates over noise levels.
    None,
    /// It is not finite there.
    Infinite,
}

/// The drift at the start of a step.
pub fn drift(transport: &Transport, sampler: &Sampler, step: &Step) -> Drift {
    let reading = Reading::new(transport, sampler, step);
    let of = |coefs: sit_engine::error::Result<Coefs>| coefs.map_or(Drift::Infinite, Drift::Of);
    match (sampler, step.times()) {
        (Sampler::Sde(_), [_]) if step.t_next - step.t > 0.0 => Drift::Of(drift_of(step)),
        (Sampler::Sde(_), [_]) => Drift::None,
        (Sampler::Sde(sde), _) if in_window(sde, step.t) => of(reading.drift(&sde.diffusion)),
        (Sampler::Sde(_) | Sampler::Ode(_), _) => of(reading.velocity()),
        _ => Drift::None,
    }
}

/// The estimated local error of the mean of `n` samples `[n, d]` in an Euler-Maruyama step of size `h`: `h/2 E[f_{n+1} - f_n]` with the drift `f`
/// at the start and at the end, as root mean square over values (weak error; Kloeden and Platen, section 9.7).
///
/// The noise of the step changes each sample's drift, and not its mean: the variance of the mean over samples, which chance alone gives, is subtracted
/// from the square. 0 where nothing is left.
///
/// # Panics
/// If the lengths differ, or there are fewer than two samples.
pub fn weak_error(h: f64, f: &[f32], f_next: &[f32], d: usize) -> f64 {
    assert_eq!(f.len(), f_next.len(), "drifts of other lengths");
    let n = f.len() / d;
    assert!(n > 1, "{n} samples");
    let square = |k: usize| {
        let changes = (0..n).map(|i| f64::from(f_next[i * d + k]) - f64::from(f[i * d + k]));
        let (sum, squares) = changes.fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        let mean = sum / n as f64;
        let variance = (squares / n as f64 - mean * mean) * n as f64 / (n - 1) as f64;
        mean * mean - variance / n as f64
    };
    let mean = (0..d).map(square).sum::<f64>() / d as f64;
    0.5 * h * mean.max(0.0).sqrt()
}

/// The drift of a step of one evaluation, `x + drift dt`.
fn drift_of(step: &Step) -> Coefs {
    let dt = step.t_next - step.t;
    Coefs {
        x: (step.end()[0] - 1.0) / dt,
        out: step.end()[1] / dt,
    }
}

fn in_window(sde: &Sde, t: f64) -> bool {
    (sde.noise_window[0]..=sde.noise_window[1]).contains(&t)
}

/// Root mean square of `coefs.x x + coefs.out out`.
fn rms_of(coefs: Coefs, x: &[f32], out: &[f32]) -> f64 {
    assert_eq!(x.len(), out.len(), "output of another length");
    let value = |(x, out): (&f32, &f32)| coefs.x * f64::from(*x) + coefs.out * f64::from(*out);
    let square: f64 = x.iter().zip(out).map(|pair| value(pair).powi(2)).sum();
    (square / x.len() as f64).sqrt()
}

/// The estimated local error of an Euler step of size `h`: the Heun step minus the Euler step, `h/2 (v_{n+1} - v_n)`, as root
/// mean square over all values. `v` is the velocity at the start and at the end of the step.
///
/// # Panics
/// If the lengths differ.
pub fn local_error(h: f64, v: &[f32], v_next: &[f32]) -> f64 {
    0.5 * h * rms_of(MINUS, v, v_next)
}

/// How straight the paths of `n` samples are, computed state by state.
///
/// With steps `dx_i` over `dt_i` from `x_0` to `x_N` over `T`, the rectified flow's `S = E int |(x_N - x_0) / T - v_t|^2 dt` (Liu,
/// Gong and Liu, arXiv 2209.03003, section 2.2) is, for a path that is straight within a step,
/// `sum |dx_i|^2 / dt_i - |x_N - x_0|^2 / T`. The SDE's paths are rough: both measures grow without end as its steps shrink. A corrector
/// moves samples in no time: then S is infinite.
#[derive(Debug, Clone)]
pub struct Straightness {
    d: usize,
    first: Vec<f32>,
    last: Vec<f32>,
    t0: f64,
    t: f64,
    /// Sum over steps and samples of `|dx|^2 / dt`.
    action: f64,
    /// Length of each sample's path so far.
    lengths: Vec<f64>,
}

impl Straightness {
    /// Starts at time `t0` from `x` `[n, d]`.
    ///
    /// # Panics
    /// If `d` is 0 or does not divide the length.
    pub fn new(t0: f64, x: &[f32], d: usize) -> Self {
        assert!(
            d > 0 && x.len().is_multiple_of(d),
            "{} values in vectors of {d}",
            x.len()
        );
        Self {
            d,
            first: x.to_vec(),
            last: x.to_vec(),
            t0,
            t: t0,
            action: 0.0,
            lengths: vec![0.0; x.len() / d],
        }
    }

    /// Adds the states `x` `[n, d]` at time `t`.
    ///
    /// # Panics
    /// If `t` is before the last time or the length is another.
    pub fn push(&mut self, t: f64, x: &[f32]) {
        assert!(t >= self.t, "time {t} after {}", self.t);
        assert_eq!(x.len(), self.first.len(), "states of different lengths");
        let rows = x.chunks_exact(self.d).zip(self.last.chunks_exact(self.d));
        for ((x, last), length) in rows.zip(&mut self.lengths) {
            let square = squared_chord(x, last);
            if square > 0.0 {
                self.action += square / (t - self.t);
            }
            *length += square.sqrt();
        }
        self.t = t;
        self.last.copy_from_slice(x);
    }

    /// `S` relative to the mean square of the chord's velocity: 0 for straight paths of constant speed. `None` before the first
    /// step, and where it is infinite.
    pub fn bend(&self) -> Option<f64> {
        let chords = self.chords().map(|(square, _)| square).sum::<f64>();
        let straight = chords / (self.t - self.t0);
        (chords > 0.0 && self.action.is_finite()).then(|| self.action / straight - 1.0)
    }

    /// The mean over samples of path length over chord length: 1 for straight paths, of whatever speed. `None` before the first
    /// step.
    pub fn length_ratio(&self) -> Option<f64> {
        let ratios = self.chords().map(|(square, length)| length / square.sqrt());
        let mean = ratios.sum::<f64>() / self.lengths.len() as f64;
        mean.is_finite().then_some(mean)
    }

    /// Squared chord and length of each path.
    fn chords(&self) -> impl Iterator<Item = (f64, f64)> {
        let rows = self
            .last
            .chunks_exact(self.d)
            .zip(self.first.chunks_exact(self.d));
        let squares = rows.map(|(last, first)| squared_chord(last, first));
        squares.zip(self.lengths.iter().copied())
    }
}

fn squared_chord(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::transport::{Diffusion, DiffusionForm, Method, SdeMethod, Tableau, schedule};

    fn near(what: &str, got: f64, want: f64, tol: f64) {
        assert!(
            (got - want).abs() <= tol * want.abs(),
            "{what}: got {got}, want {want}"
        );
    }

    #[test]
    fn norms_are_those_of_the_linear_path() {
        let transport = Transport::default();
        let diffusion = Diffusion::new(DiffusionForm::Linear, 0.5);
        let sampler = Sampler::sde(SdeMethod::Euler, diffusion, 48);
        let steps = schedule(&transport, &sampler).unwrap();
        let (step, last) = (&steps[12], &steps[48]);
        let (x, v, e) = ([1.0, -2.0], [0.5, 3.0], [0.3, -0.4]);
        let norms = Norms::new(&transport, &sampler, step, &x, &v, &e).unwrap();
        // Linear path: the noise is x - t v, the score that over -(1 - t); D = (1 - t) / 2, over steps of 0.02.
        let t = 0.24;
        near("t", step.t, t, 1e-12);
        let root = |a: f64, b: f64| ((a * a + b * b) / 2.0).sqrt();
        near("velocity", norms.velocity, root(0.5, 3.0), 1e-9);
        let noise = |i: usize| f64::from(x[i]) - t * f64::from(v[i]);
        near(
            "score",
            norms.score.unwrap(),
            root(noise(0), noise(1)) / (1.0 - t),
            1e-9,
        );
        let drift = |i: usize| f64::from(v[i]) - 0.5 * noise(i);
        near(
            "drift",
            norms.drift.unwrap(),
            root(drift(0), drift(1)),
            1e-9,
        );
        near(
            "noise",
            norms.noise.unwrap(),
            ((1.0 - t) * 0.02_f64).sqrt() * 0.125_f64.sqrt(),
            1e-6,
        );
        assert_eq!(
            Norms::new(&transport, &sampler, last, &x, &v, &[])
                .unwrap()
                .noise,
            Some(0.0)
        );

        let ode = Sampler::ode(Method::Euler, 2);
        let start = schedule(&transport, &ode).unwrap()[0];
        let norms = Norms::new(&transport, &ode, &start, &x, &v, &[]).unwrap();
        assert_eq!(
            (norms.drift, norms.noise),
            (Some(norms.velocity), Some(0.0))
        );
        let end = Step::runge_kutta(&Tableau::EULER, [1.0; 2], 0.0, |t| transport.velocity(t));
        let end = end.unwrap();
        assert_eq!(
            Norms::new(&transport, &ode, &end, &x, &v, &[])
                .unwrap()
                .score,
            None
        );
    }

    #[test]
    fn the_strong_error_is_the_mean_distance_of_samples() {
        let (x, y) = ([1.0, 2.0, 0.0, 0.0], [1.0, 2.0, 3.0, -3.0]);
        assert_eq!(strong_error(&x, &y, 2), 1.5);
    }

    /// `dx = -x dt`: an Euler step errs by `h^2 / 2 x` and more; the estimate is right to first order in `h`.
    #[test]
    fn the_local_error_is_that_of_a_step() {
        for h in [0.1_f64, 0.01] {
            let x = [1.0_f32, -2.0];
            let next = x.map(|x| x * (1.0 - h) as f32);
            let estimate = local_error(h, &x.map(|x| -x), &next.map(|x| -x));
            let exact = rms(&x) * (libm::exp(-h) - (1.0 - h));
            near("local error", estimate, exact, 0.5 * h);
        }
    }

    /// A half circle at constant speed: length over chord is pi / 2, S relative to the chord is (pi / 2)^2 - 1.
    #[test]
    fn straightness_of_a_line_and_of_a_half_circle() {
        const N: usize = 400;
        let path = |x: &dyn Fn(f64) -> [f64; 2]| {
            let state = |i: usize| {
                let [a, b] = x(i as f64 / N as f64).map(|x| x as f32);
                // A second sample, twice as large.
                [a, b, 2.0 * a, 2.0 * b]
            };
            let mut path = Straightness::new(0.2, &state(0), 2);
            assert_eq!((path.bend(), path.length_ratio()), (None, None));
            for i in 1..=N {
                path.push(0.2 + 0.5 * i as f64 / N as f64, &state(i));
            }
            (path.bend().unwrap(), path.length_ratio().unwrap())
        };
        let (bend, ratio) = path(&|u| [u, 1.0 - 3.0 * u]);
        assert!(
            bend.abs() < 1e-6 && (ratio - 1.0).abs() < 1e-6,
            "{bend} {ratio}"
        );
        let half_turn = |u: f64| (std::f64::consts::PI * u).sin_cos();
        let (bend, ratio) = path(&|u| [half_turn(u).1, half_turn(u).0]);
        let expected = std::f64::consts::FRAC_PI_2;
        near("length ratio", ratio, expected, 1e-4);
        near("bend", bend, expected * expected - 1.0, 1e-4);
        // Along a line, but faster and faster: x = u^2 has int (1 - 2u)^2 du = 1/3.
        let (bend, ratio) = path(&|u| [u * u, 0.0]);
        near("length ratio", ratio, 1.0, 1e-6);
        near("bend", bend, 1.0 / 3.0, 1e-4);
    }

    #[test]
    fn the_error_of_the_mean_is_that_of_the_mean_without_chance() {
        use sit_engine::rng::{Stream, fill_normal};
        // The drift of 400 samples of 8 values changes by 0.3, and by noise of 1 in each.
        let (n, d) = (400, 8);
        let mut noise = vec![0.0; n * d];
        fill_normal(5, Stream::Noise, 0, 0, &mut noise);
        let f = vec![1.0; n * d];
        for (change, expected) in [(0.3, 0.15 * 0.1), (0.0, 0.0)] {
            let next: Vec<f32> = noise.iter().map(|e| 1.0 + change + e).collect();
            let got = weak_error(0.1, &f, &next, d);
            // The mean's deviation is a twentieth.
            assert!(
                (got - expected).abs() < 0.05 * 0.05,
                "{got}, expected {expected}"
            );
        }
        let exact: Vec<f32> = f.iter().map(|f| f + 0.5).collect();
        assert!((weak_error(0.2, &f, &exact, d) - 0.05).abs() < 1e-9);
    }
}
