//! Training: one program for the loss and its gradient, one for the update, over shared arenas; and the loss of images that
//! are not trained on.

mod draws;
mod validation;

pub use validation::Validation;

use crate::backend::{Arenas, Device, Program};
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Layout, Plan, Var};
use crate::model::{self, ModelConfig, Network};
use crate::ops::{adamw, lincomb, loss};
use crate::optim::{self, AdamW};
use crate::transport::{Objective, Transport};
use draws::Draws;

/// Arenas that training keeps.
const ARENAS: [Arena; 5] = [
    Arena::Params,
    Arena::Grads,
    Arena::MomentM,
    Arena::MomentV,
    Arena::Ema,
];

/// What a training step is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainConfig {
    /// The network.
    pub model: ModelConfig,
    /// What it learns.
    pub transport: Transport,
    /// The optimizer.
    pub adamw: AdamW,
    /// Images of one forward and backward.
    pub batch: usize,
    /// Forward and backward passes whose gradients are averaged into one update.
    pub accumulate: usize,
    /// Probability that a label is replaced by the null class.
    pub class_dropout: f64,
    /// Key of noise, times, label dropout and initial weights.
    pub seed: u64,
}

impl TrainConfig {
    /// Images of one step.
    pub fn images_per_step(&self) -> usize {
        self.batch * self.accumulate
    }

    /// Checks everything that needs no device.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, what it is and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.transport.objective()?;
        self.adamw.validate()?;
        for (key, n) in [("batch", self.batch), ("accumulate", self.accumulate)] {
            if !(1..=1 << 20).contains(&n) {
                return Err(Error::setting(
                    key,
                    format!("got {n}, expected 1 to {}", 1 << 20),
                ));
            }
        }
        self.model.validate_batch(self.batch)?;
        if !(0.0..=1.0).contains(&self.class_dropout) {
            let got = self.class_dropout;
            return Err(Error::setting(
                "class_dropout",
                format!("got {got}, expected a probability in [0, 1]"),
            ));
        }
        Ok(())
    }

    /// The layout of the arenas on a device with this binding limit.
    ///
    /// # Errors
    /// [`Error::Limit`] when a parameter alone exceeds it.
    pub fn layout(&self, max_segment_bytes: u64) -> Result<Layout> {
        Layout::new(&model::params(&self.model), max_segment_bytes)
    }

    fn arenas(&self) -> Vec<Arena> {
        let accum = (self.accumulate > 1).then_some(Arena::Accum);
        ARENAS.into_iter().chain(accum).collect()
    }

    /// The plans of the gradient and of the update. Needs no device.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that do not fit together.
    pub fn plans(&self, layout: &Layout) -> Result<Plans> {
        self.model.validate_batch(self.batch)?;
        let source = if self.accumulate > 1 {
            Arena::Accum
        } else {
            Arena::Grads
        };
        Ok(Plans {
            grad: self.grad_plan(layout)?,
            update: optim::update_plan(layout, source)?,
        })
    }

    /// The network, and the loss of each image `[B]` of a batch that [`Draws`] writes; `save` what a backward needs.
    fn loss(&self, g: &mut Graph, save: bool) -> Result<(Network, Var)> {
        let (b, size) = (self.batch, self.model.input_size);
        let image = [b, self.model.channels, size, size];
        let (x0, x1) = (g.input("x0", image), g.input("x1", image));
        let t = g.input("t", [b]);
        let y = self.model.null_class().map(|_| g.input_u32("y", [b]));
        let (xt_coef, loss_coef) = (g.input("xt_coef", [b, 4]), g.input("loss_coef", [b, 4]));

        let network = Network::new(g, &self.model, save)?;
        let xt = lincomb::lincomb(g, &[x0, x1], xt_coef)?;
        let out = network.forward(g, xt, t, y)?;
        let per_sample = loss::loss(g, out, x0, x1, loss_coef)?;
        Ok((network, per_sample))
    }

    fn grad_plan(&self, layout: &Layout) -> Result<Plan> {
        let mut g = Graph::new();
        let (network, per_sample) = self.loss(&mut g, true)?;
        let mean = loss::mean(&mut g, per_sample)?;

        let seed = g.constant(1.0 / self.accumulate as f32, [1]);
        let (names, vars): (Vec<_>, Vec<_>) = network.params().iter().cloned().unzip();
        let grads = g.backward(mean, seed, &vars)?;
        if self.accumulate > 1 {
            let keep = g.input("keep", [1]);
            for (s, &len) in layout.segments().iter().enumerate() {
                let (grads, sum) = (g.arena(Arena::Grads, s, len), g.arena(Arena::Accum, s, len));
                adamw::accumulate(&mut g, grads, keep, sum)?;
            }
        }
        let request = Request {
            outputs: vec![("loss".into(), per_sample)],
            weights: None,
            grads: names.into_iter().zip(grads).collect(),
        };
        Plan::new(&g, &request, layout)
    }

    /// Device memory of a training run by part, in bytes, before anything is allocated.
    ///
    /// # Errors
    /// As [`TrainConfig::plans`] and [`TrainConfig::layout`].
    pub fn forecast(&self, max_segment_bytes: u64) -> Result<Vec<(&'static str, u64)>> {
        let layout = self.layout(max_segment_bytes)?;
        let plans = self.plans(&layout)?;
        let arena = layout.arena_bytes();
        let accum = if self.accumulate > 1 { arena } else { 0 };
        Ok(vec![
            ("parameters", arena),
            ("gradients", arena + accum),
            ("moments", 2 * arena),
            ("moving average", arena),
            ("activations", plans.grad.slot_bytes()),
            ("update", plans.update.slot_bytes()),
        ])
    }
}

/// The plans of a training step.
#[derive(Debug, Clone)]
pub struct Plans {
    /// Loss and gradient of one batch.
    pub grad: Plan,
    /// The update.
    pub update: Plan,
}

/// Images and labels of one forward and backward.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Images in [-1, 1], `[B, C, I, I]`.
    pub x1: &'a [f32],
    /// Labels below `n_classes`, `[B]`; not read by an unconditional model.
    pub y: &'a [u32],
    /// Number of the first sample since the run began; noise, times and label dropout of a sample are functions of
    /// (seed, number), so neither the batch size nor a resume changes them.
    pub first: u64,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Mean loss over all images of the step.
    pub loss: f64,
    /// Norm of the gradient before clipping; NaN for a step that was skipped.
    pub grad_norm: f64,
    /// Whether the loss or the gradient was not finite, so that nothing was changed.
    pub skipped: bool,
    /// Time and loss of every image.
    pub by_image: Vec<(f64, f64)>,
}

/// A model in training on a device.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    objective: Objective,
    arenas: Arenas,
    layout: Layout,
    grad: Program,
    update: Program,
    n_updates: u64,
    draws: Draws,
    report: Report,
}

impl Trainer {
    /// Makes the programs and arenas; parameters and moving average start from the initial values of `config.seed`.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not fit, [`Error::Limit`] and [`Error::Device`] when the device cannot hold it.
    pub fn new(device: &Device, config: TrainConfig) -> Result<Self> {
        config.validate()?;
        let layout = config.layout(device.max_segment_bytes())?;
        let plans = config.plans(&layout)?;
        let arenas = device.arenas(&layout, &config.arenas())?;
        let mut grad = device.program(plans.grad, &arenas)?;
        model::write_tables(&config.model, &mut grad)?;
        let update = device.program(plans.update, &arenas)?;
        for (index, (name, shape)) in model::params(&config.model).iter().enumerate() {
            let values = model::init(name, shape, config.seed, index as u32);
            arenas.write(Arena::Params, name, &values)?;
            arenas.write(Arena::Ema, name, &values)?;
        }
        Ok(Trainer {
            objective: config.transport.objective()?,
            layout,
            arenas,
            grad,
            update,
            n_updates: 0,
            draws: Draws::new(&config),
            report: Report::default(),
            config,
        })
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Parameters, moments and moving average, to save, to load and to sample from.
    pub fn arenas(&self) -> &Arenas {
        &self.arenas
    }

    /// Where each parameter lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Updates done so far: steps that were not skipped.
    pub fn n_updates(&self) -> u64 {
        self.n_updates
    }

    /// Goes on from a state in which this many updates were done; the arenas are loaded by the caller.
    pub fn set_n_updates(&mut self, n_updates: u64) {
        self.n_updates = n_updates;
    }

    /// Bytes allocated on the device.
    pub fn bytes(&self) -> u64 {
        self.arenas.bytes() + self.grad.bytes() + self.update.bytes()
    }

    /// Multiply-accumulates of the forward and backward of one batch.
    pub fn macs(&self) -> u64 {
        self.grad.plan().macs()
    }

    /// Adds the loss and gradient of batch number `micro` of the step, counted from 0. After the last one follows
    /// [`Trainer::update`].
    ///
    /// # Errors
    /// [`Error::Shape`] when the batch has another size, [`Error::Config`] for a label beyond the classes,
    /// [`Error::Device`] when the device fails.
    pub async fn accumulate(&mut self, micro: usize, batch: Batch<'_>) -> Result<()> {
        self.draws
            .draw(&self.config, &self.objective, draws::TRAINING, batch)?;
        self.draws.write(&mut self.grad)?;
        self.grad.write("x1", batch.x1)?;
        if self.config.accumulate > 1 {
            self.grad
                .write("keep", &[if micro == 0 { 0.0 } else { 1.0 }])?;
        }
        if micro == 0 {
            self.report.by_image.clear();
        }
        self.grad.run()?;
        let losses = self.grad.read("loss").await?;
        let by_image = self.draws.by_image(&losses);
        self.report.by_image.extend(by_image);
        Ok(())
    }

    /// Updates the parameters at learning rate `lr`, unless a loss or the gradient is not finite.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub async fn update(&mut self, lr: f64) -> Result<&Report> {
        let n = self.report.by_image.len().max(1) as f64;
        self.report.loss = self
            .report
            .by_image
            .iter()
            .map(|(_, loss)| loss)
            .sum::<f64>()
            / n;
        self.report.grad_norm = f64::NAN;
        self.report.skipped = !self.report.loss.is_finite();
        if !self.report.skipped {
            self.update.write(
                optim::HYPER,
                &self.config.adamw.hyper(lr, self.n_updates + 1),
            )?;
            self.update.run()?;
            let stats = self.update.read(optim::STATS).await?;
            self.report.skipped = stats[1] != 0.0;
            if !self.report.skipped {
                self.report.grad_norm = f64::from(stats[0]);
            }
        }
        self.n_updates += u64::from(!self.report.skipped);
        Ok(&self.report)
    }
}
