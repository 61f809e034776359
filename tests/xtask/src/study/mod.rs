//! Experiments of many trainings: each piece of work is one run of `sit`, kept in the study's folder, so that a study that was stopped goes on.

pub mod chart;
pub mod claim;
mod judge;
mod markers;
mod scale;
mod spread;
mod svg;
mod table;

pub use judge::Judge;
pub use spread::{Spread, rank_correlation};
pub use table::{Row, Table};

use crate::{cargo, check, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What every study can be told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seeds of every training, from 0 on.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: u64,
    /// Steps of every training.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(6..=1_000_000))]
    pub steps: u64,
    /// Samples of every distance.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub count: u64,
    /// Folder of the study [default: target/ladder or target/scaling]. What is there already is not computed again.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where to compute: auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    pub backend: String,
    /// Copy the tables into BENCHMARKS.md and the pictures to those of the README.
    #[arg(long)]
    pub write: bool,
}

/// One run of `sit`.
pub struct Job {
    /// Name of the file with what it printed.
    pub name: String,
    /// Its arguments; paths are relative to the study's folder.
    words: String,
    /// Its work, in evaluations of one image times the network's cost in any unit that the study's jobs share.
    cost: f64,
}

impl Job {
    /// `words` are separated by spaces.
    pub fn new(name: impl Into<String>, words: impl Into<String>, cost: f64) -> Self {
        Job {
            name: name.into(),
            words: words.into(),
            cost,
        }
    }
}

/// A picture of a study's results.
pub struct Picture {
    /// Name of the file.
    pub file: &'static str,
    /// What it shows, for those who do not see it.
    pub alt: &'static str,
    pub png: Vec<u8>,
}

/// Where the README has its pictures.
const ASSETS: &str = "trainer/assets/";

/// The folder of a study.
pub struct Study {
    name: &'static str,
    folder: PathBuf,
    /// The release build of `sit`.
    program: PathBuf,
}

impl Study {
    /// Builds `sit` and makes the folder.
    pub fn open(name: &'static str, args: &Args) -> Result<Self> {
        check(&mut cargo("build --release --package sit-trainer"))?;
        let folder = match &args.out {
            Some(folder) => std::path::absolute(folder)?,
            None => target().join(name),
        };
        let jobs = folder.join("jobs");
        fs::create_dir_all(&jobs).with_context(|| jobs.display().to_string())?;
        Ok(Study {
            name,
            folder,
            program: target().join("release/sit"),
        })
    }

    /// Runs those jobs that have not been run, one at a time, with a line about each.
    pub fn run(&self, jobs: &[Job]) -> Result<()> {
        let mut left = Vec::new();
        for job in jobs {
            if !self.is_done(job)? {
                left.push(job);
            }
        }
        let n = left.len();
        eprintln!(
            "{}: {n} of {} runs of sit to do",
            self.folder.display(),
            jobs.len()
        );
        let all: f64 = left.iter().map(|job| job.cost).sum();
        let (start, mut done) = (Instant::now(), 0.0);
        for (i, job) in left.into_iter().enumerate() {
            let before = Instant::now();
            self.work(job)?;
            done += job.cost;
            let elapsed = start.elapsed().as_secs_f64();
            eprintln!(
                "[{}/{n}] {}: {:.1} s; about {:.1} min left",
                i + 1,
                job.name,
                before.elapsed().as_secs_f64(),
                elapsed * (all / done - 1.0) / 60.0
            );
        }
        Ok(())
    }

    /// What a job printed.
    pub fn printed(&self, name: &str) -> Result<String> {
        let path = self.record(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// What a job said on the way.
    fn said(&self, name: &str) -> Result<String> {
        let path = self.log(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// A table that a job wrote.
    pub fn table(&self, file: &str) -> Result<Table> {
        Table::read(&self.folder.join(file))
    }

    /// Writes the text with its pictures into the study's folder, and with `--write` into BENCHMARKS.md and among the README's pictures.
    pub fn publish(&self, args: &Args, text: &str, pictures: &[Picture]) -> Result<()> {
        let with_pictures = |folder: &str| {
            let links = pictures
                .iter()
                .map(|p| format!("\n![{}]({folder}{})\n", p.alt, p.file));
            format!("{text}{}", links.collect::<String>())
        };
        let markdown = format!("{}.md", self.name);
        write(&self.folder.join(markdown), with_pictures("").as_bytes())?;
        for picture in pictures {
            write(&self.folder.join(picture.file), &picture.png)?;
        }
        if args.write {
            let path = root().join("BENCHMARKS.md");
            let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let section = format!(
                "## `cargo xtask {}`\n\n{}",
                self.name,
                with_pictures(ASSETS)
            );
            let new = markers::replace(&old, self.name, &section);
            write(
                &path,
                new.with_context(|| path.display().to_string())?.as_bytes(),
            )?;
            for picture in pictures {
                write(&root().join(ASSETS).join(picture.file), &picture.png)?;
            }
        }
        Ok(())
    }

    fn record(&self, name: &str) -> PathBuf {
        self.folder.join("jobs").join(format!("{name}.txt"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.record(name).with_extension("log")
    }

    /// Whether the job has been run, by the command in the first line of its record.
    fn is_done(&self, job: &Job) -> Result<bool> {
        let path = self.record(&job.name);
        if !path.exists() {
            return Ok(false);
        }
        let text = self.printed(&job.name)?;
        let (found, wanted) = (text.lines().next().unwrap_or_default(), job.line());
        ensure!(
            found == wanted,
            "{}: is of another command: got {found:?}, expected {wanted:?}; choose another --out, or remove the folder",
            path.display()
        );
        Ok(true)
    }

    fn work(&self, job: &Job) -> Result<()> {
        let log = self.log(&job.name);
        let stderr = File::create(&log).with_context(|| log.display().to_string())?;
        let output = Command::new(&self.program)
            .args(job.words.split_whitespace())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stderr(stderr)
            .output()
            .with_context(|| self.program.display().to_string())?;
        if !output.status.success() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let from = said.lines().count().saturating_sub(5);
            let last: Vec<&str> = said.lines().skip(from).collect();
            bail!("{}: {}\n{}", job.line(), output.status, last.join("\n"));
        }
        let record = format!(
            "{}\n{}",
            job.line(),
            String::from_utf8_lossy(&output.stdout)
        );
        // A record that is there is whole.
        let (path, part) = (self.record(&job.name), log.with_extension("tmp"));
        fs::write(&part, record).with_context(|| part.display().to_string())?;
        fs::rename(&part, &path).with_context(|| path.display().to_string())
    }
}

impl Job {
    fn line(&self) -> String {
        let words: Vec<&str> = self.words.split_whitespace().collect();
        format!("$ sit {}", words.join(" "))
    }
}

/// Writes a file and tells where.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    Ok(())
}

/// The date of today in UTC, as in 2026-11-30.
pub fn today() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    spread::date((since.as_secs() / 86_400) as i64)
}
