//! The tensors of the network: official names and order, initial values, and the fixed tables.

use super::ModelConfig;
use crate::rng::{Stream, normal, uniform};
use crate::shape::Shape;

/// Width of the sinusoidal time embedding (SiT `TimestepEmbedder`).
pub(super) const TIME_FEATURES: usize = 256;

/// Width of the MLP relative to the tokens.
pub(super) const MLP_RATIO: usize = 4;

/// The trained tensors by official PyTorch name, in the order of `named_parameters()`; linear weights are `[out, in]`.
///
/// The position embedding is not among them: it is fixed, see [`pos_embed`].
pub fn params(config: &ModelConfig) -> Vec<(String, Shape)> {
    let (d, p) = (config.dim, config.patch);
    let mut list: Vec<(String, Shape)> = Vec::new();
    let mut linear = |name: &str, weight: Shape| {
        let bias = Shape::from([weight[0]]);
        list.push((format!("{name}.weight"), weight));
        list.push((format!("{name}.bias"), bias));
    };
    linear("x_embedder.proj", [d, config.channels, p, p].into());
    linear("t_embedder.mlp.0", [d, TIME_FEATURES].into());
    linear("t_embedder.mlp.2", [d, d].into());
    for i in 0..config.depth {
        let mut block =
            |name: &str, n: usize, k: usize| linear(&format!("blocks.{i}.{name}"), [n, k].into());
        block("attn.qkv", 3 * d, d);
        block("attn.proj", d, d);
        block("mlp.fc1", MLP_RATIO * d, d);
        block("mlp.fc2", d, MLP_RATIO * d);
        block("adaLN_modulation.1", 6 * d, d);
    }
    linear(
        "final_layer.linear",
        [p * p * config.out_channels(), d].into(),
    );
    linear("final_layer.adaLN_modulation.1", [2 * d, d].into());
    if config.n_classes > 0 {
        // After the two embedders before it, which have four tensors and two.
        let table = (
            "y_embedder.embedding_table.weight".to_owned(),
            [config.n_classes + 1, d].into(),
        );
        list.insert(6, table);
    }
    list
}

/// Initial values of parameter number `index` of [`params`] (SiT `initialize_weights`), a function of (seed, index):
/// Xavier uniform weights and zero biases; the label table and the weights of the time MLP N(0, 0.02²); zero for every
/// modulation and for the last layer, so that the network starts as 0 and each block as the identity.
pub fn init(name: &str, shape: &Shape, seed: u64, index: u32) -> Vec<f32> {
    let zero = name.ends_with("bias")
        || name.contains("adaLN_modulation")
        || name.starts_with("final_layer");
    let n = shape.numel();
    if zero {
        return vec![0.0; n];
    }
    let draw = |i: usize| {
        if name.starts_with("t_embedder") || name.starts_with("y_embedder") {
            return 0.02 * normal(seed, Stream::Init, index, i as u64);
        }
        let (fan_out, fan_in) = (shape[0], n / shape[0]);
        let bound = (6.0 / (fan_in + fan_out) as f64).sqrt();
        bound * (2.0 * uniform(seed, Stream::Init, index, i as u64) - 1.0)
    };
    (0..n).map(|i| draw(i) as f32).collect()
}

/// The fixed position embedding `[T, D]`: token (row r, column q) is `[sin qω, cos qω, sin rω, cos rω]` with
/// `ω_k = 10000^(-k/(D/4))`, a quarter of D each. The column comes first, as in the official code.
pub fn pos_embed(config: &ModelConfig) -> Vec<f32> {
    let (quarter, grid) = (config.dim / 4, config.input_size / config.patch);
    let omega: Vec<f64> = (0..quarter)
        .map(|k| libm::pow(10_000.0, -(k as f64) / quarter as f64))
        .collect();
    let mut table = Vec::with_capacity(config.tokens() * config.dim);
    for token in 0..config.tokens() {
        for at in [token % grid, token / grid] {
            table.extend(omega.iter().map(|w| libm::sin(at as f64 * w) as f32));
            table.extend(omega.iter().map(|w| libm::cos(at as f64 * w) as f32));
        }
    }
    table
}

/// Frequencies of the time embedding: `f_i = 10000^(-i/128)`, i = 0..128 (SiT feeds t in [0, 1] unscaled).
pub fn time_freqs() -> Vec<f32> {
    let half = TIME_FEATURES / 2;
    (0..half)
        .map(|i| libm::exp(-libm::log(10_000.0) * i as f64 / half as f64) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_tables_match_the_official_code() {
        let config = ModelConfig {
            dim: 32,
            ..ModelConfig::preset("SiT-S/8").unwrap()
        };
        let table = pos_embed(&config);
        // Token 1 is column 1 of row 0, token 4 is column 0 of row 1.
        let golden = [0.841_471, 0.3109836, 0.0998334, 0.0316175];
        for (i, want) in golden.into_iter().enumerate() {
            assert!((table[32 + i] - want).abs() < 1e-7, "{i}");
            assert!((table[4 * 32 + 16 + i] - want).abs() < 1e-7, "{i}");
        }
        let freqs = time_freqs();
        let at = |i: usize| 0.3 * f64::from(freqs[i]);
        for (got, want) in [
            (at(0).cos(), 0.9553365),
            (at(1).cos(), 0.961_284),
            (at(64).cos(), 0.9999955),
        ] {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        assert!((at(1).sin() - 0.2755594).abs() < 1e-7);
    }

    #[test]
    fn an_unconditional_model_has_no_label_table() {
        let config = ModelConfig::preset("SiT-S/2").unwrap();
        let names = |c: &ModelConfig| {
            params(c)
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&config)[6], "y_embedder.embedding_table.weight");
        let config = ModelConfig {
            n_classes: 0,
            ..config
        };
        assert!(
            names(&config)
                .iter()
                .all(|name| !name.starts_with("y_embedder"))
        );
    }

    #[test]
    fn initial_values_have_the_stated_spread() {
        let config = ModelConfig::preset("SiT-S/2").unwrap();
        for (index, (name, shape)) in params(&config).iter().enumerate().take(12) {
            let values = init(name, shape, 0, index as u32);
            let n = values.len() as f64;
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let std = (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n).sqrt();
            let xavier = |fan_in: usize, fan_out: usize| (2.0 / (fan_in + fan_out) as f64).sqrt();
            let want = match name.as_str() {
                _ if name.ends_with("bias") => 0.0,
                "x_embedder.proj.weight" => xavier(4 * 2 * 2, 384),
                "blocks.0.attn.qkv.weight" => xavier(384, 3 * 384),
                "blocks.0.attn.proj.weight" => xavier(384, 384),
                "blocks.0.mlp.fc1.weight" => xavier(384, 4 * 384),
                _ => 0.02,
            };
            assert!(
                (std - want).abs() <= 0.02 * want && mean.abs() <= 0.02 * want + 1e-12,
                "{name}: {mean} {std} {want}"
            );
        }
    }
}
