//! The network of the lanes, and the classes that are asked of it.

use serde::{Deserialize, Serialize};
use sit_engine::checkpoint::Latents;
use sit_engine::model::{ModelConfig, NetworkIo};
use sit_engine::transport::Transport;

/// Where the network of the lanes comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The small SiT trained on the 8x8 digits, embedded in the program.
    Digits,
    /// A small SiT trained on 32x32 emoji, which comes with the program.
    Emoji,
    /// No network: the exact field of a 2-D Gaussian mixture, by the toy's name.
    Exact(String),
    /// A file that was dropped or opened, by its name.
    File(String),
    /// A network trained in the app, by the name of its data.
    Trained(String),
}

impl Source {
    /// What it is called.
    pub fn title(&self) -> String {
        match self {
            Source::Digits => "SiT on 8×8 digits".to_owned(),
            Source::Emoji => "SiT on 32×32 emoji".to_owned(),
            Source::Exact(toy) => format!("exact field of {toy}"),
            Source::File(name) => name.clone(),
            Source::Trained(data) => format!("trained here on {data}"),
        }
    }
}

/// A network that is ready to sample from.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Where it is from.
    pub source: Source,
    /// Its sizes; none of an exact field, which has no network.
    pub network: Option<ModelConfig>,
    /// Shapes of the images and labels.
    pub io: NetworkIo,
    /// What it was trained to do.
    pub transport: Transport,
    /// Names of its classes in their order, as many as are known.
    pub classes: Vec<String>,
    /// How the latents were made that it was trained on, if its images are latents.
    pub latents: Option<Latents>,
    /// Whether it is known that its images are no latents.
    pub of_images: bool,
}

impl Model {
    /// True for points in the plane: one pixel of two channels.
    pub fn is_plane(&self) -> bool {
        self.io.image == [2, 1, 1]
    }

    /// What class `class` is called: its name, or its number.
    pub fn class_name(&self, class: u32) -> String {
        sit_trainer::data::classes::name(&self.classes, class as usize)
    }
}

/// The classes that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Classes {
    /// Sample i has class i mod n.
    #[default]
    All,
    /// All samples have this one.
    One(u32),
    /// The null class: no condition.
    None,
}

impl Classes {
    /// Labels of `n` samples of `n_classes`; the null class if there is no condition. A model without classes ignores them: zeros.
    pub fn labels(self, n_classes: usize, n: usize) -> Vec<u32> {
        if n_classes == 0 {
            return vec![0; n];
        }
        let null = n_classes as u32;
        let label = |i: usize| match self {
            Classes::All => (i % n_classes) as u32,
            Classes::One(class) => class.min(null),
            Classes::None => null,
        };
        (0..n).map(label).collect()
    }
}
