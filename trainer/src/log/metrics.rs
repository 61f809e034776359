//! `metrics.jsonl`: one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::FileError;

/// One line. A number that is not finite is written as null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsLine {
    /// Steps done; the first step is 1.
    pub step: u64,
    /// Mean loss of the steps since the line before.
    pub loss: f64,
    /// Norm of the gradient of this step, before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Images trained on per second since the line before.
    pub images_per_sec: f64,
    /// Steps skipped since the run began because their loss or gradient was not finite.
    pub skipped: u64,
    /// Mean loss of the images since the line before, by bins of equal width of their time from 0 (noise) to 1 (data);
    /// null for a bin without images.
    pub loss_by_t: Vec<Option<f64>>,
}

/// The file, open at its end.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file to go on after step `last_step`: later lines, and a last line without its end, are removed.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be opened, read or cut.
    pub fn open(path: &Path, last_step: u64) -> Result<Self, FileError> {
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let len = kept(&text, last_step) as u64;
            file.set_len(len)?;
            file.seek(SeekFrom::Start(len))?;
            Ok(file)
        };
        let file = open().map_err(FileError::of("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends a line, in one write.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written; what was written of it is removed.
    pub fn write(&mut self, line: &MetricsLine) -> Result<(), FileError> {
        let mut append = || -> io::Result<()> {
            let mut text = serde_json::to_vec(line)?;
            text.push(b'\n');
            let start = self.file.stream_position()?;
            self.file.write_all(&text).inspect_err(|_| {
                // A half line would merge with the next one. If this fails too, the first error is the one to tell.
                self.file
                    .set_len(start)
                    .and(self.file.seek(SeekFrom::Start(start)))
                    .ok();
            })
        };
        append().map_err(FileError::of("write", &self.path))
    }
}

/// The length of the whole lines before the first of a later step.
fn kept(text: &[u8], last_step: u64) -> usize {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    let is_later =
        |line: &[u8]| serde_json::from_slice::<Step>(line).is_ok_and(|line| line.step > last_step);
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    lines
        .take_while(|line| line.ends_with(b"\n") && !is_later(line))
        .map(<[u8]>::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(step: u64) -> MetricsLine {
        MetricsLine {
            step,
            loss: 0.5,
            grad_norm: f64::INFINITY,
            lr: 1e-4,
            images_per_sec: 100.0,
            skipped: 1,
            loss_by_t: vec![Some(0.25), None],
        }
    }

    fn steps(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        text.lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["step"]
                    .as_u64()
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn a_line_is_an_object() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        Metrics::open(&path, 0).unwrap().write(&line(10)).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"step\":10,\"loss\":0.5,\"grad_norm\":null,\"lr\":0.0001,\"images_per_sec\":100.0,\"skipped\":1,\
             \"loss_by_t\":[0.25,null]}\n"
        );
    }

    #[test]
    fn resuming_cuts_later_steps_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Metrics::open(&path, 0).unwrap();
        (1..=5).for_each(|i| log.write(&line(10 * i)).unwrap());
        drop(log);
        let whole = fs::read(&path).unwrap();
        // Killed anywhere within the last line, and resumed from a checkpoint at step 30.
        for cut in 0..=whole.len() / 5 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut log = Metrics::open(&path, 30).unwrap();
            assert_eq!(steps(&path), [10, 20, 30]);
            log.write(&line(40)).unwrap();
            assert_eq!(steps(&path), [10, 20, 30, 40]);
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        Metrics::open(&path, 50).unwrap();
        assert_eq!(steps(&path), [10, 20, 30, 40]);
        Metrics::open(&path, 0).unwrap();
        assert!(steps(&path).is_empty());
    }
}
