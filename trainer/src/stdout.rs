//! Results go to stdout, everything else to stderr.

use crate::error::{Failure, Result};
use sit_engine::text::shown_lines;
use std::io::{self, Write};

/// Prints a result. It is not an error if a reader such as `head` has closed the pipe.
///
/// # Errors
/// [`Failure::Run`] when stdout cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<()> {
    let (text, mut out) = (shown_lines(text), io::stdout().lock());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Run(format!("stdout cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// The size of a file in brackets after its name, where it is large.
pub fn size(bytes: u64) -> String {
    let mb = bytes as f64 / 1e6;
    match bytes {
        0..10_000_000 => String::new(),
        10_000_000..1_000_000_000 => format!(" ({mb:.0} MB)"),
        _ => format!(" ({:.1} GB)", mb / 1e3),
    }
}
