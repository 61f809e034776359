//! Lines of measurements: `metrics.jsonl` has a JSON object a line, `metrics.csv` a row under a header.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::files::FileError;
use crate::run::TIME_BINS;

/// One line. A number that is not finite is written as null, in a row of CSV as an empty cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsLine {
    /// Steps done; the first step is 1.
    pub step: u64,
    /// Mean loss of the steps since the line before.
    pub loss: f64,
    /// Loss of the held-out images under the moving average, at this step; null where it was not asked for.
    pub validation_loss: Option<f64>,
    /// Norm of the gradient of this step, before clipping.
    pub grad_norm: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Steps per second since the line before.
    pub steps_per_sec: f64,
    /// Images trained on per second since the line before.
    pub images_per_sec: f64,
    /// Billions of floating-point operations per second since the line before: two a multiply-accumulate of the matrix
    /// products in forward and backward.
    pub gflops_per_sec: f64,
    /// That rate as a share of what the device reaches in a matrix product by itself, measured when the run started.
    pub mfu: f64,
    /// Steps skipped since the run began because their loss or gradient was not finite.
    pub skipped: u64,
    /// Mean loss of the images since the line before, by bins of equal width of their time from 0 (noise) to 1 (data);
    /// null for a bin without images.
    pub loss_by_t: Vec<Option<f64>>,
    /// What only some runs have, by name: of an autoencoder the means of the parts of its loss since the line before, and [`VALIDATION_PSNR`]; the
    /// numbers of `log.eval`. Null where it was not asked for.
    #[serde(flatten)]
    pub more: BTreeMap<String, f64>,
}

/// The peak signal-to-noise ratio of the held-out images' reconstructions under the moving average, in dB.
pub const VALIDATION_PSNR: &str = "validation_psnr";

/// The names of [`MetricsLine::more`] in a run beside those of `log.eval`, in order.
pub fn more(config: &RunConfig) -> &'static [&'static str] {
    match config.autoencoder {
        Some(_) => &["kl", "reconstruction", VALIDATION_PSNR],
        None => &[],
    }
}

impl MetricsLine {
    /// Everything but the step by name, as TensorBoard and CSV show it; NaN where there is no number.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let plain = [
            ("loss", self.loss),
            ("validation_loss", self.validation_loss.unwrap_or(f64::NAN)),
            ("grad_norm", self.grad_norm),
            ("lr", self.lr),
            ("steps_per_sec", self.steps_per_sec),
            ("images_per_sec", self.images_per_sec),
            ("gflops_per_sec", self.gflops_per_sec),
            ("mfu", self.mfu),
            ("skipped", self.skipped as f64),
        ];
        let by_t = (0..TIME_BINS).map(|bin| {
            let edge = |bin: usize| bin as f64 / TIME_BINS as f64;
            let name = format!("loss_by_t/{:.1}-{:.1}", edge(bin), edge(bin + 1));
            let loss = self.loss_by_t.get(bin).copied().flatten();
            (name, loss.unwrap_or(f64::NAN))
        });
        let plain = plain.map(|(name, value)| (name.to_owned(), value));
        let more = self.more.iter();
        let more = more.map(|(name, value)| (name.clone(), *value));
        plain.into_iter().chain(by_t).chain(more).collect()
    }
}

/// How lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values under a header, with these columns of [`MetricsLine::more`].
    Csv(Vec<String>),
}

impl Table {
    fn header(&self) -> Vec<u8> {
        match self {
            Table::Jsonl => Vec::new(),
            Table::Csv(more) => {
                let line = MetricsLine {
                    step: 0,
                    loss: 0.0,
                    validation_loss: None,
                    grad_norm: 0.0,
                    lr: 0.0,
                    steps_per_sec: 0.0,
                    images_per_sec: 0.0,
                    gflops_per_sec: 0.0,
                    mfu: 0.0,
                    skipped: 0,
                    loss_by_t: Vec::new(),
                    more: more.iter().map(|name| (name.clone(), f64::NAN)).collect(),
                };
                let names = line.scalars().into_iter().map(|(name, _)| name);
                let names: Vec<String> = std::iter::once("step".to_owned()).chain(names).collect();
                (names.join(",") + "\n").into_bytes()
            }
        }
    }

    fn line(&self, line: &MetricsLine) -> io::Result<Vec<u8>> {
        let mut text = match self {
            Table::Jsonl => serde_json::to_vec(line)?,
            Table::Csv(_) => {
                let cell = |(_, value): (String, f64)| match value.is_finite() {
                    true => value.to_string(),
                    false => String::new(),
                };
                let cells = line.scalars().into_iter().map(cell);
                let cells: Vec<String> = std::iter::once(line.step.to_string())
                    .chain(cells)
                    .collect();
                cells.join(",").into_bytes()
            }
        };
        text.push(b'\n');
        Ok(text)
    }

    /// The step of a line, if it has one.
    fn step(&self, line: &[u8]) -> Option<u64> {
        #[derive(Deserialize)]
        struct Step {
            step: u64,
        }
        match self {
            Table::Jsonl => Some(serde_json::from_slice::<Step>(line).ok()?.step),
            Table::Csv(_) => {
                let cell = line.split(|&byte| byte == b',').next()?;
                str::from_utf8(cell).ok()?.parse().ok()
            }
        }
    }
}

/// The file, open at its end.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    table: Table,
    file: File,
}

impl Metrics {
    /// Opens the file to go on after step `last_step`: removes later lines, and an incomplete last line.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be opened, read or cut, or is a table of other columns.
    pub fn open(path: &Path, table: Table, last_step: u64) -> Result<Self, FileError> {
        let header = table.header();
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let len = match last_step {
                0 => 0,
                _ => kept(&text, &table, last_step) as u64,
            };
            if len > 0 && !text.starts_with(&header) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it has other columns than this program writes; move it away, or set log.csv = false",
                ));
            }
            file.set_len(len)?;
            file.seek(SeekFrom::Start(len))?;
            if len == 0 {
                file.write_all(&header)?;
            }
            Ok(file)
        };
        let file = open().map_err(FileError::of("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            table,
            file,
        })
    }

    /// Step and loss of each line; NaN for a loss that is not finite.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be read.
    pub fn losses(&self) -> Result<Vec<(u64, f64)>, FileError> {
        #[derive(Deserialize)]
        struct Loss {
            step: u64,
            loss: Option<f64>,
        }
        let text = fs::read(&self.path).map_err(FileError::of("read", &self.path))?;
        let lines = text.split(|&byte| byte == b'\n');
        // Skip lines that are not metrics.
        let losses = lines.filter_map(|line| serde_json::from_slice::<Loss>(line).ok());
        Ok(losses
            .map(|line| (line.step, line.loss.unwrap_or(f64::NAN)))
            .collect())
    }

    /// Appends a line, in one write.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written; what was written of it is removed.
    pub fn write(&mut self, line: &MetricsLine) -> Result<(), FileError> {
        let mut append = || -> io::Result<()> {
            let text = self.table.line(line)?;
            let start = self.file.stream_position()?;
            self.file.write_all(&text).inspect_err(|_| {
                // A partial line would merge with the next one. If removing it fails too, report the first error.
                self.file
                    .set_len(start)
                    .and(self.file.seek(SeekFrom::Start(start)))
                    .ok();
            })
        };
        append().map_err(FileError::of("write", &self.path))
    }
}

/// The length of the complete lines before the first line of a later step.
fn kept(text: &[u8], table: &Table, last_step: u64) -> usize {
    let is_later = |line: &[u8]| table.step(line).is_some_and(|step| step > last_step);
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    lines
        .take_while(|line| line.ends_with(b"\n") && !is_later(line))
        .map(<[u8]>::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> MetricsLine {
        MetricsLine {
            step,
            loss: 0.5,
            validation_loss: None,
            grad_norm: f64::INFINITY,
            lr: 1e-4,
            steps_per_sec: 10.0,
            images_per_sec: 100.0,
            gflops_per_sec: 2.0,
            mfu: 0.5,
            skipped: 1,
            loss_by_t: vec![Some(0.25), None],
            more: BTreeMap::new(),
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
        Metrics::open(&path, Table::Jsonl, 0)
            .unwrap()
            .write(&line(10))
            .unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"step\":10,\"loss\":0.5,\"validation_loss\":null,\"grad_norm\":null,\"lr\":0.0001,\"steps_per_sec\":10.0,\
             \"images_per_sec\":100.0,\"gflops_per_sec\":2.0,\"mfu\":0.5,\"skipped\":1,\"loss_by_t\":[0.25,null]}\n"
        );
    }

    #[test]
    fn what_only_some_models_have_comes_last() {
        let mut line = line(10);
        let more = [("kl", 3.0), (VALIDATION_PSNR, f64::NAN)];
        line.more = more.map(|(name, value)| (name.to_owned(), value)).into();
        let table = Table::Csv(line.more.keys().cloned().collect());
        let text = |table: Table| String::from_utf8(table.line(&line).unwrap()).unwrap();
        assert!(text(Table::Jsonl).ends_with(",\"kl\":3.0,\"validation_psnr\":null}\n"));
        let header = String::from_utf8(table.header()).unwrap();
        assert!(header.ends_with(",kl,validation_psnr\n"), "{header}");
        let row = text(table);
        assert!(row.ends_with(",3,\n"), "{row}");
        assert_eq!(row.matches(',').count(), header.matches(',').count());
    }

    #[test]
    fn resuming_cuts_later_steps_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = Metrics::open(&path, Table::Jsonl, 0).unwrap();
        (1..=5).for_each(|i| log.write(&line(10 * i)).unwrap());
        drop(log);
        let whole = fs::read(&path).unwrap();
        // Killed anywhere within the last line, and resumed from a checkpoint at step 30.
        for cut in 0..=whole.len() / 5 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut log = Metrics::open(&path, Table::Jsonl, 30).unwrap();
            assert_eq!(steps(&path), [10, 20, 30]);
            log.write(&line(40)).unwrap();
            assert_eq!(steps(&path), [10, 20, 30, 40]);
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        Metrics::open(&path, Table::Jsonl, 50).unwrap();
        assert_eq!(steps(&path), [10, 20, 30, 40]);
        Metrics::open(&path, Table::Jsonl, 0).unwrap();
        assert!(steps(&path).is_empty());
    }

    #[test]
    fn a_table_has_one_header_and_goes_on_after_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut log = Metrics::open(&path, Table::Csv(Vec::new()), 0).unwrap();
        (1..=3).for_each(|i| log.write(&line(10 * i)).unwrap());
        drop(log);
        Metrics::open(&path, Table::Csv(Vec::new()), 20)
            .unwrap()
            .write(&line(21))
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let header = "step,loss,validation_loss,grad_norm,lr,steps_per_sec,images_per_sec,gflops_per_sec,mfu,skipped,\
                      loss_by_t/0.0-0.1,loss_by_t/0.1-0.2";
        assert!(lines[0].starts_with(header), "{text}");
        assert_eq!(lines[1], "10,0.5,,,0.0001,10,100,2,0.5,1,0.25,,,,,,,,,");
        let steps: Vec<&str> = lines[1..].iter().map(|l| &l[..2]).collect();
        assert_eq!(steps, ["10", "20", "21"]);
        fs::write(&path, "step,other\n10,1\n").unwrap();
        let error = Metrics::open(&path, Table::Csv(Vec::new()), 20)
            .unwrap_err()
            .to_string();
        assert!(error.contains("other columns"), "{error}");
        // A new run has nothing to keep.
        Metrics::open(&path, Table::Csv(Vec::new()), 0).unwrap();
    }
}
