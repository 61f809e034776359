//! From `wgsl/<stem>.wgsl` to Rust: expand, parse, validate, check, reflect.

pub mod check;
pub mod reflect;
pub mod template;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// A parsed and validated module with exactly one entry point.
pub struct Shader {
    /// File stem, e.g. `linear`.
    pub stem: String,
    /// Entry point, e.g. `linear_fwd_64`.
    pub entry: String,
    /// Expanded WGSL.
    pub source: String,
    pub module: naga::Module,
    pub info: ModuleInfo,
}

/// Parses and validates one expanded entry for plain WebGPU (no extensions).
pub fn compile(stem: &str, entry: &template::Entry) -> Result<Shader, String> {
    let path = format!("{stem}.wgsl ({} expanded)", entry.name);
    let source = entry.source.clone();
    let module = naga::front::wgsl::parse_str(&source)
        .map_err(|error| error.emit_to_string_with_path(&source, &path))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| error.emit_to_string_with_path(&source, &path))?;
    if !matches!(&module.entry_points[..], [only] if only.name == entry.name) {
        return Err(format!(
            "{path}: the section must hold exactly one entry point, named {}",
            entry.name
        ));
    }
    Ok(Shader {
        stem: stem.into(),
        entry: entry.name.clone(),
        source,
        module,
        info,
    })
}
