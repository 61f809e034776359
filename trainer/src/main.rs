//! The command `sit`.

fn main() -> std::process::ExitCode {
    silence_device_select();
    sit_trainer::cli::run(std::env::args_os())
}

/// Keeps Mesa's device-select layer, which sorts GPUs, from looking for a Wayland display. It does so whenever GPUs are listed.
/// Without a desktop (as root, in a container, under cron) libwayland then prints "error: XDG_RUNTIME_DIR is invalid" each time, as
/// if the command had failed. The command draws nothing and sorts the GPUs itself. A layer that the user has configured is left
/// alone.
fn silence_device_select() {
    const SWITCH: &str = "NODEVICE_SELECT";
    if !cfg!(target_os = "linux") || std::env::var_os("MESA_VK_DEVICE_SELECT").is_some() {
        return;
    }
    #[expect(
        unsafe_code,
        reason = "the loader of layers has no other switch that a program can set"
    )]
    // SAFETY: this is the first thing the program does; there is no other thread that could read the environment.
    unsafe {
        std::env::set_var(SWITCH, "1");
    }
}
