//! Bad input: each is an error that names its cause, with exit code 2, and no file is written or lost.

use super::broken;
use super::{TINY_RUN, copy, tree};
use sit_tests::sit::{Done, run, run_ok, sit};
use std::fs;
use std::path::Path;

/// Abbreviations for the beginnings of command lines.
const BEGINNINGS: [(&str, &str); 4] = [
    (
        "SMOKE",
        "train --preset digits-smoke --backend cpu --out out",
    ),
    ("IDX", "SMOKE --set data.kind=idx --set data.path=data"),
    (
        "FOLDER",
        "SMOKE --set data.kind=folder --set data.path=data --set data.image_size=8 --set model.channels=3 --set model.n_classes=2",
    ),
    ("SAMPLE", "sample run --backend cpu --out old.png"),
];

/// What is wrong | the argument of `broken::make` | the command line | what the message must contain, separated by `;`.
///
/// The folder holds a run `run` with checkpoints of steps 1 and 2, and a file `old.png`.
const CONFIG: &str = "
nothing to train         |                 | train                                            | --preset; CONFIG.toml; --resume; digits-smoke
unknown preset           |                 | train --preset digit-smoke                       | --preset; digit-smoke; did you mean digits-smoke?
unknown key              |                 | SMOKE --set train.stepz=3                        | --set train.stepz=3; did you mean train.steps?
key without a value      |                 | SMOKE --set train.steps                          | --set train.steps; expected key=value
unknown key in a file    | my.toml: key    | train my.toml                                    | my.toml; train.learning_rat,; did you mean train.learning_rate?
syntax error in a file   | my.toml: syntax | train my.toml                                    | my.toml; line 12
no such file             |                 | train nosuch.toml                                | nosuch.toml; No such file
wrong type               |                 | SMOKE --set train.steps=many                     | train.steps; \"many\"; a whole number
wrong type               |                 | SMOKE --set data.flip=1                          | data.flip; got 1; true or false
wrong range              |                 | SMOKE --set train.batch=0                        | train.batch; got 0
range in a file          | my.toml: range  | train my.toml                                    | my.toml: train.batch; got 0; expected 1 to
range of a flag          |                 | SMOKE --set train.batch=0                        | --set train.batch=0: train.batch; got 0
too large                |                 | SMOKE --set train.steps=99999999999999999999     | train.steps; got; a whole number of 0 to
more than any machine    |                 | SMOKE --set model.input_size=4096 --set model.patch=1 --set model.depth=1024 | model.input_size: got 4096; 16777216 tokens; expected at most 65536
preset before the sizes  |                 | train --preset digits-smoke --resume run --set model.preset=SiT-S/2 | model.d; was asked for
no room for a batch      |                 | SMOKE --set train.batch=1048576 --dry-run        | needs; MiB are free; batch
settings for info        |                 | info --preset digits-smoke --set log.preview.count=9223372036854775807 | log.preview.count; got
more than can be counted |                 | SMOKE --set train.steps=99999999 --set train.batch=1048576 --set train.accumulate=1048576 | train.steps x train.batch x train.accumulate; at most
preset for a file        |                 | train digits                                     | digits; did you mean --preset digits?
preset for a checkpoint  |                 | info SiT-XL/2                                    | SiT-XL/2; did you mean --preset SiT-XL/2?
file for a preset        |                 | train --preset my.toml                           | my.toml; without --preset
run for a file           |                 | train run                                        | run; a folder; --resume
key of another table     |                 | SMOKE --set steps=5                              | unknown key steps; did you mean train.steps?
key of another program   |                 | SMOKE --set train.lr=1e-3                        | unknown key train.lr; did you mean train.learning_rate?
wrong word               |                 | SMOKE --set transport.path=liner                 | transport.path; liner; did you mean Linear?
width and heads          |                 | SMOKE --set model.n_heads=3                      | model.dim; got 32; a multiple of model.n_heads = 3
size and patch           |                 | SMOKE --set model.patch=3                        | model.input_size; got 8; a multiple of model.patch = 3
size and data            |                 | SMOKE --set model.input_size=16                  | model.input_size; got 16; expected 8; digits
weighted velocity loss   |                 | SMOKE --set transport.loss_weight=velocity       | transport.loss_weight; velocity
more than the memory     |                 | SMOKE --set train.batch=1048576 --set model.dim=16384 | needs; MiB are free; batch
two configurations       |                 | train my.toml --preset digits                    | --preset; CONFIG.toml
folder that is in use    |                 | train --preset digits-smoke --out run            | run; not empty; --resume
folder below a file      |                 | train --preset digits-smoke --out old.png/out    | old.png/out; cannot be written
unwritable folder        |                 | train --preset digits-smoke --backend cpu --out /proc/out | /proc/out; cannot be written
unknown backend          |                 | train --preset digits-smoke --backend tpu        | --backend; tpu; auto, cpu or gpu
";

const DATA: &str = "
missing folder           |                 | FOLDER                                           | data.path: data is not there
no folder                |                 | SMOKE --set data.kind=idx                        | data.path; got nothing
empty folder             | data: empty     | FOLDER                                           | data; no images; .png
file for a folder        | data: file      | FOLDER                                           | data; a file
corrupt PNG              | data: corrupt   | FOLDER                                           | data/cat/1.png; 1 of 4 images; --skip-bad
classes beyond n_classes | data: images    | FOLDER --set model.n_classes=1                   | n_classes; got 1; at least 2
classes without folders  | data: flat      | FOLDER                                           | n_classes; got 2; no class folders
flag of other data       |                 | SMOKE --skip-bad                                 | data.skip_bad; digits
no IDX files             | data: empty     | IDX                                              | data; idx3
truncated IDX            | data: cut IDX   | IDX                                              | data/train-images-idx3-ubyte; expected
label out of range       | data: label 12  | IDX                                              | data/train-labels-idx1-ubyte; label 12 of image 1; 0 to 9
nothing to inspect       |                 | data inspect data                                | data; No such file
";

const CHECKPOINTS: &str = "
missing file             |                 | sample nosuch                                    | nosuch; No such file
missing run              |                 | train --resume nosuch                            | nosuch; No such file
no checkpoint            | data: empty     | sample data                                      | data: has no checkpoint
missing tensor           | ema: missing    | sample run                                       | ema.safetensors; no tensor blocks.0.attn.qkv.bias
extra tensor             | ema: extra      | sample run                                       | ema.safetensors; blocks.9.x; does not have
misshaped tensor         | ema: misshaped  | sample run                                       | ema.safetensors; blocks.0.attn.qkv.bias is [2], expected [48]
NaN in a tensor          | ema: NaN        | sample run                                       | ema.safetensors; blocks.0.attn.qkv.bias[2] is NaN
integers for weights     | ema: integers   | sample run                                       | ema.safetensors; blocks.0.attn.qkv.bias is I64, expected F32
truncated file           | ema: cut        | sample run                                       | ema.safetensors; truncated; blocks.
almost no file           | ema: 4 bytes    | sample run                                       | ema.safetensors; 4 bytes
huge header              | ema: header     | sample run                                       | ema.safetensors; a header of 18446744073709551615 bytes in a file of 64
another kind of file     |                 | sample run/metrics.jsonl                         | run/metrics.jsonl; is JSON, not a safetensors or .pt file
moments of other weights | optim: missing  | train --resume run --set train.steps=3           | optim.safetensors; exp_avg.x_embedder.proj.bias; before it is run/step-00000001
truncated state          | state: cut      | train --resume run --set train.steps=3           | state.json; is not a state; before it is run/step-00000001
state of a later version | state: format 2 | sample run                                       | state.json; format 2; format 1
state of no model        | state: patch 0  | sample run                                       | state.json: config.model.patch: got 0
state of no model        | state: n_heads 0 | convert run x.safetensors                       | state.json: config.model.n_heads: got 0; before it is run/step-00000001
state of no model        | state: depth 1000000000000 | info run                               | state.json: config.model.depth: got 1000000000000
state without levels     | state: max_level 0 | sample run                                    | state.json; max_level: got 0
state beyond its end     | state: step 99  | train --resume run --set train.steps=200         | state.json: step: got 99, expected at most 2
state of many samples    | state: n_samples 18446744073709551000 | train --resume run --set train.steps=3 | state.json; n_samples: got 18446744073709551000
state without workers    | state: workers 0 | train --resume run --set train.steps=3          | state.json: config.data.workers: got 0
other architecture       |                 | train --resume run --set model.depth=2           | run/step-00000002; model.depth is 1; 2 was asked for
other heads              |                 | train --resume run --set model.n_heads=4         | model.n_heads is 2; 4 was asked for
other transport          |                 | train --resume run --set transport.path=GVP      | transport.path; Linear; GVP
other preset             |                 | train --preset digits --resume run               | model.d; was asked for
fewer steps than done    |                 | train --resume run --set train.steps=1           | train.steps; got 1; 2 steps
two folders              |                 | train --resume run --out out                     | --resume; --out
heads of a run           |                 | sample run --n-heads 4                           | --n-heads; run
weights of a bare file   | bare            | sample bare.safetensors --weights raw            | --weights; bare.safetensors
heads of a bare file     | bare            | sample bare.safetensors --input-size 8           | bare.safetensors; width 16; --n-heads
size of a bare file      | bare            | sample bare.safetensors --n-heads 2              | bare.safetensors; --input-size
path of a known file     |                 | sample run/step-00000002/ema.safetensors --path gvp | --path; ema.safetensors; records its own
conversion onto itself   | bare            | convert bare.safetensors bare.safetensors --n-heads 2 --input-size 8 | OUT; bare.safetensors; in use
type that is none        |                 | convert run x --dtype f8                         | --dtype; f8; f32, f16 or bf16
zeros for weights        | ema: zeros      | train --preset digits-smoke --out out --dry-run --set model.dim=16 --set model.depth=1 --init-from run/step-00000002/ema.safetensors | attn.qkv.weight has only zeros
recipe of no model       | ema: recipe     | sample run/step-00000002/ema.safetensors         | ema.safetensors; metadata sit; input_sizo
type in a state          | state: patch \"2\" | sample run                                    | state.json; config.model.patch
positions that are none  | bare: positions | sample bare.safetensors --n-heads 2              | bare.safetensors; pos_embed[0] is 0.5
";

const SAMPLING: &str = "
two solvers              |                 | SAMPLE --ode heun --sde heun                     | --ode; --sde
diffusion of an ODE      |                 | SAMPLE --ode heun --diffusion sigma              | --ode; --diffusion
last step of an ODE      |                 | SAMPLE --last-step mean                          | --sde
unknown solver           |                 | SAMPLE --ode rk5                                 | --ode; rk5; euler, midpoint, heun, heun3, rk4, rk4-38, bosh3, dopri5, adaptive-heun, dpm++2m, unipc
method of an ODE         |                 | SAMPLE --sde rk4                                 | --sde; rk4; euler, heun, pc, alternate
method of an SDE         |                 | SAMPLE --ode pc                                  | --ode; pc; bosh3, dopri5
steps of its own         |                 | SAMPLE --ode dopri5 --steps 5                    | --steps: dopri5 chooses its steps itself; --rtol
times of its own         |                 | SAMPLE --ode bosh3 --time-grid shift:2           | --time-grid: got shift:2; bosh3 chooses its own times
times of its own         | lines: 0 / 1    | SAMPLE --ode dopri5 --time-grid file:lines       | --time-grid: got times; dopri5 chooses its own times
last step of its own     |                 | SAMPLE --ode dopri5 --ode-last-step euler        | --ode-last-step: got euler; dopri5
negative tolerance       |                 | SAMPLE --ode dopri5 --rtol -1                    | --rtol: got -1; from 0 to below 1
no tolerance             |                 | SAMPLE --ode dopri5 --atol 0                     | --atol: got 0; above 0
tolerance of an SDE      |                 | SAMPLE --sde heun --rtol 0.1                     | --sde; --rtol
window of an ODE         |                 | SAMPLE --ode heun --noise-window 0.2..0.8        | --ode; --noise-window
tolerance of EDM         |                 | SAMPLE --edm heun --rtol 0.1                     | --edm; --rtol
window of EDM            |                 | SAMPLE --edm heun --noise-window 0.2..0.8        | --edm; --noise-window
churn of an ODE          |                 | SAMPLE --ode heun --churn 1                      | --ode; --churn
churn of an SDE          |                 | SAMPLE --sde heun --churn 1                      | --sde; --churn
too few evaluations      |                 | SAMPLE --ode dopri5 --max-nfe 0                  | --max-nfe; 0; a whole number of 1 to
unknown grid             |                 | SAMPLE --time-grid cosine                        | --time-grid; cosine; uniform, shift:S or power:RHO
word for a time          | lines: # t / 0 / 0.5 x / 1 | SAMPLE --time-grid file:lines         | lines: line 3 got; 0.5 x; expected a time
no times                 | lines: # t      | SAMPLE --time-grid file:lines                    | lines: has no line of a time
time twice               | lines: 0 / 0.5 / 0.5 / 1 | SAMPLE --time-grid file:lines           | lines; --time-grid; got 0.5 after 0.5
time beyond the end      | lines: 0 / 1.5  | SAMPLE --time-grid file:lines                    | lines; --time-grid; got the time 1.5
steps of a list          | lines: 0 / 1    | SAMPLE --time-grid file:lines --steps 3          | --steps; --time-grid
no file of times         |                 | SAMPLE --time-grid file:nosuch                   | nosuch; No such file
word for a diffusion     | lines: 0 1 / 0.5 one / 1 1 | SAMPLE --sde euler --diffusion file:lines | lines: line 2 got; 0.5 one; expected t and D
half a diffusion         | lines: 0 1 / 1  | SAMPLE --sde euler --diffusion file:lines        | lines: line 2 got; expected t and D
negative diffusion       | lines: 0 1 / 1 -1 | SAMPLE --sde euler --diffusion file:lines      | lines; got -1 at t = 1
diffusion back in time   | lines: 0 1 / 0.5 1 / 0.2 1 | SAMPLE --sde euler --diffusion file:lines | lines; got the time 0.2 after 0.5
no steps                 |                 | SAMPLE --steps 0                                 | --steps; 0
infinite diffusion       |                 | SAMPLE --sde euler --diffusion sbdm              | SBDM; t = 0; --t-eps-sample; --diffusion
infinite score           |                 | SAMPLE --sde heun --diffusion constant --last-step none | t = 1; --last-step; --t-eps-sample
last step of size 1      |                 | SAMPLE --sde euler --last-step-size 1            | --last-step-size; got 1
negative diffusion       |                 | SAMPLE --sde euler --diffusion-norm=-1           | --diffusion-norm; got -1
first time too late      |                 | SAMPLE --t-eps-sample 0.5                        | --t-eps-sample; got 0.5
guidance of no number    |                 | SAMPLE --guidance nan                            | --guidance; nan; a number
interval backwards       |                 | SAMPLE --guidance-interval 0.8..0.2              | --guidance-interval; 0.8..0.2
guided channels          |                 | SAMPLE --guidance-channels 2                     | --guidance-channels; 2
negative seed            |                 | SAMPLE --seed -1                                 | '-1' for '--seed; a whole number of 0 to
negative steps           |                 | SAMPLE --steps -5                                | '-5' for '--steps; a whole number of 1 to 100000
negative class           |                 | SAMPLE --classes -1                              | --classes; is not a class
negative diffusion       |                 | SAMPLE --sde euler --diffusion-norm -1           | --diffusion-norm; got -1
negative time            |                 | SAMPLE --t-eps-sample -0.1                       | --t-eps-sample; got -0.1
times below 0            |                 | SAMPLE --guidance-interval -1..0.5               | --guidance-interval; -1..0.5
no such class            |                 | SAMPLE --classes 3,11                            | --classes 11; 10 classes
half an interval         |                 | SAMPLE --classes 3-                              | --classes; 0-9
too many images          |                 | SAMPLE --per-class 1000000 --classes 0-9,0       | --per-class; 11000000 images; at most 10000000
image beyond the list    |                 | SAMPLE --index 79-80                             | --index; got 80, expected 0 to 79
image twice              |                 | SAMPLE --index 5,3-6                             | --index; image 5 stands in it twice
no image                 |                 | SAMPLE --index 3-                                | --index; not the number of an image
nothing to write         |                 | sample run --backend cpu --no-grid               | --no-grid; nothing would come of it
no grid in a file        |                 | SAMPLE --no-grid                                 | --no-grid; --out
folder that has files    |                 | SAMPLE --png run                                 | --png; run: holds
file for a folder        |                 | SAMPLE --png old.png                             | --png; old.png: is no folder
folder in a file         |                 | SAMPLE --png old.png/x                           | --png; old.png/x: cannot be made
no judge                 |                 | SAMPLE --judge nosuch                            | --judge: nosuch: No such file
missing noise            |                 | SAMPLE --init nosuch                             | nosuch; No such file
no noise in a file       | init: no x      | SAMPLE --init init                               | init; no tensor x
misshaped noise          | init: shape     | SAMPLE --init init                               | init; x is [1, 1, 8, 4], expected [B, 1, 8, 8]
infinite noise           | init: infinite  | SAMPLE --init init                               | init; x[0] is inf
misshaped labels         | init: labels    | SAMPLE --init init                               | init; y is [3], expected [1]
label beyond the classes | init: label 11  | SAMPLE --init init                               | init; y holds 11; 0 to 10
labels twice             | init: label 1   | SAMPLE --init init --classes 1                   | --classes; --init
folder for a file        |                 | sample run --backend cpu --out run               | --out; run; directory
file in no folder        |                 | SAMPLE --npz nosuch/x.npz                        | --npz; nosuch/x.npz; No such file
two files of one name    |                 | SAMPLE --npz x --trajectory x                    | --trajectory; x is in use
file that is an input    | init: label 1   | SAMPLE --init init --npz init                    | --npz; init is in use
file of the run          | bare            | SAMPLE --npz run/step-00000002/ema.safetensors   | --npz; run/step-00000002/ema.safetensors; .npz
file of the run          |                 | SAMPLE --trajectory run/step-00000002/../step-00000002/optim.safetensors | --trajectory; belongs to the run
input by another name    | bare            | convert bare.safetensors ./run/../bare.safetensors --n-heads 2 --input-size 8 | OUT; in use; CHECKPOINT
picture of another kind  |                 | sample run --backend cpu --out x.jpg             | --out; x.jpg; got .jpg, expected .png
weights of another kind  |                 | convert run x.pt                                 | OUT; x.pt; got .pt, expected .safetensors
folder that is not there |                 | convert run new/                                 | OUT; new/; name of a folder
unknown command          |                 | smaple run                                       | smaple; sample
heads of a run           |                 | info run --n-heads 4                             | --n-heads; run
heads that a file has    |                 | info run/step-00000002/ema.safetensors --n-heads 4 | ema.safetensors; records its own sizes
settings of nothing      |                 | info --set model.dim=3                           | --preset
channels of autoguidance |                 | SAMPLE --autoguide run --autoguide-scale 2 --guidance-channels 3 | --guidance-channels; all
settings of a checkpoint |                 | info run --set train.batch=3                     | --set; CHECKPOINT
";

fn expand(words: &str) -> String {
    let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
    match BEGINNINGS.iter().find(|(short, _)| *short == first) {
        Some((_, long)) => format!("{} {rest}", expand(long)),
        None => words.to_owned(),
    }
}

fn check(tables: [&str; 2]) {
    let template = tempfile::tempdir().unwrap();
    run_ok(template.path(), TINY_RUN);
    fs::write(template.path().join("old.png"), "old").unwrap();
    let mut wrong = Vec::new();
    let rows = tables.iter().flat_map(|table| table.lines());
    for row in rows.filter(|row| !row.is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [what, how, words, holds] = cells[..] else {
            panic!("four cells, not {row}");
        };
        let folder = tempfile::tempdir().unwrap();
        copy(template.path(), folder.path());
        broken::make(folder.path(), how);
        let before = tree(folder.path());
        let words = expand(words);
        let done = run(folder.path(), &words);
        let unsaid: Vec<&str> = holds
            .split(';')
            .map(str::trim)
            .filter(|part| !done.stderr.contains(part))
            .collect();
        let changed = tree(folder.path()) != before;
        if done.code != Some(2) || !unsaid.is_empty() || changed {
            wrong.push(format!(
                "{what}: sit {words}\n{}exit code {:?}, not said: {unsaid:?}, files changed: {changed}",
                done.stderr, done.code
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn bad_configurations_and_data_are_refused_by_name() {
    check([CONFIG, DATA]);
}

#[test]
fn bad_checkpoints_and_flags_are_refused_by_name() {
    check([CHECKPOINTS, SAMPLING]);
}

/// A failure during the work, not bad input.
#[cfg(target_os = "linux")]
#[test]
fn an_output_that_fills_up_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    for words in [
        "sample run --backend cpu --steps 1 --out /dev/full",
        "convert run /dev/full",
    ] {
        let done = run(folder.path(), words);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        for part in ["/dev/full", "No space left"] {
            assert!(done.stderr.contains(part), "{}", done.stderr);
        }
    }
}

#[test]
fn skip_bad_goes_on_without_the_corrupt_image() {
    let folder = tempfile::tempdir().unwrap();
    broken::make(folder.path(), "data: corrupt");
    let words = expand("FOLDER --skip-bad --set train.steps=2");
    let done = run(folder.path(), &words);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for part in ["skipped data/cat/1.png", "3 images of 8x8x3, 2 classes"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
}

/// If a GPU is requested, a missing GPU is an error.
#[cfg(target_os = "linux")]
#[test]
fn without_a_gpu_the_gpu_backend_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let without = |path: &Path, words: &str| -> Done {
        let mut command = sit(path);
        command.args(words.split_whitespace());
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(name, "/nosuch.json");
        }
        command.output().unwrap().into()
    };
    let train = "train --preset digits-smoke --out out --set train.steps=1";
    let done = without(folder.path(), &format!("{train} --backend gpu"));
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
    // Auto takes the CPU.
    let done = without(folder.path(), train);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("computing on CPU"), "{}", done.stderr);
}
