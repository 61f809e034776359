//! What `sit sample` writes: parts of a list, single PNGs, latents, trajectories, and nothing when it is stopped.

use super::sample::{array, sit_files};
use super::tensors::{f32s, read, write};
use super::{TINY_RUN, names, tree};
use sit_tests::net::{TINY, sine, sine_weights};
use sit_tests::sit::{Done, run, run_ok, sit};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SDE: &str = "--sde heun --steps 3 --diffusion linear --guidance 2";

/// The images of `x.npz`, each its bytes.
fn images(folder: &Path, words: &str, image_bytes: usize) -> Vec<Vec<u8>> {
    run_ok(
        folder,
        &format!("sample run --backend cpu --npz x.npz --no-grid {words}"),
    );
    let (_, bytes) = array(folder, "arr_0.npy");
    bytes.chunks(image_bytes).map(<[u8]>::to_vec).collect()
}

#[test]
fn an_image_of_a_list_is_the_same_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let all = images(folder, &format!("{SDE} --per-class 3"), 64);
    assert_eq!(all.len(), 30);
    for (batch, index) in [(64, "10"), (1, "29,7-9"), (2, "7-9,0,28-29")] {
        let words = format!("{SDE} --per-class 3 --index {index} --batch {batch}");
        let some = images(folder, &words, 64);
        let numbers = index
            .split(',')
            .flat_map(|part| match part.split_once('-') {
                None => part.parse().unwrap()..part.parse::<usize>().unwrap() + 1,
                Some((a, b)) => a.parse().unwrap()..b.parse::<usize>().unwrap() + 1,
            });
        let want: Vec<&Vec<u8>> = numbers.clone().map(|number| &all[number]).collect();
        assert!(some.iter().eq(want), "{words}");
        let (_, labels) = array(folder, "label.npy");
        let labels: Vec<usize> = labels.chunks(8).map(|b| b[0].into()).collect();
        assert_eq!(labels, numbers.map(|n| n / 3).collect::<Vec<_>>());
    }
}

#[test]
fn a_folder_of_single_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let sample = "--steps 1 --per-class 2 --classes 3,10";
    let all = images(folder, sample, 64);
    let text = run_ok(
        folder,
        &format!("sample run --backend cpu {sample} --no-grid --png new/folder"),
    );
    assert!(text.contains("\nnew/folder: 4 single pictures\n"), "{text}");
    let files = [
        "000000-class3.png",
        "000001-class3.png",
        "000002-none.png",
        "000003-none.png",
    ];
    assert_eq!(names(&folder.join("new/folder")), files);
    for (file, want) in files.iter().zip(&all) {
        let picture = image::open(folder.join("new/folder").join(file)).unwrap();
        assert_eq!((picture.width(), picture.height()), (8, 8));
        assert_eq!(picture.into_luma8().as_raw(), want);
    }
    assert_eq!(names(folder), ["new", "run", "x.npz"]);
    // A single image keeps its number; an empty folder is accepted.
    fs::create_dir(folder.join("one")).unwrap();
    run_ok(
        folder,
        &format!("sample run --backend cpu {sample} --no-grid --index 1 --png one"),
    );
    assert_eq!(names(&folder.join("one")), [files[1]]);
    // The second time, the folder is in use.
    let before = tree(folder);
    let again = run(
        folder,
        &format!("sample run --backend cpu {sample} --no-grid --png one"),
    );
    assert_eq!(again.code, Some(2));
    assert!(
        again.stderr.contains("--png: one: holds"),
        "{}",
        again.stderr
    );
    assert!(tree(folder) == before);
}

#[test]
fn latents_are_written_as_they_are_and_the_grid_says_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let x = sine(512, 1.0, 0.31, 0.2);
    sit_files(folder, &TINY, &sine_weights(0.1), &x, &[3, 10]);
    let sample =
        "sample sit.safetensors --n-heads 4 --steps 2 --per-class 1 --classes 3,5 --backend cpu";
    let text = run_ok(
        folder,
        &format!("{sample} --out x.png --npz x.npz --trajectory x.safetensors"),
    );
    assert!(
        text.contains("each of the 4 channels of a latent by itself"),
        "{text}"
    );
    for name in ["x.png", "x.npz", "x.safetensors"] {
        assert!(text.lines().any(|line| line == name), "{text}");
    }
    let (header, bytes) = array(folder, "arr_0.npy");
    assert!(
        header.contains("'<f4'") && header.contains("(2, 8, 8, 4, )"),
        "{header}"
    );
    let last: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let x = read(&folder.join("x.safetensors"))["x"].values();
    let end = &x[2 * 512..];
    for (at, value) in last.iter().enumerate() {
        let (image, pixel, channel) = (at / 256, at / 4 % 64, at % 4);
        assert_eq!(*value, end[image * 256 + channel * 64 + pixel]);
    }
    let refused = run(folder, &format!("{sample} --out x.png --png pictures"));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .stderr
            .contains("--png: this model makes latents of 4 channels")
            && refused.stderr.contains("--npz"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_trajectory_tells_how_it_was_made_and_is_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let sample = "sample run --backend cpu --steps 3 --guidance 1.5 --no-grid";
    let text = run_ok(
        folder,
        &format!(
            "{sample} --classes 2,7 --per-class 2 --index 1-3 --seed 5 --batch 2 --trajectory a.safetensors"
        ),
    );
    let origin = "step 2, the moving average of the weights (ema), run/step-00000002";
    assert!(text.lines().next().unwrap().contains(origin), "{text}");
    let bytes = fs::read(folder.join("a.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let settings = &header.metadata().as_ref().unwrap()["sample"];
    let settings: serde_json::Value = serde_json::from_str(settings).unwrap();
    let want = serde_json::json!({
        "checkpoint": "run/step-00000002", "step": 2, "weights": "ema", "seed": 5, "index": [[1, 3]]
    });
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(settings[key], *value, "{settings}");
    }
    assert_eq!(settings["sampler"]["n_steps"], 3, "{settings}");
    assert_eq!(settings["guidance"]["scale"], 1.5, "{settings}");

    let a = read(&folder.join("a.safetensors"));
    assert_eq!(a["x"].shape, [4, 3, 1, 8, 8]);
    assert_eq!(a["y"].shape, [3]);
    let labels: Vec<u8> = a["y"].bytes.chunks(8).map(|b| b[0]).collect();
    assert_eq!(labels, [2, 7, 7]);
    // Sampling from its first state with its labels gives the same path.
    run_ok(
        folder,
        &format!("{sample} --init a.safetensors --trajectory b.safetensors"),
    );
    let b = read(&folder.join("b.safetensors"));
    assert!(b["x"].values() == a["x"].values() && b["y"].bytes == a["y"].bytes);
    // Raw weights and files are recorded as such, too.
    let raw = run_ok(
        folder,
        "sample run/step-00000001 --backend cpu --steps 1 --out /dev/null --weights raw",
    );
    assert!(
        raw.contains("step 1, the weights as trained (raw), run/step-00000001\n"),
        "{raw}"
    );
}

/// Batches are written as they are made: a memory limit that holds a batch and the grid is enough for any number of images.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let peak = |per_class: usize| {
        let words = format!(
            "sample run --backend cpu --ode euler --steps 40 --per-class {per_class} --classes 1 --no-grid --npz x.npz --trajectory x.safetensors --batch 50"
        );
        let mut child = sit(folder)
            .args(words.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak_kib = 0;
        while child.try_wait().unwrap().is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
            let line = status.unwrap_or_default();
            let line = line.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak_kib = peak_kib.max(kib.unwrap_or(0_u64));
            sleep(Duration::from_millis(2));
        }
        assert!(child.wait().unwrap().success());
        peak_kib
    };
    let few = peak(50);
    // 41 states of 3000 images are 31 MB.
    let many = peak(3000);
    assert!(few > 0 && many < few + 12_000, "{few} KiB, {many} KiB");
    assert_eq!(
        read(&folder.join("x.safetensors"))["x"].shape,
        [41, 3000, 1, 8, 8]
    );
}

/// After Ctrl-C no partial file is left, and finished PNGs stay.
#[cfg(unix)]
#[test]
fn a_sampling_that_is_stopped_leaves_whole_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    fs::write(folder.join("x.npz"), "old").unwrap();
    for signal in ["INT", "TERM"] {
        let words = "sample run --backend cpu --steps 20 --per-class 100000 --batch 10 --no-grid --npz x.npz --trajectory \
             x.safetensors --png pictures";
        let mut child = sit(folder)
            .args(words.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while fs::read_dir(folder.join("pictures")).map_or(0, Iterator::count) < 25 {
            assert!(begin.elapsed() < Duration::from_secs(100), "no pictures");
            assert_eq!(child.try_wait().unwrap(), None);
            sleep(Duration::from_millis(5));
        }
        let kill = format!("kill -{signal} {}", child.id());
        let status = std::process::Command::new("sh")
            .args(["-c", &kill])
            .status();
        assert!(status.unwrap().success());
        let done: Done = child.wait_with_output().unwrap().into();
        assert_eq!(done.code, Some(130), "{signal}: {}", done.stderr);
        assert_eq!(done.stdout, "");
        assert_eq!(names(folder), ["pictures", "run", "x.npz"]);
        assert_eq!(fs::read(folder.join("x.npz")).unwrap(), b"old");
        let pictures = names(&folder.join("pictures"));
        assert!(pictures.len() >= 25 && pictures[24] == "000024-class0.png");
        for picture in pictures {
            image::open(folder.join("pictures").join(picture)).unwrap();
        }
        fs::remove_dir_all(folder.join("pictures")).unwrap();
    }
}

/// A tensor that is neither noise nor a trajectory is refused.
#[test]
fn noise_of_another_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    for shape in [&[2, 2, 3, 1, 8, 8][..], &[2, 0, 1, 8, 8], &[2, 3, 2, 8, 8]] {
        let values = vec![0.5; shape.iter().product()];
        let x = [("x".to_owned(), f32s(shape, &values))];
        write(&folder.join("noise"), &x.into_iter().collect());
        let done = run(
            folder,
            "sample run --backend cpu --init noise --out /dev/null",
        );
        assert_eq!(done.code, Some(2), "{shape:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("expected [B, 1, 8, 8]"),
            "{}",
            done.stderr
        );
    }
}
