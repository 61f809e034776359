//! Finds what the files of a crate use of each other.
//!
//! It reads the text, without a compiler: every path that begins with `crate`, `super` or `self`, in `use` items and in code. A
//! name that a file imports or re-exports is followed to the file that defines it. It does not see methods and fields, names behind
//! a glob, and output of macros. Tests may use anything and are left out: a `mod tests { .. }` at the end, and files behind
//! `#[cfg(test)]`.

use super::files;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A module as its path of names: `[]` is `lib.rs`, `[ops, linear]` is `ops/linear.rs`.
pub type Module = Vec<String>;

/// A path in a file: the line where it begins, and the module that it leads to.
#[derive(Debug, PartialEq)]
pub struct Use {
    pub line: usize,
    pub module: Module,
}

/// The files of a crate that are no tests.
pub struct Files {
    files: BTreeMap<Module, File>,
}

struct File {
    /// Its path below the source folder.
    name: String,
    /// Its text with all lines, but without comments and tests.
    code: String,
    /// Names that it imports or re-exports, with what they stand for from the root.
    imports: BTreeMap<String, Module>,
}

impl Files {
    /// Reads a source folder.
    pub fn read(src: &Path) -> Result<Self> {
        let mut texts = BTreeMap::new();
        for path in files(src, ".rs")? {
            let name = path.strip_prefix(src)?.to_string_lossy().replace('\\', "/");
            if name != "main.rs" {
                texts.insert(name, fs::read_to_string(&path)?);
            }
        }
        Ok(Self::new(texts))
    }

    fn new(texts: BTreeMap<String, String>) -> Self {
        let (mut files, mut tests) = (BTreeMap::new(), Vec::new());
        for (name, text) in texts {
            let module = module(&name);
            let (code, hidden) = code(&text);
            tests.extend(hidden.into_iter().map(|test| child(&module, test)));
            let imports = BTreeMap::new();
            files.insert(
                module,
                File {
                    name,
                    code,
                    imports,
                },
            );
        }
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        let mut all = Files { files };
        let modules: Vec<Module> = all.modules().cloned().collect();
        for module in modules {
            let imports = all.imports(&module);
            all.files.get_mut(&module).expect("it is there").imports = imports;
        }
        all
    }

    /// All modules that have a file.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.files.keys()
    }

    /// The path of a module's file below the source folder.
    pub fn name(&self, module: &Module) -> &str {
        &self.files[module].name
    }

    /// What the file of a module uses of other files.
    pub fn uses(&self, module: &Module) -> Vec<Use> {
        let code = &self.files[module].code;
        let mut uses = Vec::new();
        for (at, _) in code.match_indices("::") {
            let word = code[..at].rsplit(|c| !is_word(c)).next().unwrap_or("");
            let start = at - word.len();
            if !["crate", "super", "self"].contains(&word) || code[..start].ends_with("::") {
                continue;
            }
            let line = 1 + code[..start].matches('\n').count();
            for (path, _) in tree(&code[start..]).0 {
                let Some(path) = self.rooted(module, &path) else {
                    continue;
                };
                let target = self.resolve(&path, 0);
                // Such a path leads to a module inside of the file itself, or from a child to what its folder shares.
                let is_own = word != "crate" && module.starts_with(&target);
                if target != *module && !is_own {
                    uses.push(Use {
                        line,
                        module: target,
                    });
                }
            }
        }
        uses
    }

    /// The names that `use` items bring into a file.
    fn imports(&self, module: &Module) -> BTreeMap<String, Module> {
        let code = &self.files[module].code;
        let uses = code.match_indices("use ").filter(|(at, _)| {
            let line = code[..*at].rsplit('\n').next().unwrap_or("").trim_start();
            line.is_empty() || line.starts_with("pub")
        });
        let leaves = uses.flat_map(|(at, _)| tree(&code[at + 4..]).0);
        leaves
            .filter_map(|(path, name)| Some((name, self.rooted(module, &path)?)))
            .collect()
    }

    /// A path in `module`, made absolute; `None` for a path to another crate.
    fn rooted(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            "super" => (module.clone(), path),
            name => {
                let is_child = self.files.contains_key(&child(module, name.to_owned()));
                return is_child.then(|| [module, path].concat());
            }
        };
        while rest.first().is_some_and(|name| name == "super") {
            (_, rest) = (base.pop(), &rest[1..]);
        }
        Some([&base[..], rest].concat())
    }

    /// The module whose file defines `path`.
    fn resolve(&self, path: &[String], depth: usize) -> Module {
        let mut at = Vec::new();
        for (i, name) in path.iter().enumerate() {
            let next = child(&at, name.clone());
            if self.files.contains_key(&next) {
                at = next;
                continue;
            }
            let import = self.files.get(&at).and_then(|file| file.imports.get(name));
            return match import {
                // Two files that import a name from each other would lead to an endless loop.
                Some(import) if depth < 8 => {
                    self.resolve(&[import, &path[i + 1..]].concat(), depth + 1)
                }
                _ => at,
            };
        }
        at
    }
}

fn child(module: &Module, name: String) -> Module {
    let mut child = module.clone();
    child.push(name);
    child
}

/// The module of a file.
fn module(name: &str) -> Module {
    let name = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let names = name.split('/').map(str::to_owned);
    names.filter(|name| name != "lib").collect()
}

/// A file without comments and tests, and the modules behind `#[cfg(test)]` that it declares.
fn code(text: &str) -> (String, Vec<String>) {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let (mut code, mut tests, mut hidden) = (String::new(), Vec::new(), false);
    for line in text.lines() {
        let words = line.trim();
        if !(words.starts_with("//") || hidden && words.ends_with(';')) {
            code.push_str(line);
        }
        code.push('\n');
        if hidden && let Some(name) = words.strip_prefix("mod ") {
            tests.push(name.trim_end_matches(';').to_owned());
        }
        hidden = words == "#[cfg(test)]";
    }
    (code, tests)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths of a tree such as `a::{b, c::D as E}`, each with the name that it introduces, and the text after the tree.
fn tree(text: &str) -> (Vec<(Vec<String>, String)>, &str) {
    let mut rest = text.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        let mut all = Vec::new();
        rest = inside.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            let (paths, after) = tree(rest);
            all.extend(paths);
            // Anything else is not a path.
            let skipped = if after.len() == rest.len() {
                &after[after.chars().next().map_or(0, char::len_utf8)..]
            } else {
                after
            };
            rest = skipped.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        }
        return (all, rest.strip_prefix('}').unwrap_or(rest));
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (name, after) = (rest[..end].to_owned(), &rest[end..]);
    if let Some(more) = after.strip_prefix("::")
        && more.starts_with(|c| is_word(c) || c == '{')
    {
        let (mut paths, after) = tree(more);
        for (path, bound) in &mut paths {
            if bound == "self" {
                (*path, *bound) = (Vec::new(), name.clone());
            }
            path.insert(0, name.clone());
        }
        return (paths, after);
    }
    match after.strip_prefix(" as ") {
        Some(more) => {
            let end = more.find(|c| !is_word(c)).unwrap_or(more.len());
            (vec![(vec![name], more[..end].to_owned())], &more[end..])
        }
        None if name.is_empty() => (Vec::new(), after),
        None => (vec![(vec![name.clone()], name)], after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed_to_the_file_that_has_the_name() {
        let files = Files::new(
            [
                ("lib.rs", "pub mod a;\npub mod b;\npub use a::Kind;\n"),
                (
                    "a/mod.rs",
                    "#[cfg(test)]\nmod testing;\nmod inner;\npub use inner::{Kind, Other as Name};\npub struct Own;\n",
                ),
                ("a/inner.rs", "use super::Own;\nuse std::fmt;\n"),
                ("a/testing.rs", "use crate::b::B;\n"),
                (
                    "b.rs",
                    "use crate::{\n    Kind,\n    a::{self, Name},\n};\n// crate::a::Own\nfn f() { crate::a::Own::new::<u32>() }\n\
                     #[cfg(test)]\nmod tests {\n    use crate::a::Own;\n}\n",
                ),
            ]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
        );
        let module = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
        let uses = |of: &str| -> Vec<(usize, String)> {
            let uses = files.uses(&module(of)).into_iter();
            uses.map(|u| (u.line, u.module.join("::"))).collect()
        };
        let to = |line, path: &str| (line, path.to_owned());
        assert_eq!(uses("a::inner"), []);
        assert_eq!(
            uses("b"),
            [to(1, "a::inner"), to(1, "a"), to(1, "a::inner"), to(6, "a")]
        );
        assert_eq!(files.modules().count(), 4);
    }
}
