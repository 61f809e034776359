//! Help with unknown keys: misspelled, in another table, or named as in other programs.

use toml::{Table, Value};

use super::RunConfig;
use super::value::{KeyError, from_value, suggestion};

/// What other programs call a key, in lower case and without `_` and `-`.
const SYNONYMS: [(&str, &[&str]); 25] = [
    (
        "train.recompute",
        &[
            "checkpointing",
            "gradientcheckpointing",
            "activationcheckpointing",
            "gradcheckpoint",
            "rematerialize",
        ],
    ),
    ("train.learning_rate", &["lr", "baselr", "maxlr", "peaklr"]),
    (
        "train.batch",
        &["batchsize", "bs", "trainbatchsize", "globalbatchsize"],
    ),
    (
        "train.steps",
        &[
            "maxsteps",
            "numsteps",
            "nsteps",
            "totalsteps",
            "trainsteps",
            "iterations",
            "iters",
            "maxiters",
        ],
    ),
    (
        "train.accumulate",
        &[
            "gradaccum",
            "gradientaccumulation",
            "gradientaccumulationsteps",
            "accumulationsteps",
        ],
    ),
    (
        "train.warmup_steps",
        &["warmup", "lrwarmup", "nwarmup", "numwarmupsteps"],
    ),
    ("train.weight_decay", &["wd", "decay", "l2"]),
    (
        "train.clip",
        &[
            "gradclip",
            "clipgrad",
            "maxgradnorm",
            "gradientclipping",
            "clipnorm",
        ],
    ),
    (
        "train.schedule",
        &["lrschedule", "lrscheduler", "scheduler"],
    ),
    ("train.betas", &["beta1", "beta2", "adambeta1", "adambeta2"]),
    ("train.ema_decay", &["ema", "emarate", "emadecay1"]),
    (
        "train.class_dropout",
        &[
            "dropout",
            "classdropoutprob",
            "labeldropout",
            "cfgdropout",
            "conddropout",
        ],
    ),
    ("train.seed", &["globalseed", "randomseed"]),
    ("model.n_classes", &["numclasses", "classes", "nclass"]),
    ("model.input_size", &["imgsize", "resolution", "inputres"]),
    (
        "model.dim",
        &["hiddensize", "hiddendim", "width", "embeddim", "dmodel"],
    ),
    (
        "model.depth",
        &["layers", "nlayers", "numlayers", "blocks", "nblocks"],
    ),
    ("model.n_heads", &["heads", "numheads", "attentionheads"]),
    ("model.patch", &["patchsize"]),
    (
        "model.channels",
        &["inchannels", "nchannels", "numchannels"],
    ),
    (
        "data.path",
        &["dataset", "datadir", "datapath", "root", "dir", "folder"],
    ),
    ("data.workers", &["numworkers", "nworkers"]),
    (
        "data.flip",
        &["hflip", "mirror", "horizontalflip", "randomflip"],
    ),
    (
        "log.folder",
        &[
            "out",
            "output",
            "outputdir",
            "outdir",
            "resultsdir",
            "logdir",
        ],
    ),
    (
        "log.checkpoint_every_steps",
        &[
            "ckptevery",
            "saveevery",
            "savesteps",
            "checkpointevery",
            "saveinterval",
        ],
    ),
];

/// Names of settings that do not exist here, and what to use instead.
const ELSEWHERE: [(&[&str], &str); 3] = [
    (
        &["epochs", "nepochs", "numepochs", "maxepochs"],
        "there are no epochs: train.steps is a number of steps of train.batch images each",
    ),
    (
        &["device", "gpu", "cuda", "backend"],
        "the flag --backend says where to compute",
    ),
    (
        &["resume", "checkpoint", "ckpt"],
        "the flag --resume goes on with a run",
    ),
];

/// What to do about the unknown `key`, whose table has the keys `known`: "did you mean train.steps?".
pub fn hint(key: &str, known: &'static [&'static str]) -> String {
    let (parent, last) = match key.rsplit_once('.') {
        Some((parent, last)) => (&key[..=parent.len()], last),
        None => ("", key),
    };
    if all().iter().any(|known| known == key) {
        return format!(
            "which is a key of another model.family{}",
            match parent {
                "model." => String::new(),
                _ => format!(" or table, not of {}", parent.trim_end_matches('.')),
            }
        );
    }
    named_elsewhere(key).unwrap_or_else(|| suggestion(last, known, parent))
}

/// The name of `key` here, if it lacks its table, is in another table, or is another program's name.
pub fn named_elsewhere(key: &str) -> Option<String> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let last = |key: &str| plain(key.rsplit('.').next().unwrap_or(key));
    let (name, end, all) = (last(key), format!(".{key}"), all());
    let is_a_word = |(_, words): &&(&str, &[&str])| words.contains(&&*name);
    let found = all
        .iter()
        .map(String::as_str)
        .find(|full| full.ends_with(&end));
    let found = found.or_else(|| SYNONYMS.iter().find(is_a_word).map(|(full, _)| *full));
    if let Some((_, hint)) = ELSEWHERE.iter().find(|(words, _)| words.contains(&&*name))
        && found.is_none()
    {
        return Some((*hint).to_owned());
    }
    let found = found.or_else(|| {
        all.iter()
            .map(String::as_str)
            .find(|full| last(full) == name)
    });
    found.map(|full| format!("did you mean {full}?"))
}

/// All keys of a configuration, those of `[train]` first.
fn all() -> Vec<String> {
    let mut keys = Vec::new();
    collect("", &mut keys);
    // Stable, so that the tables keep their order.
    keys.sort_by_key(|key| !key.starts_with("train."));
    keys
}

fn collect(table: &str, keys: &mut Vec<String>) {
    for field in fields(table).unwrap_or_default() {
        let key = if table.is_empty() {
            (*field).to_owned()
        } else {
            format!("{table}.{field}")
        };
        match fields(&key) {
            Some(_) => collect(&key, keys),
            None => keys.push(key),
        }
    }
}

/// The keys of the table `path`, taken from the error about a key that no table has; `None` if it is not a table.
fn fields(path: &str) -> Option<&'static [&'static str]> {
    const NO_KEY: &str = "\0";
    let key = if path.is_empty() {
        NO_KEY.to_owned()
    } else {
        format!("{path}.{NO_KEY}")
    };
    let error = try_value(&key, Value::Boolean(true))?;
    if error.key == key {
        error.known()
    } else {
        None
    }
}

/// Whether `key` takes any text, as paths do. Then the value of `--set data.path=2024` is a text, not a number.
pub fn takes_text(key: &str) -> bool {
    let is_part = |whole: &str| {
        key.strip_prefix(whole)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    try_value(key, Value::String("\0".to_owned())).is_none_or(|error| !is_part(&error.key))
}

/// The error of a configuration with this one value. Values are read before missing keys are noticed.
fn try_value(key: &str, value: Value) -> Option<KeyError> {
    let nest = |value, part: &str| Value::Table(Table::from_iter([(part.to_owned(), value)]));
    from_value::<RunConfig>(key.rsplit('.').fold(value, nest)).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_every_synonym_leads_to_one() {
        let all = all();
        for key in [
            "train.steps",
            "model.dim",
            "data.path",
            "log.preview.count",
            "transport.path",
        ] {
            assert!(
                all.iter().any(|known| known == key),
                "{key} is not in {all:?}"
            );
        }
        for (key, _) in SYNONYMS {
            assert!(
                all.iter().any(|known| known == key),
                "{key} is not in {all:?}"
            );
        }
        assert!(takes_text("data.path") && takes_text("log.folder"));
        for key in [
            "data.kind",
            "train.steps",
            "train.schedule",
            "data.flip",
            "train",
            "x.y",
        ] {
            assert!(!takes_text(key), "{key}");
        }
    }
}
