//! The table `[distill]`.

use super::tables::check;
use super::{ConfigError, RunConfig, WeightSet};
use serde::{Deserialize, Serialize};
use sit_engine::Result;
use sit_engine::model::{Blueprint, Model};
use sit_engine::objective::{Distill, Pieces, Teacher};
use sit_engine::transport::{Base, Guidance, Transport};
use std::fmt;
use std::path::PathBuf;

/// The `[distill]` table: the model learns from a teacher to take few steps; by all methods but `"reflow"`, `transport.student_steps` of
/// them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillConfig {
    /// The teacher, which `--teacher` names: run folder (its last checkpoint), checkpoint folder, or file of weights. The run keeps a copy
    /// of its weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<PathBuf>,
    /// Which weights of the teacher; `"ema"` by default.
    pub weights: WeightSet,
    /// `"split"` (default), `"progressive"` or `"reflow"`.
    pub method: DistillMethod,
    /// Scale of classifier-free guidance of the teacher, which the student then has without; 1 (default) for none.
    pub guidance: f64,
    /// Times between which the teacher is guided; [0, 1] by default.
    pub guidance_interval: [f64; 2],
    /// Of `"split"`: share of the images that learn the teacher's velocity, above 0 and at most 1; 0.5 by default.
    pub flow: f64,
    /// Of `"progressive"`: stages, each of which halves the number of steps, down to `transport.student_steps`; 3 by default. The steps of
    /// training are shared equally among them.
    pub stages: u32,
    /// Of `"reflow"`: pairs of noise and an image of the teacher, 4096 by default.
    pub pairs: usize,
    /// Of `"reflow"`: steps in which the teacher makes an image, by Heun's method; 20 by default.
    pub teacher_steps: u32,
}

/// How a student learns ([`Pieces`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistillMethod {
    /// The student takes in one step what it takes in two, and over an empty span what the teacher does.
    #[default]
    Split,
    /// The student takes in one step what the teacher takes in two; then it is the teacher of the next stage.
    Progressive,
    /// The student learns the straight lines between noise and what the teacher makes of it (reflow, arXiv 2209.03003); it is sampled like
    /// any other model.
    Reflow,
}

impl Default for DistillConfig {
    fn default() -> Self {
        DistillConfig {
            teacher: None,
            weights: WeightSet::Ema,
            method: DistillMethod::default(),
            guidance: 1.0,
            guidance_interval: [0.0, 1.0],
            flow: 0.5,
            stages: 3,
            pairs: 4096,
            teacher_steps: 20,
        }
    }
}

/// The names of the table's keys in the engine.
pub(super) const KEYS: [&str; 5] = ["teacher", "guidance", "guidance_interval", "flow", "stages"];

impl DistillConfig {
    /// Stages of the training: more than one only where teachers change.
    fn n_stages(&self) -> u32 {
        match self.method {
            DistillMethod::Split | DistillMethod::Reflow => 1,
            DistillMethod::Progressive => self.stages.max(1),
        }
    }

    /// Whether the teacher changes on the way.
    pub fn changes_teacher(&self) -> bool {
        self.n_stages() > 1
    }

    /// Steps that the student of this stage takes.
    pub fn student_steps(&self, config: &RunConfig, stage: u32) -> Option<u32> {
        let n = config.transport.student_steps?;
        Some(n << (self.n_stages() - 1 - stage))
    }

    /// Steps of a stage of `config`; the last one may have fewer.
    pub fn steps_per_stage(&self, config: &RunConfig) -> u64 {
        config.train.steps.div_ceil(u64::from(self.n_stages()))
    }

    /// The stage of a step, from 0.
    pub fn stage(&self, config: &RunConfig, step: u64) -> u32 {
        let stage = step / self.steps_per_stage(config).max(1);
        stage.min(u64::from(self.n_stages()) - 1) as u32
    }

    /// The objective, unless it is that of other models. Without a teacher it is one for forecasts, with a teacher of the student's size.
    pub(super) fn objective(
        &self,
        config: &RunConfig,
        teacher: Option<&Model>,
    ) -> Result<Option<Distill>> {
        let pieces = match self.method {
            DistillMethod::Reflow => return Ok(None),
            DistillMethod::Split => Pieces::Split { flow: self.flow },
            DistillMethod::Progressive => Pieces::Halve {
                stages: self.stages,
                images_per_stage: self.images_per_stage(config),
            },
        };
        let teacher = match teacher {
            Some(model) => Teacher::from(model.clone()),
            None => {
                let mut network = config.model.clone();
                network.set_span(false);
                let transport = Transport {
                    student_steps: None,
                    ..config.transport.clone()
                };
                Teacher::from(Blueprint::new(network, transport, u64::MAX)?)
            }
        };
        Ok(Some(Distill {
            transport: config.transport.clone(),
            teacher,
            guidance: Guidance {
                scale: self.guidance,
                interval: self.guidance_interval,
                ..Guidance::default()
            },
            pieces,
        }))
    }

    /// Checks the keys that the engine does not know.
    pub(super) fn validate(&self, config: &RunConfig) -> std::result::Result<(), ConfigError> {
        check("distill.pairs", self.pairs as u64, 1, 1 << 32)?;
        let steps = u64::from(self.teacher_steps);
        check("distill.teacher_steps", steps, 1, 10_000)?;
        self.check_unused()?;
        let refuse = |what: String| Err(ConfigError::new(what));
        let is_paired = config.transport.base == Base::Paired;
        if is_paired != (self.method == DistillMethod::Reflow) {
            return refuse(format!(
                "transport.base: got {}, expected paired for distill.method = reflow, and only for that",
                config.transport.base
            ));
        }
        let validates = config.log.validation.every_steps > 0;
        match self.method {
            DistillMethod::Split => {}
            DistillMethod::Progressive => {
                let before_last = self.steps_per_stage(config) * u64::from(self.n_stages() - 1);
                if before_last >= config.train.steps {
                    return refuse(format!(
                        "distill.stages: got {} for {} steps of training, which leaves the last stage without one",
                        self.stages, config.train.steps
                    ));
                }
                if validates {
                    return refuse(
                        "log.validation.every_steps: expected 0 for distill.method = progressive, whose loss is another in each stage".into(),
                    );
                }
            }
            DistillMethod::Reflow => {
                if config.transport.student_steps.is_some() {
                    return refuse(
                        "transport.student_steps: expected none for distill.method = reflow, whose student predicts the velocity at each time".into(),
                    );
                }
                if validates {
                    return refuse(
                        "log.validation.every_steps: expected 0 for distill.method = reflow: held-out images have no pairs".into(),
                    );
                }
                if config.data.flip {
                    return refuse(
                        "data.flip: expected false for distill.method = reflow: an image is paired with its noise".into(),
                    );
                }
            }
        }
        Ok(())
    }

    /// Refuses keys that the method does not read.
    fn check_unused(&self) -> std::result::Result<(), ConfigError> {
        use DistillMethod::{Progressive, Reflow, Split};
        let usual = Self::default();
        let keys = [
            ("flow", Split, self.flow != usual.flow),
            ("stages", Progressive, self.stages != usual.stages),
            ("pairs", Reflow, self.pairs != usual.pairs),
            (
                "teacher_steps",
                Reflow,
                self.teacher_steps != usual.teacher_steps,
            ),
        ];
        match keys
            .iter()
            .find(|(_, of, is_set)| *is_set && *of != self.method)
        {
            None => Ok(()),
            Some((key, of, _)) => Err(ConfigError::new(format!(
                "distill.{key}: it belongs to distill.method = {of}, and the method is {}",
                self.method
            ))),
        }
    }

    /// Images that a stage is trained on.
    pub fn images_per_stage(&self, config: &RunConfig) -> u64 {
        let images = (config.train.batch * config.train.accumulate) as u64;
        self.steps_per_stage(config).saturating_mul(images)
    }
}

impl fmt::Display for DistillMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DistillMethod::Split => "split",
            DistillMethod::Progressive => "progressive",
            DistillMethod::Reflow => "reflow",
        })
    }
}
