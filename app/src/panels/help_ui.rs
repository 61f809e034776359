//! The sheet of shortcuts, what the two lanes are, and the words of the window.

use super::Scene;
use crate::state::{ViewAction, shortcuts};
use egui::{CollapsingHeader, Context, Grid, ScrollArea, Window};

pub fn show(ctx: &Context, scene: &mut Scene<'_>) {
    let mut open = scene.state.help;
    let height = ctx.content_rect().height() - 80.0;
    let window = Window::new("Help").open(&mut open).collapsible(false);
    window.max_height(height).show(ctx, |ui| {
        ScrollArea::vertical().max_height(height - 60.0).show(ui, |ui| {
            ui.label("A SiT turns noise (t = 0) into data (t = 1). It learns one velocity v(x, t).");
            ui.label("The ODE dX = v dt follows it and adds nothing.");
            ui.label("The SDE dX = (v + D s) dt + √(2D) dW adds noise and drifts back along the score s, which v contains.");
            ui.label("At every t both have the same distribution, for every D(t) ≥ 0: single samples differ, the crowd does not.");
            CollapsingHeader::new("Keys").default_open(true).show(ui, |ui| {
                Grid::new("shortcuts").num_columns(2).striped(true).show(ui, |ui| {
                    for shortcut in shortcuts() {
                        ui.monospace(shortcut.keys());
                        ui.label(shortcut.help);
                        ui.end_row();
                    }
                    // A browser has more to go to than this window.
                    if cfg!(target_arch = "wasm32") {
                        ui.monospace("Escape, Tab");
                        ui.label("leave the program for what is around it");
                        ui.end_row();
                    }
                });
            });
            CollapsingHeader::new("Words").show(ui, |ui| {
                for (word, meaning) in WORDS {
                    ui.strong(word);
                    ui.label(meaning);
                }
            });
        });
    });
    if open != scene.state.help {
        scene.act(ViewAction::ToggleHelp);
    }
}

/// The words of the window, in the order of the alphabet.
const WORDS: [(&str, &str); 37] = [
    (
        "accepted, rejected step",
        "An adaptive solver estimates the error of a step. If it is too large, the step is rejected and tried again, smaller.",
    ),
    (
        "along the path",
        "A sampler may follow another path than the model learned: the network is asked where the share of noise is the same.",
    ),
    (
        "alike in shape",
        "The test finds no difference in what strokes and shapes decide, but one in small values: one lane's pictures are noisier.",
    ),
    (
        "branch",
        "A lane that has another lane's past and goes on with other settings.",
    ),
    (
        "Brownian path",
        "One random curve that an SDE follows. With finer steps the same curve is seen more exactly, so single samples converge.",
    ),
    (
        "churn",
        "EDM's sampler raises the noise level a little before each step and takes it back.",
    ),
    (
        "class",
        "What a sample should be, such as the digit 3. ∅ is none: the network then makes any.",
    ),
    (
        "corrector",
        "Steps along the score that stay at one t. They bring samples to the distribution of that t.",
    ),
    (
        "D(t), diffusion",
        "How much noise an SDE adds at each t, and takes back by the score. D = 0 is the ODE.",
    ),
    (
        "DDPM, DDIM",
        "The chain of discrete diffusion: ancestral sampling draws every state anew, DDIM moves along without new noise.",
    ),
    (
        "EDM",
        "A sampler that steps from noise level to noise level (Karras and others, 2022).",
    ),
    (
        "energy distance",
        "How far two crowds are apart, from the distances between their members: about 0 for one distribution.",
    ),
    (
        "evaluation, NFE",
        "One use of the network for a sample. It is what sampling costs; guidance takes two.",
    ),
    (
        "decoded",
        "Some networks make latents, a short form of pictures. The autoencoder that made the latents turns them back: open its file.",
    ),
    (
        "exact field",
        "For a mixture of Gaussians the velocity is known in closed form, so there is no network and no error of one.",
    ),
    (
        "Girsanov's bound",
        "A limit on how far the SDE's distribution can be from the exact one, from the network's error.",
    ),
    (
        "guidance",
        "Moves the velocity away from that without a class: clearer samples, but no longer of the data's distribution.",
    ),
    (
        "Heun − Euler",
        "The difference of two methods in one step: an estimate of the error of the simpler one.",
    ),
    (
        "history, live",
        "Live: what is shown is being computed. History: it was computed before, and moving through it costs nothing.",
    ),
    (
        "judge",
        "A classifier that says how many finished samples have the class that was asked for.",
    ),
    (
        "lane",
        "One column: one sampler's way from noise to data. All lanes start from the same noise.",
    ),
    (
        "last step",
        "What an SDE does at the end instead of a noisy step: mean, an Euler step of the ODE, or the predicted data (Tweedie).",
    ),
    ("marginal", "The distribution of all samples at one t."),
    ("norm of D", "A factor of D(t)."),
    (
        "ODE",
        "An equation without noise: the same start gives the same end.",
    ),
    (
        "p",
        "How often chance alone puts two crowds of one distribution so far apart. Below 0.05 the badge says that they differ.",
    ),
    (
        "path",
        "How data and noise are mixed at each t: x_t = α x₁ + σ x₀. Linear, GVP, VP (as in diffusion models) and OU.",
    ),
    (
        "predicted data",
        "E[x₁|x_t], the mean of all data that x_t may become. At first it is blurred, at the end it is the sample.",
    ),
    (
        "SBDM",
        "The form of D(t) that score-based diffusion models have. On some paths it is infinite at t = 0: then stay away from the ends.",
    ),
    (
        "score",
        "s(x, t), the direction in which the noisy data get denser. It follows from the velocity.",
    ),
    (
        "SDE",
        "An equation with noise: the same start gives another end each time.",
    ),
    (
        "seed",
        "The number that all noise follows from. The same seed gives the same samples.",
    ),
    (
        "sliced Wasserstein",
        "How far values must be moved, on average over directions, to make one crowd the other.",
    ),
    (
        "straightness, bend",
        "How far samples are from moving along straight lines: 0 needs one step.",
    ),
    ("t", "Time: 0 is noise, 1 is data."),
    ("time grid", "How the steps are spread over t."),
    (
        "velocity",
        "v(x, t), the mean direction in which x_t moves to the data. It is what the network learns.",
    ),
];
