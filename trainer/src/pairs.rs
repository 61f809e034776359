//! Pairs of noise and what a teacher makes of it, which a run of reflow learns from (arXiv 2209.03003).

use crate::config::{DistillConfig, RunConfig};
use crate::data::{DataError, Dataset};
use crate::error::{Failure, Result};
use crate::memory;
use crate::progress::Progress;
use crate::signals;
use crate::straightness::Straightness;
use crate::trajectory::write_states;
use crate::weights;
use sit_engine::checkpoint::Latents;
use sit_engine::model::{Model, NetworkIo};
use sit_engine::rng::permutation;
use sit_engine::sample::initial_noise;
use sit_engine::text::count;
use sit_engine::transport::{Guidance, Method, Sampler};
use std::path::Path;

/// The file in the run's folder.
const FILE: &str = "pairs.safetensors";

/// Images of a teacher as data. The noise of each is drawn again from the seed and its number.
#[derive(Debug, Clone)]
pub struct Pairs {
    io: NetworkIo,
    max_level: u8,
    latents: Option<Latents>,
    class_names: Vec<String>,
    seed: u64,
    /// `[N, C, H, W]`.
    x1: Vec<f32>,
    y: Vec<u32>,
}

impl Pairs {
    fn new(config: &RunConfig, data: &dyn Dataset) -> Self {
        Pairs {
            io: config.model.io(),
            max_level: data.max_level(),
            latents: data.latents(),
            class_names: data.class_names().to_vec(),
            seed: config.train.seed,
            x1: Vec::new(),
            y: Vec::new(),
        }
    }

    /// Lets the teacher make as many pairs as `config` asks for, with the classes of `data`, by Heun's method; also tells how straight its
    /// paths are.
    ///
    /// # Errors
    /// A sampler that is refused, a device that fails, or an image that is not finite.
    pub fn make(
        teacher: &Model,
        distill: &DistillConfig,
        config: &RunConfig,
        data: &dyn Dataset,
    ) -> Result<Self> {
        let mut pairs = Self::new(config, data);
        let (n, len) = (distill.pairs, pairs.io.image_len());
        memory::require_host(
            "distill.pairs: images of the teacher",
            (4 * n as u64).checked_mul(len as u64),
            "take fewer pairs",
        )?;
        let batch = n.min(config.train.batch);
        let sampling = teacher.sampler(Sampler::ode(Method::Heun, distill.teacher_steps));
        let sampling = sampling.batch(batch).guided(Guidance {
            scale: distill.guidance,
            interval: distill.guidance_interval,
            ..Guidance::default()
        });
        let of_teacher = |e: sit_engine::Error| Failure::from(e).context("--teacher");
        let mut session = sampling.session().map_err(of_teacher)?;
        // The classes of the data in its own proportions, whatever its order.
        let mut order = (usize::MAX, Vec::new());
        for i in 0..n {
            let (round, at) = (i / data.len(), i % data.len());
            if order.0 != round {
                order = (
                    round,
                    permutation(pairs.seed, round as u32, data.len() as u32),
                );
            }
            pairs.y.push(data.label(order.1[at] as usize));
        }
        let mut straight = Straightness::default();
        let mut bar = Progress::new("pairs", "images", 0, n as u64);
        for first in (0..n).step_by(batch) {
            let numbers: Vec<u64> = (first..n.min(first + batch)).map(|i| i as u64).collect();
            if signals::interrupted() {
                return Err(Failure::Interrupted);
            }
            session.start(pairs.seed, &numbers, &pairs.y[first..first + numbers.len()])?;
            let size = numbers.len() * len;
            straight.start(session.t(), &session.read()?[..size]);
            while !session.is_over() {
                session.step()?;
                straight.step(session.t(), &session.read()?[..size]);
            }
            pairs.x1.extend_from_slice(&session.read()?[..size]);
            straight.finish();
            bar.set((first + numbers.len()) as u64, String::new);
        }
        drop(bar);
        if let Some(at) = pairs.x1.iter().position(|x| !x.is_finite()) {
            return Err(Failure::Run(format!(
                "--teacher: its image {} is not finite",
                at / len
            )));
        }
        tracing::info!("{} of the teacher; {straight}", count(n, "pair"));
        Ok(pairs)
    }

    /// Reads those that a run has kept.
    ///
    /// # Errors
    /// [`Failure::Input`] when they cannot be read or do not fit the model.
    pub fn open(run: &Path, config: &RunConfig, data: &dyn Dataset) -> Result<Self> {
        let mut pairs = Self::new(config, data);
        let mut file = weights::open(&run.join(FILE))?;
        pairs.x1 = file.read("x")?;
        let n = pairs.x1.len() / pairs.io.image_len();
        pairs.y = match pairs.io.n_classes {
            0 => vec![0; n],
            _ => file.read_labels("y")?,
        };
        let fits = n > 0 && pairs.x1.len() == n * pairs.io.image_len() && pairs.y.len() == n;
        let is_class = |&y: &u32| (y as usize) < pairs.io.n_classes.max(1);
        match fits && pairs.y.iter().all(is_class) {
            true => Ok(pairs),
            false => Err(Failure::Input(format!(
                "{}: got other images or classes than the model has",
                sit_engine::text::shown(run.join(FILE))
            ))),
        }
    }

    /// Writes them into the run's folder.
    ///
    /// # Errors
    /// [`Failure::Run`] when the file cannot be written.
    pub fn keep(&self, run: &Path) -> Result<()> {
        write_states(&run.join(FILE), &self.io, &self.x1, &self.y)?;
        Ok(())
    }
}

impl Dataset for Pairs {
    fn name(&self) -> &str {
        "images of the teacher"
    }

    fn len(&self) -> usize {
        self.y.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.io.image
    }

    fn max_level(&self) -> u8 {
        self.max_level
    }

    fn latents(&self) -> Option<Latents> {
        self.latents.clone()
    }

    fn n_classes(&self) -> usize {
        self.io.n_classes
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> u32 {
        self.y[index]
    }

    fn read(&self, index: usize, image: &mut [f32]) -> std::result::Result<(), DataError> {
        image.copy_from_slice(&self.x1[index * image.len()..][..image.len()]);
        Ok(())
    }

    fn is_paired(&self) -> bool {
        true
    }

    fn pair(&self, index: usize, x0: &mut [f32]) {
        initial_noise(&self.io, self.seed, index as u64, x0);
    }

    fn item_name(&self, index: usize) -> String {
        format!("image {index} of the teacher")
    }
}
