//! The evaluation of a model in training: samples of its moving average, measured as `sit eval` measures files.

use super::{Evaluation, Reference, Settings, resize};
use crate::config::{EvalConfig, Metric, RunConfig};
use crate::data::{BaseData, ImageSet};
use crate::error::{Failure, Result};
use crate::judge::{InceptionFeatures, Trained};
use crate::memory;
use crate::npz::Layout;
use crate::real::Real;
use crate::sampling::{self, Noise};
use crate::vae::{self, Vae};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Latents;
use sit_engine::sample::Session;
use sit_engine::text::{count, shown};
use sit_engine::train::{Trainer, Weights};
use std::path::Path;

/// The file of a run's own judge in its folder.
const JUDGE: &str = "judge.safetensors";

/// Images whose pixels are compared, directions and resamples: as `sit eval` has them by default.
const PIXELS: usize = 2000;
const DIRECTIONS: usize = 1000;

/// Refuses files that are not there, before the data is opened.
///
/// # Errors
/// [`Failure::Input`] naming the key.
pub fn check(config: &RunConfig) -> Result<()> {
    let eval = &config.log.eval;
    let paths = [
        ("log.eval.reference", &eval.reference),
        ("log.eval.judge", &eval.judge),
        ("log.eval.inception", &eval.inception),
    ];
    let asked = paths.into_iter().filter(|_| eval.every_steps > 0);
    for (key, path) in asked {
        if let Some(path) = path
            && !path.exists()
            && !crate::real::is_digits(path)
        {
            return Err(Failure::Input(format!(
                "{key}: {} is not there",
                shown(path)
            )));
        }
    }
    Ok(())
}

/// What samples are compared with, and by what, before there is a model.
pub struct Prepared {
    evaluation: Evaluation,
    /// `[H, W, C]` of a picture.
    shape: [usize; 3],
    /// Names of the numbers, in their order.
    names: Vec<String>,
}

impl Prepared {
    /// Opens what the configuration asks for, and trains the judge unless there is one; `real` opens the images of the run, which lies in the folder
    /// `run` if it was begun before.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the key: a file or images that do not do; [`Failure::Interrupted`], or a device that fails.
    pub fn open(
        config: &RunConfig,
        real: impl FnOnce() -> Result<Real>,
        run: Option<&Path>,
        device: &Device,
    ) -> Result<Option<Self>> {
        match config.log.eval.every_steps {
            0 => Ok(None),
            _ => Self::asked(config, real, run, device)
                .map(Some)
                .map_err(|e| e.context("log.eval")),
        }
    }

    fn asked(
        config: &RunConfig,
        real: impl FnOnce() -> Result<Real>,
        run: Option<&Path>,
        device: &Device,
    ) -> Result<Self> {
        let eval = &config.log.eval;
        let io = match &config.log.preview.vae {
            Some(path) => {
                let vae = Vae::open("log.preview.vae", path, vae::PREVIEW_BYTES)?;
                vae.pictures(config.model.io())?
            }
            None => config.model.io(),
        };
        let [channels, height, width] = io.image;
        let metrics = eval.measured(io.n_classes);
        if metrics.contains(&Metric::Agreement) && io.n_classes == 0 {
            return Err(Failure::input(
                "metrics: got agreement for a model without classes",
            ));
        }
        let mut settings = Settings {
            metrics,
            protocol: eval.protocol,
            n_pixels: PIXELS.min(eval.count),
            directions: DIRECTIONS,
            // Numbers on the way have no bands.
            resamples: 0,
            seed: 0,
        };
        let reference = match &eval.reference {
            None => Reference::of(real()?)?,
            Some(path) => {
                let named = |e: Failure| e.context("reference");
                let shape = Some([height, width, channels]);
                let mut reference = Reference::at(path).map_err(named)?;
                let opened = reference.open(&settings.metrics, shape, false);
                opened.map_err(named)?;
                reference
            }
        };
        if let Some(images) = &reference.images {
            let fewest = images.training.len().min(images.held_out.len());
            settings.n_pixels = settings.n_pixels.min(fewest);
        }
        let judge = match (&eval.judge, &reference.images) {
            _ if !settings.wants(Metric::is_of_judge) => None,
            (Some(file), _) => {
                let judge = Trained::open(file, device);
                Some(judge.map_err(|e| e.context("judge"))?)
            }
            (None, Some(images)) => Some(own_judge(&images.real, run, device)?),
            (None, None) => {
                return Err(Failure::input(
                    "judge: got none beside a file of statistics, expected the judge that they are of",
                ));
            }
        };
        let inception = match &eval.inception {
            Some(file) if settings.wants(Metric::is_of_inception) => {
                let batch = EvalConfig::INCEPTION_BATCH;
                let resize = resize(eval.protocol);
                let network = InceptionFeatures::open(file, resize, batch, device);
                Some(network.map_err(|e| e.context("inception"))?)
            }
            _ => None,
        };
        if let Some(judge) = &judge
            && settings.has(Metric::Agreement)
            && judge.classes().len() < io.n_classes
        {
            return Err(Failure::Input(format!(
                "judge: got one of {}, expected one of the {} of the model",
                count(judge.classes().len(), "class"),
                io.n_classes
            )));
        }
        let names = names(&settings, eval.count, judge.as_ref());
        let evaluation = Evaluation::new(settings, reference, judge, inception);
        let shape = [height, width, channels];
        evaluation.check("samples", shape)?;
        Ok(Prepared {
            evaluation,
            shape,
            names,
        })
    }
}

/// That of the run, else one that is trained now.
fn own_judge(real: &Real, run: Option<&Path>, device: &Device) -> Result<Trained> {
    let file = run.map(|run| run.join(JUDGE));
    match file.filter(|file| file.exists()) {
        Some(file) => Trained::load(&file, real, device),
        None => Trained::train(real, device),
    }
}

/// The names of the numbers: the metric and the number of samples, without which it means nothing, and the judge, as those of two judges do not
/// compare.
fn names(settings: &Settings, n: usize, judge: Option<&Trained>) -> Vec<String> {
    let n = match n % 1000 {
        0 => format!("{}k", n / 1000),
        _ => n.to_string(),
    };
    let name = |metric: &Metric| {
        let by = match judge.filter(|_| metric.is_of_judge()) {
            Some(judge) => format!("-{}", judge.name()),
            None => String::new(),
        };
        let columns = metric.columns().iter();
        let n = n.clone();
        columns.map(move |column| format!("eval/{}-{n}{by}", column.trim_end_matches(" %")))
    };
    settings.metrics.iter().flat_map(name).collect()
}

/// Measures a model in training.
pub struct InTraining {
    prepared: Prepared,
    session: Session,
    images: sampling::Images,
    noise: Noise,
    seed: u64,
    /// Whether samples have classes.
    has_classes: bool,
    /// Of a model of latents.
    decoder: Option<vae::Pictures>,
    /// Whether it was said what the numbers are.
    is_said: bool,
}

impl InTraining {
    /// Makes the programs.
    ///
    /// # Errors
    /// A device that cannot hold them, or an autoencoder that does not fit.
    pub fn new(
        prepared: Prepared,
        config: &RunConfig,
        trainer: &Trainer,
        base: Option<BaseData>,
        latents: Option<&Latents>,
    ) -> Result<Self> {
        let (eval, io) = (&config.log.eval, config.model.io());
        if io.n_classes > 0 && config.train.class_dropout == 0.0 && eval.guidance != 1.0 {
            tracing::warn!(
                "log.eval.guidance = {}: samples go without, as train.class_dropout = 0 trains no null class to compare with",
                eval.guidance
            );
        }
        let model = trainer.model(Weights::Average);
        let sampling = sampling::of_run(config, model, eval.steps, eval.guidance, eval.count);
        let decoder = match &config.log.preview.vae {
            None => None,
            Some(path) => {
                let mut vae = Vae::open("log.preview.vae", path, vae::PREVIEW_BYTES)?;
                vae.adopt(latents)?;
                Some(vae.decoder(trainer.device(), io, sampling.batch_size())?)
            }
        };
        let start_std = sampling.model().transport().start_std(sampling.solver());
        let labels = (0..io.n_classes.max(1) as u32).collect();
        let bytes = eval.count as u64 * prepared.shape.iter().product::<usize>() as u64;
        memory::require_host(
            &format!("log.eval.count: {}", count(eval.count, "sample")),
            Some(bytes),
            "fewer take less",
        )?;
        Ok(InTraining {
            prepared,
            session: sampling.session()?,
            images: sampling::Images::new(labels, 1, eval.count as u64),
            noise: base.map_or(Noise::Drawn, |base| Noise::Base(base, start_std)),
            seed: config.train.seed,
            has_classes: io.n_classes > 0,
            decoder,
            is_said: false,
        })
    }

    /// Names of the numbers, in their order.
    pub fn names(&self) -> &[String] {
        &self.prepared.names
    }

    /// Writes the run's own judge into its folder, if it was trained now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&mut self, run: &Path) -> Result<()> {
        match &mut self.prepared.evaluation.judge {
            Some(judge) => judge.save(&run.join(JUDGE)),
            None => Ok(()),
        }
    }

    /// Makes samples, and measures them.
    ///
    /// # Errors
    /// [`Failure::Interrupted`], a sample that is not finite, or a device that fails.
    pub fn measure(&mut self, step: u64) -> Result<Vec<(String, f64)>> {
        let evaluation = &mut self.prepared.evaluation;
        let [height, width, channels] = self.prepared.shape;
        let layout = Layout {
            shape: [channels, height, width],
        };
        let n = self.images.n() as usize;
        let mut levels = Vec::with_capacity(n * height * width * channels);
        let (session, decoder) = (&mut self.session, &mut self.decoder);
        let take = |state: sampling::State<'_>| {
            let written = match decoder {
                Some(decoder) => layout.write(&decoder.of(state.x)?, &mut levels),
                None => layout.write(state.x, &mut levels),
            };
            written.map_err(|e| Failure::Run(e.to_string()))
        };
        sampling::sample(session, &self.images, &self.noise, self.seed, false, take)?;
        let labels = self.has_classes.then(|| self.images.all_labels().collect());
        let set = ImageSet::of_levels("samples", self.prepared.shape, levels, labels);
        let floor = !self.is_said;
        let (rows, notes) = evaluation.measure(&[&set], floor)?;
        if floor {
            notes.iter().for_each(|note| tracing::info!("{note}"));
            if let Some(held_out) = rows.get(1) {
                tracing::info!(
                    "floor, {} of {}: {}",
                    count(held_out.n, "image"),
                    held_out.title,
                    held_out.said()
                );
            }
        }
        self.is_said = true;
        let row = &rows[0];
        tracing::info!("step {step}: of {}: {}", count(n, "sample"), row.said());
        let values = row.numbers.iter().map(|(_, number)| number.value());
        Ok(self.prepared.names.iter().cloned().zip(values).collect())
    }
}
