//! Settings of the official code, read from the fixtures.

use crate::fixture::{Arrays, Entry, Fixture};
use crate::formula::Formula;
use crate::net;
use sit_engine::backend::Device;
use sit_engine::model::{Dit, ModelConfig, Network as _, Storage};
use sit_engine::optim::AdamW;
use sit_engine::train::{Trainer, Training};
use sit_engine::transport::{
    Diffusion, Guidance, GuidanceChannels, LossWeight, Method, Ode, PathName, Prediction, Sampler,
    Sde, Tolerance, Transport,
};
use std::fmt::Display;
use std::str::FromStr;

/// A network with its weights, and official results for it.
pub struct Official {
    /// The file.
    pub fixture: Fixture,
    /// Sizes of the network.
    pub model: Dit,
    /// Its weights: a formula of `i` and the parameter's number `k`.
    pub weights: Formula,
}

impl Official {
    /// The fixture `name.json`, with the keys `config` and `note`.
    ///
    /// # Panics
    /// When it has none of that form.
    pub fn open(name: &str) -> Official {
        let fixture = Fixture::open(name);
        Official {
            model: model(&fixture.root().at("config")),
            weights: weights(&fixture.root()),
            fixture,
        }
    }

    /// The value of a key in the JSON file.
    ///
    /// # Panics
    /// When it has nothing.
    pub fn at(&self, key: &str) -> Entry<'_> {
        self.fixture.root().at(key)
    }

    /// The arrays beside it.
    ///
    /// # Panics
    /// When there are none.
    pub fn arrays(&self) -> Arrays {
        self.fixture.arrays()
    }

    /// Values of a batch of images by a formula.
    pub fn images(&self, batch: usize, formula: &Formula) -> Vec<f32> {
        formula.values(batch * self.model.io().image_len())
    }
}

/// Sizes of a network by the official names.
///
/// # Panics
/// When one is not there.
pub fn model(config: &Entry) -> Dit {
    let size = |key| config.at(key).count();
    Dit {
        input_size: size("input_size"),
        channels: size("in_channels"),
        patch: size("patch_size"),
        dim: size("hidden_size"),
        depth: size("depth"),
        n_heads: size("num_heads"),
        n_classes: size("num_classes"),
        learn_sigma: config.get("learn_sigma").is_some_and(|sigma| sigma.flag()),
        ..Dit::SIT
    }
}

/// The formula of the weights that a file's note states.
///
/// # Panics
/// When there is none.
pub fn weights(file: &Entry) -> Formula {
    Formula::labelled(file.at("note").text(), "flat index i")
}

/// Parses a setting by its name.
fn named<T: FromStr<Err: Display>>(name: &str, key: &str) -> T {
    name.parse().unwrap_or_else(|e| panic!("{key}: {e}"))
}

fn path_and_prediction(path: &str, prediction: &str, key: &str) -> Transport {
    Transport {
        path: named::<PathName>(path, key).usual().expect("a path"),
        prediction: named::<Prediction>(prediction, key),
        ..Transport::default()
    }
}

/// The transport of a key `PATH/PREDICTION/WEIGHT`.
///
/// # Panics
/// When it cannot be parsed.
pub fn transport(key: &str) -> Transport {
    let parts: Vec<&str> = key.split('/').collect();
    let [path, prediction, weight] = parts[..] else {
        panic!("{key}: not PATH/PREDICTION/WEIGHT");
    };
    Transport {
        loss_weight: named::<LossWeight>(weight, key),
        ..path_and_prediction(path, prediction, key)
    }
}

/// The training that an entry `train` describes, of batches of `batch`.
///
/// # Panics
/// When it lacks a setting.
pub fn training(train: &Entry, model: Dit, batch: usize) -> Training {
    let number = |key| train.at(key).number();
    let betas = train.at("betas").numbers();
    let adamw = AdamW {
        betas: betas.try_into().expect("two betas"),
        adam_eps: number("adam_eps"),
        weight_decay: number("weight_decay"),
        clip: 0.0,
        ema_decay: number("ema_decay"),
        ema_warmup: false,
    };
    objective(transport(train.at("combo").text()), model, batch).adamw(adamw)
}

/// A training of which only the loss is used.
pub fn objective(transport: Transport, model: Dit, batch: usize) -> Training {
    let training = Trainer::builder(model).transport(transport);
    training.batch(batch).class_dropout(0.0)
}

/// A method by its name in torchdiffeq; `key` says where it was found.
///
/// # Panics
/// When it is not known.
pub fn method(name: &str, key: &str) -> Method {
    let own = match name {
        "heun2" => "heun",
        // torchdiffeq's is Kutta's 3/8 rule.
        "rk4" => "rk4-38",
        "adaptive_heun" => "adaptive-heun",
        _ => name,
    };
    named(own, key)
}

/// Transport and solver of a key `PATH.PREDICTION.METHOD`; tolerances follow an adaptive method, as in `.atol1e-06.rtol0.001`.
///
/// # Panics
/// When it cannot be parsed.
pub fn ode(key: &str, n_steps: usize) -> (Transport, Ode) {
    let mut ode = Ode {
        n_steps: n_steps as u32,
        ..Ode::default()
    };
    let mut rest = key;
    if let Some((words, tolerances)) = key.split_once(".atol") {
        let parts = tolerances.split_once(".rtol");
        let (atol, rtol) = parts.unwrap_or_else(|| panic!("{key}: no rtol"));
        ode.tolerance = Tolerance {
            atol: named(atol, key),
            rtol: named(rtol, key),
            ..ode.tolerance
        };
        rest = words;
    }
    let parts: Vec<&str> = rest.split('.').collect();
    let [path, prediction, name] = parts[..] else {
        panic!("{key}: not PATH.PREDICTION.METHOD");
    };
    ode.method = method(name, key);
    (path_and_prediction(path, prediction, key), ode)
}

/// Transport and solver of a key `ode.PATH.PREDICTION.METHOD` or `sde.PATH.PREDICTION.METHOD.FORM.NORM.LAST.SIZE`.
///
/// # Panics
/// When it cannot be parsed.
pub fn sampler(key: &str, n_steps: usize) -> (Transport, Sampler) {
    if let Some(key) = key.strip_prefix("ode.") {
        let (transport, ode) = ode(key, n_steps);
        return (transport, ode.into());
    }
    let n_steps = n_steps as u32;
    let (words, numbers) = words_and_numbers(key);
    let parts = (&words[..], &numbers[..]);
    let (&["sde", path, prediction, name, form, last], &[norm, last_step_size]) = parts else {
        panic!("{key}: not understood");
    };
    let sde = Sde {
        method: named(name, key),
        diffusion: Diffusion::new(named(form, key), norm),
        last_step: named(last, key),
        last_step_size,
        n_steps,
        ..Sde::default()
    };
    (path_and_prediction(path, prediction, key), sde.into())
}

/// Splits a key at dots into words and numbers, which may contain dots themselves.
fn words_and_numbers(key: &str) -> (Vec<&str>, Vec<f64>) {
    let number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if number(part) {
            let fraction = parts.next_if(|next| number(next)).unwrap_or("0");
            numbers.push(named(&format!("{part}.{fraction}"), key));
        } else {
            words.push(part);
        }
    }
    (words, numbers)
}

/// The number of guided channels: `0..2` are three.
///
/// # Panics
/// When it cannot be parsed.
pub fn n_guided(channels: &Entry) -> usize {
    let text = channels.text();
    let range = text.split(' ').next().unwrap_or(text);
    match range.strip_prefix("0..") {
        Some(last) => 1 + named::<usize>(last, text),
        None => panic!("guided channels: {text}: not 0..LAST"),
    }
}

/// Guidance at all times of the first `n_guided` channels of a model.
///
/// # Panics
/// When the program does not offer it.
pub fn guidance(scale: f64, n_guided: usize, model: &Dit) -> Guidance {
    let channels = match n_guided {
        n if n == model.channels => GuidanceChannels::All,
        3 => GuidanceChannels::First3,
        n => panic!("guidance of {n} channels is not offered"),
    };
    Guidance {
        scale,
        channels,
        ..Guidance::default()
    }
}

/// Our outputs, with weights that are kept in `storage`, and the official ones for a published size with formula weights, as many as
/// `sit_presets.json` has.
///
/// # Panics
/// When the file lacks the size or the device fails.
pub fn preset(device: &Device, name: &str, storage: Storage) -> (Vec<f32>, Vec<f32>) {
    let file = Fixture::open("sit_presets");
    let models = file.root().at("models");
    let model = models.at(name);
    let config = Dit::preset(name).expect("a published size");
    assert_eq!(
        model.at("params").count(),
        ModelConfig::from(config).n_params(),
        "{name}"
    );
    let batch = model.at("batch").count();
    let x = Formula::labelled(file.root().at("note").text(), "x");
    let (transport, weights) = (Transport::default(), weights(&file.root()));
    let model_of_ours = net::stored(device, &config, transport, &weights, storage);
    let mut program = net::network_of(&model_of_ours, &config, batch);
    let inputs = [
        ("x", x.values(batch * config.io().image_len())),
        ("t", model.at("t").floats()),
    ];
    for (input, values) in inputs {
        program.write(input, &values).expect("the input is there");
    }
    let y = model.at("y").labels();
    program.write_u32("y", &y).expect("the input is there");
    let out = net::run(&mut program, "out");
    let (stride, want) = every_nth(&model);
    (out.into_iter().step_by(stride).collect(), want)
}

/// The numbers under a key such as `every_97th`, and the stride.
fn every_nth(entry: &Entry) -> (usize, Vec<f32>) {
    let mut found = entry.entries().into_iter().filter_map(|(key, numbers)| {
        let stride = key.strip_prefix("every_")?.strip_suffix("th")?;
        Some((named(stride, key), numbers.floats()))
    });
    found.next().expect("the file has outputs")
}
