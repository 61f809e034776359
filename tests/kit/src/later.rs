//! Fixtures of the transformers that came after SiT: LightningDiT and JiT.

use crate::fixture::{Arrays, Entry, Fixture};
use crate::formula::Formula;
use crate::net::Weights;
use crate::official;
use sit_engine::model::{self, Dit, ModelConfig, Network as _};
use sit_engine::nn::{Activation, ParamSpec};
use sit_engine::ops::adaln::Norm;

/// A variant of an official network, with weights by a formula of the parameter's number in the official order.
pub struct Variant {
    /// Its name, the first part of the names of its arrays.
    pub name: String,
    /// Its sizes and the design of its blocks.
    pub model: Dit,
    /// Its weights.
    pub weights: Ordered,
}

/// Weights by a formula whose `k` counts in the official order. The weights of norms are 1 more.
pub struct Ordered {
    names: Vec<String>,
    formula: Formula,
}

impl Weights for Ordered {
    fn values(&self, _: usize, spec: &ParamSpec) -> Vec<f32> {
        const NORMS: [&str; 5] = ["norm1", "norm2", "norm_final", "q_norm", "k_norm"];
        let k = self.names.iter().position(|name| *name == spec.name);
        let k = k.unwrap_or_else(|| panic!("{}: not among the official names", spec.name));
        let formula = self.formula.with("k", k as f64);
        let is_norm = NORMS
            .iter()
            .any(|norm| spec.name.ends_with(&format!("{norm}.weight")));
        let offset = if is_norm { 1.0 } else { 0.0 };
        let exact = formula.exact(spec.shape.numel());
        exact.into_iter().map(|x| (offset + x) as f32).collect()
    }
}

impl Variant {
    /// Values of a batch of images by a formula.
    pub fn images(&self, batch: usize, formula: &Formula) -> Vec<f32> {
        formula.values(batch * self.model.io().image_len())
    }

    /// Checks names and number of the parameters, and names and shapes of everything in a file.
    ///
    /// # Panics
    /// When something differs.
    pub fn check_params(&self, entry: &Entry<'_>) {
        let specs = model::params(&self.model).expect("valid sizes");
        let trained = specs.iter().filter(|spec| spec.is_trained());
        let mut own: Vec<&str> = trained.map(|spec| &spec.name[..]).collect();
        let mut names: Vec<&str> = self.weights.names.iter().map(|name| &name[..]).collect();
        own.sort_unstable();
        names.sort_unstable();
        assert_eq!(own, names, "{}", self.name);
        assert_eq!(
            ModelConfig::from(self.model).n_params(),
            entry.at("params").count(),
            "{}",
            self.name
        );
        if let Some(file) = entry.get("state_dict") {
            let mut own: Vec<_> = specs
                .iter()
                .map(|s| (&s.name[..], s.shape.to_vec()))
                .collect();
            let mut file: Vec<_> = (file.entries().into_iter())
                .map(|(name, shape)| (name, shape.counts()))
                .collect();
            own.sort_unstable();
            file.sort_unstable();
            assert_eq!(own, file, "{}", self.name);
        }
    }
}

/// The variants of a fixture, each with its entry in the file.
///
/// # Panics
/// When the file is not of the form of these fixtures.
pub fn variants(fixture: &Fixture) -> Vec<(Variant, Entry<'_>)> {
    let root = fixture.root();
    let formula = official::weights(&root);
    let of = |(name, entry): (&str, Entry<'_>)| {
        let order = entry.get("parameter_order");
        let names = order.unwrap_or_else(|| entry.at("grad_norms_of")).list();
        let names = names.iter().map(|name| name.text().to_owned());
        Variant {
            name: name.to_owned(),
            model: dit(&root, &entry),
            weights: Ordered {
                names: names.filter(|name| name != "pos_embed").collect(),
                formula: formula.clone(),
            },
        }
    };
    let entries = root.at("variants").entries().into_iter();
    entries
        .map(|(name, entry)| (of((name, entry.clone())), entry))
        .collect()
}

/// The model of a variant: a LightningDiT with options, or a JiT with sizes of its own.
fn dit(root: &Entry<'_>, variant: &Entry<'_>) -> Dit {
    let Some(options) = variant.get("options") else {
        let config = variant.at("config");
        let size = |key| config.at(key).count();
        return Dit {
            learn_sigma: false,
            norm: Norm::Rms,
            qk_norm: true,
            mlp: Activation::SwiGlu,
            rope: true,
            bottleneck: size("bottleneck_dim"),
            class_tokens: size("in_context_len"),
            class_tokens_from: size("in_context_start"),
            ..official::model(&config)
        };
    };
    let is_set = |key| options.get(key).is_some_and(|option| option.flag());
    Dit {
        learn_sigma: is_set("learn_sigma"),
        norm: match is_set("use_rmsnorm") {
            true => Norm::Rms,
            false => Norm::Layer,
        },
        qk_norm: is_set("use_qknorm"),
        mlp: match is_set("use_swiglu") {
            true => Activation::SwiGlu,
            false => Activation::Gelu,
        },
        rope: is_set("use_rope"),
        shift: !is_set("wo_shift"),
        ..official::model(&root.at("config"))
    }
}

/// The number, or the numbers in brackets, after `label` in a text.
///
/// # Panics
/// When there are none.
pub fn numbers_after(text: &str, label: &str) -> Vec<f64> {
    let (_, rest) = text
        .split_once(label)
        .unwrap_or_else(|| panic!("no \"{label}\" in: {text}"));
    let rest = rest.trim_start();
    let list = match rest.strip_prefix('[') {
        Some(list) => list.split(']').next().unwrap_or(list),
        None => rest.split([' ', ',', ';']).next().unwrap_or(rest),
    };
    let number = |part: &str| {
        let parsed = part.trim().parse();
        parsed.unwrap_or_else(|e| panic!("{label}: {part}: {e}, in: {text}"))
    };
    list.split(',').map(number).collect()
}

/// The norms of gradients that a variant lists, by parameter.
pub fn grad_norms(entry: &Entry<'_>) -> Vec<(String, f64)> {
    let names = entry.at("grad_norms_of").list();
    let names = names.iter().map(|name| name.text().to_owned());
    names.zip(entry.at("grad_norms").numbers()).collect()
}

/// The arrays `VARIANT.grad.NAME`, as names of parameters with the array's name.
pub fn grad_arrays(arrays: &Arrays, variant: &str) -> Vec<(String, String)> {
    let prefix = format!("{variant}.grad.");
    let names = arrays.names().into_iter();
    let named =
        names.filter_map(|name| Some((name.strip_prefix(&prefix)?.to_owned(), name.clone())));
    named.collect()
}
