//! `cargo xtask tidy`: rules that compilers do not check.

mod arrows;
mod circles;
mod uses;

use crate::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file.
const MAX_LINES: usize = 450;

/// Runs all checks and reports everything that is wrong.
pub fn run() -> Result<()> {
    let mut wrong = Vec::new();
    arrows::check(&mut wrong)?;
    circles::check(&mut wrong)?;
    lengths(&mut wrong)?;
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

/// No file is too long to be read in one go.
fn lengths(wrong: &mut Vec<String>) -> Result<()> {
    for folder in [
        "engine",
        "trainer/src",
        "app/src",
        "shaders",
        "web",
        "tests",
    ] {
        for path in files(&root().join(folder), ".rs")? {
            let n = fs::read_to_string(&path)?.lines().count();
            let name = path.strip_prefix(root())?.to_string_lossy();
            if n > MAX_LINES {
                wrong.push(format!("{name}: {n} lines, at most {MAX_LINES}"));
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

/// Checks that every path in ARCHITECTURE.md exists, and that it lists every module of the engine.
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
    for (module, _) in arrows::ENGINE {
        if !text.contains(&format!("`{module}`")) {
            wrong.push(format!(
                "ARCHITECTURE.md: does not mention the module `{module}` of the engine"
            ));
        }
    }
    Ok(())
}
