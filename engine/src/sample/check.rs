//! What a sampler's settings are checked for.

use super::{MAX_BATCH, Sampling, field};
use crate::error::{Error, Result};
use crate::model::Blueprint;
use crate::text::count;
use crate::transport::{GuidanceChannels, Method, Sampler, Step, is_finite_f32, schedule};

impl<M: AsRef<Blueprint>> Sampling<M> {
    /// Checks all settings together.
    pub(super) fn validate(&self) -> Result<()> {
        let model = self.model.as_ref();
        self.guidance.validate()?;
        let io = model.io();
        field::check_prediction(model, "model")?;
        for (key, guide) in [
            ("autoguide_scale", &self.weak),
            ("classifier_scale", &self.classifier),
        ] {
            if let Some((_, scale)) = guide.as_ref().filter(|(_, scale)| !is_finite_f32(*scale)) {
                return Err(Error::setting(
                    key,
                    format!("got {scale}, expected a finite scale"),
                ));
            }
        }
        if model.transport().student_steps.is_some() {
            self.check_student()?;
        }
        if let Some((classifier, _)) = &self.classifier {
            field::check_classifier(model, classifier.as_ref())?;
            model.transport().require_gaussian(
                "classifier",
                "a classifier moves the score, which follows from the velocity only with Gaussian noise",
            )?;
        }
        if let Some((weak, _)) = &self.weak {
            field::check_weak(model, weak.as_ref())?;
            if self.guidance.scale == 1.0 && self.guidance.channels != GuidanceChannels::All {
                return Err(Error::setting(
                    "guidance_channels",
                    "expected all, as autoguidance changes every channel",
                ));
            }
        }
        if self.guidance.scale != 1.0 && io.n_classes == 0 {
            return Err(Error::setting(
                "guidance",
                "this model has no classes, so there is nothing to guide by",
            ));
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            let got = self.batch;
            return Err(Error::setting(
                "batch",
                format!("got {got}, expected 1 to {MAX_BATCH}"),
            ));
        }
        Ok(())
    }

    /// Checks what a distilled model is sampled with: it has its teacher's guidance, and its steps are its own.
    fn check_student(&self) -> Result<()> {
        let guides = [
            ("guidance", self.guidance.scale != 1.0),
            ("autoguide", self.weak.is_some()),
            ("classifier", self.classifier.is_some()),
        ];
        if let Some((key, _)) = guides.iter().find(|(_, is_set)| *is_set) {
            return Err(Error::setting(
                *key,
                "expected no guidance: a distilled model has that of its teacher",
            ));
        }
        match &self.sampler {
            Sampler::Ode(ode)
                if ode.method == Method::Euler && ode.along.is_none() && !ode.reverse =>
            {
                Ok(())
            }
            _ => Err(Error::setting(
                "sampler",
                "got another than the Euler steps of the ODE: a distilled model predicts the mean velocity of its own steps",
            )),
        }
    }

    /// Checks that a distilled model takes these steps.
    pub(super) fn check_steps(&self, steps: &[Step]) -> Result<()> {
        let model = self.model.as_ref();
        let Some(n) = model.transport().student_steps else {
            return Ok(());
        };
        let is_plain = |step: &Step| step.times().len() == 1 && step.noise() == 0.0;
        let own = schedule(model.transport(), &Sampler::ode(Method::Euler, n))?;
        let is_known = |step: &Step| {
            model.io().has_span
                || own
                    .iter()
                    .any(|known| [known.t, known.t_next] == [step.t, step.t_next])
        };
        match steps.iter().all(|step| is_plain(step) && is_known(step)) {
            true => Ok(()),
            false => Err(Error::setting(
                "steps",
                format!(
                    "got {}, expected the {} of Euler that this model was distilled to",
                    count(steps.len(), "other step"),
                    count(n, "equal step")
                ),
            )),
        }
    }
}
