//! A network that an objective evaluates beside the one that it trains.

use crate::model::{Blueprint, Model};

/// A network whose weights stay. Without weights it is enough for a forecast of memory.
#[derive(Debug, Clone)]
pub struct Teacher {
    blueprint: Blueprint,
    model: Option<Model>,
}

impl From<Model> for Teacher {
    fn from(model: Model) -> Self {
        Teacher {
            blueprint: Blueprint::clone(&model),
            model: Some(model),
        }
    }
}

impl From<Blueprint> for Teacher {
    fn from(blueprint: Blueprint) -> Self {
        Teacher {
            blueprint,
            model: None,
        }
    }
}

#[doc(hidden)]
impl Teacher {
    /// The network, without its weights.
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// The network with its weights, if it has any.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }
}
