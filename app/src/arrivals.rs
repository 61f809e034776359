//! What happens to files that arrive: a picture restores its session, weights are sampled from, data is trained on, and the
//! checkpoints of a run are shown side by side.

use crate::drops::Drops;
use crate::examine::{Card, Found, are_checkpoints, examine};
use crate::export;
use crate::job::{Job, Request};
use crate::state::{
    Action, Bytes, Checkpoint, Choice, FilesAction, Link, Place, State, Tab, TimelineAction, Tour,
    TourAction, ViewAction,
};
use egui::Context;
use sit_trainer::data::{EXTENSIONS, is_idx};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The kind of the files that arrived together.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// A folder: a run, or data.
    Folder(PathBuf),
    /// More than one.
    Folders,
    /// Several files of weights, from different training steps.
    Checkpoints,
    /// Images, archives or IDX files.
    Data,
    /// Files to be opened one by one: a picture or weights.
    Single,
}

impl Kind {
    fn of(files: &[(String, Bytes)]) -> Self {
        let folder = |(_, bytes): &(String, Bytes)| match bytes {
            Bytes::Disk(path) if path.is_dir() => Some(path.clone()),
            _ => None,
        };
        let mut folders: Vec<PathBuf> = files.iter().filter_map(folder).collect();
        let all = |is: fn(&str) -> bool| files.iter().all(|(name, _)| is(&name.to_lowercase()));
        match folders.pop() {
            Some(folder) if files.len() == 1 => Kind::Folder(folder),
            Some(_) => Kind::Folders,
            // A single picture may contain a session.
            None if files.len() > 1 && all(is_weights) && are_checkpoints(files) => {
                Kind::Checkpoints
            }
            None if files.len() > 1 && all(is_data) || all(is_set) => Kind::Data,
            None => Kind::Single,
        }
    }
}

fn ends(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

fn is_weights(name: &str) -> bool {
    ends(name, &[".safetensors", ".pt"])
}

/// Whether a single file is a data set.
fn is_set(name: &str) -> bool {
    ends(name, &[".zip"]) || is_idx(name)
}

fn is_data(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    is_set(name) || EXTENSIONS.contains(&extension)
}

/// The files that arrive.
pub struct Arrivals {
    drops: Drops,
    /// Times that files have arrived.
    #[cfg(not(target_arch = "wasm32"))]
    arrived: Arc<AtomicU64>,
    card: Option<Card>,
    max_segment_bytes: u64,
    /// The files of networks so far: their names, what tells files of one name apart, and what they are called.
    known: Vec<(String, u64, String)>,
}

impl Arrivals {
    /// No files yet. `max_segment_bytes` is the most bytes of a buffer on the device.
    pub fn new(max_segment_bytes: u64) -> Self {
        Arrivals {
            drops: Drops::default(),
            #[cfg(not(target_arch = "wasm32"))]
            arrived: Arc::default(),
            card: None,
            max_segment_bytes,
            known: Vec::new(),
        }
    }

    /// What the last file was that arrived, if it was not a picture.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// Opens paths of the disk, which arrive together.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(&self, paths: Vec<PathBuf>) {
        if !paths.is_empty() {
            self.drops.open(paths);
        }
    }

    /// Opens what the person chooses or has written.
    pub fn choose(&self, ctx: &Context, choice: Choice, state: &mut State, job: &Job) {
        let text = match choice {
            #[cfg(not(target_arch = "wasm32"))]
            Choice::Folder | Choice::Files => {
                let is_folder = choice == Choice::Folder;
                let answers = job.answers();
                let say = move |text| answers.say(Action::Notify(text));
                return self.drops.choose(ctx, is_folder, say);
            }
            #[cfg(target_arch = "wasm32")]
            Choice::Folder | Choice::Files => {
                let _ = job;
                return self.drops.choose(ctx);
            }
            Choice::Text(text) => text,
        };
        let text = text.trim().trim_matches(['"', '\'']);
        #[cfg(not(target_arch = "wasm32"))]
        if std::path::Path::new(text).exists() {
            self.drops.open(vec![text.into()]);
            ctx.request_repaint();
            return;
        }
        let link = text.split_once(['#', '?']).map_or(text, |(_, link)| link);
        state.apply(match Link::decode(link) {
            Ok(link) => Action::Restore(Box::new(link)),
            Err(why) => Action::Notify(format!("{text}: {NOT_THERE}{why}")),
        });
    }

    /// Handles the files that have arrived.
    pub fn take(&mut self, ctx: &Context, state: &mut State, job: &Job) {
        while let Some(arrived) = self.drops.next(ctx) {
            let mut files = Vec::new();
            for (name, contents) in arrived {
                match contents {
                    Ok(bytes) => files.push((name, bytes)),
                    Err(why) => state.apply(Action::Notify(format!("{name}: {why}"))),
                }
            }
            if !files.is_empty() {
                self.take_together(files, state, job);
            }
        }
    }

    fn take_together(&mut self, mut files: Vec<(String, Bytes)>, state: &mut State, job: &Job) {
        let name = match &files[..] {
            [(name, _)] => name.clone(),
            _ => format!("{} files", files.len()),
        };
        #[cfg(not(target_arch = "wasm32"))]
        self.arrived.fetch_add(1, Relaxed);
        let action = match Kind::of(&files) {
            #[cfg(not(target_arch = "wasm32"))]
            Kind::Folder(path) => {
                let arrived = Arc::clone(&self.arrived);
                return crate::loader::sort(path, arrived, job.answers());
            }
            #[cfg(target_arch = "wasm32")]
            Kind::Folder(_) => return,
            Kind::Folders => Action::Notify("Drop one folder, and nothing beside it.".into()),
            Kind::Checkpoints => {
                files.sort_by(|a, b| a.0.cmp(&b.0));
                let row = |(name, bytes)| (name, Checkpoint::File(bytes));
                let rows = files.into_iter().map(row).collect();
                Action::Timeline(TimelineAction::Open { name, rows })
            }
            Kind::Data => {
                let place = match &files[..] {
                    // Keep the path: the labels are in the same folder.
                    [(name, Bytes::Disk(path))] if is_idx(name) => Place::Disk(path.clone()),
                    _ => Place::Files(files),
                };
                Action::Files(FilesAction::Ask { name, place })
            }
            Kind::Single => {
                for (name, bytes) in files {
                    self.take_single(&name, &bytes, state, job);
                }
                return;
            }
        };
        state.apply(action);
    }

    /// What a file is called: its name, and a number where another file of that name came before.
    fn name(&mut self, name: &str, bytes: &Bytes) -> String {
        let mark = mark(bytes);
        let same_name = self.known.iter().filter(|(known, ..)| known == name);
        if let Some((.., called)) = same_name.clone().find(|(_, known, _)| *known == mark) {
            return called.clone();
        }
        let called = match same_name.count() {
            0 => name.to_owned(),
            n => format!("{name} ({})", n + 1),
        };
        self.known.push((name.to_owned(), mark, called.clone()));
        called
    }

    fn take_single(&mut self, name: &str, bytes: &Bytes, state: &mut State, job: &Job) {
        if let Some(link) = picture(name, bytes).and_then(|bytes| export::restore(&bytes)) {
            state.apply(match link {
                Ok(link) => Action::Restore(link),
                Err(message) => Action::Notify(message),
            });
            return;
        }
        if ends(&name.to_lowercase(), &[".json"]) {
            state.apply(
                match bytes.read().map(|bytes| Tour::stops_of_json(&bytes)) {
                    Ok(Ok(stops)) => Action::Tour(TourAction::Take(stops)),
                    Ok(Err(why)) | Err(why) => Action::Notify(format!("{name} is no tour: {why}")),
                },
            );
            state.apply(ViewAction::SetTab(Tab::Tour));
            return;
        }
        let (n, limit) = (state.n_samples, self.max_segment_bytes);
        let name = &self.name(name, bytes);
        let (card, found) = examine(name, bytes, n, limit);
        self.card = Some(card);
        state.apply(ViewAction::SetTab(Tab::Model));
        let request = match found {
            None => return,
            Some(Found::Network((model, weights))) => Request::Network {
                model: Box::new(model),
                weights,
            },
            Some(Found::Judge((model, weights))) => Request::Judge {
                model: Box::new(model),
                weights,
            },
            Some(Found::Autoencoder(about, config, weights)) => Request::Autoencoder {
                about: Box::new(about),
                config,
                weights,
            },
        };
        job.ask(request);
    }
}

/// What comes before the reason why a text is no link.
const NOT_THERE: &str = match cfg!(target_arch = "wasm32") {
    true => "",
    false => "no file or folder is there, and as a link: ",
};

/// A number that tells files of one name apart.
fn mark(bytes: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    match bytes {
        Bytes::Memory(bytes) => bytes.hash(&mut hasher),
        Bytes::Disk(path) => {
            path.hash(&mut hasher);
            let about = std::fs::metadata(path);
            about
                .map(|m| (m.len(), m.modified().ok()))
                .ok()
                .hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The bytes of a file that may be a picture of a session, which is small.
fn picture(name: &str, bytes: &Bytes) -> Option<Vec<u8>> {
    match bytes {
        Bytes::Memory(bytes) => Some(bytes.to_vec()),
        Bytes::Disk(path) => ends(&name.to_lowercase(), &[".png", ".apng", ".gif", ".svg"])
            .then(|| std::fs::read(path).ok())
            .flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_come_together_are_told_by_name() {
        let here = || Bytes::Disk(env!("CARGO_MANIFEST_DIR").into());
        let of = |names: &[&str]| {
            let file = |name: &&str| {
                let bytes = match *name {
                    "folder" => here(),
                    _ => Bytes::Memory([].into()),
                };
                (name.to_string(), bytes)
            };
            Kind::of(&names.iter().map(file).collect::<Vec<_>>())
        };
        let Bytes::Disk(path) = here() else {
            unreachable!("on the disk");
        };
        assert_eq!(of(&["folder"]), Kind::Folder(path));
        assert_eq!(of(&["folder", "a.png"]), Kind::Folders);
        assert_eq!(of(&["a.safetensors", "b.SAFETENSORS"]), Kind::Checkpoints);
        assert_eq!(of(&["a.safetensors"]), Kind::Single);
        assert_eq!(of(&["a.png"]), Kind::Single);
        assert_eq!(of(&["a.png", "b.JPG"]), Kind::Data);
        assert_eq!(of(&["pets.zip"]), Kind::Data);
        assert_eq!(of(&["train-images-idx3-ubyte.gz"]), Kind::Data);
        assert_eq!(of(&["a.png", "a.safetensors"]), Kind::Single);
    }
}
