//! Any text as a setting of `--set`, and as the configuration in a checkpoint's state.json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sit_trainer::config::{RunConfig, Source};

fuzz_target!(|text: &str| {
    let overrides: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(config) = RunConfig::load(Source::Preset("digits-smoke"), &overrides) {
        drop(config.validate());
        drop(config.to_toml());
    }
    if let Ok(config) = serde_json::from_str::<RunConfig>(text) {
        drop(config.validate());
        drop(config.to_toml());
    }
});
