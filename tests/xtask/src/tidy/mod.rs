//! `cargo xtask tidy`: rules that compilers do not check.

use crate::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the engine may use, lowest first. `error` is free for all.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("text", &[]),
    ("rng", &[]),
    ("num", &[]),
    ("shape", &[]),
    ("transport", &[]),
    ("analytic", &["rng", "transport"]),
    // Gradients that meet are added, so the graph knows one operation.
    ("graph", &["shape", "num", "ops"]),
    ("ops", &["graph", "shape", "num"]),
    ("backend", &["graph", "shape", "num", "ops"]),
    ("model", &["ops", "graph", "shape", "rng", "backend"]),
    (
        "checkpoint",
        &["model", "backend", "graph", "shape", "transport", "text"],
    ),
    ("optim", &["ops", "graph", "text"]),
    (
        "sample",
        &[
            "text",
            "backend",
            "model",
            "transport",
            "ops",
            "graph",
            "num",
            "rng",
            "shape",
        ],
    ),
    (
        "train",
        &[
            "backend",
            "model",
            "transport",
            "optim",
            "ops",
            "graph",
            "num",
            "rng",
        ],
    ),
];

/// Runs all checks and reports everything that is wrong.
pub fn run() -> Result<()> {
    let mut wrong = Vec::new();
    arrows(&mut wrong)?;
    stems(&mut wrong)?;
    architecture(&mut wrong)?;
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("tidy:\n  {}", wrong.join("\n  "))
}

/// All files below a folder with this ending.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Modules of the engine use only those below them.
fn arrows(wrong: &mut Vec<String>) -> Result<()> {
    let src = root().join("engine/src");
    for path in files(&src, ".rs")? {
        let inside = path.strip_prefix(&src)?;
        let module = inside.components().next().map(|c| {
            c.as_os_str()
                .to_string_lossy()
                .trim_end_matches(".rs")
                .to_owned()
        });
        let Some(module) = module.filter(|m| m != "lib") else {
            continue;
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!(
                "{}: {module} is not in the table of arrows",
                path.display()
            ));
            continue;
        };
        let text = fs::read_to_string(&path)?;
        // Tests may look anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (i, line) in code
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let known = ARROWS.iter().any(|(name, _)| *name == used);
                if known && used != module && used != "error" && !allowed.contains(&used.as_str()) {
                    wrong.push(format!(
                        "{}:{}: {module} may not use {used}",
                        path.display(),
                        i + 1
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Each WGSL file has its operation, each operation its WGSL file.
fn stems(wrong: &mut Vec<String>) -> Result<()> {
    let stems = |folder: &str, ending: &str| -> Result<BTreeSet<String>> {
        let folder = root().join(folder);
        let names = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let names = names.filter_map(|e| {
            e.ok()?
                .file_name()
                .to_str()?
                .strip_suffix(ending)
                .map(str::to_owned)
        });
        Ok(names.filter(|name| name != "mod").collect())
    };
    let (wgsl, ops) = (
        stems("shaders/wgsl", ".wgsl")?,
        stems("engine/src/ops", ".rs")?,
    );
    wrong.extend(
        wgsl.difference(&ops)
            .map(|stem| format!("shaders/wgsl/{stem}.wgsl has no engine/src/ops/{stem}.rs")),
    );
    wrong.extend(
        ops.difference(&wgsl)
            .map(|stem| format!("engine/src/ops/{stem}.rs has no shaders/wgsl/{stem}.wgsl")),
    );
    Ok(())
}

/// Every path in ARCHITECTURE.md exists, and every module of the engine is in it.
fn architecture(wrong: &mut Vec<String>) -> Result<()> {
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for word in text.split('`').skip(1).step_by(2) {
        let is_path = word.contains('/')
            && !word.contains([' ', '*', '<', '{', '$', ':', '='])
            && !word.starts_with("SiT");
        if is_path && !root().join(word).exists() {
            wrong.push(format!("ARCHITECTURE.md: there is no {word}"));
        }
    }
    for (module, _) in ARROWS {
        if !text.contains(&format!("`{module}`")) {
            wrong.push(format!(
                "ARCHITECTURE.md: does not mention the module `{module}` of the engine"
            ));
        }
    }
    Ok(())
}
