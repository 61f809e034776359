//! The judge of `sit eval`: it is trained once, and a training that is stopped leaves nothing.

use super::eval::json;
use super::names;
use super::resume::{interrupt, start};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::io::{BufRead, BufReader};

#[test]
fn a_training_of_the_judge_that_is_stopped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut child = start(folder, "eval --backend cpu --train-judge digits");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if line.contains("training the judge, digits-classifier on 1442 images") {
            interrupt(&child);
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(names(folder).is_empty());
}

#[test]
fn a_judge_is_trained_once_and_is_called_by_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let words = "eval --backend cpu --train-judge digits";
    let named = run_ok(folder, words);
    let name = named.strip_suffix(" in judge.safetensors\n").unwrap();
    assert!(
        name.starts_with("classifier-") && name.len() == 27,
        "{named}"
    );
    let file = fs::read(folder.join("judge.safetensors")).unwrap();
    let again = run(folder, words);
    assert_eq!(again.stdout, named);
    assert!(
        !again.stderr.contains("training the judge"),
        "{}",
        again.stderr
    );
    assert!(fs::read(folder.join("judge.safetensors")).unwrap() == file);
    // It knows the digits.
    run_ok(
        folder,
        &format!("{words} digits --count 500 --metrics agreement --json a.json"),
    );
    let all = json(&folder.join("a.json"));
    for row in all["rows"].as_array().unwrap() {
        assert!(row["agreement %"].as_f64().unwrap() > 90.0, "{row}");
    }
    let note = all["notes"][0].as_str().unwrap();
    assert!(note.contains(name), "{note}");
}
