//! Student and teacher in a graph.

use super::{Distill, Pieces};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::{Inputs, NetworkIo, Output, evaluate};
use crate::nn::Params;
use crate::objective::Net;
use crate::ops::guide;
use crate::ops::lincomb::lincomb;
use crate::text::count;

/// The networks in a graph, and the inputs that their evaluations share.
pub(super) struct Networks<'a, 'n> {
    pub distill: &'a Distill,
    pub student: &'a mut Net<'n>,
    pub teacher: Params,
    pub y: Option<Var>,
    /// The labels and as many null classes, where the teacher is guided.
    pub labels: Option<Var>,
}

impl Networks<'_, '_> {
    /// The mean velocity that the student predicts from the state z, given what the network gets as state and time.
    pub fn student(
        &mut self,
        g: &mut Graph,
        [z, input]: [Var; 2],
        [t, span, velocity]: [Var; 3],
    ) -> Result<Var> {
        let out = self.student_out(g, input, [t, span])?;
        lincomb(g, &[z, out], velocity)
    }

    pub fn student_out(&mut self, g: &mut Graph, input: Var, [t, span]: [Var; 2]) -> Result<Var> {
        let span = self.student.io().has_span.then_some(span);
        let inputs = Inputs::new(input, t, self.y).over(span);
        Ok(self.student.forward(g, inputs)?.out)
    }

    /// The same of the teacher, whose guidance has this scale.
    pub fn teacher(
        &mut self,
        g: &mut Graph,
        [z, input]: [Var; 2],
        [t, span, velocity]: [Var; 3],
        scale: Option<Var>,
    ) -> Result<Var> {
        let network = self.distill.teacher.blueprint().network();
        let has_span = network.io().has_span;
        let scope = &mut self.teacher.scope(g);
        let out = match (self.labels, scale) {
            (Some(labels), Some(scale)) => {
                let double = |x| guide::double(scope.graph(), x);
                let [input, t, span] = [input, t, span].map(double);
                let inputs = Inputs::new(input?, t?, Some(labels));
                let span = has_span.then_some(span).transpose()?;
                let both = evaluate(network, scope, inputs.over(span))?.out;
                let channels = self
                    .distill
                    .guidance
                    .channels
                    .count(network.io().channels());
                guide::mix(scope.graph(), both, scale, channels)?
            }
            _ => {
                let inputs = Inputs::new(input, t, self.y).over(has_span.then_some(span));
                evaluate(network, scope, inputs)?.out
            }
        };
        lincomb(g, &[z, out], velocity)
    }
}

impl Distill {
    /// Refuses networks that do not fit together; `io` are the shapes of the student.
    pub(super) fn check_networks(&self, io: &NetworkIo) -> Result<()> {
        let refuse = |key: &str, what: String| Err(Error::setting(key, what));
        if io.has_span != self.is_split() {
            let [got, expected] = [io.has_span, self.is_split()];
            return refuse(
                "model.span",
                format!("got {got}, expected {expected} for this method of distillation"),
            );
        }
        let teacher = &self.teacher.blueprint();
        let (a, b) = (io, teacher.io());
        if (a.image, a.n_classes) != (b.image, b.n_classes) {
            return refuse(
                "teacher",
                format!(
                    "got a model of {:?} and {} classes, expected {:?} and {} classes as the student's",
                    b.image, b.n_classes, a.image, a.n_classes
                ),
            );
        }
        if teacher.network().output() != Output::Prediction {
            return refuse(
                "teacher",
                "got a classifier or an autoencoder, expected a network that predicts".into(),
            );
        }
        let (a, b) = (&self.transport, teacher.transport());
        if (&a.path, a.prediction, a.data_std) != (&b.path, b.prediction, b.data_std) {
            return refuse(
                "teacher",
                format!(
                    "got a model that predicts {} on the {} path, expected {} on {} as the student",
                    b.prediction, b.path, a.prediction, a.path
                ),
            );
        }
        if a.base != b.base {
            return refuse(
                "teacher",
                format!(
                    "got a model that begins with {}, expected {} as the student",
                    b.base, a.base
                ),
            );
        }
        self.check_student_teacher()?;
        if self.is_guided() && io.n_classes == 0 {
            return refuse(
                "guidance",
                "these models have no classes, so there is nothing to guide by".into(),
            );
        }
        Ok(())
    }

    /// Refuses a teacher that was distilled, unless its steps are the halves of the student's in a stage. Then it has guidance already.
    fn check_student_teacher(&self) -> Result<()> {
        let teacher = self.teacher.blueprint();
        let Some(n) = teacher.transport().student_steps else {
            return Ok(());
        };
        let refuse = |key: &str, what: String| Err(Error::setting(key, what));
        let Pieces::Halve { stages, .. } = self.pieces else {
            return refuse(
                "teacher",
                format!(
                    "got a model distilled to {}, expected one that predicts a velocity at each time",
                    count(n, "step")
                ),
            );
        };
        let own = self.n_steps()?;
        let is_half = |stage: u32| n == own << (stages - stage);
        if !(0..stages).any(is_half) {
            return refuse(
                "teacher",
                format!(
                    "got a model distilled to {}, expected {}, twice the steps of the first stage",
                    count(n, "step"),
                    own << stages
                ),
            );
        }
        if is_half(0) && self.is_guided() {
            return refuse(
                "guidance",
                format!(
                    "got {}, expected 1: the teacher is a student, which has its guidance already",
                    self.guidance.scale
                ),
            );
        }
        Ok(())
    }
}
