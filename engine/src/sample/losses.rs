//! The loss of a model's velocity by time, whatever the model predicts.
//!
//! For data x1, noise x0 and a time t it is `mean |v(alpha x1 + sigma x0, t) - (d_alpha x1 + d_sigma x0)|^2`, a mean over values, with the
//! velocity as samplers read it. Its expectation is the error of the velocity plus the variance of the target given the state, so
//! it is above the error: it never reaches 0.

use super::likelihood::Evaluator;
use crate::error::{Error, Result};
use crate::model::{Model, NetworkIo};
use crate::rng::{Stream, fill_normal};
use crate::transport::{Ode, Sampler, Transport};

/// `n` equal times over the interval in which the ODE is sampled, both ends included, where every velocity is finite.
///
/// # Errors
/// As [`crate::transport::schedule`]; [`Error::Setting`] for fewer than 2 times, or a model that does not begin with noise; [`Error::Config`] for an end at which the velocity of the
/// path itself is infinite.
pub fn loss_times(transport: &Transport, n: u32) -> Result<Vec<f64>> {
    if n < 2 {
        return Err(Error::setting(
            "times",
            format!("got {n}, expected at least 2"),
        ));
    }
    transport.require_gaussian("base", "this loss is measured with Gaussian noise")?;
    let ode = Ode {
        n_steps: n - 1,
        ..Ode::default()
    };
    let interval = transport.sample_interval(&Sampler::Ode(ode))?;
    let path = &transport.path;
    for t in [interval.t0, interval.t1] {
        if !path.d_alpha(t).is_finite() || !path.d_sigma(t).is_finite() {
            return Err(Error::Config(format!(
                "the velocity of the {path} path is infinite at t = {t}; set `t_eps_sample` above 0 (default 0.001)"
            )));
        }
    }
    let fraction = |i: u32| f64::from(i) / f64::from(n - 1);
    Ok((0..n).map(|i| interval.at(fraction(i))).collect())
}

/// Measures the loss at given times, with noise that is a function of the seed, of the image's number and of the time's.
#[derive(Debug)]
pub struct VelocityLoss {
    network: Evaluator,
    transport: Transport,
    io: NetworkIo,
    batch: usize,
    seed: u64,
    noise: Vec<f32>,
    input: Vec<f32>,
    state: Vec<f64>,
    target: Vec<f64>,
    predicted: Vec<f64>,
}

impl VelocityLoss {
    /// For batches of this size.
    ///
    /// # Errors
    /// [`Error::Setting`] for a batch that is refused, or a model that does not begin with noise; [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn new(model: &Model, batch: usize, seed: u64) -> Result<Self> {
        let why = "this loss is measured with Gaussian noise";
        model.transport().require_gaussian("base", why)?;
        let io = model.io();
        let len = batch * io.image_len();
        Ok(VelocityLoss {
            network: Evaluator::new(model, batch, 0)?,
            transport: model.transport().clone(),
            io,
            batch,
            seed,
            noise: vec![0.0; len],
            input: vec![0.0; len],
            state: vec![0.0; len],
            target: vec![0.0; len],
            predicted: vec![0.0; len],
        })
    }

    /// The loss of each of at most a batch of images x1 `[N, C, H, W]` with labels y `[N]` at the time `t`, which has the number `at`.
    ///
    /// # Errors
    /// [`Error::Shape`] for too many images or wrong lengths, [`Error::Config`] for a label beyond the null class or a time at which the
    /// velocity is not finite, [`Error::Device`] when the device fails.
    pub async fn losses_async(
        &mut self,
        time: (u32, f64),
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
    ) -> Result<Vec<f64>> {
        self.predict(time, numbers, x1, y).await?;
        let len = self.io.image_len();
        let rows = (0..numbers.len()).map(|image| image * len..(image + 1) * len);
        let losses = rows.map(|row| mean_square(&self.predicted[row.clone()], &self.target[row]));
        Ok(losses.collect())
    }

    /// As [`VelocityLoss::losses_async`], with the error beside the loss, `mean |v - v*|^2` against the velocity `v*` that `exact` gives for
    /// a state `[C, H, W]` and its label. The loss is on average the error plus the variance of the target given the state.
    ///
    /// # Errors
    /// As there.
    pub async fn errors_async(
        &mut self,
        time: (u32, f64),
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
        exact: &dyn Fn(&[f64], u32) -> Vec<f64>,
    ) -> Result<Vec<[f64; 2]>> {
        let losses = self.losses_async(time, numbers, x1, y).await?;
        let len = self.io.image_len();
        let rows = losses.into_iter().enumerate().map(|(image, loss)| {
            let row = image * len..(image + 1) * len;
            let label = y.get(image).copied().unwrap_or(0);
            let exact = exact(&self.state[row.clone()], label);
            [loss, mean_square(&self.predicted[row], &exact)]
        });
        Ok(rows.collect())
    }

    /// Fills in the states of the images, their targets, and the velocities that the model predicts.
    async fn predict(
        &mut self,
        (at, t): (u32, f64),
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
    ) -> Result<()> {
        let (n, len) = (numbers.len(), self.io.image_len());
        if n > self.batch || x1.len() != n * len {
            return Err(Error::Shape(format!(
                "x1 got {n} images of {} values in all, expected at most {} images of {len}",
                x1.len(),
                self.batch
            )));
        }
        self.io.check_labels(y, n)?;
        let velocity = self.transport.velocity(t)?;
        let path = &self.transport.path;
        let (alpha, sigma) = (path.alpha(t), path.sigma(t));
        let (d_alpha, d_sigma) = (path.d_alpha(t), path.d_sigma(t));
        let scale = self.transport.input_scale(t);
        let rows = self.noise.chunks_exact_mut(len);
        for (row, &number) in rows.zip(numbers) {
            let first = number.wrapping_mul(len as u64);
            fill_normal(self.seed, Stream::LossNoise, at, first, row);
        }
        for (i, &x1) in x1.iter().enumerate() {
            let (x0, x1) = (f64::from(self.noise[i]), f64::from(x1));
            self.state[i] = alpha * x1 + sigma * x0;
            self.target[i] = d_alpha * x1 + d_sigma * x0;
            self.input[i] = (scale * self.state[i]) as f32;
        }
        let times = vec![self.transport.time_input(t); self.batch];
        let mut labels = vec![0; self.batch];
        labels.iter_mut().zip(y).for_each(|(to, y)| *to = *y);
        self.network.write(&self.input, &times, &labels)?;
        let (out, _) = self.network.run_async().await?;
        for (i, out) in out.iter().take(n * len).enumerate() {
            self.predicted[i] = velocity.x * self.state[i] + velocity.out * f64::from(*out);
        }
        Ok(())
    }

    /// As the function of the same name that is async.
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn losses(
        &mut self,
        time: (u32, f64),
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
    ) -> Result<Vec<f64>> {
        pollster::block_on(self.losses_async(time, numbers, x1, y))
    }

    /// As [`VelocityLoss::errors_async`].
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn errors(
        &mut self,
        time: (u32, f64),
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
        exact: &dyn Fn(&[f64], u32) -> Vec<f64>,
    ) -> Result<Vec<[f64; 2]>> {
        pollster::block_on(self.errors_async(time, numbers, x1, y, exact))
    }
}

/// The mean square of the difference of two rows.
fn mean_square(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>() / a.len() as f64
}
