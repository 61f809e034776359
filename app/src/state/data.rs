//! Training data from files, as the window knows it.

use super::Bytes;
use sit_trainer::data::{DataConfig, Dataset};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Sides that images can be resized and cropped to.
pub const SIZES: [usize; 4] = [8, 16, 32, 64];

/// The largest of these that is used by default: a processor trains on it in minutes.
pub const DEFAULT_SIZE: usize = 32;

/// Where the data is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// A folder of images or of IDX files, or one of these files.
    Disk(PathBuf),
    /// Files, archives among them, with their names.
    Files(Vec<(String, Bytes)>),
}

/// What is to be read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The number of the reading, which answers refer to.
    pub number: u64,
    /// What the data is called.
    pub name: String,
    /// Where it is stored.
    pub place: Place,
    /// Side that images are cropped to; `None` chooses one that fits them, at most [`DEFAULT_SIZE`].
    pub size: Option<usize>,
    /// Go on without images that cannot be read.
    pub skip_bad: bool,
}

/// Data that is ready to train on.
#[derive(Clone)]
pub struct Opened {
    /// What was read.
    pub wanted: Wanted,
    /// How it was read.
    pub config: DataConfig,
    /// The images.
    pub dataset: Arc<dyn Dataset>,
    /// Some of them, `[N, C, H, W]`.
    pub examples: Arc<[f32]>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images of {:?}", self.dataset.len(), self.wanted)
    }
}

impl PartialEq for Opened {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dataset, &other.dataset)
    }
}

/// What can happen to data from files.
#[derive(Debug, Clone, PartialEq)]
pub enum FilesAction {
    /// Train on these files.
    Ask {
        /// What they are called.
        name: String,
        /// Where they are stored.
        place: Place,
    },
    /// Read the same files with other settings.
    Change {
        /// Side of the images.
        size: Option<usize>,
        /// Leave out images that cannot be read.
        skip_bad: bool,
    },
    /// Go back to the last readable data.
    Keep,
    /// A reading has come this far.
    Progress {
        /// The reading.
        number: u64,
        /// Images read.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// A reading is done.
    Opened(Box<Opened>),
    /// A reading has failed.
    Refused {
        /// The reading.
        number: u64,
        /// Why.
        message: String,
    },
}

/// Data from files: what was requested, and the result.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// What was asked for last.
    pub wanted: Option<Wanted>,
    /// Images read and images in all, while it is read.
    pub progress: Option<(usize, usize)>,
    /// Why it cannot be used.
    pub error: Option<String>,
    /// The last data that could be read.
    pub opened: Option<Opened>,
    /// Readings so far.
    readings: u64,
}

impl Files {
    /// Applies `action`; answers of an earlier reading are ignored.
    pub fn apply(&mut self, action: FilesAction) {
        match action {
            FilesAction::Ask { name, place } => self.want(Wanted {
                number: 0,
                name,
                place,
                size: None,
                skip_bad: false,
            }),
            FilesAction::Change { size, skip_bad } => {
                if let Some(wanted) = self.wanted.clone() {
                    self.want(Wanted {
                        size,
                        skip_bad,
                        ..wanted
                    });
                }
            }
            FilesAction::Keep => {
                self.wanted = self.opened.as_ref().map(|opened| opened.wanted.clone());
                (self.progress, self.error) = (None, None);
            }
            FilesAction::Progress {
                number,
                done,
                total,
            } => {
                if self.is_current(number) {
                    self.progress = Some((done, total));
                }
            }
            FilesAction::Opened(opened) => {
                if self.is_current(opened.wanted.number) {
                    self.progress = None;
                    self.opened = Some(*opened);
                }
            }
            FilesAction::Refused { number, message } => {
                if self.is_current(number) {
                    (self.progress, self.error) = (None, Some(message));
                }
            }
        }
    }

    fn want(&mut self, wanted: Wanted) {
        self.readings += 1;
        self.wanted = Some(Wanted {
            number: self.readings,
            ..wanted
        });
        (self.progress, self.error) = (Some((0, 0)), None);
    }

    /// Whether `number` is the reading under way.
    fn is_current(&self, number: u64) -> bool {
        let wanted = self.wanted.as_ref();
        self.progress.is_some() && wanted.is_some_and(|wanted| wanted.number == number)
    }

    /// The data, if the requested data has been read.
    pub fn ready(&self) -> Option<&Opened> {
        let number = self.wanted.as_ref()?.number;
        self.opened
            .as_ref()
            .filter(|opened| opened.wanted.number == number)
    }

    /// What the user must do or wait for before training can start.
    pub fn missing(&self) -> &'static str {
        match (&self.wanted, self.progress) {
            (None, _) => "Drop or choose files first.",
            (_, Some(_)) => "The files are being read.",
            (_, None) => "These files cannot be trained on.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_trainer::data::digits;

    fn ask(files: &mut Files, name: &str) {
        files.apply(FilesAction::Ask {
            name: name.into(),
            place: Place::Files(Vec::new()),
        });
    }

    fn opened(files: &Files) -> Box<Opened> {
        Box::new(Opened {
            wanted: files.wanted.clone().unwrap(),
            config: DataConfig::digits(),
            dataset: Arc::new(digits::train()),
            examples: [].into(),
        })
    }

    #[test]
    fn answers_of_an_earlier_reading_do_not_count() {
        let mut files = Files::default();
        ask(&mut files, "cats");
        let cats = opened(&files);
        let number = cats.wanted.number;
        ask(&mut files, "dogs");
        files.apply(FilesAction::Opened(cats));
        files.apply(FilesAction::Refused {
            number,
            message: "late".into(),
        });
        files.apply(FilesAction::Progress {
            number,
            done: 5,
            total: 9,
        });
        assert_eq!(files.progress, Some((0, 0)));
        assert!(files.ready().is_none() && files.error.is_none());
        files.apply(FilesAction::Opened(opened(&files)));
        assert_eq!(files.ready().unwrap().wanted.name, "dogs");
    }

    #[test]
    fn what_could_be_read_is_kept_beside_what_could_not() {
        let mut files = Files::default();
        ask(&mut files, "cats");
        files.apply(FilesAction::Opened(opened(&files)));
        files.apply(FilesAction::Change {
            size: Some(64),
            skip_bad: true,
        });
        let wanted = files.wanted.clone().unwrap();
        assert_eq!((wanted.name.as_str(), wanted.size), ("cats", Some(64)));
        files.apply(FilesAction::Refused {
            number: wanted.number,
            message: "no".into(),
        });
        assert!(files.ready().is_none() && files.error.is_some());
        files.apply(FilesAction::Keep);
        assert_eq!(files.ready().unwrap().wanted.size, None);
        assert_eq!(files.error, None);
    }
}
