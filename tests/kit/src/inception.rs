//! The fixture of the Inception network: its weights and images by formulas.

use crate::fixture::{Entry, Fixture};
use crate::formula::Formula;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sit_engine::inception::Inception;
use sit_engine::nn::ParamSpec;
use std::sync::{Arc, OnceLock};

/// The tensors of a file, in the official order.
pub type Tensors = Vec<(ParamSpec, Vec<f32>)>;

/// The weights that the fixture states.
///
/// # Panics
/// When the file states none, or names other layers than the engine.
pub fn weights(root: &Entry<'_>) -> Tensors {
    let convs = root.at("convolutions").list();
    let names = convs.iter().flat_map(|name| {
        let parts = ["conv.weight", "bn.weight", "bn.bias"];
        let parts = [&parts[..], &["bn.running_mean", "bn.running_var"]].concat();
        parts
            .into_iter()
            .map(|part| (format!("{}.{part}", name.text()), part))
    });
    let last = ["fc.weight", "fc.bias"].map(|name| (name.to_owned(), name));
    let formulas = root.at("formulas").entries();
    let specs = Inception::specs();
    let stated: Vec<(String, &str)> = names.chain(last).collect();
    let own: Vec<&str> = specs.iter().map(|spec| &spec.name[..]).collect();
    let listed: Vec<&str> = stated.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(own, listed);
    let tensors = specs.into_iter().zip(&stated).enumerate();
    let values = |(k, (spec, (_, part))): (usize, (ParamSpec, &(String, &str)))| {
        let (_, text) = formulas
            .iter()
            .find(|(key, _)| key.split(", ").any(|key| key == *part))
            .unwrap_or_else(|| panic!("no formula of {part}"));
        let fan_in: usize = spec.shape[1..].iter().product();
        let formula = text.formula().with("fan_in", fan_in as f64);
        // Both names occur to the first power.
        let of = |r: f64| formula.with("r", r).with("u", 0.5 * (r + 1.0)).number();
        let (middle, slope) = (of(0.0), of(1.0) - of(0.0));
        let random = hash(root, k).exact(spec.shape.numel());
        let values = random
            .into_iter()
            .map(|r| (middle + slope * r) as f32)
            .collect();
        (spec, values)
    };
    tensors.map(values).collect()
}

/// A file of tensors.
///
/// # Panics
/// When a shape does not fit its values.
pub fn file<'a>(tensors: impl IntoIterator<Item = &'a (ParamSpec, Vec<f32>)>) -> Vec<u8> {
    let tensors: Vec<(&ParamSpec, Vec<u8>)> = tensors
        .into_iter()
        .map(|(spec, values)| (spec, values.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(spec, bytes)| {
        let view = TensorView::new(Dtype::F32, spec.shape.to_vec(), bytes);
        (&spec.name, view.expect("the shape fits"))
    });
    safetensors::serialize(views, None).expect("names are unique")
}

/// The fixture's weights as a file, made once.
pub fn official_file() -> Arc<[u8]> {
    static FILE: OnceLock<Arc<[u8]>> = OnceLock::new();
    let make = || file(&weights(&Fixture::open("inception").root())).into();
    Arc::clone(FILE.get_or_init(make))
}

/// `r(i, k)` with the fixture's seed.
fn hash(root: &Entry<'_>, k: usize) -> Formula {
    let seed = root.at("seed").number();
    let formula = Formula::stated("r(i,k)").with("seed", seed);
    formula.with("k", k as f64)
}

/// The upper bytes of the hash.
pub fn bytes(root: &Entry<'_>, k: usize, n: usize) -> Vec<u8> {
    let byte = |r: f64| (128.0 * (r + 1.0)) as u8;
    hash(root, k).exact(n).into_iter().map(byte).collect()
}

/// An image `[side, side, 3]` of the fixture, by its name with its side: `wave64`.
///
/// # Panics
/// When the file does not state it.
pub fn image(root: &Entry<'_>, name: &str) -> (usize, Vec<u8>) {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let side: usize = digits.parse().expect("a side behind the name");
    let formulas = root.at("images");
    let kind = name.trim_end_matches(digits);
    let text = formulas.at(kind).text();
    if kind == "noise" {
        // "k = 901 below 299 px, 902 from 299 px"
        let (_, rest) = text.split_once("k = ").expect("the file states k");
        let words = rest.split([' ', ',']).filter_map(|word| word.parse().ok());
        let words: Vec<usize> = words.collect();
        let [small, limit, large, _] = words[..] else {
            panic!("{text}")
        };
        let k = if side < limit { small } else { large };
        return (side, bytes(root, k, side * side * 3));
    }
    let channels = ["R", "G", "B"].map(|label| Formula::labelled(text, label));
    let mut image = Vec::new();
    for y in 0..side {
        for x in 0..side {
            image.extend(channels.iter().map(|channel| {
                let channel = channel.with("x", x as f64).with("y", y as f64);
                channel.number() as u8
            }));
        }
    }
    (side, image)
}
