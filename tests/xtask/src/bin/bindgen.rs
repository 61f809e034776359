//! `bindgen IN.wasm OUT/STEM`: the JavaScript side of a wasm module, `STEM.js` and `STEM_bg.wasm`.
//!
//! It is separate from the other chores, because it would make their build several times as long.

use anyhow::{Context, Result};
use std::path::PathBuf;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (wasm, stem) = args
        .next()
        .zip(args.next())
        .context("bindgen IN.wasm OUT/STEM")?;
    let folder = stem.parent().context("OUT/STEM")?;
    let name = stem
        .file_name()
        .and_then(|name| name.to_str())
        .context("OUT/STEM")?;
    std::fs::create_dir_all(folder)?;
    Bindgen::new()
        .input_path(wasm)
        .out_name(name)
        .web(true)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)
}
