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
        let label = ui.label(RichText::new(text).color(color).strong());
        if matches!(badge, Badge::Tested { .. }) {
            label.on_hover_text(about(state, pair));
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
fn about(state: &State, pair: [usize; 2]) -> String {
    let mut text = verdict::ABOUT.to_owned();
    if state.n_samples > MOST {
        text += &format!("\n\nThe first {MOST} samples of each lane are tested.");
    }
    let t = state.t();
    let guidance = pair.map(|lane| state.lanes[lane].settings_at(t).guidance);
    if guidance.iter().any(|g| g.scale != 1.0) {
        text += "\n\nWith guidance ODE and SDE need not agree, however small the steps: \
                 the guided velocity is no longer that of one distribution's path.";
    }
    for lane in pair {
        if let Some(why) = own_end(&state.lanes[lane].settings_at(t).sampler) {
            text += &format!("\n\nLane {}: {why}", lane + 1);
        }
    }
    text
}

/// Why a sampler may have another distribution, however small its steps.
fn own_end(sampler: &Sampler) -> Option<&'static str> {
    match sampler {
        Sampler::Edm(edm) if edm.churn > 0.0 && edm.churn_noise != 1.0 => Some(
            "the added noise is not what its noise levels say, so its distribution is another one by choice.",
        ),
        Sampler::Ddpm(ddpm) if ddpm.clip_x0.is_some() => {
            Some("the predicted x₁ is clipped, which no small step undoes.")
        }
        Sampler::Ddpm(_) => {
            Some("a chain has no more steps than its noise levels, so it stays a little coarse.")
        }
        _ => None,
    }
}
