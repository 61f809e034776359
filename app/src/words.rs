//! The engine's messages as a person at the window reads them.

/// What the window calls a setting of the engine, where it does not call it by its key.
fn control(key: &str) -> Option<String> {
    let name = match key {
        "backend" => "the backend",
        "diffusion_norm" => "the norm of the diffusion",
        "guidance_interval" => "the guidance interval",
        "last_step" => "the last step",
        "last_step_size" => "the size of the last step",
        "resume" => "a kept checkpoint",
        "t_eps_sample" => "the first time",
        _ if key.chars().all(|c| c.is_ascii_lowercase()) => key,
        _ => return None,
    };
    Some(name.to_owned())
}

/// The engine's message with controls where it names settings.
pub fn in_controls(error: &sit_engine::Error) -> String {
    error.with_names(control)
}
