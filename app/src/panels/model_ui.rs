//! The network: what it is, and what a dropped file was found to be.

use super::Scene;
use crate::state::{Action, LanesAction, Source};
use egui::{ScrollArea, Ui};
use sit_engine::text::count;

/// Reasons that are shown of a file that does not fit; the rest is counted.
const MAX_REASONS: usize = 50;

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    if let Some(model) = &scene.state.model {
        if let Some(network) = &model.network {
            let [channels, height, width] = model.io.image;
            ui.label(format!("SiT of {network} on {height}×{width}×{channels}"));
            ui.label(format!(
                "{}, {}",
                count(network.n_params(), "parameter"),
                count(model.io.n_classes, "class")
            ));
        } else {
            ui.label("The exact field of a mixture of Gaussians; no network");
        }
        let t = &model.transport;
        ui.label(format!("{} path, predicts {}", t.path, t.prediction));
    }
    if let Some(judge) = &scene.state.judge {
        let name = match &judge.source {
            Source::File(name) => name,
            _ => "a classifier",
        };
        ui.label(format!(
            "Judge: {name}, {}, looks at the samples that each lane ends with",
            count(judge.io.n_classes, "class")
        ));
    }
    if let Some(autoencoder) = &scene.state.decoding.autoencoder {
        let name = &autoencoder.name;
        ui.label(match scene.state.fitting_autoencoder() {
            Some(_) => format!("Autoencoder: {name}, decodes the samples of the lanes"),
            None => format!(
                "Autoencoder: {name}, decodes latents of {}, which these samples are not",
                count(autoencoder.latent_channels, "channel")
            ),
        });
    }
    ui.label("Drop a .safetensors or .pt file of a SiT on the window, or open it, to step it.");
    if scene.state.source != Source::Digits && ui.button("Back to the digits").clicked() {
        scene.act(Action::Load(Source::Digits));
    }
    open(ui, scene);
    let Some(card) = scene.card else {
        return;
    };
    ui.separator();
    ui.strong(&card.name);
    for fact in &card.facts {
        ui.label(fact);
    }
    if card.refusals.is_empty() {
        ui.colored_label(crate::look::good(ui), "Loaded");
        return;
    }
    ui.colored_label(
        ui.visuals().error_fg_color,
        format!("Not loaded, {}:", count(card.refusals.len(), "reason")),
    );
    ScrollArea::vertical()
        .id_salt("reasons")
        .max_height(240.0)
        .show(ui, |ui| {
            for reason in card.refusals.iter().take(MAX_REASONS) {
                ui.label(reason);
            }
            if let Some(more) = card
                .refusals
                .len()
                .checked_sub(MAX_REASONS)
                .filter(|n| *n > 0)
            {
                ui.label(format!("… and {more} more"));
            }
        });
}

/// The other networks that are open, each to be compared with the one above.
fn open(ui: &mut Ui, scene: &mut Scene<'_>) {
    let others: Vec<Source> = scene.state.other_networks().cloned().collect();
    if others.is_empty() {
        return;
    }
    ui.separator();
    ui.label("Also open: compared with the network above, in two lanes from the same noise");
    for source in others {
        if ui
            .button(format!("Compare with {}", source.title()))
            .clicked()
        {
            scene.act(LanesAction::Compare(source));
        }
    }
}
