//! The configurations that come with the program.

use super::ConfigError;
use super::value::suggestion;
use crate::data::DataConfig;
use sit_engine::model::{Dit, PRESETS, Preset};
use sit_engine::text::shown;
use toml::{Table, Value};

/// The configurations embedded in the program, besides those of the [`PUBLISHED`] models.
const EMBEDDED: [(&str, &str); 21] = [
    ("digits", include_str!("../../configs/digits.toml")),
    (
        "digits-unet",
        include_str!("../../configs/digits-unet.toml"),
    ),
    (
        "digits-one-step",
        include_str!("../../configs/digits-one-step.toml"),
    ),
    (
        "digits-four-steps",
        include_str!("../../configs/digits-four-steps.toml"),
    ),
    (
        "digits-reflow",
        include_str!("../../configs/digits-reflow.toml"),
    ),
    (
        "digits-data",
        include_str!("../../configs/digits-data.toml"),
    ),
    (
        "digits-classifier",
        include_str!("../../configs/digits-classifier.toml"),
    ),
    ("digits-edm", include_str!("../../configs/digits-edm.toml")),
    ("digits-ou", include_str!("../../configs/digits-ou.toml")),
    (
        "digits-smoke",
        include_str!("../../configs/digits-smoke.toml"),
    ),
    (
        "digits-ddpm",
        include_str!("../../configs/digits-ddpm.toml"),
    ),
    (
        "fashion-mnist",
        include_str!("../../configs/fashion-mnist.toml"),
    ),
    (
        "fashion-mnist-latents",
        include_str!("../../configs/fashion-mnist-latents.toml"),
    ),
    (
        "autoencoder-f4",
        include_str!("../../configs/autoencoder-f4.toml"),
    ),
    (
        "pictures-32",
        include_str!("../../configs/pictures-32.toml"),
    ),
    ("latents-8", include_str!("../../configs/latents-8.toml")),
    (
        "image-folder-64",
        include_str!("../../configs/image-folder-64.toml"),
    ),
    (
        "image-folder-64-unet",
        include_str!("../../configs/image-folder-64-unet.toml"),
    ),
    ("moons", include_str!("../../configs/moons.toml")),
    (
        "moons-to-rings",
        include_str!("../../configs/moons-to-rings.toml"),
    ),
    ("app-digits", include_str!("../../configs/app-digits.toml")),
];

/// The configurations of the published models, by the beginning of their names.
const PUBLISHED: [(&str, &str); 3] = [
    ("SiT-", include_str!("../../configs/sit.toml")),
    (
        "LightningDiT-",
        include_str!("../../configs/lightningdit.toml"),
    ),
    ("JiT-", include_str!("../../configs/jit.toml")),
];

/// The names of the presets.
pub fn preset_names() -> Vec<String> {
    EMBEDDED
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(published_names())
        .collect()
}

/// The published sizes, smallest first: `SiT-S/2`, ..., `SiT-XL/8`, then those of later models.
pub(super) fn published_names() -> impl Iterator<Item = String> {
    PRESETS.iter().flat_map(Preset::names)
}

/// The preset that was probably meant by a name given where a file is expected: an exact or a close match.
pub fn preset_called(name: &str) -> Option<String> {
    let plain = |name: &str| name.to_lowercase().replace('/', "-");
    let (name, names) = (plain(name), preset_names());
    let same = names.iter().find(|known| plain(known) == name);
    let near = |known: &&String| strsim::jaro_winkler(&plain(known), &name) > 0.93;
    same.or_else(|| names.iter().find(near)).cloned()
}

/// How to get the data of a preset that is not on this machine.
pub fn how_to_install(data: &DataConfig) -> Option<&'static str> {
    let (_, known) = preset("fashion-mnist").ok()?;
    let path = known.get("data")?.get("path")?.as_str()?;
    (data.path.as_deref()? == path).then_some(
        "on Debian and Ubuntu: apt-get install dataset-fashion-mnist\n\
         elsewhere: put the four files of Fashion-MNIST (train-images-idx3-ubyte.gz and so on) into a folder, and \
         --set data.path=FOLDER",
    )
}

/// The preset's proper name and its table.
pub(super) fn preset(name: &str) -> Result<(String, Table), ConfigError> {
    let parse = |text: &str| {
        text.parse::<Table>()
            .expect("the embedded configurations are valid, a test reads them")
    };
    let plain = |name: &str| name.to_lowercase().replace('/', "-");
    let wanted = plain(name);
    if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == wanted) {
        return Ok(((*name).to_owned(), parse(text)));
    }
    if let Some(name) = published_names().find(|name| plain(name) == wanted) {
        let text = PUBLISHED.iter().find(|(first, _)| name.starts_with(first));
        let (_, text) = text.expect("a test reads the configurations of all published models");
        let mut table = parse(text);
        let size = Dit::preset(&name).map_or(0, |size| size.input_size);
        let size = Value::Integer(size as i64);
        if let Some(Value::Table(model)) = table.get_mut("model") {
            model.insert("preset".to_owned(), Value::String(name.clone()));
            model.insert("input_size".to_owned(), size.clone());
        }
        // Latents have the size that they were encoded with.
        if let Some(Value::Table(data)) = table.get_mut("data")
            && data.contains_key("image_size")
        {
            data.insert("image_size".to_owned(), size);
        }
        return Ok((name, table));
    }
    let help = if name.ends_with(".toml") {
        "a configuration file stands alone, without --preset".to_owned()
    } else {
        suggestion(name, &preset_names(), "")
    };
    Err(ConfigError::new(format!(
        "--preset: unknown preset {}, {help}",
        shown(name)
    )))
}
