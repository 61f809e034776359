//! The function that a solver integrates: a network, and what guides it.

use crate::error::{Error, Result};
use crate::graph::{Graph, SetId, Var};
use crate::model::{Blueprint, IN_PAGE, Inputs, NetworkIo, Output, Outputs, evaluate};
use crate::nn::Params;
use crate::ops::{axes, cross_entropy, guide, lincomb};
use crate::transport::{Ddpm, GuidanceChannels, Path, Prediction};

/// The networks of a field, and how their outputs are combined.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub model: &'a Blueprint,
    /// The weak network of autoguidance.
    pub weak: Option<&'a Blueprint>,
    /// The classifier whose gradient is added.
    pub classifier: Option<&'a Blueprint>,
    pub channels: GuidanceChannels,
    pub batch: usize,
}

/// What guides the field in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Guided {
    /// The same network without the class.
    pub class: bool,
    /// A weak network.
    pub weak: bool,
    /// The gradient of a classifier.
    pub classifier: bool,
}

/// The field in a graph. Parameters are declared once, even for several evaluations.
pub(super) struct FieldGraph<'a> {
    field: Field<'a>,
    main: Params,
    weak: Params,
    classifier: Params,
    /// Labels of the network; with its classifier-free guidance `[2B]`.
    y: Option<Var>,
    /// Labels of the images `[B]`.
    labels: Option<Var>,
    guided: Guided,
}

/// The input with the labels of the network, and beside it that of the images where the former are twice as many.
pub(super) const Y: &str = "y";
pub(super) const LABELS: &str = "labels";

/// One evaluation.
pub(super) struct Evaluation {
    /// The prediction that is integrated, `[B, C, H, W]`.
    pub out: Var,
    /// The raw output of the network; with classifier-free guidance `[2B, C, H, W]`, conditional first, then unconditional.
    pub raw: Var,
    /// All channels of the network's last layer, `[B, Cout, H, W]`; those after the prediction are not guided.
    pub all: Var,
    /// The gradient of a classifier that guides, `grad log p(y | x, t)`, `[B, C, H, W]`. The caller adds its share.
    pub slope: Option<Var>,
}

/// Rejects a network that predicts no velocity, score, noise or data.
pub(super) fn check_prediction(model: &Blueprint, key: &str) -> Result<()> {
    match model.network().output() {
        Output::Prediction => Ok(()),
        Output::Logits => Err(Error::setting(
            key,
            "got a classifier, expected a network that predicts velocity, score, noise or data",
        )),
        Output::Reconstruction => Err(Error::setting(
            key,
            "got an autoencoder, expected a network that predicts velocity, score, noise or data",
        )),
    }
}

/// Rejects a network that tells no velocity at a time.
pub(super) fn check_velocity(model: &Blueprint, key: &str) -> Result<()> {
    check_prediction(model, key)?;
    match model.transport().student_steps {
        None => Ok(()),
        Some(_) => Err(Error::setting(
            key,
            "got a distilled model, which predicts mean velocities, expected one that predicts velocity, score, noise or data",
        )),
    }
}

/// Rejects a guide whose shapes, path or prediction differ from the model's.
pub(super) fn check_weak(model: &Blueprint, weak: &Blueprint) -> Result<()> {
    check_velocity(weak, "autoguide")?;
    let (a, b) = (model.io(), weak.io());
    if a != b {
        return Err(Error::setting("autoguide", other_io(&a, &b)));
    }
    check_start(model, weak, "autoguide")?;
    let (a, b) = (model.transport(), weak.transport());
    if (&a.path, a.prediction, a.data_std) != (&b.path, b.prediction, b.data_std) {
        return Err(Error::setting(
            "autoguide",
            format!(
                "got a model that predicts {} on the {} path, expected {} on {} as the one that it guides",
                b.prediction, b.path, a.prediction, a.path
            ),
        ));
    }
    Ok(())
}

/// Rejects a classifier of other images, or of states and times other than those that the model gets.
pub(super) fn check_classifier(model: &Blueprint, classifier: &Blueprint) -> Result<()> {
    const KEY: &str = "classifier";
    if classifier.network().output() != Output::Logits {
        return Err(Error::setting(
            KEY,
            "got a network that predicts an image, expected a classifier (model.family = \"classifier\")",
        ));
    }
    let (a, b) = (model.io(), classifier.io());
    if a.image != b.image || (a.n_classes != b.n_classes && a.n_classes > 0) {
        return Err(Error::setting(KEY, other_io(&a, &b)));
    }
    check_start(model, classifier, KEY)?;
    let (a, b) = (model.transport(), classifier.transport());
    let scaled = |prediction| prediction == Prediction::Denoiser;
    if !same_states(&a.path, &b.path)
        || scaled(a.prediction) != scaled(b.prediction)
        || (scaled(a.prediction) && a.data_std != b.data_std)
    {
        return Err(Error::setting(
            KEY,
            format!(
                "got one of states on the {} path for {}, expected {} and {} as the model that it guides, with the same numbers of the path",
                b.path, b.prediction, a.path, a.prediction
            ),
        ));
    }
    Ok(())
}

/// Whether states at a time are those of the other path, and times reach the network alike.
fn same_states(a: &Path, b: &Path) -> bool {
    match (a.ddpm(), b.ddpm()) {
        (Some(a), Some(b)) => {
            let of = |ddpm: &Ddpm| (ddpm.schedule(), ddpm.n_levels(), ddpm.rescale_times);
            of(a) == of(b)
        }
        _ => a == b,
    }
}

fn other_io(a: &NetworkIo, b: &NetworkIo) -> String {
    format!(
        "got a model of {:?} and {} classes, expected {:?} and {} classes as the one that it guides",
        b.image, b.n_classes, a.image, a.n_classes
    )
}

/// Rejects a guide that begins with other data than the model.
fn check_start(model: &Blueprint, guide: &Blueprint, key: &str) -> Result<()> {
    let (a, b) = (&model.transport().base, &guide.transport().base);
    if a.data().is_some() == b.data().is_some() {
        return Ok(());
    }
    Err(Error::setting(
        key,
        format!("got a model that begins with {b}, expected {a} as the one that it guides"),
    ))
}

impl<'a> Field<'a> {
    /// The networks, in the order of their parameter sets.
    pub fn networks(self) -> impl Iterator<Item = &'a Blueprint> {
        let guides = self.weak.into_iter().chain(self.classifier);
        std::iter::once(self.model).chain(guides)
    }

    /// The field in `g`.
    pub fn build(self, g: &mut Graph, guided: Guided) -> Result<FieldGraph<'a>> {
        let n = if guided.class {
            2 * self.batch
        } else {
            self.batch
        };
        self.model.network().validate(n)?;
        let has_classes = |model: &Blueprint| model.io().n_classes > 0;
        let y = has_classes(self.model).then(|| g.input_u32(Y, [n]));
        let others = (guided.weak && has_classes(self.model)) || guided.classifier;
        let labels = match y {
            Some(y) if !guided.class => Some(y),
            Some(_) => others.then(|| g.input_u32(LABELS, [self.batch])),
            None => others.then(|| g.input_u32(Y, [self.batch])),
        };
        let weak = SetId::GUIDE;
        Ok(FieldGraph {
            field: self,
            main: Params::new(SetId::MAIN),
            weak: Params::new(weak),
            classifier: Params::new(SetId(weak.0 + u8::from(self.weak.is_some()))),
            y,
            labels,
            guided,
        })
    }
}

impl FieldGraph<'_> {
    /// Evaluates the field at x `[B, C, H, W]`. Evaluation number `at` has its own inputs `t{at}` and, where it is guided, `scale{at}`,
    /// `shares{at}`; a network that reads a span has `span{at}`.
    pub fn evaluate(&mut self, g: &mut Graph, x: Var, at: usize) -> Result<Evaluation> {
        let (field, guided, batch) = (self.field, self.guided, self.field.batch);
        let n = if guided.class { 2 * batch } else { batch };
        let t = g.input(format!("t{at}"), [n]);
        let own_t = match guided.class {
            true => axes::slice(g, t, 0, 0..batch)?,
            false => t,
        };
        let network = field.model.network();
        let scope = &mut self.main.scope(g);
        let mut evaluation = if guided.class {
            let (scale, doubled) = {
                let g = scope.graph();
                (g.input(format!("scale{at}"), [batch]), guide::double(g, x)?)
            };
            let inputs = Inputs::new(doubled, t, self.y);
            let Outputs { out: raw, all, .. } = evaluate(network, scope, inputs)?;
            let channels = field.channels.count(field.model.io().channels());
            let g = scope.graph();
            let out = guide::mix(g, raw, scale, channels)?;
            let all = guide::mix(g, all, scale, channels)?;
            Evaluation {
                out,
                raw,
                all,
                slope: None,
            }
        } else {
            let span = field.model.io().has_span;
            let span = span.then(|| scope.graph().input(format!("span{at}"), [batch]));
            let inputs = Inputs::new(x, t, self.y).over(span);
            let Outputs { out, all, .. } = evaluate(network, scope, inputs)?;
            Evaluation {
                out,
                raw: out,
                all,
                slope: None,
            }
        };
        if let Some(weak) = field.weak.filter(|_| guided.weak) {
            let labels = self.labels.filter(|_| weak.io().n_classes > 0);
            let inputs = Inputs::new(x, own_t, labels);
            let worse = evaluate(weak.network(), &mut self.weak.scope(g), inputs)?.out;
            let shares = g.input(format!("shares{at}"), [batch, lincomb::MAX_TERMS]);
            evaluation.out = lincomb::lincomb(g, &[evaluation.out, worse], shares)?;
        }
        if let (Some(classifier), Some(y)) = (
            field.classifier.filter(|_| guided.classifier && !IN_PAGE),
            self.labels,
        ) {
            let inputs = Inputs::new(x, own_t, Some(y));
            let scope = &mut self.classifier.scope(g);
            let logits = evaluate(classifier.network(), scope, inputs)?.out;
            let loss = cross_entropy::cross_entropy(g, logits, y)?;
            // The gradient of log p(y | x, t).
            let seed = g.constant(-1.0, [batch]);
            evaluation.slope = Some(g.backward(loss, seed, &[x])?[0]);
        }
        Ok(evaluation)
    }
}
