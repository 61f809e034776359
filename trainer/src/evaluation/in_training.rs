//! The evaluation of a model in training: samples of its moving average, measured as `sit eval` measures files.

use super::{Evaluation, Reference, Settings, resize};
use crate::config::{EvalConfig, Metric, Protocol, RunConfig};
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

/// What samples are called in messages.
const SAMPLES: &str = "samples of log.eval";

/// Refuses files that are not there, before the data is opened.
///
/// # Errors
/// [`Failure::Input`] naming the key.
pub fn check(config: &RunConfig) -> Result<()> {
    let eval = &config.log.eval;
    if eval.every_steps == 0 && !eval.is_default() {
        tracing::warn!("[log.eval]: nothing is evaluated, as log.eval.every_steps is 0");
    }
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
    /// Names of the model's classes, as many as are known.
    class_names: Vec<String>,
    /// Names of the numbers, in the order of the columns.
    names: Vec<String>,
}

impl Prepared {
    /// Opens what the configuration asks for, and trains the judge unless there is one; `real` opens the images of the run, whose classes are called
    /// `class_names` and which lies in the folder `run` if it was begun before.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the key: a file or images that do not do; [`Failure::Interrupted`], or a device that fails.
    pub fn open(
        config: &RunConfig,
        class_names: &[String],
        real: impl FnOnce() -> Result<Real>,
        run: Option<&Path>,
        device: &Device,
    ) -> Result<Option<Self>> {
        let eval = &config.log.eval;
        if eval.every_steps == 0 {
            return Ok(None);
        }
        let of_judge = |e: Failure| e.context("log.eval.judge");
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
                "log.eval.metrics: got agreement for a model without classes",
            ));
        }
        let mut settings = Settings {
            metrics,
            protocol: eval.protocol,
            n_pixels: EvalConfig::PIXELS.min(eval.count),
            directions: EvalConfig::DIRECTIONS,
            // Numbers on the way have no bands.
            resamples: 0,
            seed: 0,
            fewer: "a smaller log.eval.count takes fewer samples, and fid and sfid keep nothing of each",
        };
        let reference = match &eval.reference {
            None => Reference::of(real()?)?,
            Some(path) => {
                let named = |e: Failure| e.context("log.eval.reference");
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
        reference.check(&settings, &[(SAMPLES, eval.count)])?;
        if let Some(real) = &reference.plain {
            let bytes = memory::of_real(config, real.len());
            let what = format!("log.eval.reference: features of {}", real.described());
            memory::require_host(&what, Some(bytes), "fewer images take less")?;
        }
        let judge = match (&eval.judge, &reference.images) {
            _ if !settings.wants(Metric::is_of_judge) => None,
            (Some(file), _) => Some(Trained::open(file, device).map_err(of_judge)?),
            (None, Some(images)) => Some(own_judge(&images.real, run, device).map_err(of_judge)?),
            (None, None) => {
                return Err(Failure::input(
                    "log.eval.judge: got none beside a file of statistics, expected the judge that they are of",
                ));
            }
        };
        let inception = match &eval.inception {
            Some(file) if settings.wants(Metric::is_of_inception) => {
                let batch = EvalConfig::INCEPTION_BATCH;
                let resize = resize(eval.protocol);
                let network = InceptionFeatures::open(file, resize, batch, device);
                Some(network.map_err(|e| e.context("log.eval.inception"))?)
            }
            _ => None,
        };
        if let Some(judge) = judge.as_ref().filter(|_| settings.has(Metric::Agreement)) {
            let classes = judge.numbers_of(0..io.n_classes as u32, class_names);
            classes.map_err(of_judge)?;
        }
        let evaluation = Evaluation::new(settings, reference, judge, inception);
        let shape = [height, width, channels];
        evaluation.check(SAMPLES, shape)?;
        Ok(Some(Prepared {
            names: evaluation.names(eval.count),
            evaluation,
            shape,
            class_names: class_names.to_vec(),
        }))
    }
}

/// That of the run, else one that is trained now.
fn own_judge(real: &Real, run: Option<&Path>, device: &Device) -> Result<Trained> {
    let file = run.map(|run| run.join(JUDGE));
    match file.filter(|file| file.exists()) {
        Some(file) => Trained::load(&file, real, device).map_err(|e| match e {
            Failure::Input(what) => Failure::Input(format!(
                "{what}; set log.eval.judge to another file, or remove this one"
            )),
            other => other,
        }),
        None => Trained::train(real, device),
    }
}

impl Evaluation {
    /// The columns of a set, in their order.
    fn columns(&self) -> impl Iterator<Item = (Metric, &'static str)> {
        let metrics = self.settings.metrics.iter();
        metrics.flat_map(|metric| metric.columns().iter().map(|column| (*metric, *column)))
    }

    /// Names of the numbers of `n` samples, in the order of the columns: the metric, the number of images that it is of, without which it means
    /// nothing, and the judge or a protocol other than the usual one, as those of two do not compare.
    fn names(&self, n: usize) -> Vec<String> {
        let name = |(metric, column): (Metric, &str)| {
            let n = match self.n_compared(metric, n) {
                n if n % 1000 == 0 => format!("{}k", n / 1000),
                n => n.to_string(),
            };
            let protocol = self.settings.protocol;
            let by = match &self.judge {
                Some(judge) if metric.is_of_judge() => format!("-{}", judge.name()),
                _ if metric.is_of_inception() && protocol != Protocol::Adm => {
                    format!("-{}", protocol.name())
                }
                _ => String::new(),
            };
            format!("eval/{}-{n}{by}", column.trim_end_matches(" %"))
        };
        self.columns().map(name).collect()
    }
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
        tracing::debug!("step {step}: an evaluation begins");
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
        let class_names = &self.prepared.class_names;
        let set = ImageSet::of_levels(SAMPLES, self.prepared.shape, levels, labels, class_names);
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
        let columns = evaluation.columns().zip(&self.prepared.names);
        let found = columns.filter_map(|((_, column), name)| {
            let number = row.number(column)?;
            Some((name.clone(), number.value()))
        });
        Ok(found.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::model::NetworkIo;

    #[test]
    fn names_say_what_numbers_are_of() {
        let real = Real::at(Path::new("digits"), &NetworkIo::new([1, 8, 8], 10)).unwrap();
        let settings = Settings {
            metrics: vec![
                Metric::Fid,
                Metric::Pr,
                Metric::Mind,
                Metric::Agreement,
                Metric::PixelSw,
                Metric::Nearest,
            ],
            protocol: Protocol::CleanFid,
            n_pixels: 355,
            directions: 1,
            resamples: 0,
            seed: 0,
            fewer: "",
        };
        let reference = Reference::of(real).unwrap();
        let evaluation = Evaluation::new(settings, reference, None, None);
        let expected = [
            "eval/fid-2k-clean-fid",
            "eval/precision-2k-clean-fid",
            "eval/recall-2k-clean-fid",
            "eval/mind-1442-clean-fid",
            "eval/agreement-2k",
            "eval/pixel-sw-355",
            "eval/nearest-355",
            "eval/copies-355",
        ];
        assert_eq!(evaluation.names(2000), expected);
    }
}
