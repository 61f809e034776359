//! `sit sample --count`: many images, which go on where they were stopped.

use super::resume::{interrupt, kill, start, wait};
use super::sample::array;
use super::{TINY_RUN, names};
use sit_tests::sit::{Done, run, run_ok};
use std::fs;
use std::path::Path;

const UNFINISHED: &str = "x.npz.unfinished";

const MANY: &str = "sample run --backend cpu --count 3000 --balanced --batch 16 --seed 5 --npz x.npz --png pictures";

/// Bytes of the images that are made.
fn made(folder: &Path) -> u64 {
    let images = folder.join(UNFINISHED).join("images.bin");
    images.metadata().map_or(0, |about| about.len())
}

/// The images by a sampler, stopped and killed on the way if `is_stopped`.
fn files(folder: &Path, sampler: &str, is_stopped: bool) -> (Vec<u8>, Vec<Vec<u8>>, String) {
    let words = format!("{MANY} {sampler}");
    if is_stopped {
        // Before anything is written down.
        let mut child = start(folder, &words);
        wait(&mut child, || folder.join(UNFINISHED).exists());
        kill(child);
        for _ in 0..2 {
            let before = made(folder);
            let mut child = start(folder, &words);
            wait(&mut child, || made(folder) > before + 10_000);
            interrupt(&child);
            let done: Done = child.wait_with_output().unwrap().into();
            assert_eq!(done.code, Some(130), "{}", done.stderr);
            assert!(
                done.stderr.contains("the same command goes on after them"),
                "{}",
                done.stderr
            );
            assert!(!folder.join("x.npz").exists());
            // What was made since then is made again.
            let before = made(folder);
            let mut child = start(folder, &words);
            wait(&mut child, || made(folder) > before + 2_000);
            kill(child);
        }
    }
    let text = run_ok(folder, &words);
    assert!(!folder.join(UNFINISHED).exists());
    let names = names(&folder.join("pictures"));
    assert_eq!(names.len(), 3000);
    assert_eq!(names[2999], "002999-class9.png");
    let pictures = names
        .iter()
        .map(|name| fs::read(folder.join("pictures").join(name)).unwrap());
    let verdict = text
        .lines()
        .find(|line| line.contains("what was asked for"))
        .unwrap();
    (
        fs::read(folder.join("x.npz")).unwrap(),
        pictures.collect(),
        verdict.to_owned(),
    )
}

#[test]
fn images_that_were_stopped_and_killed_are_the_same_bytes() {
    for sampler in ["--sde euler --steps 25", "--ode bosh3 --rtol 0.02"] {
        let (want, got) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&want, &got] {
            run_ok(folder.path(), TINY_RUN);
        }
        let want = files(want.path(), sampler, false);
        let is_same = files(got.path(), sampler, true) == want;
        assert!(is_same, "{sampler}");
        let (header, labels) = array(got.path(), "label.npy");
        assert!(
            header.contains("(3000, )") || header.contains("(3000,)"),
            "{header}"
        );
        let labels = labels
            .as_chunks::<8>()
            .0
            .iter()
            .map(|label| i64::from_le_bytes(*label));
        assert!(labels.eq((0..3000).map(|number| number % 10)));
        let (header, images) = array(got.path(), "arr_0.npy");
        assert!(
            header.contains("'|u1'") && header.contains("(3000, 8, 8, 1, )"),
            "{header}"
        );
        assert_eq!(images.len(), 3000 * 64);
    }
}

#[test]
fn images_of_a_list_are_those_of_its_parts_with_drawn_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let sample = |words: &str| {
        run_ok(
            folder,
            &format!("sample run --backend cpu --steps 2 --count 40 --npz x.npz {words}"),
        );
        (array(folder, "arr_0.npy").1, array(folder, "label.npy").1)
    };
    let (images, labels) = sample("");
    let (part, of_part) = sample("--index 10-19 --batch 3");
    assert!(part == images[64 * 10..64 * 20] && of_part == labels[80..160]);
    let (_, of_two) = sample("--classes 3,7");
    assert!(of_two.chunks(8).all(|label| [3, 7].contains(&label[0])));
    let (_, others) = sample("--seed 1");
    assert_ne!(others, labels);
}

#[test]
fn unfinished_images_of_something_else_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let words = format!("{MANY} --steps 50");
    let mut child = start(folder, &words);
    wait(&mut child, || made(folder) > 2_000);
    // Nobody else makes them meanwhile.
    let done = run(folder, &words);
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr
            .contains("another command is making these images"),
        "{}",
        done.stderr
    );
    interrupt(&child);
    child.wait_with_output().unwrap();
    let record = folder.join(UNFINISHED).join("record.json");
    let kept = fs::read_to_string(&record).unwrap();
    for (changed, expected) in [
        (
            words.replace("--seed 5", "--seed 6"),
            "seed was 5, and is 6 now",
        ),
        (words.replace("--steps 50", "--steps 51"), "sampler was"),
        (
            words.replace("3000", "3001"),
            "count was 3000, and is 3001 now",
        ),
        (
            words.replace(" --png pictures", ""),
            "--png was \"pictures\", and is none now",
        ),
    ] {
        let done = run(folder, &changed);
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        assert!(done.stderr.contains(expected), "{}", done.stderr);
        assert_eq!(fs::read_to_string(&record).unwrap(), kept);
    }
    let refused = |expected: &str| {
        let done = run(folder, &words);
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    };
    // Files that have gone, or are cut.
    let first = &names(&folder.join("pictures"))[0];
    let first = folder.join("pictures").join(first);
    let picture = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    refused("is gone, which an earlier call has written");
    fs::write(&first, picture).unwrap();
    fs::write(&record, "{").unwrap();
    refused("is no record of unfinished images");
    fs::write(&record, &kept).unwrap();
    fs::write(folder.join(UNFINISHED).join("images.bin"), "").unwrap();
    refused("has 0 bytes, expected");
    fs::remove_file(&record).unwrap();
    refused("pictures: holds");
    fs::remove_dir_all(folder.join("pictures")).unwrap();
    fs::write(folder.join(UNFINISHED).join("notes.txt"), "").unwrap();
    refused("has no record.json");
}

#[test]
fn a_count_needs_a_file_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    for (words, expected) in [
        ("--count 4", "--count: nothing would come of it"),
        ("--count 4 --out x.png", "--out: --count makes no grid"),
        ("--count 4 --per-class 1 --npz x.npz", "cannot be used with"),
        (
            "--count 0 --npz x.npz",
            "expected a whole number of 1 to 10000000",
        ),
        ("--balanced --npz x.npz", "--count"),
        (
            "--count 4 --npz x.npz --png x.npz.unfinished",
            "is where --count keeps what is done",
        ),
        (
            "--count 4 --index 4 --npz x.npz",
            "--index: got 4, expected 0 to 3",
        ),
    ] {
        let done = run(folder, &format!("sample run --backend cpu {words}"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
    assert_eq!(names(folder), ["run"]);
    // A device has nothing that could go on.
    run_ok(
        folder,
        "sample run --backend cpu --steps 2 --count 4 --npz /dev/null",
    );
}
