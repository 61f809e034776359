//! Resolves `data.path`: `~`, `file://` addresses, and paths relative to the folder in which a run was started.

use sit_engine::text::shown;
use std::env;
use std::path::{Component, Path, PathBuf};

use super::archive::{is_there, splits};
use super::plane::is_toy;
use super::{DataConfig, DataError, Kind, Split};

impl DataConfig {
    /// The folder that `path` means, for a run in the folder `run`. A relative path starts from the folder in which the run was
    /// started, if that is known, else from the working folder. `~` and `file://` are understood, and `\` on systems where `/`
    /// separates folders.
    ///
    /// # Errors
    /// A path that does not exist, with the places that were tried.
    pub fn place(&self, run: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        if is_toy(path) {
            return Ok(Some(path.clone()));
        }
        let plain = plain(path)?;
        let mut places = vec![plain.clone()];
        if plain.is_relative()
            && let (Some(run), Some(from)) = (run, &self.path_from)
        {
            let there = clean(&run.join(from).join(&plain));
            // Keep the path as given if it leads to the same place.
            if canonical(&there) != canonical(&plain) {
                places.insert(0, there);
            }
        }
        let text = plain.to_string_lossy();
        if !cfg!(windows) && text.contains('\\') && !is_there(&plain) {
            let text = text.replace('\\', "/");
            places.push(text.into());
        }
        if let Some(place) = places.iter().find(|place| is_there(place)) {
            return Ok(Some(place.clone()));
        }
        let mut looked: Vec<String> = places.iter().map(|place| shown(absolute(place))).collect();
        looked.dedup();
        let mut message = format!("{} is not there", shown(path));
        if looked != [shown(path)] {
            message += &format!(" (looked for {})", looked.join(" and "));
        }
        if text.contains('$') {
            message += "; variables such as $HOME are not replaced";
        }
        Err(DataError::Place(message))
    }

    /// Whether the data at `place` may have a part to test with. IDX files are looked at when they are opened.
    ///
    /// # Errors
    /// A path that cannot be read.
    pub fn has_test(&self, place: Option<&Path>) -> Result<bool, DataError> {
        Ok(match (self.kind, place) {
            (Kind::Latents, _) | (Kind::Folder, None) => false,
            (Kind::Folder, Some(path)) => splits(path)?.contains(&Split::Test),
            (Kind::Digits | Kind::Idx | Kind::Toy, _) => true,
        })
    }

    /// Records the working folder, relative to the folder `run`, as the start of a relative path, this one's or `base`. A run that is moved together with
    /// its data still finds it.
    pub fn remember_place(&mut self, run: &Path, base: Option<&Path>) {
        let is_relative = [self.path.as_deref(), base]
            .into_iter()
            .flatten()
            .filter(|path| !is_toy(path))
            .filter_map(|path| plain(path).ok())
            .any(|path| path.is_relative());
        let here = env::current_dir().ok().filter(|_| is_relative);
        // A configuration can only hold UTF-8.
        self.path_from = here
            .and_then(|here| relative(&canonical(&absolute(run)), &canonical(&here)))
            .filter(|from| from.to_str().is_some());
    }
}

/// The path without `~` and `file://`.
fn plain(path: &Path) -> Result<PathBuf, DataError> {
    let Some(text) = path.to_str() else {
        return Ok(path.to_owned());
    };
    if let Some(rest) = text.strip_prefix("file://") {
        // A host may precede the path; only files of this machine can be read.
        let rest = rest.strip_prefix("localhost").unwrap_or(rest);
        if !rest.starts_with('/') {
            let message =
                format!("{text} is a file of another machine, expected a path or file:///PATH");
            return Err(DataError::Place(message));
        }
        let rest = unescape(rest);
        // file:///C:/photos
        let is_drive = rest.as_bytes().get(2) == Some(&b':');
        return Ok(PathBuf::from(if is_drive { &rest[1..] } else { &rest }));
    }
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(path.to_owned());
    };
    // A folder whose name begins with `~`.
    if path.exists() {
        return Ok(path.to_owned());
    }
    let rest = match rest.strip_prefix(['/', '\\']) {
        Some(rest) => rest,
        None if rest.is_empty() => rest,
        None => {
            let message =
                format!("{text} is not there; of ~ only one's own is understood, as in ~/photos");
            return Err(DataError::Place(message));
        }
    };
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| {
        DataError::Place(format!(
            "{text} is not there; no home folder is known (HOME)"
        ))
    })?;
    Ok(match rest {
        "" => home,
        rest => home.join(rest),
    })
}

/// Replaces percent codes such as `%20`; anything else stays.
fn unescape(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The path without links, as far as it is there.
fn canonical(path: &Path) -> PathBuf {
    let path = absolute(path);
    let mut missing = Vec::new();
    let mut there = path.as_path();
    loop {
        if let Ok(there) = there.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(there, |path, part| path.join(part));
        }
        let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
            return path;
        };
        missing.push(name);
        there = parent;
    }
}

/// The path without `NAME/..`, where NAME is no link.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        let is_name = matches!(cleaned.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::ParentDir if is_name && !cleaned.is_symlink() => {
                cleaned.pop();
            }
            Component::CurDir => {}
            part => cleaned.push(part),
        }
    }
    cleaned
}

/// `to` as seen from the folder `from`, both absolute; `None` on different drives.
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let (mut from, mut to) = (from.components().peekable(), to.components().peekable());
    let mut n_shared = 0;
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
        n_shared += 1;
    }
    if n_shared == 0 {
        return None;
    }
    let path: PathBuf = from.map(|_| Component::ParentDir).chain(to).collect();
    Some(match path == Path::new("") {
        true => ".".into(),
        false => path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_as_seen_from_each_other() {
        let see = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).unwrap();
        assert_eq!(see("/x/a/runs/r", "/x/a"), Path::new("../.."));
        assert_eq!(see("/tmp/r", "/home/me/p"), Path::new("../../home/me/p"));
        assert_eq!(see("/x/a", "/x/a"), Path::new("."));
        assert_eq!(
            clean(Path::new("../a/r/../photos/.")),
            Path::new("../a/photos")
        );
        assert_eq!(clean(Path::new("../../photos")), Path::new("../../photos"));
    }

    #[test]
    fn addresses_are_paths() {
        let plain = |text: &str| plain(Path::new(text)).map_err(|e| e.to_string());
        assert_eq!(plain("file:///a/b%20c%").unwrap(), Path::new("/a/b c%"));
        assert_eq!(plain("file://localhost/a").unwrap(), Path::new("/a"));
        assert_eq!(plain("file:///C:/photos").unwrap(), Path::new("C:/photos"));
        assert!(
            plain("file://nas/a")
                .unwrap_err()
                .contains("another machine")
        );
        assert_eq!(plain("a/~b").unwrap(), Path::new("a/~b"));
        let home = env::home_dir().unwrap();
        assert_eq!(plain("~/photos").unwrap(), home.join("photos"));
        assert_eq!(plain("~").unwrap(), home);
        assert!(plain("~nobody/x").unwrap_err().contains("~/photos"));
    }

    #[test]
    fn a_run_finds_its_data_from_anywhere_and_says_where_it_looked() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("a/runs/r");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(root.path().join("a/my photos")).unwrap();
        let config = |path: &str, from: Option<&str>| DataConfig {
            path: Some(path.into()),
            path_from: from.map(PathBuf::from),
            ..DataConfig::digits()
        };
        let place = |path: &str| config(path, Some("../..")).place(Some(&run));
        let photos = root.path().join("a/my photos");
        assert_eq!(place("my photos").unwrap(), Some(photos.clone()));
        assert_eq!(
            config("x", None).place(None).unwrap_err().to_string(),
            format!(
                "data.path: x is not there (looked for {})",
                absolute(Path::new("x")).display()
            )
        );
        let text = place("no/such").unwrap_err().to_string();
        let there = root.path().join("a/no/such");
        let here = absolute(Path::new("no/such"));
        assert_eq!(
            text,
            format!(
                "data.path: no/such is not there (looked for {} and {})",
                there.display(),
                here.display()
            )
        );
        let address = format!("file://{}", photos.display()).replace(' ', "%20");
        assert_eq!(place(&address).unwrap(), Some(photos.clone()));
        #[cfg(not(windows))]
        {
            let backslashes = photos.display().to_string().replace('/', "\\");
            assert_eq!(
                config(&backslashes, None).place(None).unwrap(),
                Some(photos)
            );
            let text = place("$HOME/x").unwrap_err().to_string();
            assert!(text.contains("$HOME are not replaced"), "{text}");
        }
    }
}
