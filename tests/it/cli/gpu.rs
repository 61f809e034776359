//! The backends of the command.

use super::metrics;
use sit_tests::sit::{run, sit};

const FIVE_STEPS: &str =
    "train --preset digits-smoke --set train.steps=5 --set log.preview.every_steps=0";

#[test]
fn the_gpu_follows_the_losses_of_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let lines = ["cpu", "gpu"].map(|backend| {
        let done = run(
            folder.path(),
            &format!("{FIVE_STEPS} --backend {backend} --out {backend}"),
        );
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let is_cpu = done.stderr.contains("computing on CPU");
        assert_eq!(is_cpu, backend == "cpu", "{}", done.stderr);
        metrics(&folder.path().join(backend))
    });
    assert_eq!(lines[0].len(), 5);
    for (cpu, gpu) in lines[0].iter().zip(&lines[1]) {
        for key in ["loss", "grad_norm"] {
            let (got, want) = (gpu[key].as_f64().unwrap(), cpu[key].as_f64().unwrap());
            let error = (got - want).abs() / want;
            println!("step {} {key}: {error:.1e}", cpu["step"]);
            assert!(error <= 1e-3, "{key}: got {got}, expected {want}");
        }
    }
    assert_ne!(lines[0], lines[1], "both ran on the same backend");
}

#[test]
fn a_device_is_chosen_by_number_name_or_environment() {
    let folder = tempfile::tempdir().unwrap();
    let info = run(folder.path(), "info --preset digits-smoke");
    assert_eq!(info.code, Some(0), "{}", info.stderr);
    let list = info
        .stdout
        .split("GPUs, by the number that --device takes\n")
        .nth(1);
    let list = list.unwrap_or_else(|| panic!("a list: {}", info.stdout));
    let first = list
        .lines()
        .next()
        .and_then(|line| line.trim().strip_prefix("0  "));
    let first = first.unwrap_or_else(|| panic!("number 0: {list}"));
    // What it has, and what of that is used.
    for part in [
        "\n     binds ",
        "subgroups",
        "16-bit floats",
        "matrix units",
        "\nkernels: ",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }

    let dry = |flags: &str, variable: Option<(&str, &str)>| {
        let mut command = sit(folder.path());
        command.args(format!("{FIVE_STEPS} --dry-run {flags}").split_whitespace());
        command.envs(variable);
        let done = command.output().unwrap();
        let stderr = String::from_utf8(done.stderr).unwrap();
        (done.status.code(), stderr)
    };
    let taken = format!("computing on {first}");
    let name = &first[..first.find(' ').unwrap_or(first.len())];
    for (flags, variable) in [
        ("--device 0", None),
        (&*format!("--device {name}"), None),
        ("", Some(("WGPU_ADAPTER_NAME", name))),
        (
            "--backend gpu --device 0",
            Some(("WGPU_BACKEND", "vulkan,metal,dx12")),
        ),
    ] {
        let (code, stderr) = dry(flags, variable);
        assert_eq!(code, Some(0), "{flags} {variable:?}: {stderr}");
        assert!(stderr.contains(&taken), "{flags} {variable:?}: {stderr}");
    }
    for (flags, variable, parts) in [
        ("--device no-such-card", None, ["--device: no GPU", first]),
        ("--device 99", None, ["\"99\"", first]),
        (
            "--device 0 --backend cpu",
            None,
            ["--device", "backend is cpu"],
        ),
        (
            "",
            Some(("WGPU_ADAPTER_NAME", "no-such-card")),
            ["WGPU_ADAPTER_NAME: no GPU", first],
        ),
        (
            "",
            Some(("WGPU_BACKEND", "cuda")),
            ["WGPU_BACKEND=cuda", "vulkan, metal or dx12"],
        ),
        (
            "--device 0",
            Some(("WGPU_BACKEND", "gl")),
            ["--device", "there is none"],
        ),
    ] {
        let (code, stderr) = dry(flags, variable);
        assert_eq!(code, Some(2), "{flags} {variable:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}

/// The environment of a container or a cron job.
#[test]
fn without_a_desktop_nothing_is_said_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sit(folder.path());
    command.args(["info", "--preset", "digits-smoke"]);
    let done = command.env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert!(done.status.success());
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
}

#[test]
fn auto_does_not_take_a_software_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let done = run(folder.path(), &format!("{FIVE_STEPS} --dry-run"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let device = done
        .stderr
        .lines()
        .find(|line| line.contains("computing on"));
    assert!(
        device.is_some_and(|line| !line.contains("software")),
        "{}",
        done.stderr
    );
}
