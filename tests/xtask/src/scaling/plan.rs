//! What is trained and sampled.

use crate::study::{Args, Job};

/// Widths, with heads of 16 values.
pub const WIDTHS: [u32; 3] = [32, 64, 96];
/// Sides of a patch, from the least work to the most.
pub const PATCHES: [u32; 3] = [4, 2, 1];
/// Designs of the blocks, from the worst published distance to the best.
pub const DESIGNS: [&str; 4] = ["in-context", "cross-attention", "adaln", "adaln-zero"];
/// The size whose designs are compared.
pub const DESIGN_SIZE: (u32, u32) = (64, 2);

/// Images of a training step.
pub const BATCH: u64 = 64;
/// Checkpoints that are sampled, spread equally over a training.
pub const CHECKPOINTS: u64 = 3;
const EVALUATIONS: u64 = 32;

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    pub width: u32,
    pub patch: u32,
    pub design: &'static str,
}

impl Model {
    /// Name of its files.
    pub fn name(&self) -> String {
        format!("{}-width{}-patch{}", self.design, self.width, self.patch)
    }

    fn keys(&self) -> String {
        format!(
            "--set model.dim={} --set model.n_heads={} --set model.depth=4 --set model.patch={} --set model.condition={}",
            self.width,
            self.width / 16,
            self.patch,
            self.design
        )
    }
}

/// All sizes with adaLN-Zero, then the other designs.
pub fn models() -> Vec<Model> {
    let mut models = Vec::new();
    for patch in PATCHES {
        models.extend(WIDTHS.map(|width| Model {
            width,
            patch,
            design: "adaln-zero",
        }));
    }
    let (width, patch) = DESIGN_SIZE;
    let others = DESIGNS.iter().filter(|design| **design != "adaln-zero");
    models.extend(others.map(|design| Model {
        width,
        patch,
        design,
    }));
    models
}

/// Name of the job that tells a model's work.
pub fn info(model: &Model) -> String {
    format!("info-{}", model.name())
}

/// Jobs that tell the work of each model.
pub fn infos() -> Vec<Job> {
    let job = |model: &Model| {
        Job::new(
            info(model),
            format!("info --preset digits {} --batch 1", model.keys()),
            1.0,
        )
    };
    models().iter().map(job).collect()
}

/// Step of a checkpoint, numbered from 1.
pub fn step(args: &Args, checkpoint: u64) -> u64 {
    args.steps / CHECKPOINTS * checkpoint
}

/// Name of the samples of a checkpoint.
pub fn samples(model: &Model, seed: u64, step: u64) -> String {
    format!("{}-{seed}-step{step}", model.name())
}

/// All trainings with their samples, by seed. `works` are the models' multiply-accumulates. The learning rate is constant, so that a
/// checkpoint on the way is that of a shorter training.
pub fn jobs(args: &Args, works: &[f64]) -> Vec<Job> {
    let (backend, count) = (&args.backend, args.count);
    let (steps, every) = (step(args, CHECKPOINTS), step(args, 1));
    let mut jobs = Vec::new();
    for seed in 0..args.seeds {
        for (model, work) in models().iter().zip(works) {
            let run = format!("runs/{}-{seed}", model.name());
            jobs.push(Job::new(
                format!("{}-{seed}-train", model.name()),
                format!(
                    "train --preset digits {} --set train.steps={steps} --set train.seed={seed} --set train.schedule=constant \
                     --set train.learning_rate=2e-3 --set train.ema_decay=0.99 --set log.checkpoint_every_steps={every} \
                     --set log.keep_every_steps={every} --set log.preview.every_steps=0 --backend {backend} --out {run} --auto-resume",
                    model.keys()
                ),
                // A backward is two forwards.
                work * (3 * BATCH * steps) as f64,
            ));
            for step in (1..=CHECKPOINTS).map(|i| step(args, i)) {
                let name = samples(model, seed, step);
                jobs.push(Job::new(
                    name.clone(),
                    format!(
                        "sweep {run}/step-{step:08} --ode heun --steps {} --metric agreement,frechet --count {count} --seed {seed} \
                         --judge-model judge.safetensors --backend {backend} --out sweeps/{name}",
                        EVALUATIONS / 2
                    ),
                    work * (EVALUATIONS * count) as f64,
                ));
            }
        }
    }
    jobs
}
