//! Where a configuration comes from: a file or a preset, then `--set key=value`.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::path::PathBuf;

use sit_engine::model::Dit;
use sit_engine::text::shown;
#[cfg(not(target_arch = "wasm32"))]
use sit_engine::transport::PathTable;
use toml::{Table, Value};

use super::keys::{named_elsewhere, takes_text};
use super::nesting::nests_too_deep;
use super::number;
use super::presets::{preset, published_names};
use super::value::{KeyError, from_value, suggestion};
use super::{AUTO, ConfigError, RunConfig};
use crate::data::DataConfig;

/// A preset's name or a file's path.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// One of [`preset_names`](super::preset_names), in any case; `sit-s-2` is `SiT-S/2`.
    Preset(&'a str),
    /// A TOML file.
    #[cfg(not(target_arch = "wasm32"))]
    File(&'a Path),
    /// A configuration that was loaded and saved earlier, and its origin.
    Saved(&'a str, &'a RunConfig),
}

impl RunConfig {
    /// Reads a file or a preset, changes it by `overrides` (`key=value`, the key dotted and the value in TOML or a bare
    /// string), and fills in the defaults. It still has to be validated.
    ///
    /// # Errors
    /// [`ConfigError`] for an unreadable file, a syntax error, an unknown key or preset, or a value of the wrong type.
    pub fn load(source: Source, overrides: &[String]) -> Result<Self, ConfigError> {
        let (name, mut table) = match source {
            Source::Preset(name) => preset(name)?,
            #[cfg(not(target_arch = "wasm32"))]
            Source::File(path) => {
                let stem = path.file_stem().unwrap_or(path.as_os_str());
                (
                    stem.to_string_lossy().into_owned(),
                    super::file::read(path)?,
                )
            }
            Source::Saved(origin, config) => {
                let refuse = |error| ConfigError::new(format!("{origin}: {error}"));
                ("run".to_owned(), config.to_table().map_err(refuse)?)
            }
        };
        for text in overrides {
            apply(&mut table, text)?;
        }
        let blame = |message: String| source.blame(overrides, &ConfigError::new(message));
        complete_model(&mut table, overrides).map_err(blame)?;
        complete_data(&mut table);
        #[cfg(not(target_arch = "wasm32"))]
        read_path(&mut table).map_err(blame)?;
        shorten_warmup(&mut table, source, overrides);
        let is_auto = auto_classes(&mut table);
        let mut config: Self =
            from_value(Value::Table(table)).map_err(|error| blame(unknown(&error, overrides)))?;
        match config.data.n_classes {
            Some(n_classes) if is_auto => config.model.set_n_classes(n_classes),
            None if !is_auto => config.data.n_classes = Some(config.model.io().n_classes),
            _ => {}
        }
        if config.trains_autoencoder() {
            config.autoencoder.get_or_insert_default();
            if is_auto {
                config.data.n_classes.get_or_insert(0);
            }
        }
        if !matches!(source, Source::Saved(..)) {
            config.data.settle();
        }
        let folder = name.to_lowercase().replace('/', "-");
        config
            .log
            .folder
            .get_or_insert_with(|| PathBuf::from("runs").join(folder));
        Ok(config)
    }
}

/// The `[data]` table `data`, changed by `overrides` of its keys (`data.key=value`).
///
/// # Errors
/// [`ConfigError`] for an unknown key, a key of another table, or a value of the wrong type.
pub fn data_with(data: &DataConfig, overrides: &[String]) -> Result<DataConfig, ConfigError> {
    let own = Table::try_from(data).map_err(|e| ConfigError::new(e.to_string()))?;
    let mut table = Table::from_iter([("data".to_owned(), Value::Table(own))]);
    for text in overrides {
        if !set_key(text).starts_with("data.") {
            return Err(ConfigError::new(format!(
                "--set {}: expected a key of the table data, such as data.image_size=64",
                shown(text)
            )));
        }
        apply(&mut table, text)?;
    }
    let own = table.remove("data").unwrap_or(Value::Table(Table::new()));
    let changed: DataConfig =
        from_value(own).map_err(|error| ConfigError::new(format!("data.{error}")))?;
    changed
        .check()
        .map_err(|error| ConfigError::new(error.to_string()))?;
    Ok(changed)
}

impl Source<'_> {
    /// Prefixes the error with the source of the wrong value: the last `--set` of its key or of another key that the message names,
    /// else the file or the preset.
    pub fn blame(&self, overrides: &[String], error: &ConfigError) -> ConfigError {
        let message = error.to_string();
        let keys = message.split(|c: char| !(c.is_alphanumeric() || "_-.[]".contains(c)));
        let set_by = |key: &str| {
            overrides.iter().rev().find(|text| {
                let set = set_key(text);
                is_within(key, set) || is_within(set, key)
            })
        };
        let flag = keys.filter(|key| !key.is_empty()).find_map(set_by);
        ConfigError::new(match (flag, self) {
            (Some(text), _) => format!("--set {}: {message}", shown(text)),
            (None, Source::Preset(name)) => format!("preset {}: {message}", shown(name)),
            #[cfg(not(target_arch = "wasm32"))]
            (None, Source::File(path)) => format!("{}: {message}", shown(path)),
            (None, Source::Saved(origin, _)) => format!("{origin}: {message}"),
        })
    }
}

/// The message of an error. If a flag names a table that does not exist, its whole key is used to find what was meant.
fn unknown(error: &KeyError, overrides: &[String]) -> String {
    let flag = overrides.iter().find_map(|text| {
        let set = set_key(text);
        (set != error.key && is_within(set, &error.key)).then_some(set)
    });
    let hint = flag
        .filter(|_| error.known().is_some())
        .and_then(named_elsewhere);
    match hint {
        Some(hint) => format!("unknown key {}, {hint}", shown(&error.key)),
        None => error.to_string(),
    }
}

/// The key of a change `key=value`.
pub fn set_key(text: &str) -> &str {
    text.split('=').next().unwrap_or_default().trim()
}

/// Whether `key` is `parent` or a part of it.
fn is_within(key: &str, parent: &str) -> bool {
    key.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The most parts of a key: `log.preview.count` has the most. Thousands of parts would nest tables too deep for the stack.
const MAX_PARTS: usize = 3;

/// Changes one value.
fn apply(table: &mut Table, text: &str) -> Result<(), ConfigError> {
    let refuse = |message: &str| ConfigError::new(format!("--set {}: {message}", shown(text)));
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| refuse("expected key=value, such as train.steps=100"))?;
    let (key, value) = (key.trim(), value.trim());
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(refuse("expected a key, such as train.steps=100"));
    }
    if parts.len() > MAX_PARTS {
        let n = parts.len();
        return Err(refuse(&format!(
            "got a key of {n} parts, expected at most {MAX_PARTS}"
        )));
    }
    if value.is_empty() {
        return Err(refuse(&format!("got no value, expected {key}=VALUE")));
    }
    let (last, tables) = parts.split_last().expect("a split has a part");
    let mut table = table;
    for part in tables {
        let next = table
            .entry(*part)
            .or_insert_with(|| Value::Table(Table::new()));
        table = next
            .as_table_mut()
            .ok_or_else(|| refuse(&format!("{part} is a value, not a table")))?;
    }
    if nests_too_deep(value) {
        return Err(refuse("too many points and brackets for a value"));
    }
    let value = parse(key, value);
    if value.is_table() {
        return Err(refuse("expected one value, such as train.steps=100"));
    }
    table.insert((*last).to_owned(), value);
    Ok(())
}

/// A value in TOML, else the text itself.
fn parse(key: &str, text: &str) -> Value {
    let bare = || Value::String(text.to_owned());
    let parsed = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    match parsed {
        Some(value @ (Value::String(_) | Value::Array(_) | Value::Table(_))) => value,
        Some(value) if !takes_text(key) => value,
        _ => bare(),
    }
}

/// Reads the table of `transport.path = "file:TABLE"`: lines of t, alpha and sigma. The run's own configuration then has the rows.
#[cfg(not(target_arch = "wasm32"))]
fn read_path(table: &mut Table) -> Result<(), String> {
    let Some(Value::Table(transport)) = table.get_mut("transport") else {
        return Ok(());
    };
    let path = transport.get("path").and_then(Value::as_str);
    let Some(file) = path.and_then(|path| path.strip_prefix("file:")) else {
        return Ok(());
    };
    let rows = crate::columns::read::<3>(Path::new(file), "t, alpha and sigma");
    let rows = rows.map_err(|e| format!("transport.path: {e}"))?;
    PathTable::new(rows.clone()).map_err(|e| format!("transport.path: {}: {e}", shown(file)))?;
    let rows = rows
        .into_iter()
        .map(|row| Value::Array(row.map(Value::Float).to_vec()));
    transport.insert("path_table".to_owned(), Value::Array(rows.collect()));
    transport.insert("path".to_owned(), Value::String("table".to_owned()));
    Ok(())
}

/// If `--set` makes a run shorter than the warm-up of its preset or file, sets the warm-up to a twentieth of the steps.
fn shorten_warmup(table: &mut Table, source: Source, overrides: &[String]) {
    let is_set = |name: &str| overrides.iter().any(|text| set_key(text) == name);
    if matches!(source, Source::Saved(..)) || is_set("train.warmup_steps") {
        return;
    }
    let steps = overrides
        .iter()
        .rev()
        .find(|text| set_key(text) == "train.steps");
    let steps = steps.and_then(|text| number::whole(text.split_once('=')?.1));
    let Some(Value::Table(train)) = table.get_mut("train") else {
        return;
    };
    if let (Some(steps), Some(warmup)) =
        (steps, train.get("warmup_steps").and_then(Value::as_integer))
        && steps > 0
        && steps < i128::from(warmup)
    {
        let shorter = (steps / 20).max(1) as i64;
        #[cfg(not(target_arch = "wasm32"))]
        tracing::warn!(
            "train.warmup_steps is {shorter} instead of {warmup}: the run has {steps} steps; --set train.warmup_steps=N sets another"
        );
        train.insert("warmup_steps".to_owned(), Value::Integer(shorter));
    }
}

/// A path such as `toy:moons` says the kind of data where nothing else does.
fn complete_data(table: &mut Table) {
    if let Some(Value::Table(data)) = table.get_mut("data")
        && !data.contains_key("kind")
        && data
            .get("path")
            .and_then(Value::as_str)
            .is_some_and(|path| path.starts_with("toy:"))
    {
        data.insert("kind".to_owned(), Value::String("toy".to_owned()));
    }
}

/// Whether the number of classes comes from the data: `model.n_classes = "auto"`, or no such key. It is 0 until the data is opened.
fn auto_classes(table: &mut Table) -> bool {
    let is_auto = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.eq_ignore_ascii_case(AUTO))
    };
    if let Some(Value::Table(data)) = table.get_mut("data")
        && data.get("n_classes").is_some_and(is_auto)
    {
        data.remove("n_classes");
    }
    let Some(Value::Table(model)) = table.get_mut("model") else {
        return false;
    };
    let is_auto = model.get("n_classes").is_none_or(is_auto);
    if is_auto && family_of(model) != AUTOENCODER {
        model.insert("n_classes".to_owned(), Value::Integer(0));
    }
    is_auto
}

/// The value of `model.family` whose table has neither classes nor a sigma.
const AUTOENCODER: &str = "autoencoder";

fn family_of(model: &Table) -> String {
    let family = model.get("family").and_then(Value::as_str);
    family.unwrap_or("dit").to_lowercase()
}

/// Replaces `model.preset` by the sizes it stands for, where they are not given, and sets `model.learn_sigma`'s default.
fn complete_model(table: &mut Table, overrides: &[String]) -> Result<(), String> {
    let Some(Value::Table(model)) = table.get_mut("model") else {
        return Ok(());
    };
    let family = family_of(model);
    if model.contains_key("preset") && !["dit", "classifier"].contains(&&family[..]) {
        return Err(format!(
            "model.preset: the presets are sizes of a DiT, and model.family is {}; give the sizes",
            shown(&family)
        ));
    }
    if let Some(preset) = model.remove("preset") {
        let name = preset
            .as_str()
            .ok_or_else(|| format!("model.preset: got {preset}, expected a name in quotes"))?;
        let size = Dit::preset(name).ok_or_else(|| {
            let names: Vec<String> = published_names().collect();
            format!(
                "model.preset: unknown preset {}, {}",
                shown(name),
                suggestion(name, &names, "")
            )
        })?;
        // What the data decides is not the preset's. Settings that are the defaults are not in the table.
        const OF_DATA: [&str; 3] = ["input_size", "channels", "n_classes"];
        let mut keys = Table::try_from(size).map_err(|e| e.to_string())?;
        keys.retain(|key, _| !OF_DATA.contains(&key));
        let is_set = |key: &str| overrides.iter().any(|text| set_key(text) == key);
        // A preset that a flag names goes before the sizes of the file.
        if is_set("model.preset") {
            model.retain(|key, _| OF_DATA.contains(&key) || is_set(&format!("model.{key}")));
        }
        for (key, value) in keys {
            model.entry(key).or_insert(value);
        }
    }
    if family == AUTOENCODER {
        return Ok(());
    }
    // A classifier has no last layer with a half for sigma.
    let has_sigma = family != "classifier";
    model
        .entry("learn_sigma")
        .or_insert(Value::Boolean(has_sigma));
    Ok(())
}
