//! The teacher of a run that distills, in the run's own files.
//!
//! A run keeps a copy of its teacher's weights, so that it can go on whatever becomes of the teacher. In progressive distillation each
//! later stage has the student of the stage before as its teacher; these have files too.

use crate::config::{DistillConfig, DistillMethod, RunConfig};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::run::Checkpoint;
use crate::weights::{self, WeightFile};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Precision, Recipe};
use sit_engine::model::{Model, ModelConfig, Network as _, Output};
use sit_engine::text::{count, shown};
use sit_engine::train::{Trainer, Weights};
use sit_engine::transport::Transport;
use std::path::Path;

/// A teacher of which only the header of its file has been read.
pub struct Opened {
    name: String,
    file: WeightFile,
    recipe: Recipe,
    /// The stage that it teaches, from 0.
    stage: u32,
}

/// The file of the teacher of a stage.
fn file_name(stage: u32) -> String {
    match stage {
        0 => "teacher.safetensors".to_owned(),
        stage => format!("teacher-{}.safetensors", stage + 1),
    }
}

/// A network without a span.
fn plain(network: &ModelConfig) -> ModelConfig {
    let mut network = network.clone();
    network.set_span(false);
    network
}

impl Opened {
    /// Opens the teacher that `config` names, and records in it which checkpoint that is; a run that goes on from a checkpoint has its own
    /// copy.
    ///
    /// # Errors
    /// [`Failure::Input`] when there is none, or it cannot be read, or does not say what it is.
    pub fn open(config: &mut RunConfig, checkpoint: Option<&Checkpoint>) -> Result<Option<Self>> {
        let Some(distill) = &config.distill else {
            return Ok(None);
        };
        match checkpoint {
            // The run has its pairs.
            Some(_) if distill.method == DistillMethod::Reflow => return Ok(None),
            Some(checkpoint) => return Self::of_run(config, distill, checkpoint).map(Some),
            None => {}
        }
        let (path, which) = match &distill.teacher {
            Some(path) => (path.clone(), distill.weights),
            None => {
                return Err(Failure::input(
                    "distill.teacher: got none, expected --teacher RUN with the model to learn from",
                ));
            }
        };
        let of_flag = |e: Failure| e.context("--teacher");
        if !weights::is_run(&path).map_err(of_flag)? {
            let mut file = weights::open(&path).map_err(of_flag)?;
            if file.sets().next().is_some() {
                file.select(weights::set_name(which))?;
            }
            let opened = Self::with_recipe(shown(&path), file, 0).map_err(of_flag)?;
            opened.check(config, distill).map_err(of_flag)?;
            return Ok(Some(opened));
        }
        let checkpoint = Checkpoint::open(&path).map_err(of_flag)?;
        let file = checkpoint
            .weights(which)
            .and_then(|path| weights::open(&path));
        let opened = Opened {
            name: shown(&checkpoint.path),
            file: file.map_err(of_flag)?,
            recipe: checkpoint.state.recipe(),
            stage: 0,
        };
        opened.file.check(&opened.recipe.model)?;
        opened.check(config, distill).map_err(of_flag)?;
        if let Some(distill) = &mut config.distill {
            distill.teacher = Some(checkpoint.path);
        }
        Ok(Some(opened))
    }

    fn of_run(config: &RunConfig, distill: &DistillConfig, from: &Checkpoint) -> Result<Self> {
        let step = from.state.step;
        let stage = distill.stage(config, step);
        let path = |stage: u32| from.run.join(file_name(stage));
        // At the beginning of a stage, the checkpoint's own average becomes the teacher.
        let is_first = step.is_multiple_of(distill.steps_per_stage(config));
        let stage = match is_first && stage > 0 && !path(stage).is_file() {
            true => stage - 1,
            false => stage,
        };
        let file = weights::open(&path(stage))?;
        Self::with_recipe(shown(path(stage)), file, stage)
    }

    fn with_recipe(name: String, file: WeightFile, stage: u32) -> Result<Self> {
        let recipe = file.recipe()?.ok_or_else(|| {
            Failure::Input(format!(
                "{name}: does not say what it was trained to predict, expected a run, or a file with a recipe"
            ))
        })?;
        file.check(&recipe.model)?;
        Ok(Opened {
            name,
            file,
            recipe,
            stage,
        })
    }

    /// Refuses a teacher that does not fit the student.
    fn check(&self, config: &RunConfig, distill: &DistillConfig) -> Result<()> {
        let refuse = |what: String| Err(Failure::Input(format!("{}: {what}", self.name)));
        let (own, student) = (self.recipe.model.io(), config.model.io());
        // The data may not have told yet how many classes there are.
        let same_classes = config.data.n_classes.is_none() || own.n_classes == student.n_classes;
        if own.image != student.image || !same_classes {
            return refuse(format!(
                "got a model of images {:?} and {}, expected {:?} and {}",
                own.image,
                count(own.n_classes, "class"),
                student.image,
                count(student.n_classes, "class")
            ));
        }
        if distill.method == DistillMethod::Reflow && self.recipe.transport.base.data().is_some() {
            return refuse(format!(
                "got a model that begins with {}, expected one that begins with noise",
                self.recipe.transport.base
            ));
        }
        if self.recipe.model.output() != Output::Prediction {
            return refuse(
                "got a classifier or an autoencoder, expected a model that makes images of noise"
                    .into(),
            );
        }
        // Progressive distillation may begin with a student of twice the steps, which its objective checks.
        if let Some(n) = self.recipe.transport.student_steps
            && distill.method != DistillMethod::Progressive
        {
            return refuse(format!(
                "got a model distilled to {}, expected one that predicts a velocity at each time: a student is no teacher",
                count(n, "step")
            ));
        }
        let is_student = self.recipe.transport.student_steps.is_some();
        let is_blind = self.recipe.class_dropout == Some(0.0) && !is_student;
        if distill.guidance != 1.0 && is_blind {
            return refuse(format!(
                "this model has never seen the null class that guidance compares with: --set distill.guidance=1 (got {})",
                distill.guidance
            ));
        }
        if distill.changes_teacher() && plain(&self.recipe.model) != plain(&config.model) {
            return refuse(format!(
                "got {}, expected the student's {}, which is the teacher of the later stages",
                self.recipe.model, config.model
            ));
        }
        Ok(())
    }

    /// Loads its weights.
    ///
    /// # Errors
    /// A device that cannot hold it, or weights that cannot be read.
    pub fn load(mut self, device: &Device) -> Result<Teacher> {
        let (network, transport) = (self.recipe.model.clone(), self.recipe.transport.clone());
        let model = Model::zeros(device, network, transport)?;
        self.file.load(&model)?;
        tracing::info!("teacher: {}", self.name);
        Ok(Teacher {
            model,
            recipe: self.recipe,
            stage: self.stage,
        })
    }
}

/// A teacher on the device.
pub struct Teacher {
    model: Model,
    recipe: Recipe,
    stage: u32,
}

impl Teacher {
    /// The network with its weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Starts the student from the teacher's weights where both have the same network, but for the span; else it starts anew.
    ///
    /// # Errors
    /// [`Failure::Run`] when the device fails.
    pub fn start(&self, trainer: &Trainer, config: &RunConfig) -> Result<()> {
        if plain(&config.model) != plain(&self.recipe.model) {
            tracing::info!(
                "the student has another network than its teacher, so its weights start anew"
            );
            return Ok(());
        }
        tracing::info!("the student starts from the weights of its teacher");
        let is_own = |name: &str| trainer.specs().iter().any(|spec| spec.name == name);
        let trained = self.model.specs().iter().filter(|spec| spec.is_trained());
        for spec in trained.filter(|spec| is_own(&spec.name)) {
            let values = self.model.read(&spec.name)?;
            for weights in trainer.training().weights() {
                trainer.model(weights).write(&spec.name, &values)?;
            }
        }
        Ok(())
    }

    /// Writes its file into the run's folder, unless it is there.
    ///
    /// # Errors
    /// [`Failure::Run`] when it cannot be written.
    pub fn keep(&self, run: &Path) -> Result<()> {
        let path = run.join(file_name(self.stage));
        match path.is_file() {
            true => Ok(()),
            false => self.write(&path),
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, |out| {
            let saved = self.model.save(out, &self.recipe, Precision::F32);
            saved.map_err(std::io::Error::other)
        })?;
        Ok(())
    }

    /// Goes on to the stage of `step`: the average of the student becomes the teacher.
    ///
    /// # Errors
    /// [`Failure::Run`] when the device fails or the file cannot be written.
    pub fn go_on(
        &mut self,
        step: u64,
        config: &RunConfig,
        trainer: &Trainer,
        run: &Path,
    ) -> Result<()> {
        let Some(distill) = &config.distill else {
            return Ok(());
        };
        let stage = distill.stage(config, step);
        if stage == self.stage {
            return Ok(());
        }
        let student = trainer.model(Weights::Average);
        for spec in self.model.specs().iter().filter(|spec| spec.is_trained()) {
            self.model.write(&spec.name, &student.read(&spec.name)?)?;
        }
        self.stage = stage;
        self.recipe.transport = Transport {
            student_steps: distill.student_steps(config, stage - 1),
            ..config.transport.clone()
        };
        tracing::info!(
            "step {step}: stage {}, the student is now its own teacher",
            stage + 1
        );
        self.write(&run.join(file_name(stage)))
    }
}
