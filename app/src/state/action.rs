//! Everything that can happen to the [`State`](super::State).

use super::{
    CostAction, DecodingAction, FilesAction, LanesAction, Link, Model, PlaybackAction, RunAction,
    Source, TimelineAction, TourAction, TrainingAction, ViewAction,
};

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A folder, which the person chooses.
    Folder,
    /// One or several files, which the person chooses.
    Files,
    /// What this text names: a file or folder by its path, or a link.
    Text(String),
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// A link, without the page's address.
    Link(String),
    /// A text.
    Text(String),
}

/// What to keep of the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// A figure of the lanes as they are shown.
    Png,
    /// The same as shapes and text.
    Svg,
    /// All recorded steps one after the other, in 256 colors.
    Gif,
    /// The same in all colors.
    Apng,
    /// The numbers of the steps.
    Csv,
    /// What the tab Cost has measured.
    CostCsv,
    /// The tour.
    Tour,
    /// The samples as they are shown.
    Npz,
}

impl Export {
    /// Those of the menu, with their names and what they are.
    pub const ALL: [(Export, &'static str, &'static str); 6] = [
        (
            Export::Png,
            "PNG",
            "A figure of the lanes, two pixels to a point",
        ),
        (
            Export::Svg,
            "SVG",
            "The figure as shapes and text, sharp at every size",
        ),
        (Export::Gif, "GIF", "All recorded steps, shown everywhere"),
        (
            Export::Apng,
            "APNG",
            "All recorded steps in all colors, shown by browsers",
        ),
        (
            Export::Csv,
            "CSV",
            "The numbers of every step of every lane",
        ),
        (
            Export::Npz,
            "npz",
            "The samples that are shown, as NumPy arrays",
        ),
    ];
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
    /// Of the tour.
    Tour(TourAction),
    /// Of what samplers cost.
    Cost(CostAction),
    /// Of what is computed of the lanes.
    Run(RunAction),
    /// Of the decoder of latents.
    Decoding(DecodingAction),

    /// Keep a picture or an animation of the lanes.
    Export(Export),
    /// Let the person choose files.
    Choose(Choice),
    /// Put a link to this state on the clipboard.
    CopyLink,
    /// Put the command that makes a lane's samples on the clipboard.
    CopyCommand(usize),
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
    /// A network that a lane asked for is ready.
    NetworkReady(Box<Model>),
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
    Tour(TourAction),
    Cost(CostAction),
    Run(RunAction),
    Decoding(DecodingAction),
}
