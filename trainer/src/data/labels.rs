//! Labels in a file beside the images: StyleGAN's `dataset.json`, and `metadata.csv` or `metadata.jsonl` as Hugging Face's image
//! folders have them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DataError;
use super::names::LABEL_FILES;
use sit_engine::text::{count, shown};

/// Columns that name an image, and columns that hold its class.
const FILE_COLUMNS: [&str; 5] = ["file_name", "filename", "file", "image", "path"];
const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "class", "category"];

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

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Label {
    Number(u32),
    Text(String),
}

impl Labels {
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
        files: &mut Vec<(PathBuf, u32)>,
        skip_bad: bool,
    ) -> Result<Labelled, DataError> {
        let Self { source, by_file } = self;
        let key = |path: &Path| {
            let below = path.strip_prefix(root).unwrap_or(path);
            let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
            parts.join("/")
        };
        let are_numbers = by_file.values().all(|label| match label {
            Label::Number(_) => true,
            Label::Text(text) => text.parse::<u32>().is_ok(),
        });
        let label = |path: &Path| by_file.get(&key(path));
        let n_images = files.len();
        let without: Vec<PathBuf> = files
            .iter()
            .filter(|(path, _)| label(path).is_none())
            .map(|(path, _)| path.clone())
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
            files.retain(|(path, _)| label(path).is_some());
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
                    .filter_map(|(path, _)| label(path))
                    .map(text)
                    .collect();
                names.into_iter().collect()
            }
        };
        let mut most = 0;
        for (path, class) in files.iter_mut() {
            // Images without a label were removed above.
            let Some(label) = by_file.get(&key(path)) else {
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
mod tests {
    use super::*;

    /// The labels of `a.png` and `deep/b.png`, and the classes' names.
    fn labels(
        name: &str,
        content: &str,
        skip_bad: bool,
    ) -> Result<Option<(Vec<u32>, String, bool)>, String> {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(name), content).unwrap();
        let read = Labels::read(root.path()).map_err(|error| error.to_string());
        let short = |error: String| error.replace(&format!("{}/", root.path().display()), "");
        let Some(labels) = read.map_err(short)? else {
            return Ok(None);
        };
        let mut files = vec![
            (root.path().join("a.png"), 0),
            (root.path().join("deep/b.png"), 0),
        ];
        let done = labels.apply(root.path(), &mut files, skip_bad);
        let done = done.map_err(|error| short(error.to_string()))?;
        let classes = files.iter().map(|file| file.1).collect();
        Ok(Some((classes, done.names.join(" "), done.are_numbers)))
    }

    #[test]
    fn each_format_gives_each_image_its_class() {
        let numbers = Ok(Some((vec![2, 0], "0 1 2".to_owned(), true)));
        let texts = Ok(Some((vec![1, 0], "cat dog".to_owned(), false)));
        let cases = [
            (
                "dataset.json",
                r#"{"labels": [["a.png", 2], ["deep/b.png", 0]]}"#,
                &numbers,
            ),
            (
                "dataset.json",
                r#"{"labels": {"a.png": 2, "deep\\b.png": 0}, "more": 1}"#,
                &numbers,
            ),
            (
                "metadata.csv",
                "file_name,label\na.png,2\ndeep/b.png,0\n",
                &numbers,
            ),
            (
                "metadata.csv",
                "\u{feff}label,text,file_name\r\ndog,\"a, b\",a.png\r\n\"cat\",,./deep/b.png\r\n",
                &texts,
            ),
            (
                "metadata.jsonl",
                "{\"file_name\": \"a.png\", \"label\": \"dog\"}\n\n{\"file_name\": \"deep/b.png\", \"label\": \"cat\"}\n",
                &texts,
            ),
        ];
        for (name, content, expected) in cases {
            assert_eq!(labels(name, content, false), *expected, "{content}");
        }
    }

    #[test]
    fn files_without_labels_change_nothing() {
        for (name, content) in [
            ("dataset.json", r#"{"labels": null}"#),
            ("dataset.json", r#"{"other": 1}"#),
            ("metadata.csv", "file_name,text\na.png,a cat\n"),
            (
                "metadata.jsonl",
                "{\"file_name\": \"a.png\", \"text\": \"a cat\"}\n",
            ),
            ("labels.csv", "a.png,1\n"),
        ] {
            assert_eq!(labels(name, content, false), Ok(None), "{content}");
        }
    }

    #[test]
    fn bad_labels_are_named() {
        let cases = [
            ("dataset.json", "{", "dataset.json: got other JSON ("),
            (
                "dataset.json",
                r#"{"labels": [["a.png", [0.5, 1]]]}"#,
                "a whole number or a name",
            ),
            (
                "dataset.json",
                r#"{"labels": [["a.png", -1]]}"#,
                "a whole number or a name",
            ),
            (
                "dataset.json",
                r#"{"labels": [["a.png", 4000000000], ["deep/b.png", 0]]}"#,
                "the label 4000000000",
            ),
            (
                "metadata.csv",
                "name,label\na.png,1\n",
                "got the columns name, label, expected a column file_name",
            ),
            (
                "metadata.csv",
                "file_name,label\na.png\n",
                "a row that cannot be read",
            ),
            (
                "metadata.csv",
                "file_name,label\na.png,1\n",
                "no label for 1 of 2 images, such as deep/b.png",
            ),
            (
                "metadata.jsonl",
                "{\"file_name\": \"a.png\", \"label\": 0}\n{}\n",
                "line 2: no label, other lines have one",
            ),
            // An empty cell is no class of that name.
            (
                "metadata.csv",
                "file_name,label\na.png,1\ndeep/b.png,\n",
                "no label for 1 of 2 images, such as deep/b.png",
            ),
            (
                "metadata.csv",
                "file_name,label\na.png,1\ndeep/b.png,2\na.png,2\n",
                "two labels of a.png",
            ),
        ];
        for (name, content, expected) in cases {
            let text = labels(name, content, false).unwrap_err();
            assert!(text.contains(expected) && text.contains(name), "{text}");
        }
        let marked = "\u{feff}{\"labels\": [[\"a.png\", 1], [\"deep/b.png\", 0]]}";
        let marked = labels("dataset.json", marked, false);
        assert_eq!(marked, Ok(Some((vec![1, 0], "0 1".to_owned(), true))));
        let one = labels("metadata.csv", "file_name,label\na.png,1\n", true);
        assert_eq!(one, Ok(Some((vec![1], "0 1".to_owned(), true))));
    }
}
