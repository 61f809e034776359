//! The networks that guide a sampler.

use crate::commands::source::{self, Opened};
use crate::error::Result;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Recipe;
use sit_engine::model::{Blueprint, Model, Storage};
use sit_engine::sample::Sampling;
use std::path::Path;

/// The networks, each with its scale, in one of their forms: opened, planned or loaded.
#[derive(Clone)]
pub struct Guides<M> {
    /// The weak network of `--autoguide`.
    pub weak: Option<(M, f64)>,
    /// The classifier of `--classifier`.
    pub classifier: Option<(M, f64)>,
}

impl<M> Guides<M> {
    fn try_map<N>(&self, mut of: impl FnMut(&M) -> Result<N>) -> Result<Guides<N>> {
        let mut map = |guide: &Option<(M, f64)>| match guide {
            Some((model, scale)) => of(model).map(|model| Some((model, *scale))),
            None => Ok(None),
        };
        Ok(Guides {
            weak: map(&self.weak)?,
            classifier: map(&self.classifier)?,
        })
    }
}

impl<M: Clone> Guides<M> {
    /// The same networks with other scales; one without a scale does not guide.
    pub fn scaled(&self, weak: Option<f64>, classifier: Option<f64>) -> Self {
        let at = |guide: &Option<(M, f64)>, scale: Option<f64>| {
            let (model, _) = guide.as_ref()?;
            Some((model.clone(), scale?))
        };
        Guides {
            weak: at(&self.weak, weak),
            classifier: at(&self.classifier, classifier),
        }
    }
}

impl<M: AsRef<Blueprint>> Guides<M> {
    /// Sampling that they guide.
    pub fn apply(self, mut sampling: Sampling<M>) -> Sampling<M> {
        if let Some((weak, scale)) = self.weak {
            sampling = sampling.autoguidance(weak, scale);
        }
        if let Some((classifier, scale)) = self.classifier {
            sampling = sampling.classifier_guidance(classifier, scale);
        }
        sampling
    }
}

impl Guides<Opened> {
    /// Opens the checkpoints that guide a model of `main`.
    ///
    /// # Errors
    /// As of [`SourceArgs::open`](source::SourceArgs::open), naming the flag.
    pub fn open(
        weak: Option<(&Path, f64)>,
        classifier: Option<(&Path, f64)>,
        main: &Recipe,
    ) -> Result<Self> {
        type Guide = Option<(Opened, f64)>;
        let open = |flag: &'static str, guide: Option<(&Path, f64)>| -> Result<Guide> {
            let Some((path, scale)) = guide else {
                return Ok(None);
            };
            let opened = source::guide(path, main).map_err(|e| e.context(flag))?;
            Ok(Some((opened, scale)))
        };
        Ok(Guides {
            weak: open("--autoguide", weak)?,
            classifier: open("--classifier", classifier)?,
        })
    }

    /// Their blueprints, with weights kept in `storage`.
    ///
    /// # Errors
    /// As of [`Blueprint::new`].
    pub fn blueprints(
        &self,
        storage: Storage,
        max_segment_bytes: u64,
    ) -> Result<Guides<Blueprint>> {
        self.try_map(|guide| {
            let (model, transport) = (guide.recipe.model.clone(), guide.recipe.transport.clone());
            let blueprint = Blueprint::stored(model, transport, storage, max_segment_bytes);
            Ok(blueprint?)
        })
    }

    /// Their weights on a device, kept in `storage`.
    ///
    /// # Errors
    /// Weights that cannot be read, or do not fit on the device.
    pub fn load(&mut self, device: &Device, storage: Storage) -> Result<Guides<Model>> {
        type Guide = Option<(Model, f64)>;
        let load = |guide: &mut Option<(Opened, f64)>, what: &str| -> Result<Guide> {
            let Some((guide, scale)) = guide else {
                return Ok(None);
            };
            tracing::info!("{what}: {}", guide.origin);
            let (model, transport) = (guide.recipe.model.clone(), guide.recipe.transport.clone());
            let model = Model::stored(device, model, transport, storage)?;
            guide.weights.load(&model)?;
            Ok(Some((model, *scale)))
        };
        Ok(Guides {
            weak: load(&mut self.weak, "guide")?,
            classifier: load(&mut self.classifier, "classifier")?,
        })
    }
}
