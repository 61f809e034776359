//! The keyboard: one table, which the handler, the help sheet and the clash test read.

use super::{Action, LanesAction, PlaybackAction, TourAction, ViewAction};

/// A shortcut.
#[derive(Debug, Clone)]
pub struct Shortcut {
    /// The key, by egui's name for it.
    pub key: &'static str,
    /// Whether Shift is held.
    pub shift: bool,
    /// What it does.
    pub action: Action,
    /// The help sheet's words for it.
    pub help: &'static str,
}

impl Shortcut {
    /// What the help sheet calls it.
    pub fn keys(&self) -> String {
        let key = match self.key {
            "Questionmark" => "?",
            "Plus" => "+",
            "Minus" => "−",
            "Left" => "←",
            "Right" => "→",
            key => key,
        };
        if self.shift {
            format!("Shift {key}")
        } else {
            key.to_owned()
        }
    }
}

/// All shortcuts.
pub fn shortcuts() -> Vec<Shortcut> {
    vec![
        shortcut("Space", PlaybackAction::TogglePlay, "play or pause"),
        shortcut("Right", PlaybackAction::StepForward, "one step forward"),
        shortcut("Left", PlaybackAction::StepBack, "one step back"),
        shortcut("Home", PlaybackAction::Home, "to the noise"),
        shortcut("End", PlaybackAction::End, "to the last step"),
        shortcut("Plus", PlaybackAction::Faster, "faster"),
        shortcut("Minus", PlaybackAction::Slower, "slower"),
        shortcut("L", PlaybackAction::ToggleLoop, "loop"),
        shortcut(
            "B",
            LanesAction::Branch(None),
            "branch the first lane here: ODE to SDE or back, churn or none, ancestral or DDIM",
        ),
        shortcut("N", LanesAction::NewNoise, "new noise"),
        shortcut(
            "V",
            ViewAction::NextView,
            "next view: x_t, predicted x1, velocity, ...",
        ),
        shortcut("PageDown", TourAction::Next, "next stop of the tour"),
        shortcut("PageUp", TourAction::Back, "the stop before"),
        shortcut(
            "F",
            ViewAction::TogglePresent,
            "present: the lanes alone, in larger type",
        ),
        shortcut("Questionmark", ViewAction::ToggleHelp, "this sheet"),
    ]
}

/// A key without Shift.
fn shortcut(key: &'static str, action: impl Into<Action>, help: &'static str) -> Shortcut {
    Shortcut {
        key,
        shift: false,
        action: action.into(),
        help,
    }
}
