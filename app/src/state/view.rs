//! What the window shows.

use super::State;
use serde::{Deserialize, Serialize};

/// What is drawn of each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// The network's prediction of the data at the end, `E[x1 | x_t]`.
    Predicted,
    /// The state x_t.
    #[default]
    State,
    /// The velocity, with guidance.
    Velocity,
    /// The velocity for the class.
    VelocityCond,
    /// The velocity for the null class.
    VelocityUncond,
    /// The difference of these two velocities, which guidance multiplies.
    VelocityGuide,
    /// The noise that the step added.
    Noise,
    /// The difference of the predicted data from the first lane's.
    Difference,
}

impl Quantity {
    /// All, in the order of the menu.
    pub const ALL: [Quantity; 8] = [
        Quantity::Predicted,
        Quantity::State,
        Quantity::Velocity,
        Quantity::VelocityCond,
        Quantity::VelocityUncond,
        Quantity::VelocityGuide,
        Quantity::Noise,
        Quantity::Difference,
    ];

    /// Name in the menu, with its symbol.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Predicted => "predicted data E[x₁|x_t]",
            Quantity::State => "state x_t",
            Quantity::Velocity => "velocity v",
            Quantity::VelocityCond => "velocity v(class)",
            Quantity::VelocityUncond => "velocity v(∅)",
            Quantity::VelocityGuide => "v(class) − v(∅)",
            Quantity::Noise => "noise that the step added",
            Quantity::Difference => "difference from the first lane",
        }
    }

    /// Whether it is signed, and so drawn on a diverging color scale around 0.
    pub fn is_signed(self) -> bool {
        !matches!(self, Quantity::Predicted | Quantity::State)
    }
}

/// How samples are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// All samples at one time.
    #[default]
    Grid,
    /// A few samples over time: one row each, steps to the right.
    Film,
}

/// The tab beside the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tab {
    /// The lanes' settings.
    #[default]
    Lanes,
    /// Distances and histograms of the lanes.
    Marginals,
    /// Distances by the number of network evaluations.
    Cost,
    /// The diffusion D(t).
    Diffusion,
    /// The paths from noise to data.
    Paths,
    /// Numbers of the step.
    Step,
    /// The tour: six things to see.
    Tour,
    /// Training.
    Train,
    /// Checkpoints of a run over sampling time.
    Timeline,
    /// The network.
    Model,
}

impl Tab {
    /// All, with their titles, in order.
    pub const ALL: [(Tab, &'static str); 10] = [
        (Tab::Lanes, "Lanes"),
        (Tab::Tour, "Tour"),
        (Tab::Diffusion, "Diffusion"),
        (Tab::Paths, "Paths"),
        (Tab::Step, "Step"),
        (Tab::Marginals, "Marginals"),
        (Tab::Cost, "Cost"),
        (Tab::Train, "Train"),
        (Tab::Timeline, "Timeline"),
        (Tab::Model, "Model"),
    ];
}

/// The settings of the view.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// What is drawn.
    pub quantity: Quantity,
    /// How it is laid out.
    pub layout: Layout,
    /// The open tab.
    pub tab: Tab,
    /// The sample whose numbers are shown, if one is picked.
    pub sample: Option<usize>,
    /// Whether latents are drawn as they are, although an autoencoder that decodes them is open.
    pub latents: bool,
}

/// Changes of the view.
#[derive(Debug, Clone, PartialEq)]
pub enum ViewAction {
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
    /// Latents as they are, or decoded.
    ToggleLatents,
    /// Measure likelihoods, or not.
    ToggleWeigh,
    /// The sheet of shortcuts.
    ToggleHelp,
    /// The lanes alone, in larger type.
    TogglePresent,
    /// Begin or end a recording of the page.
    ToggleRecord,
}

impl State {
    /// Changes the view.
    pub(super) fn look(&mut self, action: ViewAction) {
        let view = &mut self.view;
        match action {
            ViewAction::SetQuantity(quantity) => view.quantity = quantity,
            ViewAction::NextView => {
                let all = Quantity::ALL;
                let at = all.iter().position(|q| *q == view.quantity);
                view.quantity = all[at.map_or(0, |at| (at + 1) % all.len())];
            }
            ViewAction::SetLayout(layout) => view.layout = layout,
            ViewAction::SetTab(tab) => view.tab = tab,
            ViewAction::PickSample(sample) => {
                view.sample = sample.filter(|&i| i < self.n_samples);
            }
            ViewAction::ToggleLatents => view.latents = !view.latents,
            ViewAction::ToggleWeigh => self.weighing = !self.weighing,
            ViewAction::ToggleHelp => self.help = !self.help,
            ViewAction::TogglePresent => self.presenting = !self.presenting,
            ViewAction::ToggleRecord => self.recording = !self.recording,
        }
    }
}
