//! The interface between a network and its host.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::nn::Scope;
use crate::shape::Shape;
use crate::text::count;
use crate::transport::Transport;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Shapes of a network's inputs and outputs: all that a host needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkIo {
    /// Shape of one image, `[C, H, W]`.
    pub image: [usize; 3],
    /// Number of classes; `n_classes` itself is the null class. 0 means an unconditional network, which reads no labels.
    pub n_classes: usize,
    /// Whether it reads a span of time and predicts the mean velocity over it.
    pub has_span: bool,
    /// Shape of one latent of an autoencoder, `[Z, h, w]`; `None` for other networks.
    pub latent: Option<[usize; 3]>,
}

impl NetworkIo {
    /// A network for images of shape `[C, H, W]`; with 0 classes it is unconditional.
    pub fn new(image: [usize; 3], n_classes: usize) -> Self {
        NetworkIo {
            image,
            n_classes,
            has_span: false,
            latent: None,
        }
    }

    /// Elements of one image, C·H·W.
    pub fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    /// Label of the null class; `None` for an unconditional network.
    pub fn null_class(&self) -> Option<u32> {
        (self.n_classes > 0).then_some(self.n_classes as u32)
    }

    /// Rejects a wrong number of labels, or labels beyond the null class. An unconditional network accepts any.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong number of labels, [`Error::Config`] naming a label beyond the null class.
    pub(crate) fn check_labels(&self, y: &[u32], batch: usize) -> Result<()> {
        let Some(null) = self.null_class() else {
            return Ok(());
        };
        if y.len() != batch {
            return Err(Error::Shape(format!(
                "y got {} labels, expected {batch}",
                y.len()
            )));
        }
        match y.iter().find(|&&label| label > null) {
            None => Ok(()),
            Some(label) => Err(Error::Config(format!(
                "class {label}: this model has {}, 0 to {}, and {null} for none",
                count(null, "class"),
                null - 1
            ))),
        }
    }
}

#[doc(hidden)]
impl NetworkIo {
    /// Shape of `batch` images, `[B, C, H, W]`.
    pub fn images(&self, batch: usize) -> [usize; 4] {
        let [c, h, w] = self.image;
        [batch, c, h, w]
    }
}

#[doc(hidden)]
impl NetworkIo {
    /// Channels C of the image.
    pub fn channels(&self) -> usize {
        self.image[0]
    }
}

/// Names and shapes of a file's tensors.
pub(crate) type Shapes<'a> = BTreeMap<&'a str, &'a Shape>;

/// The inputs of a network.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Inputs {
    /// The state `[B, C, H, W]`.
    pub x: Var,
    /// Its time `[B]`, in [0, 1].
    pub t: Var,
    /// Labels `[B]` u32 up to the null class; `None` for an unconditional network.
    pub y: Option<Var>,
    /// The span `[B]` from its time to a later one, 0 for the velocity at its time; `None` unless [`NetworkIo::has_span`].
    pub span: Option<Var>,
    /// Normal numbers by which an autoencoder draws latents from their posterior, `[B, Z, h, w]`; it decodes the mean if `None`.
    pub noise: Option<Var>,
}

impl Inputs {
    /// State x at time t, with labels y unless the network is unconditional.
    pub fn new(x: Var, t: Var, y: Option<Var>) -> Self {
        Inputs {
            x,
            t,
            y,
            span: None,
            noise: None,
        }
    }

    /// The same with a span.
    pub fn over(self, span: Option<Var>) -> Self {
        Inputs { span, ..self }
    }

    /// The same with noise for the latents of an autoencoder.
    pub fn with_noise(self, noise: Var) -> Self {
        Inputs {
            noise: Some(noise),
            ..self
        }
    }
}

/// The outputs of a network.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outputs {
    /// The prediction `[B, C, H, W]`, or what else [`Network::output`] says.
    pub out: Var,
    /// All channels of the last layer, `[B, Cout, H, W]`: with a learned variance, the second half follows the prediction. Not
    /// computed in programs that do not use it.
    pub all: Var,
    /// What the last layer reads, `[B, D]`, of a network that has one vector for each image.
    pub features: Option<Var>,
    /// Mean and logarithm of the variance of the latents, `[B, Z, h, w]`, of an autoencoder.
    pub posterior: Option<[Var; 2]>,
}

impl Outputs {
    /// A prediction, which is all that the last layer outputs.
    pub fn new(out: Var) -> Self {
        Outputs {
            out,
            all: out,
            features: None,
            posterior: None,
        }
    }
}

/// A function of a state, a time and a label, with parameters.
pub trait Network: Debug + Send + Sync {
    /// Shapes of the inputs and outputs.
    fn io(&self) -> NetworkIo;

    /// What it computes: a prediction, unless said otherwise.
    fn output(&self) -> Output {
        Output::Prediction
    }

    /// Checks the sizes, and that the work and memory for `batch` images stay within countable limits.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, its value and what was expected.
    fn validate(&self, batch: usize) -> Result<()>;

    /// Checks that the network can be trained and sampled along a transport. A network that reads any time accepts all.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, its value and what was expected.
    fn check_transport(&self, _transport: &Transport) -> Result<()> {
        Ok(())
    }

    /// Declares the parameters, in the order that determines their indices, and evaluates the network.
    ///
    /// # Errors
    /// [`Error::Shape`] when the inputs do not fit the network.
    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs>;
}

/// What a network computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Output {
    /// What the transport predicts, `[B, C, H, W]` as the state.
    #[default]
    Prediction,
    /// The logits of the classes, `[B, n_classes]`.
    Logits,
    /// The image x again, `[B, C, H, W]`, from its latent.
    Reconstruction,
}

/// Whether this is a web build for users. It lacks some networks, to keep the page small.
pub(crate) const IN_PAGE: bool = cfg!(all(target_arch = "wasm32", not(feature = "oracle")));

/// Refuses the value of a setting that the page does not have, so that nothing of it is linked there.
pub(super) fn not_in_page(key: &str, value: &str) -> Result<()> {
    match IN_PAGE {
        true => Err(Error::setting(
            key,
            format!("got {value}, which the web page does not run; the installed program does"),
        )),
        false => Ok(()),
    }
}

/// Evaluates a network, and checks that its output is as its [`Network::io`] and [`Network::output`] say.
pub(crate) fn evaluate(
    network: &dyn Network,
    s: &mut Scope<'_>,
    inputs: Inputs,
) -> Result<Outputs> {
    let io = network.io();
    if inputs.span.is_some() != io.has_span {
        let [got, expected] =
            [inputs.span.is_some(), io.has_span].map(|has| if has { "a" } else { "no" });
        return Err(Error::Shape(format!(
            "the network got {got} span of time, expected {expected} span"
        )));
    }
    if inputs.noise.is_some() && io.latent.is_none() {
        return Err(Error::Shape(
            "the network got noise for latents, expected an autoencoder".into(),
        ));
    }
    let outputs = network.forward(s, inputs)?;
    let batch = s.graph().shape(inputs.x).first().copied();
    let batch = batch.unwrap_or(1);
    let expected = match network.output() {
        Output::Prediction | Output::Reconstruction => Shape::from(io.images(batch)),
        Output::Logits => Shape::from([batch, io.n_classes]),
    };
    match s.graph().shape(outputs.out) {
        got if *got == expected => Ok(outputs),
        got => Err(Error::Shape(format!(
            "the network's output is {got}, expected {expected}"
        ))),
    }
}

impl<N: Network + ?Sized> Network for Arc<N> {
    fn io(&self) -> NetworkIo {
        (**self).io()
    }

    fn output(&self) -> Output {
        (**self).output()
    }

    fn validate(&self, batch: usize) -> Result<()> {
        (**self).validate(batch)
    }

    fn check_transport(&self, transport: &Transport) -> Result<()> {
        (**self).check_transport(transport)
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        (**self).forward(s, inputs)
    }
}
