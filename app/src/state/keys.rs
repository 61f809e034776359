//! The keyboard: one table, which the handler, the help sheet and the clash test read.

use super::Action;

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
    let plain = |key, action, help| Shortcut {
        key,
        shift: false,
        action,
        help,
    };
    vec![
        plain("Space", Action::TogglePlay, "play or pause"),
        plain("Right", Action::StepForward, "one step forward"),
        plain("Left", Action::StepBack, "one step back"),
        plain("Home", Action::Home, "to the noise"),
        plain("End", Action::End, "to the last recorded step"),
        plain("Plus", Action::Faster, "faster"),
        plain("Minus", Action::Slower, "slower"),
        plain("L", Action::ToggleLoop, "loop"),
        plain(
            "B",
            Action::Branch(None),
            "branch the first lane here: ODE to SDE, SDE to ODE",
        ),
        plain("N", Action::NewNoise, "new noise"),
        plain(
            "V",
            Action::NextView,
            "next view: predicted x1, x_t, velocity, ...",
        ),
        Shortcut {
            key: "Questionmark",
            shift: false,
            action: Action::ToggleHelp,
            help: "this sheet",
        },
    ]
}
