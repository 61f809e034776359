//! A lane in words.

use super::{Noise, Settings, State};
use sit_engine::transport::{DdpmMethod, Diffusion, LastStep, Path, Sampler, Sde, SdeMethod};

/// A lane's sampler in words.
pub fn title(settings: &Settings) -> String {
    let along = |path: &Option<Path>| match path {
        Some(path) => format!(", along {path}"),
        None => String::new(),
    };
    match &settings.sampler {
        Sampler::Ode(ode) => format!("ODE, {}{}", ode.method, along(&ode.along)),
        Sampler::Sde(sde) => {
            let last = match sde.last_step {
                LastStep::None => ", noise in the last step",
                _ => "",
            };
            let path = along(&sde.along);
            match diffusion(&settings.sampler) {
                Some(d) => format!("SDE, {}, D = {} × {d}{path}{last}", sde.method, d.norm),
                None => {
                    let snr = sde.corrector.snr;
                    format!("SDE, {}, snr = {snr}{path}{last}", sde.method)
                }
            }
        }
        Sampler::Edm(edm) if edm.churn == 0.0 => format!("EDM, {}", edm.method),
        Sampler::Edm(edm) => format!("EDM, {}, churn {}", edm.method, edm.churn),
        Sampler::Ddpm(ddpm) => match ddpm.method {
            DdpmMethod::Ancestral => "DDPM, ancestral".to_owned(),
            DdpmMethod::Ddim => format!("DDIM, η = {}", ddpm.eta),
        },
        _ => String::new(),
    }
}

/// The equation of what a lane does.
pub fn equation(settings: &Settings) -> &'static str {
    match (&settings.sampler, diffusion(&settings.sampler)) {
        (_, Some(_)) => "dX = (v + D s) dt + √(2D) dW",
        (Sampler::Sde(_), None) => "dX = v(X, t) dt, corrected",
        (Sampler::Edm(edm), _) if edm.churn == 0.0 => "dX = (X − E[x₁|X]) dσ / σ",
        (Sampler::Edm(_), _) => "noise added, then dX = (X − E[x₁|X]) dσ / σ",
        (Sampler::Ddpm(ddpm), _) => match ddpm.method {
            DdpmMethod::Ancestral => "X' = a E[x₁|X] + b X + c ε",
            DdpmMethod::Ddim if ddpm.eta == 0.0 => "X' = α' E[x₁|X] + σ' E[x₀|X]",
            DdpmMethod::Ddim => "X' = α' E[x₁|X] + √(σ'² − c²) E[x₀|X] + c ε",
        },
        _ => "dX = v(X, t) dt",
    }
}

/// The diffusion of an SDE that has one.
pub fn diffusion(sampler: &Sampler) -> Option<&Diffusion> {
    match sampler {
        Sampler::Sde(Sde {
            method: SdeMethod::PredictorCorrector,
            ..
        }) => None,
        Sampler::Sde(sde) => Some(&sde.diffusion),
        _ => None,
    }
}

/// A lane with its number, its sampler and everything that tells it from others: guidance, class, noise, and where it left another lane.
pub fn caption(state: &State, lane: usize, settings: &Settings) -> String {
    let mut parts = vec![format!("{}: {}", lane + 1, title(settings))];
    if let Some(network) = &state.lanes[lane].network {
        parts.push(network.title());
    }
    let guidance = &settings.guidance;
    if guidance.scale != 1.0 {
        let when = match guidance.interval {
            [from, to] if [from, to] == [0.0, 1.0] => String::new(),
            [from, to] => format!(" from t = {from} to {to}"),
        };
        parts.push(format!("guidance {}{when}", guidance.scale));
    }
    if let (Some(class), Some(model)) = (settings.class, &state.model) {
        parts.push(match class as usize == model.io.n_classes {
            true => "no class".to_owned(),
            false => format!("class {}", model.class_name(class)),
        });
    }
    if settings.noise == Noise::Brownian && matches!(settings.sampler, Sampler::Sde(_)) {
        parts.push("one Brownian path".to_owned());
    }
    if settings.noise_seed != 0 {
        parts.push(format!("other noise ({})", settings.noise_seed));
    }
    if let [.., last] = &state.lanes[lane].segments[1..] {
        parts.push(format!("branched at t = {:.3}", last.from));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Lane, Model, Source, ode};
    use sit_engine::model::NetworkIo;
    use sit_engine::transport::{Guidance, Method, Transport};

    #[test]
    fn a_caption_says_what_tells_lanes_apart() {
        let model = Some(Model {
            latents: None,
            of_images: false,
            source: Source::Digits,
            network: None,
            io: NetworkIo::new([1, 8, 8], 10),
            transport: Transport::default(),
            classes: Vec::new(),
        });
        let mut state = State {
            model,
            ..State::default()
        };
        let plain = Settings::default();
        assert_eq!(caption(&state, 0, &plain), "1: ODE, euler");
        let settings = Settings {
            sampler: ode(Method::Heun, 8),
            guidance: Guidance {
                scale: 1.5,
                interval: [0.0, 0.5],
                ..Guidance::default()
            },
            class: Some(3),
            noise_seed: 2,
            ..plain.clone()
        };
        state.lanes[1] = Lane::new(plain).branch(0.25, settings.clone());
        let expected = "2: ODE, heun · guidance 1.5 from t = 0 to 0.5 · class 3 · other noise (2) · branched at t = 0.250";
        assert_eq!(caption(&state, 1, &settings), expected);
    }
}
