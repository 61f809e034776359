//! Turns `wgsl/*.wgsl` into validated, reflected Rust data; an error fails `cargo check` with naga's excerpt of the source.

#[path = "build/mod.rs"]
mod build;
#[path = "build/platforms.rs"]
mod platforms;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=wgsl");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let shaders = shaders()?;
    let mut table = String::new();
    for shader in &shaders {
        table += &platforms::write(shader)?;
        write(
            &out_dir.join(format!("{}.wgsl", shader.entry)),
            &shader.source,
        )?;
    }
    write(&out_dir.join("platforms.txt"), &table)?;
    let include = |shader: &build::Shader| {
        format!(
            "include_str!(concat!(env!(\"OUT_DIR\"), \"/{}.wgsl\"))",
            shader.entry
        )
    };
    write(
        &out_dir.join("generated.rs"),
        &build::reflect::generate(&shaders, include)?,
    )
}

/// All entry points of all files; the errors of all files are reported together.
fn shaders() -> Result<Vec<build::Shader>, String> {
    let root = Path::new("wgsl");
    let mut files: Vec<PathBuf> = fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| format!("{}: {error}", root.display()))?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wgsl")
    });
    files.sort();
    let (mut shaders, mut errors) = (Vec::new(), Vec::new());
    for path in files {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = format!("{stem}.wgsl");
        match read(&path).and_then(|text| {
            build::template::expand(&name, &text, &|include| read(&root.join(include)))
        }) {
            Err(error) => errors.push(error),
            Ok(entries) => {
                for entry in entries {
                    let checked = build::compile(&stem, &entry)
                        .and_then(|shader| build::check::check(&shader).map(|()| shader));
                    match checked {
                        Ok(shader) => shaders.push(shader),
                        Err(error) => errors.push(error),
                    }
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(shaders)
    } else {
        Err(errors.join("\n"))
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
