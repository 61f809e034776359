//! Makes untrusted text safe to print: names of files, tensors, classes and keys from outside.

use std::ffi::OsStr;
use std::fmt::Write;

/// No path is longer than this on supported systems, but a name in a file may be as long as the file.
const MAX_CHARS: usize = 4096;

/// An untrusted name for an error, a log line or a table: on one line, without cursor movement, colors or changes of text
/// direction; bytes that are not UTF-8 appear as `\xff`.
///
/// ```
/// # use sit_engine::text::shown;
/// assert_eq!(shown("cats\n\u{1b}[31m"), r"cats\n\u{1b}[31m");
/// ```
pub fn shown(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    let mut left = MAX_CHARS;
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if left == 0 {
                return text + "…";
            }
            left -= 1;
            push(&mut text, c);
        }
        for byte in chunk.invalid().iter().take(left) {
            write!(text, "\\x{byte:02x}").ok();
        }
    }
    text
}

/// Several lines of text that may contain untrusted names, for a terminal: as [`shown`], but line ends and tabs are kept and the
/// length is unlimited.
///
/// This is the last line of defense, where text leaves the program. Still pass each name through [`shown`], or its line ends would
/// look like ours.
pub fn shown_lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(c),
            c => push(&mut safe, c),
        }
    }
    safe
}

/// A number for a message: 0.05, and 1e300 instead of 300 zeros.
pub fn float(x: f64) -> String {
    if x == 0.0 || (1e-4..1e16).contains(&x.abs()) || !x.is_finite() {
        x.to_string()
    } else {
        format!("{x:e}")
    }
}

/// A count with its noun, in the plural unless it is 1: "1 class", "2 classes", "no images".
pub fn count(n: impl TryInto<u64>, one: &str) -> String {
    let plural = match one {
        one if one.ends_with('s') || one.ends_with('x') || one.ends_with("ch") => "es",
        _ => "s",
    };
    match n.try_into().unwrap_or(u64::MAX) {
        0 => format!("no {one}{plural}"),
        1 => format!("1 {one}"),
        n => format!("{n} {one}{plural}"),
    }
}

fn push(text: &mut String, c: char) {
    if is_control(c) {
        text.extend(c.escape_default());
    } else {
        text.push(c);
    }
}

/// Whether the character is invisible or changes how others are displayed. The joiners U+200C and U+200D are allowed: scripts and
/// emoji need them.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Text directions, including the Arabic letter mark.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Invisible characters: soft hyphen, zero-width spaces, operators, the byte order mark, annotations, tags.
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printed_on_one_line_and_move_nothing() {
        let cases = [
            ("runs/Bücher 猫 👩‍👩‍👧", "runs/Bücher 猫 👩‍👩‍👧"),
            (r"C:\data\new", r"C:\data\new"),
            ("a\u{1b}[2Jb\u{7}", r"a\u{1b}[2Jb\u{7}"),
            ("a\r\nb\tc\0\u{7f}\u{9b}", r"a\r\nb\tc\u{0}\u{7f}\u{9b}"),
            (
                "gnp.\u{202e}exe\u{2066}\u{200f}",
                r"gnp.\u{202e}exe\u{2066}\u{200f}",
            ),
            ("a\u{2028}b\u{feff}\u{200b}", r"a\u{2028}b\u{feff}\u{200b}"),
        ];
        for (name, expected) in cases {
            assert_eq!(shown(name), expected);
        }
        assert_eq!(shown("x".repeat(5000)), "x".repeat(4096) + "…");
        assert_eq!(shown_lines("a\n\tb\r\u{1b}c"), "a\n\tb\\r\\u{1b}c");
    }

    #[test]
    fn numbers_and_counts_in_words() {
        let floats = [
            0.0,
            0.05,
            1e-8,
            100.0,
            1e300,
            -1e-30,
            f64::NAN,
            f64::INFINITY,
        ]
        .map(float);
        assert_eq!(floats.join(" "), "0 0.05 1e-8 100 1e300 -1e-30 NaN inf");
        let counts = [
            count(0, "image"),
            count(1, "class"),
            count(2_usize, "class"),
        ];
        assert_eq!(counts, ["no images", "1 class", "2 classes"]);
        assert_eq!(
            count(1_u32, "step") + ", " + &count(3, "batch"),
            "1 step, 3 batches"
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_are_told_apart() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"caf\xe9/\xffa");
        assert_eq!(shown(name), r"caf\xe9/\xffa");
    }
}
