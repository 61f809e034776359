//! Debian packages that a command cannot do without.

use crate::check;
use anyhow::{Result, bail};
use std::process::Command;

/// Installs `packages` with apt-get, as root or through sudo.
///
/// # Errors
/// Without the right to install, or where there is no apt-get, with the command to run by hand.
pub fn install(why: &str, packages: &str) -> Result<()> {
    eprintln!("{why}; installing Debian's {packages} with apt-get");
    let prefix: &[&str] = if is_root() {
        &[]
    } else if succeeds("sudo", "-n true") {
        &["sudo", "-n"]
    } else {
        bail!("{why}, and no right to install: run apt-get install {packages} as root");
    };
    if !succeeds("apt-get", "--version") {
        bail!("{why}, and there is no apt-get here: install what Debian calls {packages}");
    }
    let apt = |args: &str| {
        let words: Vec<&str> = prefix
            .iter()
            .copied()
            .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .chain(args.split(' '))
            .collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    check(&mut apt("update -q"))?;
    check(&mut apt(&format!(
        "install -q -y --no-install-recommends {packages}"
    )))
}

/// Whether commands run as root.
pub fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

/// Whether a command runs and succeeds.
pub fn succeeds(program: &str, args: &str) -> bool {
    Command::new(program)
        .args(args.split(' '))
        .output()
        .is_ok_and(|done| done.status.success())
}
