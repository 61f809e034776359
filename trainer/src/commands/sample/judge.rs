//! How many sampled digits are what was asked for.

use crate::data::{DataError, Kind, Knn, digits};
use crate::sampling::{Images, State};
use sit_engine::checkpoint::Recipe;

/// Compares sampled digits with the nearest real ones.
pub struct Judge {
    knn: Knn,
    agree: usize,
    n: usize,
}

impl Judge {
    /// Nothing for a model of other images, or without classes.
    pub fn of(recipe: &Recipe, images: &Images) -> Result<Option<Self>, DataError> {
        let kind = Kind::Digits.to_string();
        let of_digits = recipe.data.as_ref().is_some_and(|data| data.name == kind);
        let labels = images.labels();
        if !of_digits || recipe.model.n_classes == 0 || labels.iter().any(|&label| label > 9) {
            return Ok(None);
        }
        Ok(Some(Judge {
            knn: Knn::new(&digits::held_out(), Knn::DEFAULT_K)?,
            agree: 0,
            n: 0,
        }))
    }

    /// Looks at the images of a batch.
    pub fn look(&mut self, state: &State<'_>) {
        self.agree += self.knn.agreement(state.x, state.labels);
        self.n += state.labels.len();
    }

    /// A line about all of them.
    pub fn verdict(&self) -> String {
        let (agree, n) = (self.agree, self.n);
        let percent = 100.0 * agree as f64 / n as f64;
        format!(
            "{agree} of {n} ({percent:.1} %) are what was asked for, says the nearest of the held-out real digits\n"
        )
    }
}
