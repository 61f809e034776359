//! The command that makes a lane's samples in a terminal.

use super::{Classes, Lane, Noise, Settings, Source, State};
use sit_engine::transport::{
    DdpmMethod, DdpmSampler, Edm, Grid, GuidanceChannels, LastStep, Ode, Path, Sampler, Sde,
    SdeMethod,
};
use std::fmt::Display;

impl State {
    /// The `sit sample` line that makes the samples of a lane, from the same noise.
    ///
    /// # Errors
    /// What in the lane no command has.
    pub fn command(&self, lane: usize) -> Result<String, String> {
        let of_lane = &self.lanes[lane];
        let [segment] = &of_lane.segments[..] else {
            return Err(
                "A branch is two samplers one after the other, which no command has.".into(),
            );
        };
        let settings = &segment.settings;
        let mut words = vec!["sit sample".to_owned(), self.checkpoint(of_lane)?];
        words.extend(sampler(settings)?);
        if settings.noise == Noise::Brownian && matches!(settings.sampler, Sampler::Sde(_)) {
            return Err("One Brownian path for every number of steps is this window's own.".into());
        }
        if settings.noise_seed != 0 {
            return Err("Other noise from the same start is this window's own.".into());
        }
        if let Some(t_eps) = settings.t_eps {
            words.push(flag("t-eps-sample", t_eps));
        }
        words.extend(guidance(settings));
        words.extend(self.samples(settings));
        words.push(flag("seed", self.seed));
        words.push(flag("npz", format!("lane-{}.npz", lane + 1)));
        Ok(words.join(" "))
    }

    fn checkpoint(&self, lane: &Lane) -> Result<String, String> {
        match lane.network.as_ref().unwrap_or(&self.source) {
            Source::Digits => Ok("app/assets/digits.safetensors".into()),
            Source::Emoji => Ok("app/assets/emoji.safetensors".into()),
            Source::File(name) => Ok(quoted(name)),
            Source::Trained(_) => Ok("trained.safetensors".into()),
            Source::Exact(_) => Err("An exact field has no checkpoint to sample from.".into()),
        }
    }

    fn samples(&self, settings: &Settings) -> Vec<String> {
        let has_classes = self.model.as_ref().is_some_and(|m| m.io.n_classes > 0);
        let mut words = Vec::new();
        if has_classes {
            match settings.class.map_or(self.classes, Classes::One) {
                Classes::All => words.push("--balanced".to_owned()),
                Classes::One(class) => words.push(flag("classes", class)),
                Classes::None => words.push(flag("classes", "none")),
            }
        }
        words.push(flag("count", self.n_samples));
        words
    }
}

fn flag(name: &str, value: impl Display) -> String {
    format!("--{name} {value}")
}

/// A name as one word of a shell.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+".contains(c);
    match !name.is_empty() && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

fn guidance(settings: &Settings) -> Vec<String> {
    let guidance = &settings.guidance;
    let mut words = Vec::new();
    if guidance.scale != 1.0 {
        words.push(flag("guidance", guidance.scale));
        if guidance.interval != [0.0, 1.0] {
            words.push(interval("guidance-interval", guidance.interval));
        }
        if guidance.channels != GuidanceChannels::All {
            words.push(flag("guidance-channels", guidance.channels));
        }
    }
    words
}

fn interval(name: &str, [from, to]: [f64; 2]) -> String {
    flag(name, format!("{from}..{to}"))
}

fn sampler(settings: &Settings) -> Result<Vec<String>, String> {
    match &settings.sampler {
        Sampler::Ode(ode) => self::ode(ode),
        Sampler::Sde(sde) => self::sde(sde),
        Sampler::Edm(edm) => self::edm(edm),
        Sampler::Ddpm(ddpm) => Ok(chain(ddpm)),
        _ => Err("This sampler has no command.".into()),
    }
}

fn grid(grid: &Grid) -> Result<Option<String>, String> {
    match grid {
        Grid::Uniform => Ok(Some(flag("time-grid", "uniform"))),
        Grid::Times(_) => Err("A list of times is a file for a command.".into()),
        grid => Ok(Some(flag("time-grid", grid))),
    }
}

fn along(path: Option<&Path>) -> Option<String> {
    path.map(|path| flag("along", path.to_string().to_lowercase()))
}

fn ode(ode: &Ode) -> Result<Vec<String>, String> {
    let mut words = vec![flag("ode", ode.method)];
    if ode.method.is_adaptive() {
        let tolerance = &ode.tolerance;
        words.push(flag("rtol", tolerance.rtol));
        words.push(flag("atol", tolerance.atol));
        words.push(flag("max-nfe", tolerance.max_nfe));
        // All samples of a lane share the size of a step.
        words.push(flag("error-norm", "batch"));
    } else {
        words.push(flag("steps", ode.n_steps));
        words.extend(grid(&ode.grid)?);
        if ode.last_euler {
            words.push(flag("ode-last-step", "euler"));
        }
    }
    words.extend(along(ode.along.as_ref()));
    Ok(words)
}

fn sde(sde: &Sde) -> Result<Vec<String>, String> {
    let mut words = vec![flag("sde", sde.method), flag("steps", sde.n_steps)];
    words.extend(grid(&sde.grid)?);
    if sde.method == SdeMethod::PredictorCorrector {
        words.push(flag("corrector-steps", sde.corrector.steps));
        words.push(flag("snr", sde.corrector.snr));
    } else {
        let diffusion = &sde.diffusion;
        if diffusion.curve.is_some() || diffusion.kl.is_some() {
            return Err("A D(t) drawn by hand is a file for a command.".into());
        }
        words.push(flag("diffusion", diffusion.form.to_string().to_lowercase()));
        words.push(flag("diffusion-norm", diffusion.norm));
    }
    words.push(flag("last-step", sde.last_step));
    if sde.last_step != LastStep::None {
        words.push(flag("last-step-size", sde.last_step_size));
    }
    if sde.noise_window != [0.0, 1.0] {
        words.push(interval("noise-window", sde.noise_window));
    }
    words.extend(along(sde.along.as_ref()));
    Ok(words)
}

fn edm(edm: &Edm) -> Result<Vec<String>, String> {
    let usual = Edm::default();
    if (edm.sigma, edm.rho) != (usual.sigma, usual.rho) {
        return Err(
            "Other noise levels of EDM's sampler are those of the model for a command.".into(),
        );
    }
    let mut words = vec![flag("edm", edm.method), flag("steps", edm.n_steps)];
    if edm.churn > 0.0 {
        words.push(flag("churn", edm.churn));
        if edm.churn_window != usual.churn_window {
            words.push(interval("churn-window", edm.churn_window));
        }
        words.push(flag("churn-noise", edm.churn_noise));
    }
    Ok(words)
}

fn chain(ddpm: &DdpmSampler) -> Vec<String> {
    let mut words = vec![flag("ddpm", ddpm.method)];
    if let Some(respacing) = &ddpm.respacing {
        words.push(flag("respacing", respacing));
    }
    if ddpm.method == DdpmMethod::Ddim {
        words.push(flag("eta", ddpm.eta));
    }
    if let Some(most) = ddpm.clip_x0 {
        words.push(format!("--clip-x0={most}"));
    }
    if let Some(variance) = ddpm.variance {
        words.push(flag("ddpm-variance", variance));
    }
    words.push(flag("ddpm-schedule", ddpm.schedule));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{LanesAction, ode, sde};
    use sit_engine::transport::{Diffusion, Method};

    #[test]
    fn a_lane_is_a_line_of_the_command() {
        let mut state = State::default();
        let line = |state: &State, lane| state.command(lane).unwrap();
        let expected = "sit sample app/assets/digits.safetensors --ode euler --steps 50 --time-grid uniform --count 64 --seed 0 \
                        --npz lane-1.npz";
        assert_eq!(line(&state, 0), expected);
        let mut settings = state.lanes[1].settings().clone();
        settings.guidance.scale = 1.5;
        settings.guidance.interval = [0.25, 1.0];
        state.source = Source::File("my file.pt".into());
        state.apply(LanesAction::SetLane(1, settings.clone()));
        let expected = "sit sample 'my file.pt' --sde euler --steps 49 --time-grid uniform --diffusion sigma --diffusion-norm 1 \
                        --last-step mean --last-step-size 0.02 --guidance 1.5 --guidance-interval 0.25..1 --count 64 --seed 0 \
                        --npz lane-2.npz";
        assert_eq!(line(&state, 1), expected);
        settings.sampler = ode(Method::Dopri5, 1);
        state.apply(LanesAction::SetLane(1, settings));
        assert!(line(&state, 1).contains(
            "--ode dopri5 --rtol 0.001 --atol 0.000001 --max-nfe 10000 --error-norm batch"
        ));
        state.lanes[1] = state.lanes[0].branch(
            0.5,
            Settings {
                sampler: sde(SdeMethod::Euler, Diffusion::default(), 50),
                ..Settings::default()
            },
        );
        assert!(state.command(1).unwrap_err().contains("branch"));
        state.source = Source::Exact("moons".into());
        assert!(state.command(0).unwrap_err().contains("no checkpoint"));
    }
}
