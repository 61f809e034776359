//! The badge above the lanes: whether two of them have the same distribution at the time shown.

use super::Scene;
use crate::findings::{Badge, MOST};
use crate::look;
use crate::state::{Settings, State};
use crate::stats::test::{POWER, SIZES, TRIALS};
use crate::stats::verdict::LEVEL;
use crate::stats::{Test, Verdict};
use egui::{CollapsingHeader, Color32, RichText, Ui};
use sit_engine::transport::{LastStep, Sampler, SdeMethod};

/// The badge of the lead lane and the next one.
pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    let state = scene.state;
    let Some(pair) = state.pair() else {
        ui.label("Add a lane to compare distributions.");
        return;
    };
    let now = ui.input(|input| input.time);
    let badge = scene.findings.badges.look(state, pair, now);
    let [a, b] = pair.map(|lane| lane + 1);
    let causes = causes(state, pair);
    ui.horizontal_wrapped(|ui| {
        let (color, mut text) = words(ui, badge);
        ui.label(format!("Same distribution in lanes {a} and {b}?"));
        if is_difference(badge) {
            text += &match causes.first() {
                Some(cause) => format!(": {}", cause.short),
                None => format!(": {}", by_steps(state, pair)),
            };
        }
        ui.label(RichText::new(text).color(color).strong());
    });
    let details = CollapsingHeader::new("How this was tested").id_salt("tested");
    details.show(ui, |ui| about(ui, scene, pair, badge, &causes));
}

fn is_difference(badge: Badge) -> bool {
    let verdict = match badge {
        Badge::Tested { verdict, .. } => verdict,
        _ => return false,
    };
    matches!(verdict, Verdict::Differs(_))
}

fn words(ui: &Ui, badge: Badge) -> (Color32, String) {
    let plain = ui.visuals().text_color();
    match badge {
        Badge::Waiting => (plain, "computing …".to_owned()),
        Badge::WaitingForSecond => (plain, "computing a second batch to test with …".to_owned()),
        Badge::Same => (
            look::good(ui),
            "equal: both have the same samples".to_owned(),
        ),
        Badge::OtherClasses => (plain, "not compared: they make other classes".to_owned()),
        Badge::OtherPaths => (
            plain,
            "not compared: they follow different paths, which meet at t = 1".to_owned(),
        ),
        Badge::Apart { common: Some(t) } => (
            plain,
            format!("not at the same time; compare at t = {t:.3}"),
        ),
        Badge::Apart { common: None } => (plain, "they never stop at the same time".to_owned()),
        Badge::Tested { verdict, t, .. } => {
            let color = match verdict {
                Verdict::Equal(_) => look::good(ui),
                Verdict::Differs(test) if test.is_fine(LEVEL) => look::notable(ui),
                Verdict::Differs(_) | Verdict::NotFinite => ui.visuals().warn_fg_color,
                Verdict::TooFew { .. } | Verdict::TooCoarse => plain,
            };
            (color, format!("at t = {t:.3}: {verdict}"))
        }
    }
}

/// A setting that makes two lanes differ, however small their steps are and however good the network is.
struct Cause {
    /// For the badge itself.
    short: String,
    /// Why.
    long: &'static str,
}

fn causes(state: &State, pair: [usize; 2]) -> Vec<Cause> {
    let t = state.t();
    let both = pair.map(|lane| (lane + 1, state.lanes[lane].settings_at(t)));
    let mut causes = Vec::new();
    if state.lanes[pair[0]].network != state.lanes[pair[1]].network {
        causes.push(Cause {
            short: "they have different networks".into(),
            long: "Each network has its own error, so the lanes' distributions differ as far as the networks do.",
        });
    }
    let [(a, first), (b, second)] = both;
    if first.guidance != second.guidance {
        let scale = |s: &Settings| s.guidance.scale;
        let short = match scale(first) == scale(second) {
            true => "they are guided differently".to_owned(),
            false => format!(
                "guidance is {} in lane {a} and {} in lane {b}",
                scale(first),
                scale(second)
            ),
        };
        let long =
            "Guidance changes the distribution: lanes that are guided differently should differ.";
        causes.push(Cause { short, long });
    } else if first.guidance.scale != 1.0 {
        causes.push(Cause {
            short: "both are guided".into(),
            long: "With guidance ODE and SDE need not agree, however small the steps: the guided velocity is no longer that of one \
                   distribution's path.",
        });
    }
    for (lane, settings) in both {
        let (what, long) = match &settings.sampler {
            Sampler::Sde(sde)
                if sde.last_step == LastStep::None
                    && sde.method != SdeMethod::PredictorCorrector =>
            {
                (
                    "has no last step without noise",
                    "Its last step adds noise that nothing takes back: the other last steps end in the mean instead.",
                )
            }
            Sampler::Edm(edm) if edm.churn > 0.0 && edm.churn_noise != 1.0 => (
                "adds noise of another size",
                "Churn adds another amount of noise than its noise levels say.",
            ),
            Sampler::Ddpm(ddpm) if ddpm.clip_x0.is_some() => (
                "is clipped",
                "The predicted x₁ is clipped, which small steps do not undo.",
            ),
            _ if settings.t_eps.is_some() => (
                "stays away from t = 0 and 1",
                "It begins and ends a little inside: what is left out is not the other lane's.",
            ),
            _ => continue,
        };
        let short = format!("lane {lane} {what}");
        causes.push(Cause { short, long });
    }
    causes
}

/// What is left as a cause if no setting is one.
fn by_steps(state: &State, pair: [usize; 2]) -> String {
    let steps = pair.map(|lane| state.records[lane].steps.len());
    let few = pair[usize::from(steps[1] < steps[0])];
    let n = state.records[few].steps.len();
    let exact = |lane: usize| state.model_of(lane).is_some_and(|m| m.network.is_none());
    let exact = pair.iter().all(|lane| exact(*lane));
    match exact {
        true => format!("too few steps (lane {} has {n})", few + 1),
        false => format!(
            "too few steps (lane {} has {n}), or a network that is not exact",
            few + 1
        ),
    }
}

/// What was tested, with how many samples, and what the test would have found.
fn about(ui: &mut Ui, scene: &mut Scene<'_>, pair: [usize; 2], badge: Badge, causes: &[Cause]) {
    for cause in causes {
        ui.label(cause.long);
    }
    let [a, b] = pair.map(|lane| lane + 1);
    let Badge::Tested {
        verdict, second, ..
    } = badge
    else {
        ui.label("Nothing is tested at this time.");
        return;
    };
    let (Verdict::Equal(Test { sizes, .. }) | Verdict::Differs(Test { sizes, .. })) = verdict
    else {
        ui.label(verdict.to_string());
        return;
    };
    let [n, m] = sizes;
    ui.label(match second {
        true => format!(
            "Tested: {n} samples of lane {a} against {m} further samples of lane {b}, which are not drawn. They start from other noise: the same \
             noise starts both lanes, and a sample and its twin are not independent."
        ),
        false => format!(
            "Tested: {n} samples of lane {a} against {m} others of lane {b}, half of each: the same noise starts both lanes, and a sample and \
             its twin are not independent."
        ),
    });
    if scene.state.n_samples > MOST {
        ui.label(format!("Of each lane the first {MOST} samples are tested."));
    }
    ui.label(
        "The test relabels samples at random within their class, and counts how often the two crowds are then as far apart (p). Far apart is \
         what the energy distance says of the values, or of the values over their own deviation, in which fine noise shows.",
    );
    ui.label(format!(
        "If the distributions are equal, it says \"differs\" in {:.0} % of all cases at most. It is not corrected for looking at many steps: of 50 \
         steps two or three may differ by chance, neighbors together.",
        100.0 * LEVEL
    ));
    let text = match scene.findings.badges.power(scene.state, pair) {
        None => {
            ui.ctx().request_repaint();
            "What it can find: measuring …".to_owned()
        }
        Some(Some(size)) => format!(
            "What it can find: noise of {size} times the values' deviation, in every value of every sample, is found in at least {:.0} % of {TRIALS} \
             trials with these numbers of samples. Less may go unseen: take more samples.",
            100.0 * POWER
        ),
        Some(None) => format!(
            "What it can find: not even noise of {} times the values' deviation. Take more samples.",
            SIZES[SIZES.len() - 1]
        ),
    };
    ui.label(text);
}
