//! The steps from `wgsl/<stem>.wgsl` to Rust: expand, parse, validate, check, reflect.

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
    /// The `file:line` from which each line of `source` was expanded.
    pub origins: Vec<String>,
    pub module: naga::Module,
    pub info: ModuleInfo,
}

/// Parses and validates one expanded entry for plain WebGPU (no extensions).
pub fn compile(stem: &str, entry: &template::Entry) -> Result<Shader, String> {
    let path = format!("{stem}.wgsl ({} expanded)", entry.name);
    let source = entry.source.clone();
    // naga reports lines of the expanded text; map them to the file that has to be fixed.
    let origin = |location: Option<naga::SourceLocation>| {
        let origin = location.and_then(|at| entry.origins.get(at.line_number as usize - 1));
        origin.map_or(String::new(), |origin| format!("{origin}: "))
    };
    let module = naga::front::wgsl::parse_str(&source).map_err(|error| {
        let excerpt = error.emit_to_string_with_path(&source, &path);
        origin(error.location(&source)) + &excerpt
    })?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| {
            let excerpt = error.emit_to_string_with_path(&source, &path);
            origin(error.location(&source)) + &excerpt
        })?;
    if !matches!(&module.entry_points[..], [only] if only.name == entry.name) {
        let last = entry.origins.last().map_or(stem, |origin| origin);
        return Err(format!(
            "{last}: the section that ends here must hold exactly one entry point, named {}",
            entry.name
        ));
    }
    Ok(Shader {
        stem: stem.into(),
        entry: entry.name.clone(),
        source,
        origins: entry.origins.clone(),
        module,
        info,
    })
}
