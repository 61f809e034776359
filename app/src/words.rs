//! The engine's messages, in the terms of the window.

/// The window's name for a setting of the engine, if it is not its key.
fn control(key: &str) -> Option<String> {
    let name = match key {
        "backend" => "the backend",
        "churn_noise" => "churn's noise",
        "churn_window" => "the noise levels of churn",
        "clip_x0" => "the clip of predicted x₁",
        "corrector_steps" => "the corrector's steps",
        "ddpm" => "the chain",
        "ddpm_variance" => "the variance",
        "diffusion_norm" => "the norm of the diffusion",
        "edm_rho" => "the exponent ρ",
        "edm_sigma" => "the noise levels",
        "eta" => "the share of new noise",
        "guidance_interval" => "the guidance interval",
        "last_step" | "ode_last_step" => "the last step",
        "last_step_size" => "the size of the last step",
        "loss_table" => "the loss over time",
        "max_nfe" => "the most evaluations",
        "noise_window" => "the noise window",
        "respacing" => "the spacing",
        "resume" => "a kept checkpoint",
        "snr" => "the corrector's snr",
        "t_eps_sample" => "the first time",
        "time_grid" => "the time grid",
        _ if key.chars().all(|c| c.is_ascii_lowercase()) => key,
        _ => return None,
    };
    Some(name.to_owned())
}

/// The engine's message, with names of controls in place of settings.
pub fn in_controls(error: &sit_engine::Error) -> String {
    error.with_names(control)
}
