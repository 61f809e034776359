//! What can be trained in the window: data sets, and recipes that learn them in minutes on a processor.

use crate::examine::mib;
use crate::job::TrainPlan;
use crate::state::Files;
use crate::words::in_controls;
use sit_engine::analytic::{Drawing, Points, Toy};
use sit_engine::model::{Dit, ModelConfig, Network as _};
use sit_engine::optim::{AdamW, LearningRate, Schedule};
use sit_engine::transport::{Path, Prediction, Transport};
use sit_trainer::data::{Dataset, Plane, digits};
use std::sync::{Arc, LazyLock};

/// Points of a data set in the plane: more than a training uses.
const N_POINTS: usize = 1 << 18;

/// Standard deviation of points around a line drawn by hand.
const BANDWIDTH: f64 = 0.03;

/// The most tokens of an image: the cost of attention grows with the square.
const MAX_TOKENS: usize = 256;

/// The embedded digits, unpacked once.
static DIGITS: LazyLock<Arc<dyn Dataset>> = LazyLock::new(|| Arc::new(digits::train()));

/// Data to learn.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Points in the plane.
    Toy(Toy),
    /// Points along lines drawn by hand, in [-1, 1].
    Drawn(Vec<Vec<[f32; 2]>>),
    /// The 8x8 digits embedded in the program.
    Digits,
    /// What was dropped or chosen last.
    Files,
}

impl Data {
    /// All kinds, in the order of the menu.
    pub fn all() -> Vec<Data> {
        let toys = Toy::ALL.iter().map(|toy| Data::Toy(*toy));
        toys.chain([Data::Drawn(Vec::new()), Data::Digits, Data::Files])
            .collect()
    }

    /// Name in the menu.
    pub fn name(&self) -> &'static str {
        match self {
            Data::Toy(toy) => toy.name(),
            Data::Drawn(_) => "drawn by hand",
            Data::Digits => "8x8 digits",
            Data::Files => "your files",
        }
    }

    /// One sentence.
    pub fn about(&self) -> &'static str {
        match self {
            Data::Toy(toy) => toy.about(),
            Data::Drawn(_) => "Draw lines with the pointer: points are spread along them.",
            Data::Digits => "Real handwritten digits of 8x8 pixels (UCI, CC BY 4.0).",
            Data::Files if cfg!(target_arch = "wasm32") => {
                "Drop a .zip of images (folders in it are classes), images, or a pair of IDX files on the page."
            }
            Data::Files => {
                "Drop a folder of images (folders in it are classes), a .zip of one, or an IDX file on the window."
            }
        }
    }

    /// What is trained on.
    ///
    /// # Errors
    /// Says what to do where there is nothing drawn.
    pub fn dataset(&self) -> Result<Arc<dyn Dataset>, String> {
        let points: Box<dyn Points + Send + Sync> = match self {
            Data::Digits => return Ok(Arc::clone(&DIGITS)),
            Data::Files => return Err("These files are not at hand.".into()),
            Data::Toy(toy) => Box::new(*toy),
            Data::Drawn(strokes) if strokes.iter().all(Vec::is_empty) => {
                return Err("Draw something first.".into());
            }
            Data::Drawn(strokes) => {
                Box::new(Drawing::new(strokes, BANDWIDTH).map_err(|e| e.to_string())?)
            }
        };
        Ok(Arc::new(Plane::new(self.name(), points, 0, N_POINTS)))
    }
}

/// The values of the training form.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// What to learn.
    pub data: Data,
    /// Steps to do.
    pub steps: u64,
    /// Seed of weights, noise and order.
    pub seed: u64,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// Images of a step; `None` is what suits the images.
    pub batch: Option<usize>,
    /// Width of the network; `None` is what suits the images.
    pub width: Option<usize>,
    /// The path of the states.
    pub path: Path,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Whether the lanes show the network in training, again at each preview.
    pub follow: bool,
    /// What it would take.
    pub estimate: Estimate,
}

/// The most images of a step.
pub const MAX_BATCH: usize = 1024;

/// The widest network: wider ones take hours here.
pub const MAX_WIDTH: usize = 512;

/// What a network can be trained to predict on the paths of [`PATHS`].
pub const PREDICTIONS: [Prediction; 4] = [
    Prediction::Velocity,
    Prediction::Noise,
    Prediction::Score,
    Prediction::Data,
];

/// The paths that can be trained on.
pub const PATHS: [Path; 4] = [Path::Linear, Path::Gvp, Path::VP, Path::OU];

impl Default for Form {
    fn default() -> Self {
        Form {
            data: Data::Toy(Toy::Moons),
            steps: 2000,
            seed: 0,
            learning_rate: 2e-3,
            batch: None,
            width: None,
            path: Path::Linear,
            prediction: Prediction::Velocity,
            follow: false,
            estimate: Estimate::default(),
        }
    }
}

impl Form {
    /// The training that the form asks for.
    ///
    /// # Errors
    /// What is missing.
    pub fn plan(&self, files: &Files) -> Result<TrainPlan, String> {
        let (name, dataset) = match &self.data {
            Data::Files => {
                let opened = files.ready().ok_or_else(|| files.missing().to_owned())?;
                (opened.wanted.name.clone(), Arc::clone(&opened.dataset))
            }
            data => (data.name().to_owned(), data.dataset()?),
        };
        let [channels, size, _] = dataset.shape();
        let n_classes = dataset.n_classes();
        let mut model = network(channels, size, n_classes);
        if let Some(width) = self.width {
            model.dim = width;
        }
        model.validate(1).map_err(|e| in_controls(&e))?;
        let tokens = model.tokens();
        Ok(TrainPlan {
            name,
            dataset,
            model,
            transport: Transport {
                path: self.path.clone(),
                prediction: self.prediction,
                ..Transport::default()
            },
            adamw: AdamW {
                betas: [0.9, 0.95],
                clip: 1.0,
                ema_decay: 0.99,
                ema_warmup: false,
                ..AdamW::default()
            },
            batch: self.batch.unwrap_or(match tokens {
                1 => 256,
                2..=64 => 64,
                _ => 32,
            }),
            class_dropout: 0.1,
            seed: self.seed,
            learning_rate: LearningRate {
                peak: self.learning_rate,
                warmup_steps: 50,
                schedule: Schedule::Cosine,
                final_fraction: 0.05,
                total_steps: self.steps,
            },
            flip: false,
        })
    }
}

/// The network for images of this shape, small enough to be trained on a processor.
fn network(channels: usize, size: usize, n_classes: usize) -> Dit {
    let patch = patch(size);
    let tokens = (size / patch).pow(2);
    Dit {
        input_size: size,
        channels,
        patch,
        // A single token needs no attention and little depth.
        dim: if tokens > 64 { 128 } else { 64 },
        depth: if tokens == 1 { 3 } else { 6 },
        n_heads: if tokens == 1 { 1 } else { 4 },
        n_classes,
        learn_sigma: false,
        ..Dit::SIT
    }
}

/// Side of a patch: 2, or the next size that gives at most [`MAX_TOKENS`]; 1 if a row would have fewer than 4 patches.
fn patch(size: usize) -> usize {
    let fits = |p: &usize| size.is_multiple_of(*p) && (size / p).pow(2) <= MAX_TOKENS;
    let mut sides = (1..=size).filter(fits);
    let rough = sides.clone().find(|p| *p > 1 && size / p >= 4);
    rough.or_else(|| sides.next()).unwrap_or(size)
}

/// A description of what a training needs, updated when the network changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimate {
    of: Option<(Dit, usize)>,
    text: String,
}

impl Estimate {
    /// The network, its parameters and the memory of training it.
    pub fn text(&mut self, plan: &TrainPlan) -> &str {
        let of = (plan.model, plan.batch);
        if self.of != Some(of) {
            let m = &plan.model;
            let needs = match plan.forecast() {
                Ok(bytes) => format!("about {} to train", mib(bytes)),
                Err(error) => error.to_string(),
            };
            self.text = format!(
                "SiT of width {}, depth {}, patch {}: {} tokens, {} parameters, batch {}, {needs}",
                m.dim,
                m.depth,
                m.patch,
                m.tokens(),
                ModelConfig::from(plan.model).n_params(),
                plan.batch
            );
            self.of = Some(of);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_data_has_a_valid_plan() {
        for data in Data::all() {
            let form = Form {
                data: data.clone(),
                ..Form::default()
            };
            let plan = form.plan(&Files::default());
            if data == Data::Files {
                assert_eq!(plan.err().unwrap(), "Drop or choose files first.");
                continue;
            }
            if data == Data::Drawn(Vec::new()) {
                assert_eq!(plan.err().unwrap(), "Draw something first.");
                continue;
            }
            let plan = plan.unwrap();
            plan.forecast().unwrap();
            assert_eq!(plan.model.channels, plan.dataset.shape()[0]);
            let mut x = vec![0.0; plan.model.io().image_len()];
            for index in [0, 7, plan.dataset.len() - 1] {
                plan.dataset.read(index, &mut x).unwrap();
                assert!(x.iter().all(|x| x.abs() < 3.0), "{x:?}");
                assert!((plan.dataset.label(index) as usize) < plan.dataset.n_classes());
            }
        }
    }

    #[test]
    fn patches_leave_few_tokens_and_more_than_one() {
        for (size, expected) in [
            (1, 1),
            (6, 1),
            (8, 2),
            (13, 1),
            (16, 2),
            (28, 2),
            (32, 2),
            (64, 4),
        ] {
            assert_eq!(patch(size), expected, "{size}");
        }
        for size in 1..=128 {
            let model = network(3, size, 2);
            model.validate(1).unwrap();
            assert!(model.tokens() <= MAX_TOKENS, "{size}");
        }
    }

    #[test]
    fn the_form_s_settings_are_those_of_the_plan() {
        let form = Form {
            data: Data::Digits,
            learning_rate: 1e-3,
            batch: Some(8),
            width: Some(32),
            path: Path::Gvp,
            prediction: Prediction::Noise,
            ..Form::default()
        };
        let plan = form.plan(&Files::default()).unwrap();
        assert_eq!((plan.batch, plan.model.dim), (8, 32));
        assert_eq!(plan.learning_rate.peak, 1e-3);
        let transport = &plan.transport;
        assert_eq!(
            (&transport.path, transport.prediction),
            (&Path::Gvp, Prediction::Noise)
        );
        plan.forecast().unwrap();
        let odd = Form {
            width: Some(33),
            ..form.clone()
        };
        let message = odd.plan(&Files::default()).err().unwrap();
        assert!(message.contains("33"), "{message}");
        for path in PATHS {
            for prediction in PREDICTIONS {
                let form = Form {
                    path: path.clone(),
                    prediction,
                    ..form.clone()
                };
                let plan = form.plan(&Files::default()).unwrap();
                plan.forecast()
                    .unwrap_or_else(|e| panic!("{path}, {prediction}: {e}"));
            }
        }
    }

    #[test]
    fn the_estimate_names_what_is_trained() {
        let mut form = Form {
            data: Data::Digits,
            ..Form::default()
        };
        let plan = form.plan(&Files::default()).unwrap();
        let bytes = plan.forecast().unwrap();
        // Parameters, gradients, two moments and the average, 4 bytes each, and the activations.
        assert!(bytes > 5 * 4 * ModelConfig::from(plan.model).n_params() as u64 / 2);
        let text = form.estimate.text(&plan).to_owned();
        assert!(
            text.contains("patch 2: 16 tokens") && text.contains(&mib(bytes)),
            "{text}"
        );
    }
}
