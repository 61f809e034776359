//! `sit sample`: outputs, determinism.

use super::tensors::{Tensors, f32s, i64s, read, write};
use super::{TINY_RUN, names};
use sit_engine::model::{Dit, Network};
use sit_engine::sample::initial_noise;
use sit_engine::table::Table;
use sit_tests::formula::Formula;
use sit_tests::net::{self, TINY, sine};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::io::Read;
use std::path::Path;

/// `sit.safetensors` with formula weights by the official names, and `noise.safetensors` to start from.
pub fn sit_files(folder: &Path, config: &Dit, formula: &Formula, x: &[f32], y: &[u32]) {
    let tensors = net::params(config, formula);
    let mut weights: Tensors = tensors
        .map(|(name, shape, values)| (name, f32s(&shape, &values)))
        .collect();
    let (side, dim) = (config.input_size / config.patch, config.dim);
    let pos = Table::SinCos2d { side, dim }.values();
    weights.insert("pos_embed".into(), f32s(&[1, config.tokens(), dim], &pos));
    write(&folder.join("sit.safetensors"), &weights);
    let mut noise = Tensors::new();
    let size = config.input_size;
    noise.insert("x".into(), f32s(&[y.len(), config.channels, size, size], x));
    let labels: Vec<i64> = y.iter().map(|&y| y.into()).collect();
    noise.insert("y".into(), i64s(&[y.len()], &labels));
    write(&folder.join("noise.safetensors"), &noise);
}

const OUTPUTS: [&str; 3] = ["x.png", "x.npz", "x.safetensors"];

/// The bytes of all outputs of sampling `run`.
fn sample(folder: &Path, words: &str) -> [Vec<u8>; 3] {
    let [png, npz, trajectory] = OUTPUTS;
    let out = format!("--out {png} --npz {npz} --trajectory {trajectory}");
    run_ok(
        folder,
        &format!("sample run --backend cpu --per-class 3 {out} {words}"),
    );
    OUTPUTS.map(|name| fs::read(folder.join(name)).unwrap())
}

/// An array of `x.npz`: its header and its bytes.
pub fn array(folder: &Path, name: &str) -> (String, Vec<u8>) {
    let file = fs::File::open(folder.join("x.npz")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut bytes = Vec::new();
    archive
        .by_name(name)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let data = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..data])
        .trim_end()
        .to_owned();
    (header, bytes[data..].to_vec())
}

#[test]
fn outputs_have_their_shapes_and_agree() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let sde = "--sde euler --steps 5 --diffusion sigma --last-step mean --guidance 1.5 --guidance-interval 0.2..0.7";
    // The last step of an SDE comes after its steps.
    for (solver, n) in [("--ode heun --steps 5", 6), (sde, 7)] {
        sample(folder.path(), &format!("{solver} --classes 3,5-6,10"));
        let trajectory = read(&folder.path().join("x.safetensors"));
        let (t, x) = (&trajectory["t"], &trajectory["x"]);
        assert_eq!(
            (&t.shape[..], &x.shape[..]),
            (&[n][..], &[n, 12, 1, 8, 8][..])
        );
        let (times, x) = (t.values(), x.values());
        assert!(
            times.is_sorted() && times[0] == 0.0 && times[n - 1] == 1.0,
            "{times:?}"
        );
        let (noise, end) = (&x[..12 * 64], &x[(n - 1) * 12 * 64..]);
        let config = Dit {
            channels: 1,
            ..TINY
        };
        let mut expected = vec![0.0; noise.len()];
        initial_noise(&config.io(), 0, 0, &mut expected);
        assert_eq!(noise, expected);

        let (header, levels) = array(folder.path(), "arr_0.npy");
        assert!(
            header.contains("'|u1'") && header.contains("(12, 8, 8, 1, )"),
            "{header}"
        );
        let expected: Vec<u8> = end.iter().map(|&x| sit_trainer::png::level(x)).collect();
        assert_eq!(levels, expected);
        let (_, labels) = array(folder.path(), "label.npy");
        let labels: Vec<u8> = labels.chunks(8).map(|b| b[0]).collect();
        assert_eq!(labels, [3, 3, 3, 5, 5, 5, 6, 6, 6, 10, 10, 10]);
        image::open(folder.path().join("x.png")).unwrap();
    }
    assert_eq!(
        names(folder.path()),
        ["run", "x.npz", "x.png", "x.safetensors"]
    );
}

#[test]
fn a_seed_gives_the_same_bytes_in_batches_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    for solver in [
        "--ode heun --steps 3",
        "--sde heun --steps 3 --diffusion linear --guidance 2",
    ] {
        let want = sample(folder.path(), &format!("{solver} --seed 7"));
        for batch in [1, 4, 30] {
            let got = sample(folder.path(), &format!("{solver} --seed 7 --batch {batch}"));
            assert!(got == want, "{solver} --batch {batch}");
        }
        assert!(sample(folder.path(), &format!("{solver} --seed 8")) != want);
        let raw = sample(folder.path(), &format!("{solver} --seed 7 --weights raw"));
        assert!(raw != want);
    }
}

#[test]
fn a_file_of_a_run_samples_as_the_run() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let images = |what: &str| {
        run_ok(
            folder.path(),
            &format!("sample {what} --backend cpu --steps 2 --per-class 2 --out x.png"),
        );
        fs::read(folder.path().join("x.png")).unwrap()
    };
    let whole = images("run");
    assert!(images("run/step-00000002") == whole);
    // The file's metadata contains the number of heads.
    assert!(images("run/step-00000002/ema.safetensors") == whole);
    assert!(images("run/step-00000001") != whole);
    assert!(images("run --weights raw") == images("run/step-00000002/model.safetensors"));
}

/// Given noise, with classes in turn.
#[test]
fn init_without_labels_takes_the_classes_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let mut noise = Tensors::new();
    noise.insert("x".into(), f32s(&[3, 1, 8, 8], &sine(192, 1.0, 0.31, 0.2)));
    write(&folder.path().join("noise"), &noise);
    run_ok(
        folder.path(),
        "sample run --backend cpu --steps 2 --init noise --classes 4,9 --out x.png --npz x.npz",
    );
    let (_, labels) = array(folder.path(), "label.npy");
    assert_eq!(
        labels.chunks(8).map(|b| b[0]).collect::<Vec<_>>(),
        [4, 9, 4]
    );
}

#[test]
fn sampling_digits_says_how_many_are_right() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let done = run(
        folder.path(),
        "sample run --backend cpu --steps 2 --per-class 2 --out /dev/null",
    );
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stdout.contains("20 images in")
            && done.stdout.contains("(4 network evaluations each)"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains(" of 20 (") && done.stdout.contains("what was asked for"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_model_without_classes_samples_what_it_likes() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(
        folder.path(),
        &format!("{TINY_RUN} --set model.n_classes=0"),
    );
    let sample = "sample run --backend cpu --steps 2 --per-class 7 --out x.png";
    let text = run_ok(folder.path(), sample);
    assert!(
        text.contains("7 images in") && !text.contains("asked for"),
        "{text}"
    );
    for flags in ["--classes 1", "--guidance 2"] {
        let done = run(folder.path(), &format!("{sample} {flags}"));
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        assert!(
            done.stderr.contains("this model has no classes"),
            "{}",
            done.stderr
        );
    }
}
