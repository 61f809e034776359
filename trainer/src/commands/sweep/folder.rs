//! The folder of a sweep: its arguments, and the rows that are done.

use super::args::Args;
use super::table::{self, Row};
use crate::commands::source::{self, Origin};
use crate::config::WeightSet;
use crate::error::{Failure, Result};
use crate::files::{FileError, write_atomically};
use crate::outputs::Outputs;
use crate::run::Checkpoint;
use clap::ValueEnum;
use sit_engine::text::shown;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

const ARGUMENTS: &str = "sweep.json";
const TABLE: &str = "table.csv";
const JUDGE: &str = "judge.safetensors";

/// The arguments that decide the table, by name.
pub type Arguments = BTreeMap<String, String>;

/// The arguments of a sweep of these weights on this device.
pub fn arguments(args: &Args, origin: &Origin, metrics: &str, device: &impl ToString) -> Arguments {
    fn list<T>(values: &[T], show: impl Fn(&T) -> String) -> String {
        let values: Vec<String> = values.iter().map(show).collect();
        values.join(",")
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(shown).unwrap_or_default();
    let guide = |path: &Option<PathBuf>| {
        let path = path.as_deref().map(last_checkpoint);
        path.as_deref().map(source::fingerprint).unwrap_or_default()
    };
    let of = |weights: &WeightSet| {
        let value = weights.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let interval = |[lo, hi]: &[f64; 2]| format!("{lo}..{hi}");
    let all = [
        ("program", env!("CARGO_PKG_VERSION").to_owned()),
        ("checkpoint", source::fingerprint(&origin.path)),
        ("weights", list(&args.weights, of)),
        ("ode", list(&args.ode, ToString::to_string)),
        ("sde", list(&args.sde, ToString::to_string)),
        ("steps", list(&args.steps, ToString::to_string)),
        ("diffusion", args.diffusion.join(",")),
        (
            "diffusion-norm",
            list(&args.diffusion_norm, ToString::to_string),
        ),
        (
            "kl-eta",
            args.kl_eta.map(|eta| eta.to_string()).unwrap_or_default(),
        ),
        (
            "t-eps-sample",
            args.t_eps_sample
                .map(|eps| eps.to_string())
                .unwrap_or_default(),
        ),
        ("guidance", list(&args.guidance, ToString::to_string)),
        (
            "guidance-channels",
            list(&args.guidance_channels, ToString::to_string),
        ),
        ("guidance-interval", list(&args.guidance_interval, interval)),
        ("autoguide", guide(&args.autoguide)),
        (
            "autoguide-scale",
            list(&args.autoguide_scale, ToString::to_string),
        ),
        ("classifier", guide(&args.classifier)),
        (
            "classifier-scale",
            list(&args.classifier_scale, ToString::to_string),
        ),
        ("count", args.count.to_string()),
        ("seed", args.seed.to_string()),
        ("metric", metrics.to_owned()),
        ("judge", path(&args.judge)),
        ("data", path(&args.data)),
        ("device", device.to_string()),
    ];
    let all = all.into_iter().filter(|(_, value)| !value.is_empty());
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A folder that one process at a time works in.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    judge: PathBuf,
    is_new: bool,
    /// Locked while it is open.
    arguments: Option<File>,
    /// Rows that are done.
    pub rows: Vec<Row>,
    table: Option<File>,
}

impl Folder {
    /// Checks, before any work, that the sweep can be written, or go on.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the flag and what is in the way.
    pub fn check(args: &Args) -> Result<Self> {
        let mut outputs = Outputs::default();
        outputs.reads("CHECKPOINT", &args.checkpoint);
        for (flag, guide) in [
            ("--autoguide", &args.autoguide),
            ("--classifier", &args.classifier),
        ] {
            if let Some(path) = guide {
                outputs.reads(flag, path);
            }
        }
        if let Some(judge) = &args.judge {
            outputs.reads_data("--judge", judge);
        }
        if let Some(data) = &args.data {
            outputs.reads_images("--data", data);
        }
        let is_new = !args.out.join(ARGUMENTS).is_file();
        if is_new {
            outputs.fills("--out", &args.out)?;
        }
        let judge = match &args.judge_model {
            Some(file) if file.exists() => file.clone(),
            Some(file) => {
                // It may lie in the folder that is made first.
                let is_inside = file.parent() == Some(args.out.as_path());
                if !is_inside {
                    outputs.writes("--judge-model", file, &["safetensors"])?;
                }
                file.clone()
            }
            None => args.out.join(JUDGE),
        };
        Ok(Folder {
            path: args.out.clone(),
            judge,
            is_new,
            arguments: None,
            rows: Vec::new(),
            table: None,
        })
    }

    /// Makes the folder of a new sweep; of one that goes on, compares its arguments and reads its rows.
    ///
    /// # Errors
    /// [`Failure::Input`] for other arguments, with what differs, for a table of another form, or while another process works in it; a file
    /// that cannot be written.
    pub fn open(&mut self, arguments: &Arguments) -> Result<()> {
        let file = self.path.join(ARGUMENTS);
        if self.is_new {
            fs::create_dir_all(&self.path).map_err(FileError::of("make", &self.path))?;
            let json = serde_json::to_string_pretty(arguments).map_err(Failure::input)?;
            write_atomically(&file, |out| writeln!(out, "{json}"))?;
        }
        let open = File::open(&file).map_err(FileError::of("read", &file))?;
        if let Err(TryLockError::WouldBlock) = open.try_lock() {
            return Err(Failure::Input(format!(
                "--out: another sit sweep works in {}",
                shown(&self.path)
            )));
        }
        self.arguments = Some(open);
        if !self.is_new {
            self.compare(&file, arguments)?;
            self.read()?;
        }
        Ok(())
    }

    fn compare(&self, file: &Path, arguments: &Arguments) -> Result<()> {
        let refuse = |what: String| Failure::Input(format!("--out: {}: {what}", shown(file)));
        let text = fs::read_to_string(file).map_err(FileError::of("read", file))?;
        let there: Arguments = serde_json::from_str(&text)
            .map_err(|e| refuse(format!("is not the file of a sweep: {e}")))?;
        let names = there.keys().chain(arguments.keys());
        let mut differences: Vec<String> = names
            .filter(|&name| there.get(name) != arguments.get(name))
            .map(|name| {
                let value = |of: &Arguments| of.get(name).map_or("none".into(), shown);
                format!("{name} {}, got {}", value(&there), value(arguments))
            })
            .collect();
        differences.sort();
        differences.dedup();
        match differences.is_empty() {
            true => Ok(()),
            false => Err(refuse(format!(
                "the sweep there has other arguments: {}; give it another folder",
                differences.join("; ")
            ))),
        }
    }

    fn read(&mut self) -> Result<()> {
        let path = self.path.join(TABLE);
        match fs::read(&path) {
            Ok(text) => self.rows = table::read(&path, &text)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(FileError::of("read", &path)(e).into()),
        }
        Ok(())
    }

    /// The file of the classifier.
    pub fn judge(&self) -> &Path {
        &self.judge
    }

    /// Refuses rows that are not the first ones of this table.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the row and the column that differ.
    pub fn check_rows(&self, settings: &[Row]) -> Result<()> {
        let path = shown(self.path.join(TABLE));
        if self.rows.len() > settings.len() {
            return Err(Failure::Input(format!(
                "{path}: has {} rows, expected at most {}",
                self.rows.len(),
                settings.len()
            )));
        }
        for (i, (row, expected)) in self.rows.iter().zip(settings).enumerate() {
            if let Some((column, [got, expected])) = row.differs(expected) {
                return Err(Failure::Input(format!(
                    "{path}: line {}: {column}: got {}, expected {}",
                    i + 2,
                    shown(got),
                    shown(expected)
                )));
            }
        }
        Ok(())
    }

    /// Writes the rows that are done, to which [`Folder::push`] adds.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        let path = self.path.join(TABLE);
        self.write_table()?;
        let open = File::options().append(true).open(&path);
        self.table = Some(open.map_err(FileError::of("write", &path))?);
        Ok(())
    }

    /// Adds a row, and flushes it to the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, row: Row) -> Result<()> {
        if let Some(table) = &mut self.table {
            let line = table::line(row.0.iter().map(String::as_str));
            let written = table.write_all(&line).and_then(|()| table.sync_data());
            written.map_err(FileError::of("write", &self.path.join(TABLE)))?;
        }
        self.rows.push(row);
        Ok(())
    }

    fn write_table(&self) -> Result<()> {
        let text = table::csv(&self.rows);
        write_atomically(&self.path.join(TABLE), |out| out.write_all(&text))?;
        Ok(())
    }

    /// Writes the whole table, the one for people and the plot.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self, markdown: &str, plot: &[u8]) -> Result<()> {
        self.table = None;
        self.write_table()?;
        let write = |name: &str, bytes: &[u8]| {
            write_atomically(&self.path.join(name), |out| out.write_all(bytes))
        };
        write("table.md", markdown.as_bytes())?;
        write("plot.png", plot)?;
        Ok(())
    }
}

/// The checkpoint that a run folder stands for.
fn last_checkpoint(path: &Path) -> PathBuf {
    match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint.path,
        Err(_) => path.to_owned(),
    }
}
