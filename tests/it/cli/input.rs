//! Bad input: each is an error that names the thing, exit code 2, and nothing is written or lost.

use super::tensors::{Tensors, edit, f32s, i64s, truncate, write};
use super::{TINY_RUN, copy, tree};
use sit_tests::sit::{Done, run_ok, sit};
use std::fs;
use std::path::Path;

/// What is wrong, how the folder comes to be so, the command line, and what the message must hold.
type Row = (
    &'static str,
    fn(&Path),
    &'static str,
    &'static [&'static str],
);

fn nothing(_: &Path) {}

const SMOKE: &str = "train --preset digits-smoke --backend cpu --out out";

/// The table's rows about a run's configuration and folder. `SMOKE` and what follows it is one command line.
const CONFIG: &[Row] = &[
    (
        "nothing to train",
        nothing,
        "train",
        &["--preset", "CONFIG.toml", "--resume", "digits-smoke"],
    ),
    (
        "unknown preset",
        nothing,
        "train --preset digit-smoke",
        &["--preset", "digit-smoke", "did you mean digits-smoke?"],
    ),
    (
        "unknown key",
        nothing,
        "SMOKE --set train.stepz=3",
        &["--set train.stepz=3", "did you mean train.steps?"],
    ),
    (
        "no value",
        nothing,
        "SMOKE --set train.steps",
        &["--set train.steps", "expected key=value"],
    ),
    (
        "unknown key in a file",
        |folder| config(folder, "[train]\nlearning_rat = 1e-3"),
        "train my.toml",
        &[
            "my.toml",
            "train.learning_rat",
            "did you mean train.learning_rate?",
        ],
    ),
    (
        "syntax error in a file",
        |folder| config(folder, "steps 3"),
        "train my.toml",
        &["my.toml", "line 12"],
    ),
    (
        "no such file",
        nothing,
        "train nosuch.toml",
        &["nosuch.toml", "No such file"],
    ),
    (
        "wrong type",
        nothing,
        "SMOKE --set train.steps=many",
        &["train.steps", "\"many\"", "a whole number"],
    ),
    (
        "wrong type",
        nothing,
        "SMOKE --set data.flip=1",
        &["data.flip", "got 1", "true or false"],
    ),
    (
        "wrong range",
        nothing,
        "SMOKE --set train.batch=0",
        &["train.batch", "got 0"],
    ),
    (
        "wrong word",
        nothing,
        "SMOKE --set transport.path=liner",
        &["transport.path", "liner", "did you mean Linear?"],
    ),
    (
        "width and heads",
        nothing,
        "SMOKE --set model.n_heads=3",
        &["model.dim", "32", "a multiple of model.n_heads = 3"],
    ),
    (
        "size and patch",
        nothing,
        "SMOKE --set model.patch=3",
        &["model.input_size", "8", "a multiple of model.patch = 3"],
    ),
    (
        "size and data",
        nothing,
        "SMOKE --set model.input_size=16",
        &["model.input_size", "16", "expected 8", "digits"],
    ),
    (
        "weight of a velocity loss",
        nothing,
        "SMOKE --set transport.loss_weight=velocity",
        &["transport.loss_weight", "velocity"],
    ),
    (
        "a model for a bigger machine",
        nothing,
        "SMOKE --set train.batch=1048576 --set model.dim=16384",
        &["memory", "MiB are free"],
    ),
    (
        "two configurations",
        nothing,
        "train my.toml --preset digits",
        &["--preset", "CONFIG.toml"],
    ),
    (
        "a folder that is not empty",
        nothing,
        "train --preset digits-smoke --out run",
        &["run", "not empty", "--resume"],
    ),
    (
        "unwritable",
        nothing,
        "train --preset digits-smoke --backend cpu --out old.png/out",
        &["old.png/out", "cannot be written"],
    ),
    (
        "unwritable for root",
        nothing,
        "train --preset digits-smoke --backend cpu --out /proc/out",
        &["/proc/out", "cannot be written"],
    ),
    (
        "unknown backend",
        nothing,
        "train --preset digits-smoke --backend tpu",
        &["--backend", "tpu", "auto, cpu or gpu"],
    ),
];

/// About data. `FOLDER` and what follows it trains on images below `data`.
const DATA: &[Row] = &[
    (
        "no such folder",
        nothing,
        "FOLDER",
        &["data", "No such file"],
    ),
    (
        "no path",
        nothing,
        "SMOKE --set data.kind=idx",
        &["data.path", "got nothing"],
    ),
    (
        "empty folder",
        |folder| fs::create_dir(folder.join("data")).unwrap(),
        "FOLDER",
        &["data", "no images", ".png"],
    ),
    (
        "a file, not a folder",
        |folder| fs::write(folder.join("data"), "x").unwrap(),
        "FOLDER",
        &["data", "a file"],
    ),
    (
        "a corrupt PNG",
        |folder| {
            images(folder);
            truncate(&folder.join("data/cat/1.png"), 0.5);
        },
        "FOLDER",
        &["data/cat/1.png", "1 of 4 images", "--skip-bad"],
    ),
    (
        "classes beyond n_classes",
        images,
        "FOLDER --set model.n_classes=1",
        &["n_classes", "got 1", "at least 2"],
    ),
    (
        "classes without folders",
        |folder| png(&folder.join("data/1.png")),
        "FOLDER --set model.n_classes=2",
        &["n_classes", "no class folders"],
    ),
    (
        "flags of other data",
        nothing,
        "SMOKE --skip-bad",
        &["data.skip_bad", "digits"],
    ),
    (
        "no IDX files",
        |folder| fs::create_dir(folder.join("data")).unwrap(),
        "IDX",
        &["data", "idx3"],
    ),
    (
        "truncated IDX",
        |folder| {
            idx(folder, [0, 1, 2]);
            truncate(&folder.join("data/train-images-idx3-ubyte"), 0.9);
        },
        "IDX",
        &["data/train-images-idx3-ubyte", "expected"],
    ),
    (
        "label out of range",
        |folder| idx(folder, [0, 12, 2]),
        "IDX",
        &[
            "data/train-labels-idx1-ubyte",
            "label 12 of image 1",
            "0 to 9",
        ],
    ),
    (
        "nothing to inspect",
        nothing,
        "data inspect data",
        &["data", "No such file"],
    ),
];

/// About checkpoints; `run` holds one of step 1 and one of step 2.
const CHECKPOINTS: &[Row] = &[
    (
        "no such checkpoint",
        nothing,
        "sample nosuch",
        &["nosuch", "No such file"],
    ),
    (
        "no such run",
        nothing,
        "train --resume nosuch",
        &["nosuch", "No such file"],
    ),
    (
        "no checkpoint",
        |folder| fs::create_dir(folder.join("r")).unwrap(),
        "sample r",
        &["r: has no checkpoint"],
    ),
    (
        "missing tensor",
        |folder| ema(folder, |t| drop(t.remove(QKV))),
        "sample run",
        &["ema.safetensors", QKV, "no tensor"],
    ),
    (
        "extra tensor",
        |folder| {
            ema(folder, |t| {
                drop(t.insert("blocks.9.x".into(), f32s(&[1], &[0.0])))
            })
        },
        "sample run",
        &["ema.safetensors", "blocks.9.x", "does not have"],
    ),
    (
        "misshaped tensor",
        |folder| {
            ema(folder, |t| {
                drop(t.insert(QKV.into(), f32s(&[2], &[0.0; 2])))
            })
        },
        "sample run",
        &["ema.safetensors", QKV, "[2]", "expected [48]"],
    ),
    (
        "NaN in a tensor",
        |folder| {
            ema(folder, |t| {
                t.get_mut(QKV).unwrap().bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes())
            })
        },
        "sample run",
        &["ema.safetensors", "blocks.0.attn.qkv.bias[2] is NaN"],
    ),
    (
        "integers for weights",
        |folder| {
            ema(folder, |t| {
                drop(t.insert(QKV.into(), i64s(&[48], &[0; 48])))
            })
        },
        "sample run",
        &["ema.safetensors", QKV, "I64", "expected F32"],
    ),
    (
        "truncated file",
        |folder| truncate(&last(folder, "ema.safetensors"), 0.7),
        "sample run",
        &["ema.safetensors", "truncated", "blocks."],
    ),
    (
        "almost no file",
        |folder| fs::write(last(folder, "ema.safetensors"), "1234").unwrap(),
        "sample run",
        &["ema.safetensors", "4 bytes"],
    ),
    (
        "huge header",
        |folder| fs::write(last(folder, "ema.safetensors"), [255; 64]).unwrap(),
        "sample run",
        &[
            "ema.safetensors",
            "header of 18446744073709551615 bytes in a file of 64",
        ],
    ),
    (
        "a text file",
        |folder| fs::write(folder.join("x"), "not a checkpoint").unwrap(),
        "sample x",
        &["x: ", "not a safetensors file"],
    ),
    (
        "moments of other weights",
        |folder| {
            edit(&last(folder, "optim.safetensors"), |t| {
                drop(t.remove("exp_avg.x_embedder.proj.bias"))
            })
        },
        "train --resume run --set train.steps=3",
        &[
            "optim.safetensors",
            "exp_avg.x_embedder.proj.bias",
            "the checkpoint before it is run/step-00000001",
        ],
    ),
    (
        "truncated state",
        |folder| truncate(&last(folder, "state.json"), 0.5),
        "train --resume run --set train.steps=3",
        &[
            "state.json",
            "is not a state",
            "the checkpoint before it is run/step-00000001",
        ],
    ),
    (
        "state of a later version",
        |folder| {
            let text = fs::read_to_string(last(folder, "state.json")).unwrap();
            fs::write(
                last(folder, "state.json"),
                text.replace("\"format\": 1", "\"format\": 2"),
            )
            .unwrap();
        },
        "sample run",
        &["state.json", "format 2", "format 1"],
    ),
    (
        "other architecture",
        nothing,
        "train --resume run --set model.depth=2",
        &["run/step-00000002", "model.depth is 1", "2 was asked for"],
    ),
    (
        "other heads",
        nothing,
        "train --resume run --set model.n_heads=4",
        &["model.n_heads is 2", "4 was asked for"],
    ),
    (
        "other transport",
        nothing,
        "train --resume run --set transport.path=GVP",
        &["transport.path", "Linear", "GVP"],
    ),
    (
        "other preset",
        nothing,
        "train --preset digits --resume run",
        &["model.d", "was asked for"],
    ),
    (
        "fewer steps than done",
        nothing,
        "train --resume run --set train.steps=1",
        &["train.steps", "got 1", "2 steps"],
    ),
    (
        "a new folder to resume",
        nothing,
        "train --resume run --out out",
        &["--resume", "--out"],
    ),
    (
        "heads of a run",
        nothing,
        "sample run --n-heads 4",
        &["--n-heads", "run"],
    ),
    (
        "heads of a bare file",
        |folder| bare(folder, |_| ()),
        "sample bare.safetensors --input-size 8",
        &["bare.safetensors", "--n-heads"],
    ),
    (
        "size of a bare file",
        |folder| bare(folder, |_| ()),
        "sample bare.safetensors --n-heads 2",
        &["bare.safetensors", "--input-size"],
    ),
    (
        "positions that are not sines",
        |folder| {
            bare(folder, |t| {
                drop(t.insert("pos_embed".into(), f32s(&[1, 16, 16], &[0.5; 256])))
            })
        },
        "sample bare.safetensors --n-heads 2",
        &["bare.safetensors", "pos_embed"],
    ),
];

/// About sampling from `run`.
const SAMPLING: &[Row] = &[
    (
        "two solvers",
        nothing,
        "SAMPLE --ode heun --sde heun",
        &["--ode", "--sde"],
    ),
    (
        "diffusion of an ODE",
        nothing,
        "SAMPLE --ode heun --diffusion sigma",
        &["--ode", "--diffusion"],
    ),
    (
        "last step without an SDE",
        nothing,
        "SAMPLE --last-step mean",
        &["--sde"],
    ),
    (
        "unknown solver",
        nothing,
        "SAMPLE --ode rk4",
        &["--ode", "rk4", "euler, heun"],
    ),
    ("no steps", nothing, "SAMPLE --steps 0", &["--steps", "0"]),
    (
        "an infinite diffusion",
        nothing,
        "SAMPLE --sde euler --diffusion sbdm",
        &["SBDM", "t = 0", "--t-eps-sample", "--diffusion"],
    ),
    (
        "a diffusion at t = 1",
        nothing,
        "SAMPLE --sde heun --diffusion constant --last-step none",
        &["t = 1", "--last-step"],
    ),
    (
        "a last step of 1",
        nothing,
        "SAMPLE --sde euler --last-step-size 1",
        &["--last-step-size", "got 1"],
    ),
    (
        "a negative diffusion",
        nothing,
        "SAMPLE --sde euler --diffusion-norm=-1",
        &["--diffusion-norm", "got -1"],
    ),
    (
        "a first time too late",
        nothing,
        "SAMPLE --t-eps-sample 0.5",
        &["t_eps_sample", "got 0.5"],
    ),
    (
        "guidance that is no number",
        nothing,
        "SAMPLE --guidance nan",
        &["--guidance", "NaN"],
    ),
    (
        "guidance backwards",
        nothing,
        "SAMPLE --guidance-interval 0.8..0.2",
        &["--guidance-interval", "0.8..0.2"],
    ),
    (
        "guided channels",
        nothing,
        "SAMPLE --guidance-channels 2",
        &["--guidance-channels", "2"],
    ),
    (
        "no such class",
        nothing,
        "SAMPLE --classes 3,11",
        &["--classes 11", "10 classes"],
    ),
    (
        "no class at all",
        nothing,
        "SAMPLE --classes 3-",
        &["--classes", "0-9"],
    ),
    (
        "too many images",
        nothing,
        "SAMPLE --per-class 200000",
        &["--per-class", "2000000 images"],
    ),
    (
        "noise that is missing",
        nothing,
        "SAMPLE --init nosuch",
        &["nosuch", "No such file"],
    ),
    (
        "no noise in the file",
        |folder| init(folder, "y", f32s(&[2], &[0.0; 2])),
        "SAMPLE --init init",
        &["init", "no tensor x"],
    ),
    (
        "noise of another shape",
        |folder| init(folder, "x", f32s(&[1, 1, 8, 4], &[0.0; 32])),
        "SAMPLE --init init",
        &["init", "[1, 1, 8, 4]", "[B, 1, 8, 8]"],
    ),
    (
        "noise that is infinite",
        |folder| init(folder, "x", f32s(&[1, 1, 8, 8], &[f32::INFINITY; 64])),
        "SAMPLE --init init",
        &["init", "x[0] is inf"],
    ),
    (
        "labels of another shape",
        |folder| init(folder, "y", i64s(&[3], &[0; 3])),
        "SAMPLE --init init",
        &["init", "y is [3]", "expected [1]"],
    ),
    (
        "a label beyond the classes",
        |folder| init(folder, "y", i64s(&[1], &[11])),
        "SAMPLE --init init",
        &["init", "y holds 11", "0 to 10"],
    ),
    (
        "labels twice",
        |folder| init(folder, "y", i64s(&[1], &[1])),
        "SAMPLE --init init --classes 1",
        &["--classes", "--init"],
    ),
    (
        "a folder for a file",
        nothing,
        "sample run --backend cpu --out run",
        &["--out", "run", "directory"],
    ),
    (
        "no folder for a file",
        nothing,
        "SAMPLE --npz nosuch/x.npz",
        &["--npz", "nosuch/x.npz", "No such file"],
    ),
    (
        "two files of one name",
        nothing,
        "SAMPLE --npz x --trajectory x",
        &["--trajectory", "x is in use"],
    ),
    (
        "no space for the grid",
        nothing,
        "sample run --backend cpu --steps 1 --per-class 1 --out /dev/full",
        &["/dev/full", "No space left"],
    ),
    (
        "a command that is not there",
        nothing,
        "smaple run",
        &["smaple", "sample"],
    ),
];

const QKV: &str = "blocks.0.attn.qkv.bias";

fn config(folder: &Path, more: &str) {
    let model = "[model]\ninput_size = 8\nchannels = 1\npatch = 2\ndim = 16\ndepth = 1\nn_heads = 2\nn_classes = 10\n";
    let text = format!("{model}[data]\nkind = \"digits\"\n\n{more}\n");
    fs::write(folder.join("my.toml"), text).unwrap();
}

fn last(folder: &Path, file: &str) -> std::path::PathBuf {
    folder.join("run/step-00000002").join(file)
}

fn ema(folder: &Path, change: fn(&mut Tensors)) {
    edit(&last(folder, "ema.safetensors"), change);
}

/// A file with the official names and nothing else.
fn bare(folder: &Path, change: fn(&mut Tensors)) {
    let mut tensors = super::tensors::read(&last(folder, "ema.safetensors"));
    tensors.remove("pos_embed");
    change(&mut tensors);
    write(&folder.join("bare.safetensors"), &tensors);
}

/// Noise for one image, and `tensor`.
fn init(folder: &Path, name: &str, tensor: super::tensors::Tensor) {
    let mut tensors = Tensors::new();
    if name == "y" && tensor.shape != [2] {
        tensors.insert("x".into(), f32s(&[1, 1, 8, 8], &[0.5; 64]));
    }
    tensors.insert(name.into(), tensor);
    write(&folder.join("init"), &tensors);
}

fn png(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| image::Rgb([(20 * x) as u8, (30 * y) as u8, (x * y) as u8]);
    image::RgbImage::from_fn(9, 8, pixel).save(path).unwrap();
}

fn images(folder: &Path) {
    for file in ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"] {
        png(&folder.join("data").join(file));
    }
}

fn idx(folder: &Path, labels: [u8; 3]) {
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 8];
    images.extend((0..3 * 64).map(|i| i as u8));
    fs::write(data.join("train-images-idx3-ubyte"), images).unwrap();
    let mut bytes = vec![0, 0, 8, 1, 0, 0, 0, 3];
    bytes.extend(labels);
    fs::write(data.join("train-labels-idx1-ubyte"), bytes).unwrap();
}

fn words(text: &str) -> String {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let data = |kind: &str| format!("{SMOKE} --set data.kind={kind} --set data.path=data");
    let first = match first {
        "SMOKE" => SMOKE.to_owned(),
        "IDX" => data("idx"),
        "FOLDER" => format!(
            "{} --set data.image_size=8 --set model.channels=3 --set model.n_classes=2",
            data("folder")
        ),
        "SAMPLE" => "sample run --backend cpu --out old.png".to_owned(),
        other => other.to_owned(),
    };
    format!("{first} {rest}")
}

fn check(tables: &[&[Row]]) {
    let template = tempfile::tempdir().unwrap();
    run_ok(template.path(), TINY_RUN);
    fs::write(template.path().join("old.png"), "old").unwrap();
    let mut wrong = Vec::new();
    for (what, setup, text, holds) in tables.iter().copied().flatten() {
        let folder = tempfile::tempdir().unwrap();
        copy(template.path(), folder.path());
        setup(folder.path());
        let before = tree(folder.path());
        let words = words(text);
        let done: Done = sit(folder.path())
            .args(words.split_whitespace())
            .output()
            .unwrap()
            .into();
        let missing: Vec<_> = holds
            .iter()
            .filter(|part| !done.stderr.contains(**part))
            .collect();
        let changed = tree(folder.path()) != before;
        if done.code != Some(2)
            || !missing.is_empty()
            || changed
            || done.stderr.contains("panicked")
        {
            wrong.push(format!(
                "{what}: sit {words}\n{}exit code {:?}, not said: {missing:?}, files changed: {changed}",
                done.stderr, done.code
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn bad_configurations_and_data_are_refused_by_name() {
    check(&[CONFIG, DATA]);
}

#[test]
fn bad_checkpoints_and_flags_are_refused_by_name() {
    check(&[CHECKPOINTS, SAMPLING]);
}

#[test]
fn skip_bad_goes_on_without_the_corrupt_image() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    truncate(&folder.path().join("data/cat/1.png"), 0.5);
    let words = words("FOLDER --skip-bad --set train.steps=2");
    let done = sit_tests::sit::run(folder.path(), &words);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("skipped data/cat/1.png"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("3 images of 8x8x3, 2 classes"),
        "{}",
        done.stderr
    );
}

/// A GPU that is asked for is a GPU or an error.
#[cfg(target_os = "linux")]
#[test]
fn without_a_gpu_the_gpu_backend_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let done: Done = sit(folder.path())
        .args([
            "train",
            "--preset",
            "digits-smoke",
            "--backend",
            "gpu",
            "--out",
            "out",
        ])
        .env("VK_DRIVER_FILES", "/nosuch.json")
        .env("VK_ICD_FILENAMES", "/nosuch.json")
        .output()
        .unwrap()
        .into();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    for part in [
        "--backend",
        "no GPU",
        "mesa-vulkan-drivers",
        "--backend cpu",
    ] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert!(tree(folder.path()).is_empty());
}
