//! Classes: their order, their names, their numbers of images, and how messages list them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use sit_engine::text::shown;

use super::{DataConfig, DataError, Dataset};

/// The most classes that a line of text lists; the others are only counted.
pub const SHOWN: usize = 20;

/// What class `class` is called, on one line: its name, or its number where it has none.
pub fn name(names: &[String], class: usize) -> String {
    match names.get(class) {
        Some(name) => shown(name),
        None => class.to_string(),
    }
}

/// The first [`SHOWN`] of `items`, and how many more there are.
pub fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let n_more = items.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = items.take(SHOWN).collect();
    if n_more > 0 {
        shown.push(format!("... and {n_more} more"));
    }
    shown.join(", ")
}

/// Numbers and names: "0 cat, 1 dog"; a class that is called by its number is only that.
pub fn numbered(names: &[String], classes: impl ExactSizeIterator<Item = usize>) -> String {
    list(classes.map(|class| {
        let (number, name) = (class.to_string(), name(names, class));
        match number == name {
            true => name,
            false => format!("{number} {name}"),
        }
    }))
}

/// Whether classes have no other names than their numbers.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn are_numbers(names: &[String]) -> bool {
    let mut names = names.iter().enumerate();
    names.all(|(class, name)| *name == class.to_string())
}

/// The number of images of each class; empty for unconditional data.
pub fn images(dataset: &dyn Dataset) -> Vec<usize> {
    let mut counts = vec![0; dataset.n_classes()];
    if !counts.is_empty() {
        (0..dataset.len()).for_each(|index| counts[dataset.label(index) as usize] += 1);
    }
    counts
}

/// The names of `list` that are not in `other`.
fn missing(list: &[String], other: &[String]) -> Vec<String> {
    let known: HashSet<&String> = other.iter().collect();
    list.iter()
        .filter(|name| !known.contains(name))
        .cloned()
        .collect()
}

/// The differences between the classes `old` and `new`: removed classes, new classes, and those with another number.
pub fn difference(old: &[String], new: &[String]) -> Option<String> {
    let number: HashMap<&String, usize> = new.iter().zip(0..).collect();
    let moved = old.iter().enumerate().filter_map(|(was, name)| {
        let now = number.get(name).filter(|&&now| now != was)?;
        Some(format!("{name} (from {was} to {now})"))
    });
    let parts = [
        ("gone", missing(old, new)),
        ("new", missing(new, old)),
        ("moved", moved.collect()),
    ];
    let text: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| {
            let names = names.iter().map(shown);
            format!("{what}: {}", list(names))
        })
        .collect();
    (!text.is_empty()).then(|| text.join("; "))
}

/// Checks a list of names: at most as many as there are classes, no duplicates, no empty name.
pub(super) fn check(names: &[String], n_classes: Option<usize>) -> Result<(), DataError> {
    if let Some(n) = n_classes.filter(|&n| names.len() > n) {
        let got = format!("{} names", names.len());
        let expected = format!("at most data.n_classes = {n}");
        return Err(DataError::config("classes", got, expected));
    }
    let mut seen = HashSet::new();
    match names
        .iter()
        .find(|name| name.is_empty() || !seen.insert(*name))
    {
        None => Ok(()),
        Some(name) => {
            let got = format!("\"{}\"", shown(name));
            let expected = "names that are not empty, each once";
            Err(DataError::config("classes", got, expected))
        }
    }
}

/// The classes of a data set, once they are numbered.
#[derive(Debug)]
pub(super) struct Numbered {
    /// The number of classes; 0 when labels are ignored.
    pub n: usize,
    /// Their names, as many as are known.
    pub names: Vec<String>,
    /// The label of class 0, if labels are numbers and it is not 0 or was set explicitly.
    pub first_label: Option<u32>,
}

/// The class of each of the folders `found`, numbered in the order of `data.classes`, or as they come if that is not set.
///
/// # Errors
/// [`DataError::Classes`] when the folders are not those named, [`DataError::Config`] when the number of classes is too small.
pub(super) fn of_folders(
    root: &Path,
    found: Vec<String>,
    config: &DataConfig,
) -> Result<(Numbered, Vec<u32>), DataError> {
    let n_found = found.len();
    let n = config
        .n_classes
        .unwrap_or(n_found.max(config.classes.len()));
    let expected = match (n, n_found) {
        (0, _) => {
            let (names, first_label) = (Vec::new(), None);
            return Ok((
                Numbered {
                    n,
                    names,
                    first_label,
                },
                vec![0; n_found],
            ));
        }
        (_, 0) => format!("0, {} has no class folders", shown(root)),
        (n, n_found) if n < n_found => {
            format!("at least {n_found}, the classes of {}, or 0", shown(root))
        }
        _ => String::new(),
    };
    let mut seen = HashSet::new();
    if let Some(twice) = found.iter().find(|name| !seen.insert(*name)) {
        let got = format!("two class folders that both show as {twice}");
        let expected = "names that differ in what can be shown";
        return Err(DataError::content(root, got, expected));
    }
    let names = match &config.classes[..] {
        [] => found.clone(),
        wanted => wanted.to_vec(),
    };
    // Report only missing and new folders: nobody chose their order.
    let (gone, new) = (missing(&names, &found), missing(&found, &names));
    if let Some(difference) = difference(&gone, &new) {
        let root = shown(root);
        return Err(DataError::Classes { root, difference });
    }
    // Checked after the names: which folder is new says more than how many there are.
    if !expected.is_empty() {
        return Err(DataError::config("n_classes", n, expected));
    }
    let number: HashMap<&String, u32> = names.iter().zip(0..).collect();
    let labels = found.iter().map(|name| number[name]).collect();
    let first_label = None;
    Ok((
        Numbered {
            n,
            names,
            first_label,
        },
        labels,
    ))
}

/// Turns labels into classes, which count from `data.first_label`: by default 0, or 1 if the labels are 1 to n of n classes.
/// `names` are those of the labels from 0 on, as far as they are known; messages name the file `source`.
///
/// # Errors
/// [`DataError::Label`] for a label out of range.
pub(super) fn number(
    labels: &mut [u32],
    mut names: Vec<String>,
    config: &DataConfig,
    source: &Path,
) -> Result<Numbered, DataError> {
    if config.n_classes == Some(0) {
        labels.fill(0);
        let (n, names, first_label) = (0, Vec::new(), None);
        return Ok(Numbered {
            n,
            names,
            first_label,
        });
    }
    let least = labels.iter().min().copied().unwrap_or(0);
    let most = labels.iter().max().copied().unwrap_or(0);
    let named = (!config.classes.is_empty()).then_some(config.classes.len());
    let asked = config.n_classes.or(named);
    let from_1 = least == 1 && asked.is_none_or(|n| n == most as usize);
    let first = config.first_label.unwrap_or(u32::from(from_1));
    let found = (most as usize + 1).saturating_sub(first as usize);
    let n = config.n_classes.unwrap_or(found.max(config.classes.len()));
    for (index, label) in labels.iter_mut().enumerate() {
        let class = label
            .checked_sub(first)
            .filter(|&class| (class as usize) < n);
        *label = class.ok_or_else(|| DataError::Label {
            path: source.to_owned(),
            index,
            label: *label,
            first,
            n_classes: n,
        })?;
    }
    names.drain(..names.len().min(first as usize));
    names.truncate(n);
    if !config.classes.is_empty() {
        names.clone_from(&config.classes);
    } else if names.is_empty() && first > 0 {
        // 1000000 classes at most are valid; more are refused later.
        names = (first..)
            .take(n.min(1_000_000))
            .map(|label| label.to_string())
            .collect();
    }
    let first_label = (first > 0 || config.first_label.is_some()).then_some(first);
    Ok(Numbered {
        n,
        names,
        first_label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn differences_are_told_by_name() {
        let tell = |old, new| difference(&names(old), &names(new));
        assert_eq!(tell("ant bee", "ant bee"), None);
        assert_eq!(
            tell("ant bee cat", "bee cat zebra").unwrap(),
            "gone: ant; new: zebra; moved: bee (from 1 to 0), cat (from 2 to 1)"
        );
        let many: Vec<String> = (0..30).map(|i| format!("c{i}")).collect();
        let text = difference(&[], &many).unwrap();
        assert!(
            text.starts_with("new: c0, c1, ") && text.ends_with("c19, ... and 10 more"),
            "{text}"
        );
    }

    #[test]
    fn folders_are_numbered_as_the_list_says() {
        let new = |n_classes, found, wanted| {
            let config = DataConfig {
                n_classes,
                classes: names(wanted),
                ..DataConfig::digits()
            };
            let numbered = of_folders(Path::new("d"), names(found), &config);
            numbered
                .map(|(numbered, labels)| (numbered.n, numbered.names.join(" "), labels))
                .map_err(|error| error.to_string())
        };
        let all = |n, names: &str, labels: &[u32]| Ok((n, names.to_owned(), labels.to_vec()));
        assert_eq!(
            new(None, "ant bee cat", "cat ant bee"),
            all(3, "cat ant bee", &[1, 2, 0])
        );
        assert_eq!(new(Some(5), "ant bee", ""), all(5, "ant bee", &[0, 1]));
        assert_eq!(new(Some(0), "ant bee", ""), all(0, "", &[0, 0]));
        assert_eq!(new(None, "", ""), all(0, "", &[]));
        let refused = |n, found, wanted| new(n, found, wanted).unwrap_err();
        assert_eq!(
            refused(Some(3), "bee cat zebra", "ant bee cat"),
            "d: the classes are not those of data.classes: gone: ant; new: zebra"
        );
        assert!(refused(None, "ant bee dog", "ant bee").ends_with("data.classes: new: dog"));
        let text = refused(Some(2), "ant bee dog", "ant bee");
        assert!(text.ends_with("data.classes: new: dog"), "{text}");
        assert!(refused(Some(1), "ant bee", "").contains("at least 2, the classes of d, or 0"));
        assert!(refused(Some(1), "", "").contains("0, d has no class folders"));
    }

    #[test]
    fn lists_of_names_are_checked() {
        let refused = |text: &[&str], n| {
            let names: Vec<String> = text.iter().map(|name| (*name).to_owned()).collect();
            check(&names, n).unwrap_err().to_string()
        };
        assert!(refused(&["a", "a"], None).contains("each once"));
        assert!(refused(&["a", ""], None).contains("not empty"));
        assert!(refused(&["a", "b"], Some(1)).contains("at most data.n_classes = 1"));
        check(&names("a b"), Some(2)).unwrap();
    }

    #[test]
    fn what_is_printed_moves_no_cursor() {
        assert_eq!(name(&["\u{1b}[2Jcat\n".into()], 0), "\\u{1b}[2Jcat\\n");
        assert_eq!(
            numbered(&names("cat dog"), [0, 1, 2].into_iter()),
            "0 cat, 1 dog, 2"
        );
    }
}
