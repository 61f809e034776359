//! Files of `tests/fixtures`, and numbers of official code in them.

use crate::formula::Formula;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A file in `tests/fixtures`, whatever `SIT_FIXTURES` is: for tests of file formats, not of numbers.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Numbers of official code: a JSON file with sizes, settings and formulas, and the files beside it.
///
/// The environment variable `SIT_FIXTURES` replaces `tests/fixtures` by another folder, absolute or relative to the root of the
/// repository. If that folder lacks a fixture's JSON file, the fixture is still taken from `tests/fixtures`.
pub struct Fixture {
    folder: PathBuf,
    name: String,
    json: Value,
}

impl Fixture {
    /// The fixture `name.json`.
    ///
    /// # Panics
    /// When it cannot be read, or `SIT_FIXTURES` names no folder of fixtures.
    pub fn open(name: &str) -> Fixture {
        let own = path("");
        let other = std::env::var_os("SIT_FIXTURES").map(|named| own.join("../..").join(named));
        if let Some(other) = &other {
            let of = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
            let known = of(other).any(|file| own.join(file.file_name()).exists());
            assert!(known, "SIT_FIXTURES: no fixture is in {}", other.display());
        }
        let file = format!("{name}.json");
        let folder = other.filter(|other| other.join(&file).exists());
        let folder = folder.unwrap_or(own);
        println!("fixture: {}", folder.join(&file).display());
        let json = serde_json::from_slice(&read(&folder.join(&file)));
        Fixture {
            json: json.unwrap_or_else(|e| panic!("{file}: {e}")),
            name: name.to_owned(),
            folder,
        }
    }

    /// What the JSON file holds.
    pub fn root(&self) -> Entry<'_> {
        Entry {
            place: self.name.clone(),
            value: &self.json,
        }
    }

    /// The contents of a file in the fixture's folder.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn file(&self, name: &str) -> Vec<u8> {
        read(&self.folder.join(name))
    }

    /// The arrays of the safetensors file of the same name.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn arrays(&self) -> Arrays {
        Arrays(read(
            &self.folder.join(format!("{}.safetensors", self.name)),
        ))
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The arrays of a safetensors file.
pub struct Arrays(Vec<u8>);

impl Arrays {
    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("the fixture is whole")
    }

    /// Their names, sorted.
    ///
    /// # Panics
    /// When the file is not whole.
    pub fn names(&self) -> Vec<String> {
        let file = self.file();
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The values of an array in f32.
    ///
    /// # Panics
    /// When the file has none of this name and type.
    pub fn get(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
        let values = view.data().as_chunks().0;
        values.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }
}

/// A value in a fixture's JSON file. If it is not of the kind that a test expects, the test fails and names its place.
#[derive(Clone)]
pub struct Entry<'a> {
    place: String,
    value: &'a Value,
}

impl<'a> Entry<'a> {
    fn expect<T>(&self, what: &str, got: Option<T>) -> T {
        got.unwrap_or_else(|| panic!("{} is {}, expected {what}", self.place, self.value))
    }

    /// The entry of a dictionary.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(&self, key: &str) -> Entry<'a> {
        let place = format!("{}: {key}", self.place);
        match self.value.get(key) {
            Some(value) => Entry { place, value },
            None => panic!("{place} is not there"),
        }
    }

    /// The entry of a dictionary, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<Entry<'a>> {
        let value = self.value.get(key)?;
        (!value.is_null()).then(|| self.at(key))
    }

    /// The entries of a dictionary with their keys, in the file's order or by name.
    ///
    /// # Panics
    /// When it is none.
    pub fn entries(&self) -> Vec<(&'a str, Entry<'a>)> {
        let object = self.expect("a dictionary", self.value.as_object());
        object
            .keys()
            .map(|key| (key.as_str(), self.at(key)))
            .collect()
    }

    /// A number.
    ///
    /// # Panics
    /// When it is none.
    pub fn number(&self) -> f64 {
        self.expect("a number", self.value.as_f64())
    }

    /// A count or a size.
    ///
    /// # Panics
    /// When it is none.
    pub fn count(&self) -> usize {
        self.expect("a count", self.value.as_u64()) as usize
    }

    /// True or false.
    ///
    /// # Panics
    /// When it is neither.
    pub fn flag(&self) -> bool {
        self.expect("true or false", self.value.as_bool())
    }

    /// A text.
    ///
    /// # Panics
    /// When it is none.
    pub fn text(&self) -> &'a str {
        self.expect("a text", self.value.as_str())
    }

    /// The formula that a text states.
    ///
    /// # Panics
    /// When it states none.
    pub fn formula(&self) -> Formula {
        Formula::stated(self.text())
    }

    /// The entries of a list.
    ///
    /// # Panics
    /// When it is none.
    pub fn list(&self) -> Vec<Entry<'a>> {
        let list = self.expect("a list", self.value.as_array());
        let entry = |(i, value)| Entry {
            place: format!("{}[{i}]", self.place),
            value,
        };
        list.iter().enumerate().map(entry).collect()
    }

    /// A list of numbers.
    ///
    /// # Panics
    /// When it is none.
    pub fn numbers(&self) -> Vec<f64> {
        self.list().iter().map(Entry::number).collect()
    }

    /// A list of numbers, rounded to f32.
    ///
    /// # Panics
    /// When it is none.
    pub fn floats(&self) -> Vec<f32> {
        self.numbers().into_iter().map(|x| x as f32).collect()
    }

    /// A list of labels or sizes.
    ///
    /// # Panics
    /// When it is none.
    pub fn counts(&self) -> Vec<usize> {
        self.list().iter().map(Entry::count).collect()
    }

    /// A list of labels.
    ///
    /// # Panics
    /// When it is none.
    pub fn labels(&self) -> Vec<u32> {
        self.counts().into_iter().map(|y| y as u32).collect()
    }
}
