//! The backends of the command.

use super::metrics;
use sit_tests::sit::run;

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
