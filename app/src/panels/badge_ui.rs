//! The badge above the lanes: whether two of them have the same distribution at the time shown.

use super::Scene;
use crate::findings::{Badge, Badges, MOST};
use crate::look;
use crate::state::State;
use crate::stats::{Verdict, verdict};
use egui::{Color32, RichText, Ui};
use sit_engine::transport::Sampler;

/// The badge of the lead lane and the next one.
pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let state = scene.state;
    let Some(pair) = Badges::pair(state) else {
        ui.weak("Add a lane to compare distributions.");
        return;
    };
    let now = ui.input(|input| input.time);
    let badge = scene.findings.badges.look(state, pair, now);
    let [a, b] = pair.map(|lane| lane + 1);
    ui.horizontal_wrapped(|ui| {
        let (color, text) = words(ui, badge);
        ui.label(format!("Same distribution in lanes {a} and {b}?"));
        let reasons = reasons(state, pair);
        let text = match badge {
            Badge::Tested {
                verdict: Verdict::Differs(_),
                ..
            } if !reasons.is_empty() => format!("{text}, or a setting: hold the pointer here"),
            _ => text,
        };
        let label = ui.label(RichText::new(text).color(color).strong());
        if matches!(badge, Badge::Tested { .. }) {
            label.on_hover_text(about(state, &reasons));
        }
    });
}

fn words(ui: &Ui, badge: Badge) -> (Color32, String) {
    let weak = ui.visuals().weak_text_color();
    match badge {
        Badge::Waiting => (weak, "computing …".to_owned()),
        Badge::Same => (
            look::good(ui),
            "equal: both have the same samples".to_owned(),
        ),
        Badge::OtherClasses => (weak, "not compared: they make other classes".to_owned()),
        Badge::OtherPaths => (
            weak,
            "not compared: they follow different paths, which meet at t = 1".to_owned(),
        ),
        Badge::Apart { common: Some(t) } => {
            (weak, format!("not at the same time; compare at t = {t:.3}"))
        }
        Badge::Apart { common: None } => (weak, "they never stop at the same time".to_owned()),
        Badge::Tested { verdict, t } => {
            let color = match verdict {
                Verdict::Equal(_) => look::good(ui),
                Verdict::Differs(_) | Verdict::NotFinite => ui.visuals().warn_fg_color,
                Verdict::TooFew { .. } | Verdict::TooCoarse => weak,
            };
            (color, format!("at t = {t:.3}: {verdict}"))
        }
    }
}

/// What the test is, and what else makes lanes differ.
fn about(state: &State, reasons: &[String]) -> String {
    let mut text = verdict::ABOUT.to_owned();
    if state.n_samples > MOST {
        text += &format!("\n\nThe first {MOST} samples of each lane are tested.");
    }
    for reason in reasons {
        text += &format!("\n\n{reason}");
    }
    text
}

/// Settings that may make two lanes differ, however small their steps are and however good the network is.
fn reasons(state: &State, pair: [usize; 2]) -> Vec<String> {
    let t = state.t();
    let settings = pair.map(|lane| (lane + 1, state.lanes[lane].settings_at(t)));
    let mut reasons = Vec::new();
    if settings.iter().any(|(_, s)| s.guidance.scale != 1.0) {
        reasons.push(
            "With guidance ODE and SDE need not agree, however small the steps: the guided velocity is no longer that of one \
             distribution's path."
                .to_owned(),
        );
    }
    for (lane, settings) in settings {
        let why = match &settings.sampler {
            Sampler::Edm(edm) if edm.churn > 0.0 && edm.churn_noise != 1.0 => {
                "churn adds another amount of noise than its noise levels say"
            }
            Sampler::Ddpm(ddpm) if ddpm.clip_x0.is_some() => {
                "the predicted x₁ is clipped, which small steps do not undo"
            }
            _ => continue,
        };
        reasons.push(format!("Lane {lane}: {why}."));
    }
    reasons
}
