//! What `sit train` says about its data before it starts: shape, classes, and what will not be learned.

use crate::config::RunConfig;
use crate::data::{DataConfig, Dataset, classes};
use crate::error::{Failure, Result};
use sit_engine::optim::Average;
use sit_engine::text::count;

/// Logs the data, the settings that `asked` left open and `config` now has, and the classes without images.
///
/// # Errors
/// [`Failure::Input`] when most classes have no image, which is a mistake in their number.
pub fn data(config: &RunConfig, asked: &DataConfig, dataset: &dyn Dataset) -> Result<()> {
    let [c, h, w] = dataset.shape();
    let n = dataset.n_classes();
    tracing::info!(
        "{}: {} of {h}x{w}x{c}, {}",
        dataset.name(),
        count(dataset.len(), "image"),
        count(n, "class")
    );
    let DataConfig {
        classes: names,
        first_label,
        transpose,
        ..
    } = &config.data;
    let counts = classes::images(dataset);
    if n > 0 {
        let listed = classes::list((0..n).map(|class| {
            let numbered = classes::numbered(names, std::iter::once(class));
            format!("{numbered} ({})", counts[class])
        }));
        tracing::info!("classes by number, name and images: {listed}");
    }
    if asked.n_classes.is_none() {
        match n {
            0 => tracing::info!(
                "model.n_classes = \"auto\": there are no classes, so it trains without"
            ),
            _ => tracing::info!(
                "model.n_classes = \"auto\": it trains conditionally on the {}; 0 ignores them",
                count(n, "class")
            ),
        }
    }
    if let (Some(first), None) = (first_label.filter(|&first| first > 0), asked.first_label) {
        tracing::info!(
            "data.first_label = {first}: the labels begin at {first}, so label {first} is class 0"
        );
    }
    if let (Some(true), None) = (transpose, asked.transpose) {
        tracing::info!(
            "data.transpose = true: EMNIST's files have rows and columns exchanged; false leaves them"
        );
    }
    empty_classes(names, &counts)
}

/// Says what people do not expect of settings that are valid.
pub fn settings(config: &RunConfig) {
    if config.data.flip {
        tracing::info!(
            "every other image is mirrored; for digits, letters and what else has a side: --set data.flip=false"
        );
    }
    let train = &config.train;
    let steps = train.steps;
    let decays = [
        ("ema_decay", Some(train.ema_decay)),
        ("ema_decay2", train.ema_decay2),
    ];
    for (key, decay) in decays {
        let Some(decay) = decay else { continue };
        let average = Average::Exponential {
            decay,
            warmup: train.ema_warmup,
        };
        let share = average.share_of_initial(steps);
        if share > 0.01 {
            tracing::warn!(
                "train.{key} = {decay} is slow for {}: at the end the moving average still holds {:.0} % of the initial weights",
                count(steps, "step"),
                100.0 * share
            );
        }
    }
}

fn empty_classes(names: &[String], counts: &[usize]) -> Result<()> {
    let empty: Vec<usize> = (0..counts.len())
        .filter(|&class| counts[class] == 0)
        .collect();
    if empty.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{} of {} without an image: {}",
        empty.len(),
        count(counts.len(), "class"),
        classes::numbered(names, empty.iter().copied())
    );
    if 2 * empty.len() > counts.len() {
        return Err(Failure::Input(format!(
            "model.n_classes: {text}; most classes would never be learned, \
             expected the number of the data's classes, as with model.n_classes = \"auto\""
        )));
    }
    tracing::warn!("{text}; what is sampled of a class without images is noise of no meaning");
    Ok(())
}
