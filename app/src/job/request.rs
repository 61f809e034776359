//! What the window asks of the work.

use super::{Plan, TrainPlan};
use crate::source::{Origin, WeightStream};
use crate::state::{self, Autoencoder, Checkpoint, Latents, Model, Source, Subject, Sweep};
use sit_engine::analytic::Mixture;
use sit_engine::autoencoder::AutoencoderConfig;
use sit_engine::checkpoint::Reader;

/// What the window asks for.
pub enum Request {
    /// Use a network that is open for the next runs; runs of another one end.
    Use(Source),
    /// Give up these networks.
    Close(Vec<Source>),
    /// Open this for a lane.
    OfLane(Box<Origin>),
    /// Use this network for the next runs; runs of another network end.
    Network {
        /// Sizes and transport, as the header says.
        model: Box<Model>,
        /// The weights.
        weights: Reader<Box<dyn WeightStream>>,
    },
    /// Use the exact field of a mixture instead of a network.
    Exact {
        /// Its description for the lanes.
        model: Box<Model>,
        /// The data.
        mixture: Mixture,
    },
    /// Judge what runs end with by this classifier.
    Judge {
        /// Sizes and transport, as the header says.
        model: Box<Model>,
        /// The weights.
        weights: Reader<Box<dyn WeightStream>>,
    },
    /// Decode latents by this autoencoder.
    Autoencoder {
        /// Its description for the window.
        about: Box<Autoencoder>,
        /// Its sizes.
        config: AutoencoderConfig,
        /// The weights.
        weights: Reader<Box<dyn WeightStream>>,
    },
    /// Decode these latents and no others.
    Decode(Vec<Latents>),
    /// Whether the likelihood of what runs end with is measured.
    Weigh(bool),
    /// Begin this run.
    Run(Box<Plan>),
    /// Numbers of the runs that are still wanted, each with its steps to do. A second batch waits until the lanes have done theirs.
    Targets(Vec<(u64, usize)>),
    /// Measure these curves, each with its number, and no others; those in progress continue.
    Measure(Vec<(u64, Subject)>),
    /// Train this; a training in progress ends.
    Train(Box<TrainPlan>),
    /// Pause training, or resume it.
    PauseTraining(bool),
    /// Export the averaged weights.
    Keep,
    /// Sample from the averaged weights as they are now.
    UseTrained,
    /// Compute these rows of a timeline and no others.
    Sweep(Option<Box<Sweep>>),
    /// Sample from a checkpoint of a timeline, and show this time.
    UseCheckpoint {
        /// What the lanes call it.
        name: String,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Which of its weights.
        weights: state::Weights,
        /// The time.
        t: f64,
    },
}
