//! What is trained, sampled and measured.

use crate::study::{Args, Job};

/// The one size; its patches are those of the presets.
const WIDTH: u32 = 64;
const DEPTH: u32 = 4;
const HEADS: u32 = 4;

/// The size in words.
pub fn size() -> String {
    format!("width {WIDTH}, depth {DEPTH}, {HEADS} heads")
}

/// Images of a training step, of the presets.
const BATCH: f64 = 64.0;

/// A training.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub name: &'static str,
    preset: &'static str,
    keys: &'static str,
}

const fn digits(name: &'static str, keys: &'static str) -> Model {
    let preset = "digits";
    Model { name, preset, keys }
}

/// Those of the cross table are named PATH-PREDICTION. Times of OU are moved as in the preset digits-ou: most of its time is noise.
pub const MODELS: [Model; 10] = [
    Model {
        name: DDPM,
        preset: "digits-ddpm",
        keys: "",
    },
    digits(
        "ou-score",
        "transport.path=OU transport.prediction=score transport.times_shift=0.15",
    ),
    digits(
        "ou-velocity",
        "transport.path=OU transport.prediction=velocity transport.times_shift=0.15",
    ),
    digits("vp-score", "transport.path=VP transport.prediction=score"),
    digits(
        "vp-weighted",
        "transport.path=VP transport.prediction=score transport.loss_weight=velocity",
    ),
    digits(
        "vp-velocity",
        "transport.path=VP transport.prediction=velocity",
    ),
    digits("gvp-score", "transport.path=GVP transport.prediction=score"),
    digits(
        "gvp-velocity",
        "transport.path=GVP transport.prediction=velocity",
    ),
    digits(
        "linear-score",
        "transport.path=Linear transport.prediction=score",
    ),
    digits(
        "linear-velocity",
        "transport.path=Linear transport.prediction=velocity",
    ),
];

/// Discrete diffusion, the first rung.
pub const DDPM: &str = "ddpm";

/// The model of the rungs above the trainings.
pub const TOP: &str = "linear-velocity";

/// A way to sample, as `sit sweep` is told.
#[derive(Debug, Clone, Copy)]
pub struct Sampler {
    pub name: &'static str,
    flags: &'static str,
    /// Evaluations of the network for an image, over all rows of the table.
    evaluations: f64,
    /// Whether only [`TOP`] is sampled so.
    only_top: bool,
}

const fn sampler(
    name: &'static str,
    flags: &'static str,
    evaluations: f64,
    only_top: bool,
) -> Sampler {
    Sampler {
        name,
        flags,
        evaluations,
        only_top,
    }
}

/// The SDE takes one step more than it is told, the last one, so that all make 128 evaluations; with guidance each is two passes of the
/// network.
pub const SAMPLERS: [Sampler; 8] = [
    sampler("ode", "--ode heun --steps 64", 128.0, false),
    sampler(
        "sde",
        "--sde euler --steps 127 --diffusion sigma --diffusion-norm 0.5",
        128.0,
        false,
    ),
    sampler(
        "sbdm",
        "--sde euler --steps 127 --diffusion sbdm",
        128.0,
        true,
    ),
    sampler(
        "kl-eta",
        "--sde euler --steps 127 --diffusion w-kl-eta --kl-eta 0.01",
        128.0,
        true,
    ),
    sampler(
        "ode-guided",
        "--ode heun --steps 64 --guidance 1.5",
        256.0,
        true,
    ),
    sampler(
        "sde-guided",
        "--sde euler --steps 127 --diffusion sigma --diffusion-norm 0.5 --guidance 1.5",
        256.0,
        true,
    ),
    sampler(
        "curve-ode",
        "--ode heun --steps 2,4,8,16,32,64,128",
        508.0,
        true,
    ),
    sampler(
        "curve-sde",
        "--sde euler --steps 3,7,15,31,63,127,255 --diffusion sigma --diffusion-norm 0.5",
        508.0,
        true,
    ),
];

/// About the work of a likelihood, in evaluations: those of dopri5 and as many backward passes, of all held-out digits.
const NLL_WORK: f64 = 355.0 * 40.0 * 3.0;

/// The name of a model's job with a seed.
pub fn name(model: &str, what: &str, seed: u64) -> String {
    format!("{model}-{what}-{seed}")
}

/// The table that a sweep writes.
pub fn sweep_table(model: &str, sampler: &str, seed: u64) -> String {
    format!("sweeps/{}/table.csv", name(model, sampler, seed))
}

/// Everything, by seed.
pub fn jobs(args: &Args) -> Vec<Job> {
    let mut jobs = Vec::new();
    for seed in 0..args.seeds {
        for model in MODELS {
            jobs.extend(of_model(model, seed, args));
        }
        jobs.extend(of_chain(seed, args));
    }
    jobs
}

/// The names of the samples of [`DDPM`] along its own chain, and of its bound.
pub const CHAIN: &str = "chain";
pub const BOUND: &str = "vlb";

/// What only the model of discrete diffusion has. `sit sweep` does not sample along the chain, so there is no distance.
fn of_chain(seed: u64, args: &Args) -> [Job; 2] {
    let (run, backend) = (format!("runs/{DDPM}-{seed}"), &args.backend);
    let per_class = args.count / 10;
    let chain = name(DDPM, CHAIN, seed);
    [
        Job::new(
            chain.clone(),
            format!(
                "sample {run} --ddpm ancestral --respacing 128 --clip-x0 --per-class {per_class} --classes 0-9 --seed {seed} \
                 --backend {backend} --out {chain}.png"
            ),
            (1280 * per_class) as f64,
        ),
        Job::new(
            name(DDPM, BOUND, seed),
            format!("nll {run} --data digits --vlb --clip-x0 --respacing 128 --backend {backend}"),
            NLL_WORK,
        ),
    ]
}

fn of_model(model: Model, seed: u64, args: &Args) -> Vec<Job> {
    let (backend, count, steps) = (&args.backend, args.count, args.steps);
    let run = format!("runs/{}-{seed}", model.name);
    let keys: Vec<String> = model
        .keys
        .split_whitespace()
        .map(|key| format!("--set {key}"))
        .collect();
    let mut jobs = vec![
        Job::new(
            name(model.name, "train", seed),
            format!(
                "train --preset {} --set model.dim={WIDTH} --set model.depth={DEPTH} --set model.n_heads={HEADS} {} --set train.steps={steps} --set train.seed={seed} --set transport.t_eps_sample=1e-3 --set log.preview.every_steps=0 \
                 --backend {backend} --out {run} --auto-resume",
                model.preset,
                keys.join(" ")
            ),
            // A backward is two forwards.
            3.0 * BATCH * steps as f64,
        ),
        Job::new(
            name(model.name, "nll", seed),
            format!("nll {run} --data digits --levels 17 --backend {backend}"),
            NLL_WORK,
        ),
    ];
    let samplers = SAMPLERS
        .iter()
        .filter(|sampler| !sampler.only_top || model.name == TOP);
    jobs.extend(samplers.map(|sampler| {
        let job = name(model.name, sampler.name, seed);
        Job::new(
            job.clone(),
            format!(
                "sweep {run} {} --metric agreement,frechet --count {count} --seed {seed} --judge-model judge.safetensors --backend {backend} \
                 --out sweeps/{job}",
                sampler.flags
            ),
            sampler.evaluations * count as f64,
        )
    }));
    jobs
}

#[cfg(test)]
mod tests {
    use super::{MODELS, SAMPLERS, TOP};

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = MODELS
            .iter()
            .map(|m| m.name)
            .chain(SAMPLERS.iter().map(|s| s.name))
            .collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
        assert!(MODELS.iter().any(|model| model.name == TOP));
    }
}
