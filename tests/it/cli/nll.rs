//! `sit nll`, `sit loss` and `sit sample --reverse`: real images under a checkpoint.

use super::sample::array;
use super::tensors::{Tensors, f32s, read, write};
use super::{TINY_RUN, names};
use sit_tests::net::sine;
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// A tiny run of the digits, and `data.npz` with images of the same shape.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let sampled =
        "sample run --backend cpu --classes 0-3 --per-class 2 --steps 4 --no-grid --npz data.npz";
    run_ok(folder.path(), sampled);
    folder
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Rows of a table under its header.
fn rows(text: &str) -> Vec<Vec<f64>> {
    let cell = |cell: &str| cell.parse().unwrap_or(f64::NAN);
    let row = |line: &str| line.split(',').map(cell).collect();
    text.lines().skip(1).map(row).collect()
}

#[test]
fn bits_per_dimension_are_printed_and_each_image_has_a_row() {
    let folder = folder();
    let nll = |words: &str| {
        let words = format!("nll run --data data.npz --backend cpu --csv nll.csv {words}");
        (
            run_ok(folder.path(), &words),
            text(folder.path(), "nll.csv"),
        )
    };
    let (printed, table) = nll("--levels 17 --probes 2 --ode heun --steps 4");
    let first = printed.lines().next().unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    assert_eq!(words[1..2], ["±"], "{printed}");
    assert!(first.ends_with("bits per dimension"), "{printed}");
    for part in [
        "nats",
        "17 levels",
        "2 Rademacher probes",
        "of that error the probes",
        "t = 1 to 0",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let rows = rows(&table);
    assert_eq!(rows.len(), 8);
    let mean = rows.iter().map(|row| row[6]).sum::<f64>() / 8.0;
    let shown: f64 = words[0].parse().unwrap();
    assert!((mean - shown).abs() < 0.05 * mean.abs(), "{mean} {shown}");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!((row[0], row[1], row[7]), (i as f64, (i / 2) as f64, 8.0));
        let bits = -row[2] / (64.0 * std::f64::consts::LN_2) + 8.5_f64.log2();
        assert!((row[6] - bits).abs() < 1e-9 && row[3] > 0.0, "{row:?}");
        assert!((row[2] - (row[4] - row[5])).abs() < 1e-6, "{row:?}");
    }
    // The same bytes again and in other batches; another seed gives other numbers.
    let again = nll("--levels 17 --probes 2 --ode heun --steps 4 --batch 3").1;
    assert_eq!(again, table);
    assert_ne!(
        nll("--levels 17 --probes 2 --ode heun --steps 4 --seed 1").1,
        table
    );
    // The exact trace, an adaptive method, part of the images.
    let (printed, table) = nll("--levels 17 --trace exact --ode bosh3 --count 2");
    assert!(
        printed.contains("exact trace, 64 backward passes"),
        "{printed}"
    );
    assert_eq!(self::rows(&table).len(), 2);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = folder();
    let other = folder.path().join("other.npz");
    fs::write(&other, "no archive").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let refusal = |words: &str| {
        let done = run(folder.path(), words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        done.stderr
    };
    for (words, expected) in [
        ("--data nosuch", "--data: nosuch"),
        ("--data empty", "--data: empty: got no images"),
        ("--data other.npz", "other.npz: got no zip file ("),
        (
            "--data data.npz --guidance 2",
            "--guidance: got 2, expected 1",
        ),
        ("--data data.npz --ode unipc", "--ode: got unipc"),
        (
            "--data data.npz --fresh-probes",
            "--fresh-probes: an adaptive method",
        ),
        (
            "--data data.npz --trace exact --probes 3",
            "--probes: --trace exact",
        ),
        (
            "--data data.npz --steps 3",
            "--steps: dopri5 chooses its steps itself",
        ),
        (
            "--data data.npz --count 9",
            "got 8 images, expected at least 9 for --count",
        ),
        ("--data data.npz --csv data.npz", "--csv: data.npz"),
        (
            "--data data.npz --csv run/config.csv.toml",
            "--csv: run/config.csv.toml",
        ),
        (
            "--data data.npz --split test",
            "expected train: data.npz has no test part",
        ),
    ] {
        let message = refusal(&format!("nll run --backend cpu {words}"));
        assert!(message.contains(expected), "{words}: {message}");
    }
    let message = refusal("loss run --backend cpu --data data.npz --out data.npz");
    assert!(message.contains("--out: data.npz"), "{message}");
    // Images without a class have the label of no class.
    let big =
        "sample run --backend cpu --classes none --per-class 1 --steps 2 --no-grid --npz none.npz";
    run_ok(folder.path(), big);
    run_ok(
        folder.path(),
        "nll run --backend cpu --data none.npz --ode euler --steps 2",
    );
}

#[test]
fn the_loss_by_time_is_a_table_for_the_sde() {
    let folder = folder();
    let loss = |words: &str| {
        let words = format!("loss run --data data.npz --backend cpu --out loss.csv {words}");
        (
            run_ok(folder.path(), &words),
            text(folder.path(), "loss.csv"),
        )
    };
    let (printed, table) = loss("--times 5");
    assert!(table.starts_with("t,loss\n0,"), "{table}");
    let rows = rows(&table);
    let times: Vec<f64> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(times, [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert!(
        rows.iter().all(|row| row[1] > 0.0 && row[1] < 10.0),
        "{table}"
    );
    for part in [
        "Girsanov",
        "SBDM (the least)",
        "w-kl-eta, eta 0.01",
        "loose upper bounds",
        "infinite at t = 1",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert_eq!(
        loss("--times 5 --batch 3").1,
        table,
        "the same in other batches"
    );
    assert_ne!(loss("--times 5 --seed 1").1, table);
    loss("--times 5");
    let sample = "sample run --backend cpu --sde euler --steps 4 --diffusion w-kl-eta --kl-eta 0.1 --per-class 1 --out x.png";
    run_ok(folder.path(), &format!("{sample} --loss-table loss.csv"));
    // A run has logged its own.
    run_ok(folder.path(), sample);
}

#[test]
fn images_go_to_noise_and_come_back() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let mut noise = Vec::new();
    for solver in [
        "--ode rk4 --steps 40",
        "--ode dopri5 --rtol 1e-6",
        "--ode euler --steps 400",
        "--ddpm ddim",
    ] {
        let words = format!(
            "sample run --backend cpu --reverse --data data.npz {solver} --noise-out z.safetensors --out back.png --npz x.npz"
        );
        let printed = run_ok(folder.path(), &words);
        let line = printed
            .lines()
            .find(|line| line.contains("round trip"))
            .unwrap();
        let words: Vec<&str> = line.split(&[' ', ','][..]).collect();
        let error: f64 = words[words.iter().position(|w| *w == "error").unwrap() + 1]
            .parse()
            .unwrap();
        let most = match solver {
            "--ode euler --steps 400" | "--ddpm ddim" => 5e-2,
            _ => 1e-3,
        };
        assert!(error < most, "{printed}");
        assert!(printed.contains("to noise: "), "{printed}");
        let z = read(&at("z.safetensors"));
        assert_eq!(
            (&z["x"].shape[..], &z["y"].shape[..]),
            (&[8, 1, 8, 8][..], &[8][..])
        );
        noise.push(z["x"].values());
        image::open(at("back.png")).unwrap();
        // What came back is what sampling from that noise gives.
        let (_, back) = array(folder.path(), "arr_0.npy");
        let again =
            format!("sample run --backend cpu --init z.safetensors {solver} --no-grid --npz x.npz");
        run_ok(folder.path(), &again);
        assert_eq!(array(folder.path(), "arr_0.npy").1, back, "{solver}");
    }
    let far = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    };
    assert!(far(&noise[0], &noise[1]) < 1e-2 && far(&noise[0], &noise[2]) < 0.2);
    for (words, expected) in [
        ("--reverse", "--data"),
        ("--data data.npz", "--reverse"),
        ("--reverse --data data.npz --sde euler", "--sde"),
        ("--reverse --data data.npz --edm heun", "--edm"),
        (
            "--reverse --data data.npz --ddpm ancestral",
            "--reverse: only ddim with eta 0",
        ),
        (
            "--reverse --data data.npz --noise-out data.npz",
            "--noise-out: data.npz",
        ),
    ] {
        let done = run(folder.path(), &format!("sample run --backend cpu {words}"));
        assert_eq!(done.code, Some(2), "{words}");
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
    assert!(names(folder.path()).contains(&"back.png".to_owned()));
}

/// The noise of an SDE's steps can be given, as many as add some.
#[test]
fn a_chain_with_given_noise_is_repeated() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let sde = "sample run --backend cpu --sde euler --steps 4 --last-step mean --init init.safetensors --trajectory x.safetensors --no-grid";
    let mut init = Tensors::new();
    init.insert("x".into(), f32s(&[3, 1, 8, 8], &sine(192, 1.0, 0.7, 0.1)));
    let mut chain = |n: usize, scale: f64| {
        let noise = sine(n * 192, scale, 1.3, 0.4);
        init.insert("noise".into(), f32s(&[n, 3, 1, 8, 8], &noise));
        write(&at("init.safetensors"), &init);
    };
    chain(4, 1.0);
    let words = format!("{sde} --classes 1,2,3");
    run_ok(folder.path(), &words);
    let first = read(&at("x.safetensors"))["x"].values();
    run_ok(folder.path(), &format!("{words} --seed 5 --batch 2"));
    assert_eq!(
        read(&at("x.safetensors"))["x"].values(),
        first,
        "no noise is drawn"
    );
    chain(4, 0.5);
    run_ok(folder.path(), &words);
    assert_ne!(read(&at("x.safetensors"))["x"].values(), first);
    for n in [3, 5] {
        chain(n, 1.0);
        let done = run(folder.path(), &words);
        assert_eq!(done.code, Some(2));
        let expected = format!("holds noise of {n} steps, expected 4");
        assert!(done.stderr.contains(&expected), "{}", done.stderr);
    }
    chain(4, 1.0);
    let ode = "sample run --backend cpu --ode euler --steps 4 --init init.safetensors --out x.png";
    let done = run(folder.path(), ode);
    assert!(
        done.stderr.contains("holds noise of 4 steps, expected 0"),
        "{}",
        done.stderr
    );
}
