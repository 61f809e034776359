//! The command `sit`.

fn main() -> std::process::ExitCode {
    sit_trainer::cli::run(std::env::args_os())
}
