//! What a run keeps when it goes on, and what its configuration may change.

use crate::commands::base::BASE;
use crate::config::{DistillMethod, RunConfig};
use crate::data::classes;
use crate::error::{Failure, Result};
use crate::run;
use sit_engine::optim::Average;

/// Keeps what the run found when it began: the settings that the configuration leaves to the data, and where the data is.
pub fn keep(saved: &RunConfig, asked: &mut RunConfig, is_set: &dyn Fn(&str) -> bool) {
    // `init` only records where the run came from; a resumed run does not load it again.
    asked.init.clone_from(&saved.init);
    // So does the teacher's place: the run has its own copy.
    if let (Some(asked), Some(saved)) = (&mut asked.distill, &saved.distill) {
        asked.teacher.clone_from(&saved.teacher);
    }
    if asked.data.n_classes.is_none() {
        asked.model.set_n_classes(saved.model.io().n_classes);
        asked.data.n_classes = saved.data.n_classes;
    }
    if asked.data.path == saved.data.path && !is_set("data.path") {
        asked.data.path_from.clone_from(&saved.data.path_from);
    }
    if asked.data.classes.is_empty() {
        asked.data.classes.clone_from(&saved.data.classes);
    }
    asked.data.first_label = asked.data.first_label.or(saved.data.first_label);
    asked.data.transpose = asked.data.transpose.or(saved.data.transpose);
    // Runs made before these keys existed keep the old behavior instead of the new defaults.
    if saved.data.class_order.is_none() && !is_set("data.class_order") {
        asked.data.class_order = None;
    }
    if saved.data.exif_orientation.is_none() && !is_set("data.exif_orientation") {
        asked.data.exif_orientation = None;
    }
}

/// Refuses a configuration that does not fit the weights, the noise or the data order of a run, and logs all other changes.
pub fn check(saved: &RunConfig, asked: &RunConfig) -> Result<()> {
    let mut asked = asked.clone();
    asked.log.folder = None;
    if let (false, Some(difference)) = (
        saved.data.classes.is_empty(),
        classes::difference(&saved.data.classes, &asked.data.classes),
    ) {
        return Err(Failure::Input(format!(
            "data.classes: a run keeps its classes; {difference}"
        )));
    }
    check_averages(saved, &asked)?;
    check_stages(saved, &asked)?;
    let keys = |config: &RunConfig| config.keys().map_err(Failure::input);
    let (saved, asked) = (keys(saved)?, keys(&asked)?);
    let mut names: Vec<&String> = saved.keys().chain(asked.keys()).collect();
    names.sort();
    names.dedup();
    let text = |value: Option<&toml::Value>| value.map_or("not set".into(), toml::Value::to_string);
    // `data.path_from` is only a location: an error names it if the data is not found.
    for name in names.into_iter().filter(|name| *name != "data.path_from") {
        let (old, new) = (saved.get(name), asked.get(name));
        if old == new {
            continue;
        }
        let (old, new) = (text(old), text(new));
        // Data may have moved, and noise is no data.
        let is_data = |text: &str| text.starts_with("\"data:");
        let has_moved = name == BASE && is_data(&old) && is_data(&new);
        if !has_moved
            && [
                "model.",
                "transport.",
                "distill.",
                "autoencoder.",
                "train.seed",
                "data.first_label",
            ]
            .iter()
            .any(|kept| name.starts_with(kept))
        {
            return Err(Failure::Input(format!(
                "{name} is {old} in the checkpoint, {new} was asked for; a run keeps it"
            )));
        }
        tracing::info!("{name} was {old}, is now {new}");
    }
    Ok(())
}

/// Refuses other steps and batches for a run whose stages share them.
fn check_stages(saved: &RunConfig, asked: &RunConfig) -> Result<()> {
    let per_stage = |config: &RunConfig| {
        let distill = config.distill.as_ref();
        let staged = distill.filter(|distill| distill.method == DistillMethod::Progressive);
        staged.map(|distill| {
            let images = distill.images_per_stage(config);
            (distill.stages, config.train.steps, images)
        })
    };
    match (per_stage(saved), per_stage(asked)) {
        // Of other stages the key itself is refused.
        (Some(saved), Some(asked)) if saved.0 != asked.0 => Ok(()),
        (saved, asked) if saved == asked => Ok(()),
        _ => Err(Failure::Input(format!(
            "train.steps x train.batch x train.accumulate was {} x {} x {}, {} x {} x {} was asked for; a run keeps them, as its stages \
             share them",
            saved.train.steps,
            saved.train.batch,
            saved.train.accumulate,
            asked.train.steps,
            asked.train.batch,
            asked.train.accumulate
        ))),
    }
}

/// Refuses averages that the run has not kept from its first step on.
fn check_averages(saved: &RunConfig, asked: &RunConfig) -> Result<()> {
    let kept: Vec<String> = saved.averages().iter().map(run::average_file).collect();
    let asked = asked.averages();
    match asked
        .iter()
        .find(|average| !kept.contains(&run::average_file(average)))
    {
        None => Ok(()),
        Some(Average::Exponential { decay, .. }) => Err(Failure::Input(format!(
            "train.ema_decay2 is not set in the checkpoint, {decay} was asked for; a run keeps its averages from the first step on"
        ))),
        Some(Average::Power { width }) => Err(Failure::Input(format!(
            "log.snapshots: no average of width {width} is in the checkpoint; a run keeps its averages from the first step on"
        ))),
    }
}
