//! The command `sit`: bad input, files, resume.

mod archives;
mod autoencoder;
mod broken;
mod budget;
mod classes;
mod convert;
#[cfg(unix)]
mod count;
mod data;
mod ddpm;
mod distill;
mod ema;
mod eval;
mod eval_odd;
#[cfg(unix)]
mod evaluation;
#[cfg(unix)]
mod faults;
mod fid;
mod gpu;
mod guides;
mod init;
mod input;
#[cfg(unix)]
mod judge;
mod latents;
#[cfg(target_os = "linux")]
mod memory;
mod metrics;
mod nll;
mod outputs;
mod profile;
// Signals, limits and mounts.
#[cfg(unix)]
mod resume;
pub mod sample;
mod settings;
mod solver;
mod sweep;
pub mod tensors;
mod toys;
mod train;
mod vae;
mod weights;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Trains a tiny model on the digits for two steps, with a checkpoint after each, into `run`.
const TINY_RUN: &str = "train --preset digits-smoke --backend cpu --out run --set train.steps=2 \
     --set log.checkpoint_every_steps=1 --set log.preview.every_steps=0 --set model.dim=16 --set model.depth=1";

/// Everything below a folder: files with their content, folders without.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            if content.is_none() {
                folders.push(path.clone());
            }
            found.insert(path, content);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (path, content) in tree(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        match content {
            None => fs::create_dir_all(target).unwrap(),
            Some(content) => {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(target, content).unwrap();
            }
        }
    }
}

/// The measurements that depend on the clock.
const RATES: [&str; 4] = ["gflops_per_sec", "images_per_sec", "mfu", "steps_per_sec"];

/// The lines of a run's metrics without what depends on the clock.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for rate in RATES {
            let value = line.as_object_mut().unwrap().remove(rate);
            assert!(value.unwrap().as_f64().unwrap() > 0.0, "{rate}");
        }
        line
    };
    text.lines().map(line).collect()
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Names of a run's checkpoints.
fn checkpoints(run: &Path) -> Vec<String> {
    let mut names = names(run);
    names.retain(|name| name.starts_with("step-"));
    names
}
