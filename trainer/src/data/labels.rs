//! Labels in a file beside the images: StyleGAN's `dataset.json`, and `metadata.csv` or `metadata.jsonl` as Hugging Face's image
//! folders have them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DataError;
use super::item::Item;
use super::names::LABEL_FILES;
use sit_engine::text::{count, shown};

/// Columns that name an image, and columns that hold its class.
const FILE_COLUMNS: [&str; 5] = ["file_name", "filename", "file", "image", "path"];
pub const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "class", "category"];

/// The greatest label that is a number.
const MOST: u32 = 999_999;

/// The labels that a file states for the images beside it.
#[derive(Debug)]
pub struct Labels {
    source: PathBuf,
    /// By the image's path below the folder, with `/`.
    by_file: HashMap<String, Label>,
}

/// The classes that a file of labels gives the images of a folder.
#[derive(Debug)]
pub struct Labelled {
    /// The file.
    pub source: PathBuf,
    /// Names of the classes, in order: sorted texts, or the numbers from 0 on.
    pub names: Vec<String>,
    /// Whether labels are numbers.
    pub are_numbers: bool,
}

/// What is said of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Label {
    /// The number of its class.
    Number(u32),
    /// The name of its class; where all names are numbers, these.
    Text(String),
}

impl Label {
    /// A number; `None` for negative ones, by which Hugging Face's data sets say that there is no label.
    pub fn number(number: i64) -> Option<Self> {
        let number = u64::try_from(number).ok()?;
        Some(Label::Number(number.try_into().unwrap_or(u32::MAX)))
    }
}

/// The label in a JSON object that describes an image, or what stands in its place.
pub fn label_in(object: &HashMap<String, serde_json::Value>) -> Result<Option<Label>, String> {
    let names = LABEL_COLUMNS.iter().chain(&["cls"]);
    let Some(label) = names.into_iter().find_map(|name| object.get(*name)) else {
        return Ok(None);
    };
    if label.is_null() {
        return Ok(None);
    }
    let label = Label::deserialize(label).map_err(|_| shown(label.to_string()))?;
    Ok(Some(label))
}

impl Labels {
    /// The labels by path of the images below `root`, which states them.
    pub fn of(root: &Path, labels: HashMap<PathBuf, Label>) -> Self {
        let labels = labels.into_iter();
        Self {
            source: root.to_owned(),
            by_file: labels
                .map(|(path, label)| (key(root, &path), label))
                .collect(),
        }
    }

    /// Reads the labels of the images in `root`; `None` without such a file, or one without labels.
    ///
    /// # Errors
    /// A file that cannot be read, or that does not name files and labels.
    pub fn read(root: &Path) -> Result<Option<Self>, DataError> {
        for name in LABEL_FILES {
            let source = root.join(name);
            if !source.is_file() {
                continue;
            }
            let bytes = fs::read(&source).map_err(|error| DataError::io(&source, error))?;
            // Windows editors begin with a byte order mark.
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            let refuse = |got: String, expected: &str| DataError::content(&source, got, expected);
            let pairs = match name {
                "dataset.json" => json(bytes, &refuse)?,
                "metadata.csv" => table(bytes, &refuse)?,
                _ => lines(bytes, &refuse)?,
            };
            if let Some(pairs) = pairs {
                let mut by_file = HashMap::new();
                // An empty cell is no label.
                let is_some = |label: &Label| *label != Label::Text(String::new());
                for (file, label) in pairs.into_iter().filter(|(_, label)| is_some(label)) {
                    let file = file.replace('\\', "/").trim_start_matches("./").to_owned();
                    if by_file.get(&file).is_some_and(|known| *known != label) {
                        let got = format!("two labels of {}", shown(&file));
                        return Err(refuse(got, "one label for each image"));
                    }
                    by_file.insert(file, label);
                }
                return Ok(Some(Self { source, by_file }));
            }
        }
        Ok(None)
    }

    /// Gives each image of `files`, below `root`, its label; those without one are dropped if `skip_bad`.
    ///
    /// # Errors
    /// Images without a label, or labels that are partly numbers and partly texts.
    pub fn apply(
        self,
        root: &Path,
        files: &mut Vec<Item>,
        skip_bad: bool,
    ) -> Result<Labelled, DataError> {
        let Self { source, by_file } = self;
        let are_numbers = by_file.values().all(|label| match label {
            Label::Number(_) => true,
            Label::Text(text) => text.parse::<u32>().is_ok(),
        });
        let label = |path: &Path| by_file.get(&key(root, path));
        let n_images = files.len();
        let without: Vec<PathBuf> = files
            .iter()
            .filter(|item| label(&item.path).is_none())
            .map(|item| item.path.clone())
            .collect();
        if !without.is_empty() {
            let example = shown(&without[0]);
            let got = format!(
                "no label for {} of {}, such as {example}",
                without.len(),
                count(n_images, "image")
            );
            if !skip_bad || without.len() == n_images {
                let expected = "one for each; data.skip_bad = true leaves those out, data.n_classes = 0 ignores labels";
                return Err(DataError::content(&source, got, expected));
            }
            tracing::warn!("{}: {got}; they are left out", shown(&source));
            files.retain(|item| label(&item.path).is_some());
        }
        if by_file.len() > files.len() {
            let n = by_file.len() - files.len();
            tracing::warn!(
                "{}: {n} labels of images that are not there",
                shown(&source)
            );
        }
        let text = |label: &Label| match label {
            Label::Number(number) => number.to_string(),
            Label::Text(text) => text.clone(),
        };
        let names: Vec<String> = match are_numbers {
            true => Vec::new(),
            false => {
                let names: BTreeSet<String> = files
                    .iter()
                    .filter_map(|item| label(&item.path))
                    .map(text)
                    .collect();
                names.into_iter().collect()
            }
        };
        let mut most = 0;
        for Item {
            path, label: class, ..
        } in files.iter_mut()
        {
            // Images without a label were removed above.
            let Some(label) = by_file.get(&key(root, path)) else {
                continue;
            };
            let text = text(label);
            *class = match are_numbers {
                true => text.parse().unwrap_or(u32::MAX),
                false => names.binary_search(&text).unwrap_or_default() as u32,
            };
            if are_numbers && *class > MOST {
                let got = format!("the label {text} of {}", shown(&path));
                return Err(DataError::content(
                    &source,
                    got,
                    format!("labels up to {MOST}"),
                ));
            }
            most = most.max(*class);
        }
        let names = match are_numbers {
            true => (0..=most).map(|label| label.to_string()).collect(),
            false => names,
        };
        Ok(Labelled {
            source,
            names,
            are_numbers,
        })
    }
}

/// The path below the folder, with `/`.
fn key(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

type Pairs = Option<Vec<(String, Label)>>;
type Refuse<'a> = &'a dyn Fn(String, &str) -> DataError;

/// `{"labels": [["00000/img00000000.png", 6], ...]}`, or an object of names and labels; `null` is none.
fn json(bytes: &[u8], refuse: Refuse) -> Result<Pairs, DataError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Pairs(Vec<(String, Label)>),
        Object(HashMap<String, Label>),
    }
    #[derive(Deserialize)]
    struct File {
        labels: Option<List>,
    }
    let file: File = serde_json::from_slice(bytes).map_err(|error| {
        let expected = "{\"labels\": [[\"00000/img00000000.png\", 6], ...]}, a whole number or a name for each image";
        refuse(format!("other JSON ({error})"), expected)
    })?;
    Ok(file.labels.map(|list| match list {
        List::Pairs(pairs) => pairs,
        List::Object(object) => object.into_iter().collect(),
    }))
}

fn table(bytes: &[u8], refuse: Refuse) -> Result<Pairs, DataError> {
    let bad = |error: csv::Error| {
        refuse(
            format!("a row that cannot be read ({error})"),
            "rows of as many values as columns",
        )
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let headers = reader.headers().map_err(bad)?.clone();
    let column = |known: &[&str]| {
        let is = |name: &&&str| {
            headers
                .iter()
                .any(|header| header.eq_ignore_ascii_case(name))
        };
        let name = known.iter().find(is)?;
        headers
            .iter()
            .position(|header| header.eq_ignore_ascii_case(name))
    };
    let Some(label) = column(&LABEL_COLUMNS) else {
        return Ok(None);
    };
    let Some(file) = column(&FILE_COLUMNS) else {
        let names: Vec<String> = headers.iter().map(shown).collect();
        return Err(refuse(
            format!("the columns {}", names.join(", ")),
            "a column file_name beside the labels",
        ));
    };
    let pair = |row: csv::Result<csv::StringRecord>| {
        let row = row.map_err(bad)?;
        Ok((row[file].to_owned(), Label::Text(row[label].to_owned())))
    };
    reader
        .records()
        .map(pair)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// An object a line.
fn lines(bytes: &[u8], refuse: Refuse) -> Result<Pairs, DataError> {
    let text = String::from_utf8_lossy(bytes);
    let (mut pairs, mut unlabelled) = (Vec::new(), None);
    for (number, line) in (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let bad = |what: String| {
            refuse(
                format!("line {number}: {what}"),
                "{\"file_name\": \"0.png\", \"label\": 6}",
            )
        };
        let object: HashMap<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let find = |known: &[&str]| known.iter().find_map(|name| object.get(*name));
        let Some(label) = find(&LABEL_COLUMNS) else {
            unlabelled =
                unlabelled.or_else(|| Some(bad("no label, other lines have one".to_owned())));
            continue;
        };
        let file = find(&FILE_COLUMNS).and_then(serde_json::Value::as_str);
        let file = file.ok_or_else(|| bad("no file_name".to_owned()))?;
        let label = Label::deserialize(label).map_err(|_| bad(format!("the label {label}")))?;
        pairs.push((file.to_owned(), label));
    }
    match unlabelled {
        _ if pairs.is_empty() => Ok(None),
        Some(error) => Err(error),
        None => Ok(Some(pairs)),
    }
}

#[cfg(test)]
mod tests;
