//! Everything that can happen to the [`State`](super::State).

use super::{
    Classes, FilesAction, Frame, Layout, Learned, Link, Measured, Model, Quantity, Settings,
    Source, Tab, TimelineAction,
};
use std::sync::Arc;

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

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Play or pause.
    TogglePlay,
    /// One step of the lead lane forward; pauses.
    StepForward,
    /// One step of the lead lane back; pauses.
    StepBack,
    /// To the noise; pauses.
    Home,
    /// To the last step that was computed; pauses.
    End,
    /// To this step of the lead lane; pauses.
    Seek(usize),
    /// To this time, or the last step before it; pauses.
    SeekTime(f64),
    /// Start again after the end, or stop there.
    ToggleLoop,
    /// Twice the speed.
    Faster,
    /// Half the speed.
    Slower,
    /// Steps a second.
    SetSpeed(f64),
    /// Seconds that have passed.
    Tick(f64),

    /// Another seed.
    NewNoise,
    /// This seed.
    SetSeed(u64),
    /// Samples of each lane.
    SetSamples(usize),
    /// The classes asked for.
    SetClasses(Classes),
    /// Other settings for a lane, from its start or from where it branched.
    SetLane(usize, Settings),
    /// A further lane, like the last one.
    AddLane,
    /// One lane less.
    RemoveLane(usize),
    /// A lane that leaves lane number .0 at the cursor with settings .1; `None`: the lead lane, its ODE an SDE or the
    /// reverse. It is a new lane, or the last one when there is no room.
    Branch(Option<(usize, Settings)>),

    /// What is drawn.
    SetQuantity(Quantity),
    /// The next quantity of the menu.
    NextView,
    /// How it is laid out.
    SetLayout(Layout),
    /// What stands beside the lanes.
    SetTab(Tab),
    /// The sample whose numbers are shown.
    PickSample(Option<usize>),
    /// The sheet of shortcuts.
    ToggleHelp,
    /// Keep a picture or an animation of the lanes.
    Export(Export),
    /// Put a link to this state on the clipboard.
    CopyLink,
    /// Go where a link says.
    Restore(Box<Link>),
    /// Say something, mostly a refusal.
    Notify(String),
    /// It was read.
    Dismiss,

    /// A training begins.
    TrainingStarted {
        /// What it learns.
        name: String,
        /// `[C, I, I]` of what it learns.
        shape: [usize; 3],
        /// Steps to do.
        total: u64,
    },
    /// The training stops for now, or goes on.
    TrainingPaused(bool),
    /// A training step.
    Learned(Box<Learned>),
    /// Samples `[N, C, I, I]` that the training makes by now.
    Previewed {
        /// Steps done.
        step: u64,
        /// The samples.
        x: Arc<[f32]>,
    },
    /// The averaged weights as a file.
    Kept(Arc<[u8]>),

    /// Let the person choose files.
    Choose(Choice),
    /// Of training data from files.
    Files(FilesAction),
    /// Of the checkpoints of a run.
    Timeline(TimelineAction),
    /// Measure what the lanes' samplers cost.
    Measure,
    /// No longer.
    StopMeasuring,
    /// Something was measured.
    Measured {
        /// The curve.
        curve: u64,
        /// What.
        news: Measured,
    },

    /// Ask for another network.
    Load(Source),
    /// The network that was asked for.
    ModelReady(Box<Model>),
    /// The initial noise of a run.
    Started {
        /// The run.
        run: u64,
        /// `[N, C, I, I]`
        x: Arc<[f32]>,
    },
    /// A step of a run was computed.
    Stepped {
        /// The run.
        run: u64,
        /// The step.
        frame: Frame,
    },
    /// A run cannot go on.
    RunFailed {
        /// The run.
        run: u64,
        /// Why.
        message: String,
    },
}
