//! Identifies files that are not weights by their first bytes.

use super::index::Index;
use super::{header, legacy, numpy, shown, torch};
use crate::model::IN_PAGE;
use std::io::{Read, Seek};

/// Number of bytes that are inspected.
const HEAD_BYTES: u64 = 1024;

/// Magic bytes, with a description of the file.
const KINDS: [(&[u8], &str); 22] = [
    (
        b"\x1f\x8b",
        "is packed by gzip; unpack it (gunzip) and give what is inside",
    ),
    (
        b"BZh",
        "is packed by bzip2; unpack it (bunzip2) and give what is inside",
    ),
    (
        b"\xfd7zXZ\0",
        "is packed by xz; unpack it (unxz) and give what is inside",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "is packed by zstd; unpack it (unzstd) and give what is inside",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "is a 7z archive; unpack it and give what is inside",
    ),
    (
        b"Rar!",
        "is a RAR archive; unpack it and give what is inside",
    ),
    (b"PK\x05\x06", "is an empty zip archive"),
    (
        b"\x89HDF\r\n",
        "is an HDF5 file (Keras), expected .safetensors or .pt",
    ),
    (b"GGUF", "is a GGUF file, expected .safetensors or .pt"),
    (
        b"\x93NUMPY",
        "is a NumPy array (.npy), expected .safetensors or .pt",
    ),
    (b"%PDF", "is a PDF, expected .safetensors or .pt"),
    (b"\x89PNG", "is a PNG picture, expected .safetensors or .pt"),
    (
        b"\xff\xd8\xff",
        "is a JPEG picture, expected .safetensors or .pt",
    ),
    (
        b"RIFF",
        "is a WebP, WAV or AVI file, expected .safetensors or .pt",
    ),
    (b"GIF8", "is a GIF picture, expected .safetensors or .pt"),
    (b"\x7fELF", "is a program, expected .safetensors or .pt"),
    (b"MZ", "is a program, expected .safetensors or .pt"),
    (b"#!", "is a script, expected .safetensors or .pt"),
    (
        b"SQLite format 3",
        "is a database, expected .safetensors or .pt",
    ),
    (b"{", "is JSON, not a safetensors or .pt file"),
    (b"[", "is text, expected .safetensors or .pt"),
    (b"\xef\xbb\xbf", "is text, expected .safetensors or .pt"),
];

/// Reads the header of a weight file of `len` bytes, or reports what the file is instead.
pub(super) fn read(stream: &mut (impl Read + Seek), len: u64) -> Result<Index, String> {
    let io = |e: std::io::Error| format!("cannot be read: {e}");
    let mut head = Vec::new();
    let first = stream.by_ref().take(HEAD_BYTES);
    { first }.read_to_end(&mut head).map_err(io)?;
    stream.rewind().map_err(io)?;
    if head.starts_with(torch::MAGIC) {
        return torch::read(stream, len);
    }
    let has = |bytes: &[u8]| {
        head[..head.len().min(32)]
            .windows(bytes.len())
            .any(|w| w == bytes)
    };
    if head.starts_with(b"\x80") && has(&legacy::MAGIC) {
        return legacy::read(stream, len);
    }
    if matches!(head[..], [0x80, 2..=5, ..]) && !IN_PAGE {
        return numpy::read(stream, len);
    }
    if let Some(what) = kind(&head, len) {
        return Err(what);
    }
    header::read(stream, len)
}

fn kind(head: &[u8], len: u64) -> Option<String> {
    // A safetensors file: an 8-byte header length, whose upper half is 0 in practice, and an opening brace.
    if head.get(4..9) == Some(b"\0\0\0\0{") {
        return None;
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return Some(format!(
            "is an HTML page{}, not weights: a login or an error page was downloaded instead of the file",
            title(text, &lower)
        ));
    }
    if lower.starts_with("<?xml") || (lower.starts_with('<') && lower.contains("</")) {
        return Some(
            "is an XML text, not weights: an error was downloaded instead of the file".into(),
        );
    }
    if text.starts_with("version https://git-lfs") {
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        let size = size.map(|n| format!(" of {} bytes", shown(n)));
        return Some(format!(
            "is a git-lfs pointer to a file{}; `git lfs pull` brings the file itself",
            size.unwrap_or_default()
        ));
    }
    if let Some((_, what)) = KINDS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some((*what).into());
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(
            "is a tar archive; unpack it and give what is inside (torch.save has written none since PyTorch 0.1.10)".into(),
        );
    }
    if matches!(head, [0x80, 2..=5, ..]) {
        return Some(
            "is a pickle, but none of torch.save; write it again with torch.save(model.state_dict(), FILE)".into(),
        );
    }
    if !head.is_empty() && head.iter().all(|&b| b == 0) {
        return Some(format!(
            "begins with {} bytes of zeros: a download that broke off leaves them",
            head.len()
        ));
    }
    let is_text = |c: char| !c.is_control() || c.is_whitespace();
    if len >= 16 && std::str::from_utf8(head).is_ok_and(|text| text.chars().all(is_text)) {
        let line = shown(text.lines().next().unwrap_or_default());
        return Some(format!(
            "is text that begins with \"{line}\", not a safetensors file, expected .safetensors or .pt"
        ));
    }
    None
}

/// The title of an HTML page.
fn title(text: &str, lower: &str) -> String {
    let title = || {
        let from = lower.find("<title>")? + "<title>".len();
        let to = from + lower[from..].find("</title>")?;
        Some(format!(" (\"{}\")", shown(text.get(from..to)?.trim())))
    };
    title().unwrap_or_default()
}
