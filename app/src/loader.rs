//! Reads folders and training data in the background: on the desktop on threads, in a browser between two frames.

use crate::job::{Answers, FRAME_BUDGET};
use crate::source::stream;
#[cfg(not(target_arch = "wasm32"))]
use crate::state::Action;
use crate::state::{Bytes, DEFAULT_SIZE, FilesAction, Opened, Place, Wanted};
use sit_trainer::data::{self, DataConfig, Dataset, File, Kind};
use std::io::Read;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use web_time::Instant;

/// Images that are shown of a data set.
const EXAMPLES: usize = 16;

/// Keep cropped images in memory up to this size; beyond it, each step reads its images again.
const CACHE_MIB: u64 = 256;

/// Finds out whether a folder is a run or data, and opens it unless something else has arrived since: `arrived` counts arrivals.
#[cfg(not(target_arch = "wasm32"))]
pub fn sort(path: std::path::PathBuf, arrived: Arc<AtomicU64>, answers: Answers) {
    let number = arrived.load(Relaxed);
    // A folder of a million files takes a while to list.
    std::thread::spawn(move || {
        let action = sorted(path).unwrap_or_else(Action::Notify);
        if arrived.load(Relaxed) == number {
            answers.say(action);
        }
    });
}

#[cfg(not(target_arch = "wasm32"))]
fn sorted(path: std::path::PathBuf) -> Result<Action, String> {
    use crate::state::{Checkpoint, Choice, TimelineAction};
    use sit_engine::text::shown;
    use sit_trainer::run;
    let name = |path: &std::path::Path| {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = whole.file_name().unwrap_or(whole.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let open = |run: std::path::PathBuf, steps: Vec<u64>| {
        let row = |step| (format!("step {step}"), Checkpoint::Step(run.clone(), step));
        Action::Timeline(TimelineAction::Open {
            name: name(&run),
            rows: steps.into_iter().map(row).collect(),
        })
    };
    // The moving average of a run that trains an autoencoder decodes what lanes make.
    if let Ok(latest) = run::Checkpoint::open(&path)
        && latest.state.config.trains_autoencoder()
    {
        let weights = latest.path.join(run::EMA);
        return match weights.to_str() {
            Some(path) => Ok(Action::Choose(Choice::Text(path.to_owned()))),
            None => Err(format!("{}: its name is no text", shown(&weights))),
        };
    }
    let steps = run::steps(&path).map_err(|e| e.to_string())?;
    if !steps.is_empty() {
        return Ok(open(path, steps));
    }
    match run::Checkpoint::open(&path) {
        Ok(one) => Ok(open(one.run, vec![one.state.step])),
        // A run that was stopped before its first checkpoint has nothing but this.
        Err(error) if path.join("config.toml").is_file() => Err(error.to_string()),
        Err(_) => Ok(Action::Files(FilesAction::Ask {
            name: format!("folder {}", name(&path)),
            place: Place::Disk(path),
        })),
    }
}

/// Starts to read training data, without waiting for it.
pub fn read(wanted: Wanted, answers: Answers) {
    #[cfg(not(target_arch = "wasm32"))]
    std::thread::spawn(move || pollster::block_on(answer(wanted, answers)));
    #[cfg(target_arch = "wasm32")]
    wasm_bindgen_futures::spawn_local(answer(wanted, answers));
}

async fn answer(wanted: Wanted, answers: Answers) {
    let number = wanted.number;
    let progress = Progress {
        number,
        answers,
        told: Mutex::new(Instant::now()),
    };
    let action = match open(wanted, &progress).await {
        Ok(opened) => FilesAction::Opened(Box::new(opened)),
        Err(message) => FilesAction::Refused { number, message },
    };
    progress.answers.say(action);
}

async fn open(wanted: Wanted, progress: &Progress) -> Result<Opened, String> {
    let words = |e: data::DataError| e.to_string();
    let tell = async |done, total| {
        if progress.tell(done, total) {
            breathe().await;
        }
    };
    let (config, dataset): (DataConfig, Arc<dyn Dataset>) = match &wanted.place {
        #[cfg(not(target_arch = "wasm32"))]
        Place::Disk(path) => {
            let config = configure(data::suggest(path).map_err(words)?, &wanted);
            let tell = |done, total| {
                progress.tell(done, total);
            };
            let dataset = data::open(&config, &tell).map_err(words)?;
            (config, dataset)
        }
        #[cfg(target_arch = "wasm32")]
        Place::Disk(path) => {
            let path = sit_engine::text::shown(&path);
            return Err(format!("{path}: a browser opens no paths"));
        }
        Place::Files(files) => {
            let files: Result<Vec<File>, String> = files.iter().map(whole).collect();
            let files = data::unpack(files?, &tell).await.map_err(words)?;
            let config = configure(data::suggest_files(&wanted.name, &files), &wanted);
            let dataset = data::open_files(&config, &files, &tell).await;
            (config, Arc::new(dataset.map_err(words)?))
        }
    };
    let [channels, height, width] = dataset.shape();
    if height != width {
        return Err(format!(
            "{}: got images of {width}×{height}, expected squares",
            wanted.name
        ));
    }
    let n = dataset.len().min(EXAMPLES);
    let mut examples = vec![0.0; n * channels * height * width];
    for (i, image) in examples
        .chunks_exact_mut(channels * height * width)
        .enumerate()
    {
        let index = i * dataset.len() / n;
        dataset.read(index, image).map_err(words)?;
    }
    Ok(Opened {
        wanted,
        config,
        dataset,
        examples: examples.into(),
    })
}

/// How to read the data: as its headers suggest, changed by the user's settings.
fn configure(suggested: DataConfig, wanted: &Wanted) -> DataConfig {
    if suggested.kind != Kind::Folder {
        return suggested;
    }
    let fits = suggested.image_size.unwrap_or(DEFAULT_SIZE);
    DataConfig {
        image_size: Some(wanted.size.unwrap_or(fits.min(DEFAULT_SIZE))),
        skip_bad: wanted.skip_bad,
        cache_mib: Some(CACHE_MIB),
        ..suggested
    }
}

fn whole((name, bytes): &(String, Bytes)) -> Result<File, String> {
    if let Bytes::Memory(bytes) = bytes {
        return Ok((name.clone(), Arc::clone(bytes)));
    }
    let mut contents = Vec::new();
    let read = stream(bytes)?.read_to_end(&mut contents);
    read.map_err(|e| format!("{name}: cannot be read: {e}"))?;
    Ok((name.clone(), contents.into()))
}

/// Reports the progress of a reading, at most once per [`FRAME_BUDGET`]. In a browser, the page draws after each report.
struct Progress {
    number: u64,
    answers: Answers,
    told: Mutex<Instant>,
}

impl Progress {
    /// Reports the progress if it is due; returns whether it was.
    fn tell(&self, done: usize, total: usize) -> bool {
        let Ok(mut told) = self.told.try_lock() else {
            return false;
        };
        if told.elapsed() < FRAME_BUDGET {
            return false;
        }
        *told = Instant::now();
        self.answers.say(FilesAction::Progress {
            number: self.number,
            done,
            total,
        });
        true
    }
}

#[cfg(not(target_arch = "wasm32"))]
async fn breathe() {}

/// Lets the page draw.
#[cfg(target_arch = "wasm32")]
async fn breathe() {
    let mut later = |resolve: js_sys::Function, _| {
        if let Some(window) = web_sys::window() {
            window.set_timeout_with_callback(&resolve).ok();
        }
    };
    let promise = js_sys::Promise::new(&mut later);
    wasm_bindgen_futures::JsFuture::from(promise).await.ok();
}
