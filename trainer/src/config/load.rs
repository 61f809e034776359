//! Where a configuration comes from: a file or a preset, then `--set key=value`.

use std::fs;
use std::path::{Path, PathBuf};

use sit_engine::model::{ModelConfig, PRESETS};
use toml::{Table, Value};

use super::value::{from_value, suggestion};
use super::{AUTO, ConfigError, RunConfig};

/// The configurations embedded in the program. [`SIT`] stands for the twelve published sizes.
const EMBEDDED: [(&str, &str); 5] = [
    ("digits", include_str!("../../configs/digits.toml")),
    (
        "digits-smoke",
        include_str!("../../configs/digits-smoke.toml"),
    ),
    (
        "fashion-mnist",
        include_str!("../../configs/fashion-mnist.toml"),
    ),
    (
        "image-folder-64",
        include_str!("../../configs/image-folder-64.toml"),
    ),
    ("app-digits", include_str!("../../configs/app-digits.toml")),
];

const SIT: &str = include_str!("../../configs/sit.toml");

/// A preset's name or a file's path.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// One of [`preset_names`], in any case; `sit-s-2` is `SiT-S/2`.
    Preset(&'a str),
    /// A TOML file.
    File(&'a Path),
    /// What was loaded before and saved, and where.
    Saved(&'a str, &'a RunConfig),
}

/// The names of the presets.
pub fn preset_names() -> Vec<String> {
    EMBEDDED
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(sit_names())
        .collect()
}

/// The published sizes, smallest first: `SiT-S/2`, ..., `SiT-XL/8`.
fn sit_names() -> impl Iterator<Item = String> {
    PRESETS
        .iter()
        .flat_map(|preset| [2, 4, 8].map(|patch| format!("{}/{patch}", preset.name)))
}

impl RunConfig {
    /// Reads a file or a preset, changes it by `overrides` (`key=value`, the key dotted and the value in TOML or a bare
    /// string), and fills in the defaults. It still has to be validated.
    ///
    /// # Errors
    /// [`ConfigError`] for an unreadable file, a syntax error, an unknown key or preset, or a value of the wrong type.
    pub fn load(source: Source, overrides: &[String]) -> Result<Self, ConfigError> {
        let (origin, name, mut table) = match source {
            Source::Preset(name) => {
                let (name, table) = preset(name)?;
                (format!("preset {name}"), name, table)
            }
            Source::File(path) => {
                let stem = path.file_stem().unwrap_or(path.as_os_str());
                (
                    path.display().to_string(),
                    stem.to_string_lossy().into_owned(),
                    read(path)?,
                )
            }
            Source::Saved(origin, config) => {
                let refuse = |error| ConfigError::new(format!("{origin}: {error}"));
                let table = config.to_table().map_err(refuse)?;
                (origin.to_owned(), "run".to_owned(), table)
            }
        };
        let mut set = Vec::new();
        for text in overrides {
            set.push((apply(&mut table, text)?, text));
        }
        // A wrong value is the fault of the flag that set it, else of the file.
        let blame = |key: &str, message: String| {
            let flag = set
                .iter()
                .rev()
                .find(|(set, _)| is_within(key, set) || is_within(set, key));
            match flag {
                Some((_, text)) => ConfigError::new(format!("--set {text}: {message}")),
                None => ConfigError::new(format!("{origin}: {message}")),
            }
        };
        complete_model(&mut table).map_err(|message| blame("model.preset", message))?;
        let is_auto = auto_classes(&mut table);
        let mut config: Self = from_value(Value::Table(table))
            .map_err(|error| blame(&error.key, error.to_string()))?;
        match config.data.n_classes {
            Some(n_classes) if is_auto => config.model.n_classes = n_classes,
            None if !is_auto => config.data.n_classes = Some(config.model.n_classes),
            _ => {}
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

/// Whether `key` is `parent` or a part of it.
fn is_within(key: &str, parent: &str) -> bool {
    key.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let refuse = |message: String| ConfigError::new(format!("{}: {message}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    text.parse()
        .map_err(|error: toml::de::Error| refuse(error.to_string()))
}

/// The preset's proper name and its table.
fn preset(name: &str) -> Result<(String, Table), ConfigError> {
    let parse = |text: &str| {
        text.parse::<Table>()
            .expect("the embedded configurations are valid, a test reads them")
    };
    let plain = |name: &str| name.to_lowercase().replace('/', "-");
    let wanted = plain(name);
    if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == wanted) {
        return Ok(((*name).to_owned(), parse(text)));
    }
    if let Some(name) = sit_names().find(|name| plain(name) == wanted) {
        let mut table = parse(SIT);
        if let Some(Value::Table(model)) = table.get_mut("model") {
            model.insert("preset".to_owned(), Value::String(name.clone()));
        }
        return Ok((name, table));
    }
    Err(ConfigError::new(format!(
        "--preset: unknown preset {name}, {}",
        suggestion(name, &preset_names(), "")
    )))
}

/// Changes one value and returns its key.
fn apply(table: &mut Table, text: &str) -> Result<String, ConfigError> {
    let refuse = |message: &str| ConfigError::new(format!("--set {text}: {message}"));
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| refuse("expected key=value, such as train.steps=100"))?;
    let (key, value) = (key.trim(), value.trim());
    let parsed = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1);
    let value = parsed
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let (tables, last) = key
        .rsplit_once('.')
        .map_or((None, key), |(tables, last)| (Some(tables), last));
    let mut table = table;
    for part in tables.into_iter().flat_map(|tables| tables.split('.')) {
        let next = table
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()));
        table = next
            .as_table_mut()
            .ok_or_else(|| refuse(&format!("{part} is a value, not a table")))?;
    }
    table.insert(last.to_owned(), value);
    Ok(key.to_owned())
}

/// Whether the data decides on the number of classes: `model.n_classes = "auto"`, or no such key. It is 0 until then.
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
    if is_auto {
        model.insert("n_classes".to_owned(), Value::Integer(0));
    }
    is_auto
}

/// Replaces `model.preset` by the sizes it stands for, where they are not given, and sets `model.learn_sigma`'s default.
fn complete_model(table: &mut Table) -> Result<(), String> {
    let Some(Value::Table(model)) = table.get_mut("model") else {
        return Ok(());
    };
    if let Some(preset) = model.remove("preset") {
        let name = preset
            .as_str()
            .ok_or_else(|| format!("model.preset: got {preset}, expected a name in quotes"))?;
        let size = ModelConfig::preset(name).ok_or_else(|| {
            let names: Vec<String> = sit_names().collect();
            format!(
                "model.preset: unknown preset {name}, {}",
                suggestion(name, &names, "")
            )
        })?;
        let keys = [
            ("patch", size.patch),
            ("dim", size.dim),
            ("depth", size.depth),
            ("n_heads", size.n_heads),
        ];
        for (key, value) in keys {
            model.entry(key).or_insert(Value::Integer(value as i64));
        }
    }
    model.entry("learn_sigma").or_insert(Value::Boolean(true));
    Ok(())
}
