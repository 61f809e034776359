//! Everything that can happen to the [`State`](super::State).

use super::{
    CostAction, FilesAction, LanesAction, Link, Model, PlaybackAction, RunAction, Source,
    TimelineAction, TrainingAction, ViewAction,
};

/// What to choose from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A folder.
    Folder,
    /// One or several files.
    Files,
}

/// What to keep of the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// The lanes as they are shown: a PNG.
    Picture,
    /// All recorded steps one after the other: a GIF.
    Animation,
}

/// A change of the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Of the cursor.
    Playback(PlaybackAction),
    /// Of the lanes and the noise that they start from.
    Lanes(LanesAction),
    /// Of what is looked at.
    View(ViewAction),
    /// Of the network that is trained.
    Training(TrainingAction),
    /// Of training data from files.
    Files(FilesAction),
    /// Of the checkpoints of a run.
    Timeline(TimelineAction),
    /// Of what samplers cost.
    Cost(CostAction),
    /// Of what is computed of the lanes.
    Run(RunAction),

    /// Keep a picture or an animation of the lanes.
    Export(Export),
    /// Let the person choose files.
    Choose(Choice),
    /// Put a link to this state on the clipboard.
    CopyLink,
    /// Restore the state in a link.
    Restore(Box<Link>),
    /// Show a message, usually a refusal.
    Notify(String),
    /// This message was read, by its place.
    Dismiss(usize),
    /// Ask for another network.
    Load(Source),
    /// The network that was asked for.
    ModelReady(Box<Model>),
    /// A classifier was opened, which judges the lanes' samples.
    JudgeReady(Box<Model>),
}

/// Converts the actions of a part of the state to [`Action`]s.
macro_rules! parts {
    ($($part:ident($action:ty),)*) => {$(
        impl From<$action> for Action {
            fn from(action: $action) -> Self {
                Action::$part(action)
            }
        }
    )*};
}

parts! {
    Playback(PlaybackAction),
    Lanes(LanesAction),
    View(ViewAction),
    Training(TrainingAction),
    Files(FilesAction),
    Timeline(TimelineAction),
    Cost(CostAction),
    Run(RunAction),
}
