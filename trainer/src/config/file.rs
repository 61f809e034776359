//! Reads a configuration file: TOML as editors of every system save it. Explains what is wrong with any other file.

use std::fs;
use std::io::Read;
use std::path::Path;

use sit_engine::text::shown;
use toml::{Table, Value};

use super::nesting::nests_too_deep;
use super::{ConfigError, number, preset_called};

/// The longest configuration file. A real one is a page of text; a longer file is something else.
const MAX_BYTES: u64 = 1 << 20;

/// The table in a file.
///
/// # Errors
/// [`ConfigError`] naming the file: what kind of file it is if it is not TOML, or the wrong line and how to write it.
pub fn read(path: &Path) -> Result<Table, ConfigError> {
    let refuse = |message: String| ConfigError::new(format!("{}: {message}", shown(path)));
    let metadata = fs::metadata(path).map_err(|error| refuse(not_there(path, &error)))?;
    if metadata.is_dir() {
        return Err(refuse(is_a_folder(path)));
    }
    if metadata.len() > MAX_BYTES {
        return Err(refuse(format!(
            "is {} bytes long, expected a configuration in TOML",
            metadata.len()
        )));
    }
    let file = fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse("is no configuration in TOML".into()));
    }
    let text = text(bytes).map_err(refuse)?;
    if nests_too_deep(&text) {
        return Err(refuse(
            "holds too many points and brackets for a configuration".into(),
        ));
    }
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = &text[..error.span().map_or(0, |span| span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let code = text.lines().nth(line - 1).unwrap_or_default();
        let hint = hint(path, &text, code).map(|hint| format!("\n{hint}"));
        refuse(format!(
            "line {line}, column {column}: {}\n  {}{}",
            error.message(),
            excerpt(code, column),
            hint.unwrap_or_default()
        ))
    })?;
    for (name, key) in [("data", "path"), ("log", "folder")] {
        let value = table.get(name).and_then(|table| table.get(key));
        let text = value.and_then(Value::as_str).unwrap_or_default();
        // "C:\temp" is a valid TOML string, in which `\t` is a tab.
        if text.as_bytes().get(1) == Some(&b':') && text.contains(char::is_control) {
            return Err(refuse(format!(
                "{name}.{key}: got {}; in double quotes \\t, \\n and the like are one character: write the path in \
                 single quotes, or with /",
                shown(text)
            )));
        }
    }
    Ok(table)
}

/// The part of a line around a column; the line may be long.
fn excerpt(line: &str, column: usize) -> String {
    const AROUND: usize = 60;
    let first = column.saturating_sub(AROUND);
    let part: String = line.chars().skip(first).take(2 * AROUND).collect();
    let cut = |is_cut: bool| if is_cut { "..." } else { "" };
    let more = line.chars().nth(first + 2 * AROUND).is_some();
    format!("{}{}{}", cut(first > 0), shown(part), cut(more))
}

fn not_there(path: &Path, error: &std::io::Error) -> String {
    match preset_called(&path.to_string_lossy()) {
        Some(known) => format!("{error}; did you mean --preset {known}?"),
        None => error.to_string(),
    }
}

fn is_a_folder(path: &Path) -> String {
    let what = if path.join("config.toml").is_file() {
        "--resume goes on with a run".to_owned()
    } else {
        format!(
            "to train on images: --preset pictures-32 --set data.path={}",
            shown(path)
        )
    };
    format!("is a folder, expected a configuration file; {what}")
}

/// The text of a file without the byte order mark that Windows editors write.
fn text(bytes: Vec<u8>) -> Result<String, String> {
    const SAVE: &str = "save it as UTF-8";
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(format!(
            "is in UTF-16, as PowerShell and Notepad may write it; {SAVE}"
        ));
    }
    if let Some(at) = bytes.iter().take(4096).position(|&b| b == 0) {
        // Without a byte order mark, UTF-16 text in ASCII letters has a zero byte in every pair.
        return Err(if at < 2 && bytes.get(at + 2) == Some(&0) {
            format!("looks like UTF-16 without a byte order mark; {SAVE}")
        } else {
            "is not a text file, expected a configuration in TOML".to_owned()
        });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text
            .strip_prefix('\u{feff}')
            .map(str::to_owned)
            .unwrap_or(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at]
                .iter()
                .filter(|&&b| b == b'\n')
                .count();
            Err(format!("line {line}: is not in UTF-8; {SAVE}"))
        }
    }
}

/// What may have gone wrong in a line that is not TOML.
fn hint(path: &Path, text: &str, line: &str) -> Option<String> {
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let first = text.trim_start();
    let line = line.trim();
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let (key, value) = (
        key.trim(),
        value.split('#').next().unwrap_or_default().trim(),
    );
    if first.starts_with('{') || ending == "json" {
        return Some(
            "this looks like JSON; a configuration is in TOML: [train] and below it steps = 100"
                .into(),
        );
    }
    let is_yaml = |line: &str| {
        line.split_once(": ").is_some_and(|(key, _)| is_key(key)) || line.ends_with(':')
    };
    if first.starts_with("---")
        || ["yaml", "yml"].contains(&&*ending)
        || (value.is_empty() && is_yaml(line))
    {
        return Some(
            "this looks like YAML; a configuration is in TOML: [train] and below it steps = 100"
                .into(),
        );
    }
    if let Some((c, plain)) = line.chars().find_map(|c| Some((c, typeset(c)?))) {
        return Some(format!(
            "{c} (U+{:04X}) is of typeset text; write {plain}",
            c as u32
        ));
    }
    if value.starts_with('"') && value.contains('\\') {
        let path = value.trim_matches('"');
        return Some(format!(
            "in double quotes \\ begins an escape; write '{path}' in single quotes, or {}",
            path.replace("\\\\", "\\").replace('\\', "/")
        ));
    }
    if let Some(number) =
        number::float(value).filter(|number| number.is_finite() && value.contains('.'))
    {
        return Some(format!(
            "TOML wants digits on both sides of a point; write {key} = {number:?}"
        ));
    }
    if number::float(&value.replacen(',', ".", 1)).is_some() {
        return Some(format!(
            "a number has a point; write {key} = {}",
            value.replacen(',', ".", 1)
        ));
    }
    match value.to_lowercase().as_str() {
        "true" | "yes" | "on" => return Some(format!("write {key} = true")),
        "false" | "no" | "off" => return Some(format!("write {key} = false")),
        "none" | "null" | "nil" => return Some(format!("leave {key} out: TOML has no {value}")),
        _ => {}
    }
    if is_key(key) && value.starts_with(|c: char| c.is_alphabetic() || "/~.\\".contains(c)) {
        return Some(format!(
            "text stands in quotes; write {key} = '{}'",
            shown(value)
        ));
    }
    if ["//", ";", "--"].iter().any(|mark| line.starts_with(mark)) {
        return Some("a comment begins with #".into());
    }
    None
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "_-. ".contains(c))
}

/// The keyboard character for a typographic one that word processors and web pages insert.
fn typeset(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{ff02}' => "\"",
        '\u{2018}'..='\u{201b}' | '\u{b4}' => "'",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '\u{a0}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{3000}' | '\u{feff}' => {
            "a plain space"
        }
        '\u{2026}' => "...",
        '\u{ff1d}' => "=",
        _ => return None,
    })
}
