//! Opening files of weights, one or several of one model: `model-00001-of-00002.safetensors` beside `model.safetensors.index.json`.

use crate::config::WeightSet;
use crate::error::{Failure, Result};
use crate::run;
use serde::Deserialize;
use sit_engine::checkpoint::{Names, Reader};
use sit_engine::text::shown;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// An open file of weights, or all files of a model in parts.
pub type WeightFile = Reader<BufReader<File>>;

/// End of the names of files that list the parts of a model.
const INDEX: &str = ".index.json";

/// More bytes than any index has.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// More parts than a model has.
const MAX_PARTS: usize = 1000;

/// Opens a .safetensors or .pt file. If `path` is one part of a model in several files, their index, or the folder that holds it,
/// opens all parts.
///
/// # Errors
/// [`Failure::Input`] when it cannot be read or is no file of weights, or a part is missing.
pub fn open(path: &Path) -> Result<WeightFile> {
    let found = find(path)?;
    let open = |path: &PathBuf| Ok((shown(path), BufReader::new(open_file(path)?)));
    let files = found.parts.iter().map(open).collect::<Result<Vec<_>>>()?;
    let name = found.index.as_ref().map_or(path, |(index, _)| index);
    let mut weights = Reader::in_parts(shown(name), files)?;
    let has = weights.n_tensors();
    if let Some((index, wanted)) = found.index.filter(|(_, wanted)| *wanted != has) {
        return Err(refuse(
            &index,
            format_args!("names {wanted} tensors, its files have {has}"),
        ));
    }
    let first = found
        .parts
        .first()
        .filter(|_| weights.names() == Names::Diffusers);
    if let Some((path, json)) = first.map(|file| beside(file)).transpose()?.flatten()
        && weights.recipe()?.is_none()
    {
        let configured = weights.configure(&json);
        configured.map_err(|e| Failure::from(e).context(shown(path)))?;
    }
    Ok(weights)
}

/// Name of the file in which diffusers describes the weights beside it.
pub const CONFIG: &str = "config.json";

/// Name of diffusers' file of weights, which it writes as safetensors now and as `.bin` before.
pub const DIFFUSERS: &str = "diffusion_pytorch_model.safetensors";

/// More bytes than a configuration has.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The configuration beside a file of diffusers, if there is one, and its path.
///
/// # Errors
/// [`Failure::Input`] when it is too large or cannot be read.
pub fn beside(file: &Path) -> Result<Option<(PathBuf, String)>> {
    let path = file.with_file_name(CONFIG);
    let Ok(about) = fs::metadata(&path) else {
        return Ok(None);
    };
    if about.len() > MAX_CONFIG_BYTES {
        return Err(refuse(&path, "is no configuration: it is too large"));
    }
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(e) => Err(refuse(&path, format_args!("cannot be read: {e}"))),
    }
}

/// The file of weights in a folder of diffusers: that of a model, or of the part `part` of a pipeline.
pub fn of_diffusers(folder: &Path, part: &str) -> Option<PathBuf> {
    let names = [DIFFUSERS, "diffusion_pytorch_model.bin"];
    let folders = [folder.to_owned(), folder.join(part)];
    let mut files = folders
        .iter()
        .flat_map(|folder| names.map(|name| folder.join(name)));
    files.find(|file| file.is_file())
}

/// The part of a pipeline of diffusers that is a transformer.
const TRANSFORMER: &str = "transformer";

/// The files that [`open`] reads, as far as they are found.
pub fn files(path: &Path) -> Vec<PathBuf> {
    match find(path) {
        Ok(Files { parts, index }) => {
            let index = index.map(|(index, _)| index);
            parts.into_iter().chain(index).collect()
        }
        Err(_) => vec![path.to_owned()],
    }
}

/// The files of one model.
struct Files {
    parts: Vec<PathBuf>,
    /// The index file, and the number of tensors that it names.
    index: Option<(PathBuf, usize)>,
}

fn find(path: &Path) -> Result<Files> {
    if path.is_dir() {
        return match (index_in(path)?, of_diffusers(path, TRANSFORMER)) {
            (Some(index), _) => in_index(&index),
            (None, Some(file)) => Ok(Files {
                parts: vec![file],
                index: None,
            }),
            (None, None) => Err(refuse(
                path,
                "is a folder, expected a .safetensors or .pt file",
            )),
        };
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(INDEX) {
        return in_index(path);
    }
    match Part::of(&name) {
        Some(part) if path.is_file() => siblings(path, &part),
        _ => Ok(Files {
            parts: vec![path.to_owned()],
            index: None,
        }),
    }
}

/// The index in a folder that has the parts of a model.
///
/// # Errors
/// [`Failure::Input`] when there are several.
pub fn index_in(folder: &Path) -> Result<Option<PathBuf>> {
    let names = names(folder);
    let mut found = names.iter().filter(|name| name.ends_with(INDEX));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(index), None) => Ok(Some(folder.join(index))),
        (Some(one), Some(other)) => Err(refuse(
            folder,
            format_args!("has the indices {one} and {other}; give the one to read"),
        )),
    }
}

/// The name of these weights in a file of several sets.
pub fn set_name(which: WeightSet) -> &'static str {
    match which {
        WeightSet::Ema => "ema",
        WeightSet::Ema2 => "ema2",
        WeightSet::Raw => "model",
    }
}

/// Whether an argument is a run or a checkpoint, rather than a file of weights or the folder of a model in parts or of diffusers.
///
/// # Errors
/// [`Failure::Input`] for a folder with several models in parts.
pub fn is_run(path: &Path) -> Result<bool> {
    if !path.is_dir() || run::is_run(path) {
        return Ok(path.is_dir());
    }
    Ok(index_in(path)?.is_none() && of_diffusers(path, TRANSFORMER).is_none())
}

/// A line on the files of weights in a folder that is no run.
pub fn hint(folder: &Path) -> String {
    let endings = [".safetensors", ".pt", ".pth", ".ckpt", ".bin"];
    let mut names = names(folder);
    names.retain(|name| endings.iter().any(|ending| name.ends_with(ending)));
    match &names[..] {
        [] => String::new(),
        [name, ..] => format!(
            "\nit has files of weights; give one of them: {}",
            shown(folder.join(name))
        ),
    }
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn refuse(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {what}", shown(path)))
}

/// `STEM-00001-of-00002.ENDING`.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    stem: String,
    number: usize,
    count: usize,
    ending: String,
}

impl Part {
    fn of(name: &str) -> Option<Self> {
        let number = |digits: &str| {
            let five = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
            five.then(|| digits.parse().ok())?
        };
        let (rest, ending) = name.rsplit_once('.')?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, this) = rest.rsplit_once('-')?;
        let part = Part {
            stem: stem.to_owned(),
            number: number(this)?,
            count: number(count)?,
            ending: ending.to_owned(),
        };
        ((2..=MAX_PARTS).contains(&part.count) && (1..=part.count).contains(&part.number))
            .then_some(part)
    }

    fn name(&self, number: usize) -> String {
        format!(
            "{}-{number:05}-of-{:05}.{}",
            self.stem, self.count, self.ending
        )
    }
}

/// All parts of the model that `path` is a part of.
fn siblings(path: &Path, part: &Part) -> Result<Files> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let index = folder.join(format!("{}.{}{INDEX}", part.stem, part.ending));
    if index.is_file() {
        return in_index(&index);
    }
    let parts: Vec<PathBuf> = (1..=part.count)
        .map(|number| folder.join(part.name(number)))
        .collect();
    if let Some(missing) = parts.iter().find(|path| !path.is_file()) {
        return Err(refuse(
            path,
            format_args!(
                "is part {} of a model in {} files, of which {} is missing",
                part.number,
                part.count,
                shown(missing)
            ),
        ));
    }
    Ok(Files { parts, index: None })
}

/// What an index says, as Hugging Face writes it.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

fn in_index(path: &Path) -> Result<Files> {
    let mut json = String::new();
    let file = open_file(path)?;
    let read = file.take(MAX_INDEX_BYTES).read_to_string(&mut json);
    read.map_err(|e| refuse(path, format_args!("cannot be read: {e}")))?;
    let index: Index = serde_json::from_str(&json).map_err(|e| {
        refuse(
            path,
            format_args!("is not an index of files of weights: {e}"),
        )
    })?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    if files.is_empty() || files.len() > MAX_PARTS {
        return Err(refuse(
            path,
            format_args!("names {} files, expected 1 to {MAX_PARTS}", files.len()),
        ));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut parts = Vec::new();
    for file in files {
        // It must be a plain file name, not a path to another folder.
        if Path::new(file).file_name() != Some(file.as_ref()) {
            return Err(refuse(
                path,
                format_args!("names {file:?}, expected the name of a file beside it"),
            ));
        }
        let part = folder.join(file);
        if !part.is_file() {
            return Err(refuse(
                path,
                format_args!("names {}, which is missing beside it", shown(file)),
            ));
        }
        parts.push(part);
    }
    Ok(Files {
        parts,
        index: Some((path.to_owned(), index.weight_map.len())),
    })
}

fn open_file(path: &Path) -> Result<File> {
    // A pipe would wait for a writer, and cannot be read twice.
    let cannot = |e: std::io::Error| refuse(path, format_args!("cannot be opened: {e}"));
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(refuse(
            path,
            "is no regular file, expected .safetensors or .pt",
        ));
    }
    File::open(path).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let part = Part::of("model-00002-of-00003.safetensors").unwrap();
        assert_eq!(part.name(3), "model-00003-of-00003.safetensors");
        for whole in [
            "model.safetensors",
            "model-00001-of-00001.safetensors",
            "model-00003-of-00002.safetensors",
            "model-1-of-2.safetensors",
            "00001-of-00002.safetensors",
        ] {
            assert_eq!(Part::of(whole), None, "{whole}");
        }
    }
}
