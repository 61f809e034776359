//! Text files of numbers in columns: times, functions of time, paths.

use crate::error::{Failure, Result};
use crate::files::FileError;
use sit_engine::text::shown;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 24;

/// Reads lines of `N` numbers, separated by commas or white space. Empty lines, lines that begin with `#` and a first line of names are
/// skipped.
///
/// # Errors
/// [`Failure::Input`] naming the file, the line and what was expected: `what`.
pub fn read<const N: usize>(path: &Path, what: &str) -> Result<Vec<[f64; N]>> {
    let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
    let length = fs::metadata(path).map(|data| data.len());
    let text = match length {
        Ok(bytes) if bytes > MAX_BYTES => {
            return Err(refuse(format!(
                "has {bytes} bytes, expected at most {MAX_BYTES}"
            )));
        }
        // A pipe has no length.
        Ok(_) => File::open(path).and_then(|file| {
            let mut text = String::new();
            file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
            Ok(text)
        }),
        Err(e) => Err(e),
    };
    let text = text.map_err(|e| Failure::beforehand(FileError::of("read", path)(e)))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(refuse(format!("has more than {MAX_BYTES} bytes")));
    }
    // A byte order mark is no part of the first number.
    let text = text.trim_start_matches('\u{feff}');
    let mut rows = Vec::new();
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    for (k, (i, line)) in lines.enumerate() {
        let words = line.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let numbers: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
        match numbers.as_deref().map(<[f64; N]>::try_from) {
            Some(Ok(row)) => rows.push(row),
            None if k == 0 && words.iter().all(|word| is_name(word)) => {}
            _ => {
                return Err(refuse(format!(
                    "line {} got {:?}, expected {what}",
                    i + 1,
                    shown(line)
                )));
            }
        }
    }
    match rows.is_empty() {
        true => Err(refuse(format!("has no line of {what}"))),
        false => Ok(rows),
    }
}

/// Whether a word names a column.
fn is_name(word: &str) -> bool {
    const NAMES: [&str; 7] = ["t", "time", "d", "diffusion", "loss", "alpha", "sigma"];
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_with_names_comments_and_any_separator() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            read::<2>(&path, "t and D").map_err(|e| e.to_string())
        };
        let expected = Ok(vec![[0.0, 1.0], [1.0, 2.5]]);
        assert_eq!(read("t,D\n0,1\n1,2.5\n"), expected);
        assert_eq!(read("# made by hand\n0 1\n\n1\t2.5"), expected);
        let message = read("0 1\n1 x\n").unwrap_err();
        assert!(
            message.ends_with("line 2 got \"1 x\", expected t and D"),
            "{message}"
        );
        assert!(read("0 1\n1\n").unwrap_err().contains("line 2"));
        assert!(
            read("t D\n")
                .unwrap_err()
                .ends_with("has no line of t and D")
        );
        assert!(super::read::<2>(&folder.path().join("none"), "x").is_err());
    }
}
