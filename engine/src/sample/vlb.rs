//! The variational bound of a discrete diffusion model, in bits per dimension.

use super::field::check_velocity;
use super::noise::{by_run, step_noise};
use crate::backend::Program;
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Graph, Plan, SetId};
use crate::model::{Inputs, Model, NetworkIo, evaluate};
use crate::nn::Params;
use crate::ops::ancestral::{self, Noise};
use crate::ops::{bound, lincomb, loss};
use crate::transport::{Chain, Coefs, Ddpm, Posterior, Prediction, Respacing, Transport};
use std::f64::consts::LN_2;

/// The bound of one image: `-log2 p(x1) <= total` per dimension (DDPM, arXiv 2006.11239, equation 5). Lists go from the noisiest level
/// to the cleanest one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VariationalBound {
    /// The term of each noise level; the last one reads the image.
    pub terms: Vec<f64>,
    /// `KL(q(x_T | x1) || N(0, I))`.
    pub prior: f64,
    /// The mean squared error of the predicted image at each noise level.
    pub x1_errors: Vec<f64>,
    /// The mean squared error of the predicted noise at each noise level.
    pub x0_errors: Vec<f64>,
}

impl VariationalBound {
    /// The whole bound, in bits per dimension.
    pub fn total(&self) -> f64 {
        self.terms.iter().sum::<f64>() + self.prior
    }
}

/// Computes the variational bound of images under a model of the DDPM path, a batch at a time. The network is evaluated once at every
/// noise level of the chain; images are in [-1, 1] with levels that are 2/255 apart.
#[derive(Debug)]
pub struct Vlb {
    transport: Transport,
    chain: Chain,
    clip: Option<f64>,
    batch: usize,
    io: NetworkIo,
    program: Program,
}

const X0: &str = "x0";
const X1: &str = "x1";
const T: &str = "t";
const Y: &str = "y";
const XT_COEF: &str = "xt_coef";
const DATA_COEF: &str = "data_coef";
const BOUND_COEF: &str = "bound_coef";
const ERROR_COEF: &str = "error_coef";
const TERM: &str = "term";
const ERROR: &str = "error";

impl Vlb {
    /// The bound of `batch` images at a time. It is that of a chain of the levels of `respacing`, by default those that the model was
    /// trained at. `clip_x0` limits the absolute value of predicted images, 1 for pixels.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model of another path, a respacing that its chain does not have, or a limit that is not above 0;
    /// [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn new(
        model: &Model,
        batch: usize,
        respacing: Option<&Respacing>,
        clip_x0: Option<f64>,
    ) -> Result<Self> {
        let (transport, io) = (model.transport().clone(), model.io());
        let chain = chain(&transport, respacing, clip_x0)?;
        let plan = plan(model, &transport, batch, clip_x0.is_some())?;
        Ok(Vlb {
            program: model.device().program(plan, &[model.arenas()])?,
            clip: clip_x0,
            transport,
            chain,
            batch,
            io,
        })
    }

    /// The bound of images x1 `[N, C, H, W]`, at most a batch, with their numbers and labels y `[N]`; a model without classes ignores
    /// the labels. The noise of an image is a function of the seed, the noise level and its number, so that it does not depend on the
    /// batch.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::Config`] for a label beyond the null class, [`Error::Device`] when the device
    /// fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn bound(
        &mut self,
        seed: u64,
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
    ) -> Result<Vec<VariationalBound>> {
        let bounds = self.bound_async(seed, numbers, x1, y, |_| true);
        Ok(pollster::block_on(bounds)?.unwrap_or_default())
    }
}

#[doc(hidden)]
impl Vlb {
    /// Number of noise levels of the bound of a model; refuses what [`Vlb::new`] would, without a device.
    ///
    /// # Errors
    /// As of [`Vlb::new`].
    pub fn check(
        transport: &Transport,
        respacing: Option<&Respacing>,
        clip_x0: Option<f64>,
    ) -> Result<usize> {
        chain(transport, respacing, clip_x0).map(|chain| chain.len())
    }

    /// Async variant of [`Self::bound`], for browsers. `go_on(levels)` is asked after each noise level, with how many are done; where it
    /// says no, there are no bounds.
    pub async fn bound_async(
        &mut self,
        seed: u64,
        numbers: &[u64],
        x1: &[f32],
        y: &[u32],
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<VariationalBound>>> {
        let (io, len, n) = (self.io, self.io.image_len(), numbers.len());
        if x1.len() != n * len || y.len() != n || !(1..=self.batch).contains(&n) {
            return Err(Error::Shape(format!(
                "got {n} numbers, {} labels and {} values, expected 1 to {} images of {len} values",
                y.len(),
                x1.len(),
                self.batch
            )));
        }
        let draw = |step, noise: &mut [f32]| {
            by_run(numbers, len, noise, |first, rows| {
                step_noise(&io, seed, step, first, rows);
            });
        };
        // Places that are left over are computed, too, and not read.
        let (mut images, mut labels) = (x1.to_vec(), y.to_vec());
        images.resize(self.batch * len, 0.0);
        labels.resize(self.batch, 0);
        let bounds = self.bound_with_async(&images, &labels, draw, go_on);
        Ok(bounds.await?.map(|mut bounds| {
            bounds.truncate(n);
            bounds
        }))
    }

    /// As [`Self::bound`] of a whole batch, with noise that `draw(number of the evaluation, noise)` writes.
    pub async fn bound_with_async(
        &mut self,
        x1: &[f32],
        y: &[u32],
        mut draw: impl FnMut(usize, &mut [f32]),
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<VariationalBound>>> {
        let (batch, len) = (self.batch, self.io.image_len());
        if x1.len() != batch * len {
            return Err(Error::Shape(format!(
                "x1 got {} values, expected {batch} images of {len}",
                x1.len()
            )));
        }
        self.io.check_labels(y, batch)?;
        self.program.write(X1, x1)?;
        if self.program.plan().has_input(Y) {
            self.program.write_u32(Y, y)?;
        }
        let prior = |row: &[f32]| {
            let nats = row.iter().map(|&x| self.chain.prior(x.into()));
            nats.sum::<f64>() / (len as f64 * LN_2)
        };
        let image = |row: &[f32]| VariationalBound {
            terms: Vec::new(),
            prior: prior(row),
            x1_errors: Vec::new(),
            x0_errors: Vec::new(),
        };
        let mut bounds: Vec<_> = x1.chunks_exact(len).map(image).collect();
        let mut noise = vec![0.0; batch * len];
        for (evaluation, i) in (0..self.chain.len()).rev().enumerate() {
            draw(evaluation, &mut noise);
            self.program.write(X0, &noise)?;
            self.write(i)?;
            self.program.run()?;
            let [terms, errors] = self.program.read_all([TERM, ERROR]).await?;
            let [alpha, sigma] = self.chain.state(i);
            for (bound, (term, error)) in bounds.iter_mut().zip(terms.iter().zip(&errors)) {
                bound.terms.push((*term).into());
                bound.x1_errors.push((*error).into());
                // The predicted noise is (x - alpha x1) / sigma at the predicted image.
                let ratio = alpha / sigma;
                bound.x0_errors.push(ratio * ratio * f64::from(*error));
            }
            if !go_on(evaluation + 1) {
                return Ok(None);
            }
        }
        Ok(Some(bounds))
    }

    /// Writes the numbers of a noise level.
    fn write(&mut self, i: usize) -> Result<()> {
        let prediction = self.transport.prediction;
        let variance = ddpm(&self.transport)?.variance;
        let [alpha, sigma] = self.chain.state(i);
        let data = match prediction {
            Prediction::Data => Coefs { x: 0.0, out: 1.0 },
            Prediction::Mean => {
                let [of_data, of_x] = self.chain.posterior_mean(i);
                Coefs {
                    x: -of_x / of_data,
                    out: 1.0 / of_data,
                }
            }
            _ => Coefs {
                x: 1.0 / alpha,
                out: -sigma / alpha,
            },
        };
        let predicted = Posterior::data(data, self.clip);
        let read = match is_of_data(prediction, self.clip.is_some()) {
            true => Prediction::Data,
            false => prediction,
        };
        let terms = self.chain.bound(read, variance, i).row(1.0);
        let t = self.transport.index_input(&self.chain, i);
        let batch = self.batch;
        let rows: [(&str, &[f64]); 5] = [
            (T, &[t]),
            (XT_COEF, &[sigma, alpha, 0.0, 0.0]),
            (DATA_COEF, &predicted.row()),
            (BOUND_COEF, &terms),
            (ERROR_COEF, &[1.0, 1.0, -1.0, 0.0]),
        ];
        for (name, row) in rows {
            // A network may ignore the time.
            if self.program.plan().has_input(name) {
                let row: Vec<f32> = row.iter().map(|&c| c as f32).collect();
                self.program.write(name, &row.repeat(batch))?;
            }
        }
        Ok(())
    }
}

/// The chain of the bound, where it has one.
fn chain(
    transport: &Transport,
    respacing: Option<&Respacing>,
    clip_x0: Option<f64>,
) -> Result<Chain> {
    let ddpm = ddpm(transport)?;
    if let Some(clip) = clip_x0
        && !(clip > 0.0 && clip.is_finite())
    {
        return Err(Error::setting(
            "clip_x0",
            format!("got {clip}, expected a number above 0"),
        ));
    }
    Chain::new(ddpm, respacing.unwrap_or(&ddpm.respacing), "respacing")
}

fn ddpm(transport: &Transport) -> Result<&Ddpm> {
    transport.path.ddpm().ok_or_else(|| {
        Error::setting(
            "path",
            format!(
                "got {}, expected DDPM: the variational bound is that of a chain of noise levels",
                transport.path
            ),
        )
    })
}

/// Whether the bound reads the clamped image in the place of the output. A predicted mean is not changed by it.
fn is_of_data(prediction: Prediction, is_clipped: bool) -> bool {
    is_clipped && prediction != Prediction::Mean
}

fn plan(model: &Model, transport: &Transport, batch: usize, is_clipped: bool) -> Result<Plan> {
    check_velocity(model, "model")?;
    model.network().validate(batch)?;
    let (mut g, io) = (Graph::new(), model.io());
    let mut params = Params::new(SetId::MAIN);
    let [x0, x1] = [X0, X1].map(|name| g.input(name, io.images(batch)));
    let xt_coef = g.input(XT_COEF, [batch, lincomb::MAX_TERMS]);
    let x = lincomb::lincomb(&mut g, &[x0, x1], xt_coef)?;
    let t = g.input(T, [batch]);
    let y = io.null_class().map(|_| g.input_u32(Y, [batch]));
    let outputs = evaluate(
        model.network(),
        &mut params.scope(&mut g),
        Inputs::new(x, t, y),
    )?;
    let data_coef = g.input(DATA_COEF, [batch, ancestral::COLUMNS]);
    let data = ancestral::ancestral(&mut g, x, outputs.out, Noise::None, data_coef)?;
    let error_coef = g.input(ERROR_COEF, [batch, 4]);
    let error = loss::loss(&mut g, data, x1, x1, error_coef)?;
    let out = match is_of_data(transport.prediction, is_clipped) {
        true => data,
        false => outputs.out,
    };
    let variance = ddpm(transport)?.variance;
    let all = variance.is_learned().then_some(outputs.all);
    let bound_coef = g.input(BOUND_COEF, [batch, bound::COLUMNS]);
    let term = bound::bound(&mut g, out, all, [x0, x1], bound_coef)?;
    let request = Request {
        outputs: vec![(TERM.into(), term), (ERROR.into(), error)],
        weights: vec![model.weights()],
        ..Request::default()
    };
    Plan::new(&g, &request, &[model.layout()])
}
