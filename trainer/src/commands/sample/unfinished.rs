//! What `--count` keeps beside its outputs until all images are made: the same command goes on where it was stopped.

use super::args::Args;
use super::guides::Guides;
use crate::commands::source::{self, Opened, Origin};
use crate::error::{Failure, Result};
use crate::files::{self, FileError, write_atomically};
use crate::npz;
use crate::vae::Vae;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sit_engine::text::{count, shown};
use sit_engine::transport::{ErrorNorm, Sampler};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder is called as the output, and this.
const ENDING: &str = ".unfinished";

/// What is done, and what for.
const RECORD: &str = "record.json";

/// The images, as `arr_0` of the archive holds them.
const IMAGES: &str = "images.bin";

/// Locked by the process that makes the images.
const LOCK: &str = "lock";

/// More bytes than a record has.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// Time after which the record is written again: what a killed process loses.
const EVERY: Duration = Duration::from_secs(5);

/// Settings by name, all that the images depend on.
pub type Settings = Map<String, Value>;

/// The folder of unfinished work.
pub struct Unfinished {
    folder: PathBuf,
    settings: Settings,
    /// The archive of `--npz`, and the images that are made.
    npz: Option<(npz::Layout, BufWriter<File>)>,
    /// Images that are made at least before a call may go on after them.
    unit: u64,
    now: Done,
    kept: Done,
    saved: Instant,
    is_complete: bool,
    _lock: File,
}

/// The work that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    images: u64,
    /// What a judge has counted: images that agree, and all.
    judged: [usize; 2],
}

#[derive(Serialize, Deserialize)]
struct Record {
    settings: Settings,
    #[serde(flatten)]
    done: Done,
}

impl Args {
    /// The folder of unfinished work, of `--count` with files that grow.
    pub fn unfinished(&self) -> Option<PathBuf> {
        self.many()?;
        // What goes to a device or a pipe does not stay.
        let npz = self.npz.as_ref().filter(|npz| !files::is_special(npz));
        let output = npz.or(self.png.as_ref())?;
        // A path such as `folder/` names what `folder` does.
        let output: PathBuf = output.components().collect();
        let mut name = output.into_os_string();
        name.push(ENDING);
        Some(name.into())
    }

    /// All that the images of `--count` depend on: `sampling` has the settings of sampling, as JSON.
    pub fn unfinished_settings(
        &self,
        sampling: &str,
        (origin, guides, vae): (&Origin, &Guides<Opened>, Option<&Vae>),
        unit: u64,
    ) -> Settings {
        let mut settings: Settings = serde_json::from_str(sampling).unwrap_or_default();
        let fingerprint = |path: &Path| source::fingerprint(path);
        let guide = |guide: &Option<(Opened, f64)>| {
            guide
                .as_ref()
                .map(|(guide, scale)| json!([fingerprint(&guide.origin.path), scale]))
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(shown);
        let more = [
            ("checkpoint", json!(fingerprint(&origin.path))),
            ("autoguide", json!(guide(&guides.weak))),
            ("classifier", json!(guide(&guides.classifier))),
            (
                "vae",
                json!(vae.map(|vae| (fingerprint(vae.path()), self.vae.vae_memory))),
            ),
            ("base", json!(path(&self.base))),
            ("--dtype", json!(self.dtype.to_string())),
            ("count", json!(self.count)),
            ("balanced", json!(self.balanced)),
            ("chosen classes", json!(self.classes)),
            ("--npz", json!(path(&self.npz))),
            ("--png", json!(path(&self.png))),
            ("--judge", json!(path(&self.judge))),
            ("images together", json!(unit)),
        ];
        settings.extend(more.map(|(name, value)| (name.to_owned(), value)));
        // Images do not depend on the number of threads, which follows the name of the CPU.
        if let Some(Value::String(device)) = settings.get_mut("device")
            && device.starts_with("CPU")
        {
            device.truncate("CPU".len());
        }
        settings
    }
}

/// Images that depend on each other: those of a batch whose error decides on a step.
pub fn unit(sampler: &Sampler, batch: usize) -> u64 {
    match sampler {
        Sampler::Ode(ode) if sampler.is_adaptive() && ode.tolerance.norm == ErrorNorm::Batch => {
            batch as u64
        }
        _ => 1,
    }
}

/// Whether an earlier call has left unfinished work in this folder.
pub fn is_begun(folder: &Path) -> bool {
    folder.join(RECORD).is_file()
}

impl Unfinished {
    /// Makes the folder, or finds in it what an earlier call with the same settings has done. Work goes on after multiples of `unit` images.
    ///
    /// # Errors
    /// [`Failure::Input`] for a folder of something else, of a command with other settings, or of one that runs now; [`FileError`].
    pub fn open(
        folder: PathBuf,
        settings: Settings,
        npz: Option<npz::Layout>,
        unit: u64,
    ) -> Result<Self> {
        let found = read(&folder)?;
        if let Some(found) = &found {
            check(&folder, &found.settings, &settings)?;
        } else if has_others(&folder)? {
            let why = format!("has no {RECORD}; move it away or choose another output");
            return Err(refuse(&folder, why));
        } else {
            fs::create_dir_all(&folder).map_err(FileError::of("make", &folder))?;
        }
        let lock = lock(&folder)?;
        let done = found.map_or(
            Done {
                images: 0,
                judged: [0; 2],
            },
            |found| found.done,
        );
        let open = |layout: npz::Layout| {
            let file = images(&folder, done.images * layout.image_bytes())?;
            Ok::<_, Failure>((layout, BufWriter::new(file)))
        };
        let mut unfinished = Unfinished {
            npz: npz.map(open).transpose()?,
            folder,
            settings,
            unit,
            now: done,
            kept: done,
            saved: Instant::now(),
            is_complete: false,
            _lock: lock,
        };
        match done.images {
            0 => unfinished.save()?,
            n => tracing::info!(
                "{}: an earlier call has made {}; this one goes on after them",
                shown(&unfinished.folder),
                count(n, "image")
            ),
        }
        Ok(unfinished)
    }

    /// Images that are made already.
    pub fn done(&self) -> u64 {
        self.now.images
    }

    /// What a judge has counted of them.
    pub fn judged(&self) -> [usize; 2] {
        self.now.judged
    }

    /// Takes the next images `[B, C, H, W]`, and what a judge has counted up to them.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn take(&mut self, images: &[f32], n: usize, judged: [usize; 2]) -> Result<()> {
        if let Some((layout, out)) = &mut self.npz {
            let path = self.folder.join(IMAGES);
            layout
                .write(images, out)
                .map_err(FileError::of("write", &path))?;
        }
        self.now.images += n as u64;
        self.now.judged = judged;
        if self.now.images.is_multiple_of(self.unit) {
            self.kept = self.now;
            if self.saved.elapsed() >= EVERY {
                self.save()?;
            }
        }
        Ok(())
    }

    /// Removes what is kept, and the folder, unless it has files of others.
    fn remove(&self) {
        files::remove_partial(&self.folder);
        for name in [RECORD, IMAGES, LOCK] {
            fs::remove_file(self.folder.join(name)).ok();
        }
        fs::remove_dir(&self.folder).ok();
    }

    /// Writes down what is done.
    fn save(&mut self) -> Result<()> {
        if let Some((_, out)) = &mut self.npz {
            let path = self.folder.join(IMAGES);
            out.flush()
                .and_then(|()| out.get_ref().sync_data())
                .map_err(FileError::of("write", &path))?;
        }
        let record = Record {
            settings: self.settings.clone(),
            done: self.kept,
        };
        let text = serde_json::to_string_pretty(&record).expect("names are texts");
        write_atomically(&self.folder.join(RECORD), |out| {
            out.write_all(text.as_bytes())
        })?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Writes the archive, if there is one, and removes the folder; returns the archive's length in bytes.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn finish(
        mut self,
        npz: Option<&Path>,
        labels: impl Iterator<Item = u32>,
    ) -> Result<Option<u64>> {
        self.save()?;
        let mut bytes = None;
        if let Some(((layout, out), path)) = self.npz.as_mut().zip(npz) {
            let from = self.folder.join(IMAGES);
            let read = || FileError::of("read", &from);
            let file = out.get_mut();
            file.seek(SeekFrom::Start(0)).map_err(read())?;
            let mut writer = npz::Writer::create(path, self.now.images, layout.shape)?;
            let mut file = BufReader::with_capacity(1 << 20, file);
            let mut image = vec![0; layout.image_bytes() as usize];
            for _ in 0..self.now.images {
                file.read_exact(&mut image).map_err(read())?;
                writer.encoded(&image)?;
            }
            bytes = Some(writer.finish(labels)?);
        }
        self.is_complete = true;
        // Without the record nobody goes on with what is left.
        let record = self.folder.join(RECORD);
        fs::remove_file(&record).map_err(FileError::of("remove", &record))?;
        self.remove();
        Ok(bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        if self.kept.images == 0 && self.settings.get("--png") == Some(&Value::Null) {
            // Nothing is lost. A folder of pictures may have some already.
            self.remove();
            return;
        }
        // If this fails, the record of some seconds ago may be there.
        if self.save().is_ok() {
            tracing::info!(
                "{} made; the same command goes on after them",
                count(self.kept.images, "image")
            );
        }
    }
}

/// Whether a folder that may not exist has files that no call before its first record leaves.
fn has_others(folder: &Path) -> Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(FileError::of("read", folder)(e).into()),
    };
    let own = |name: &str| [LOCK, IMAGES].contains(&name) || name.starts_with(files::PARTIAL.0);
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.any(|name| !own(&name.to_string_lossy())))
}

fn refuse(folder: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {why}", shown(folder)))
}

fn read(folder: &Path) -> Result<Option<Record>> {
    let path = folder.join(RECORD);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(refuse(folder, "is no folder"));
        }
        Err(e) => return Err(FileError::of("read", &path)(e).into()),
    };
    let record = serde_json::from_reader(file.take(MAX_RECORD_BYTES));
    record.map(Some).map_err(|e| {
        refuse(
            &path,
            format_args!(
                "is no record of unfinished images ({e}); remove the folder to begin again"
            ),
        )
    })
}

/// Refuses unfinished work of other settings.
fn check(folder: &Path, found: &Settings, wanted: &Settings) -> Result<()> {
    let names = wanted.keys().chain(found.keys());
    let Some(name) = { names }.find(|name| found.get(*name) != wanted.get(*name)) else {
        return Ok(());
    };
    let said = |settings: &Settings| match settings.get(name) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => value.to_string(),
    };
    Err(refuse(
        folder,
        format_args!(
            "holds images that an earlier call made with other settings: {name} was {}, and is {} now; repeat that call, remove the folder \
             to begin again, or choose another output",
            said(found),
            said(wanted)
        ),
    ))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let options = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = options.map_err(FileError::of("write", &path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(refuse(
            folder,
            "another command is making these images now; choose another output",
        )),
        // Without lock support nobody else is noticed.
        _ => Ok(file),
    }
}

/// Opens the images that are made, of which `bytes` are kept.
fn images(folder: &Path, bytes: u64) -> Result<File> {
    let path = folder.join(IMAGES);
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false);
    let mut file = file.open(&path).map_err(FileError::of("write", &path))?;
    let cut = || {
        let len = file.metadata()?.len();
        if len >= bytes {
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
        }
        Ok(len)
    };
    let len = { cut }().map_err(FileError::of("write", &path))?;
    match len >= bytes {
        true => Ok(file),
        false => Err(refuse(
            &path,
            format_args!(
                "has {len} bytes, expected {bytes} by its record; remove the folder {} to begin again",
                shown(folder)
            ),
        )),
    }
}
