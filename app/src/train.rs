//! What can be trained in the window: data sets, and recipes that learn them in minutes on a processor.

use crate::job::TrainPlan;
use crate::toys::{Drawing, Points, Toy};
use sit_engine::model::ModelConfig;
use sit_engine::optim::{AdamW, LearningRate, Schedule};
use sit_engine::train::TrainConfig;
use sit_engine::transport::Transport;
use sit_trainer::data::{DataError, Dataset, digits};
use std::sync::Arc;

/// Points that a data set in the plane has: more than a training sees.
const N_POINTS: usize = 1 << 18;

/// Standard deviation of points around a line drawn by hand.
const BANDWIDTH: f64 = 0.03;

/// Data to learn.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Points in the plane.
    Toy(Toy),
    /// Points along lines drawn by hand, in [-1, 1].
    Drawn(Vec<Vec<[f32; 2]>>),
    /// The 8x8 digits embedded in the program.
    Digits,
}

impl Data {
    /// All kinds, in the order of the menu.
    pub fn all() -> Vec<Data> {
        let toys = Toy::ALL.iter().map(|toy| Data::Toy(*toy));
        toys.chain([Data::Drawn(Vec::new()), Data::Digits])
            .collect()
    }

    /// Name in the menu.
    pub fn name(&self) -> &'static str {
        match self {
            Data::Toy(toy) => toy.name(),
            Data::Drawn(_) => "drawn by hand",
            Data::Digits => "8x8 digits",
        }
    }

    /// One sentence.
    pub fn about(&self) -> &'static str {
        match self {
            Data::Toy(toy) => toy.about(),
            Data::Drawn(_) => "Draw lines with the pointer: points are spread along them.",
            Data::Digits => "Real handwritten digits of 8x8 pixels (UCI, CC BY 4.0).",
        }
    }

    /// What is trained on.
    ///
    /// # Errors
    /// Says what to do where there is nothing drawn.
    pub fn dataset(&self) -> Result<Arc<dyn Dataset>, String> {
        let points: Box<dyn Points + Send + Sync> = match self {
            Data::Digits => return Ok(Arc::new(digits::train())),
            Data::Toy(toy) => Box::new(*toy),
            Data::Drawn(strokes) if strokes.iter().all(Vec::is_empty) => {
                return Err("Draw something first.".into());
            }
            Data::Drawn(strokes) => {
                Box::new(Drawing::new(strokes, BANDWIDTH).map_err(|e| e.to_string())?)
            }
        };
        Ok(Arc::new(Plane {
            name: self.name(),
            points,
        }))
    }
}

/// What the form of the training holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// What to learn.
    pub data: Data,
    /// Steps to do.
    pub steps: u64,
    /// Seed of weights, noise and order.
    pub seed: u64,
}

impl Default for Form {
    fn default() -> Self {
        Form {
            data: Data::Toy(Toy::Moons),
            steps: 2000,
            seed: 0,
        }
    }
}

impl Form {
    /// The training that the form asks for.
    ///
    /// # Errors
    /// What is missing.
    pub fn plan(&self) -> Result<TrainPlan, String> {
        let dataset = self.data.dataset()?;
        let [channels, size, _] = dataset.shape();
        let plane = size == 1;
        // A single token needs no attention and little width; both are small enough for a browser without a GPU.
        let model = ModelConfig {
            input_size: size,
            channels,
            patch: if plane { 1 } else { 2 },
            dim: 64,
            depth: if plane { 3 } else { 6 },
            n_heads: if plane { 1 } else { 4 },
            n_classes: dataset.n_classes(),
            learn_sigma: false,
        };
        Ok(TrainPlan {
            name: self.data.name().to_owned(),
            dataset,
            config: TrainConfig {
                model,
                transport: Transport::default(),
                adamw: AdamW {
                    betas: [0.9, 0.95],
                    clip: 1.0,
                    ema_decay: 0.99,
                    ..AdamW::default()
                },
                batch: if plane { 256 } else { 64 },
                accumulate: 1,
                class_dropout: 0.1,
                seed: self.seed,
            },
            learning_rate: LearningRate {
                peak: 2e-3,
                warmup_steps: 50,
                schedule: Schedule::Cosine,
                final_fraction: 0.05,
                total_steps: self.steps,
            },
            flip: false,
        })
    }
}

/// Points in the plane as images of one pixel and two channels.
struct Plane {
    name: &'static str,
    points: Box<dyn Points + Send + Sync>,
}

impl Plane {
    fn point(&self, index: usize) -> crate::toys::Point {
        let index = index as u64;
        self.points.points(0, index..index + 1)[0]
    }
}

impl Dataset for Plane {
    fn name(&self) -> &str {
        self.name
    }

    fn len(&self) -> usize {
        N_POINTS
    }

    fn shape(&self) -> [usize; 3] {
        [2, 1, 1]
    }

    // Points have no levels.
    fn max_level(&self) -> u8 {
        255
    }

    fn n_classes(&self) -> usize {
        self.points.n_classes() as usize
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> u32 {
        self.point(index).label
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        image.copy_from_slice(&self.point(index).x);
        Ok(())
    }

    fn item_name(&self, index: usize) -> String {
        format!("{}, point {index}", self.name)
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
            let plan = form.plan();
            if data == Data::Drawn(Vec::new()) {
                assert_eq!(plan.err().unwrap(), "Draw something first.");
                continue;
            }
            let plan = plan.unwrap();
            plan.config.validate().unwrap();
            assert_eq!(plan.config.model.channels, plan.dataset.shape()[0]);
            let mut x = vec![0.0; plan.config.model.image_len()];
            for index in [0, 7, plan.dataset.len() - 1] {
                plan.dataset.read(index, &mut x).unwrap();
                assert!(x.iter().all(|x| x.abs() < 3.0), "{x:?}");
                assert!((plan.dataset.label(index) as usize) < plan.dataset.n_classes());
            }
        }
    }
}
