//! The network as a graph.

use super::params::{TIME_FEATURES, pos_embed, time_freqs};
use super::{ModelConfig, params};
use crate::backend::Program;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{adaln, attention, chunk, embed, linear, patch, pointwise};
use std::collections::BTreeMap;

/// Name of the input that holds the position embedding; [`write_tables`] fills it.
pub const POS_EMBED: &str = "pos_embed";
/// Name of the input that holds the frequencies of the time embedding; [`write_tables`] fills it.
pub const FREQS: &str = "freqs";

const LN_EPS: f32 = 1e-6;

/// Writes the fixed tables that every program with a network in it reads. They keep their values.
///
/// # Errors
/// [`crate::Error::Shape`] when the program has no network, [`crate::Error::Device`] when the device fails.
pub fn write_tables(config: &ModelConfig, program: &mut Program) -> Result<()> {
    program.write(POS_EMBED, &pos_embed(config))?;
    program.write(FREQS, &time_freqs())
}

/// One network in a graph: its parameters and tables are leaves, made once; it may be evaluated several times.
#[derive(Debug)]
pub struct Network {
    config: ModelConfig,
    params: Vec<(String, Var)>,
    index: BTreeMap<String, Var>,
    pos: Var,
    freqs: Var,
    save: bool,
}

impl Network {
    /// Appends the leaves. With `save` an evaluation keeps what [`Graph::backward`] needs.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for sizes that do not fit together.
    pub fn new(g: &mut Graph, config: &ModelConfig, save: bool) -> Result<Self> {
        config.validate()?;
        let params: Vec<(String, Var)> = params(config)
            .into_iter()
            .map(|(name, shape)| (name.clone(), g.param(name, shape)))
            .collect();
        Ok(Network {
            config: *config,
            index: params.iter().cloned().collect(),
            params,
            pos: g.input(POS_EMBED, [config.tokens(), config.dim]),
            freqs: g.input(FREQS, [TIME_FEATURES / 2]),
            save,
        })
    }

    /// Parameters by official name, in official order.
    pub fn params(&self) -> &[(String, Var)] {
        &self.params
    }

    /// Evaluates the network: x `[B, C, I, I]`, t `[B]` in [0, 1], y `[B]` u32 up to the null class (`None` for an
    /// unconditional model) -> `[B, C, I, I]`.
    ///
    /// With `c = mlp(sincos(t)) + table[y]` and `h = patches(x) + positions`, each block does
    /// `h += gate_msa ⊙ attn(adaln(h, shift_msa, scale_msa))`, `h += gate_mlp ⊙ mlp(adaln(h, shift_mlp, scale_mlp))` with the six
    /// chunks of `linear(silu(c))`; at last `linear(adaln(h, shift, scale))` is put together to an image (SiT `SiT.forward`).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the inputs do not fit the model.
    pub fn forward(&self, g: &mut Graph, x: Var, t: Var, y: Option<Var>) -> Result<Var> {
        let config = &self.config;
        let x = patch::patch_split(g, x, config.patch)?;
        let w = self.param("x_embedder.proj.weight");
        let w = g.reshape(w, [config.dim, g.shape(x).last()])?;
        let x = linear::linear(g, x, w, self.param("x_embedder.proj.bias"))?;
        let mut h = embed::embed_pos(g, x, self.pos)?;

        let c = self.condition(g, t, y)?;
        // The same for every block, so evaluated once.
        let c = pointwise::silu(g, c)?;
        for i in 0..config.depth {
            h = self.block(g, &format!("blocks.{i}"), h, c)?;
        }

        let modulation = self.linear(g, c, "final_layer.adaLN_modulation.1")?;
        let [shift, scale] = chunk::split(g, modulation)?;
        let h = adaln::adaln(g, h, shift, scale, LN_EPS)?;
        let tokens = self.linear(g, h, "final_layer.linear")?;
        patch::patch_join(g, tokens, config.patch, config.channels)
    }

    fn condition(&self, g: &mut Graph, t: Var, y: Option<Var>) -> Result<Var> {
        let e = embed::embed_time(g, t, self.freqs)?;
        let e = self.linear(g, e, "t_embedder.mlp.0")?;
        let e = pointwise::silu(g, e)?;
        let t = self.linear(g, e, "t_embedder.mlp.2")?;
        let Some(y) = y else { return Ok(t) };
        let y = embed::embed_label(g, self.param("y_embedder.embedding_table.weight"), y)?;
        pointwise::add(g, t, y)
    }

    fn block(&self, g: &mut Graph, name: &str, h: Var, c: Var) -> Result<Var> {
        let of = |layer: &str| {
            let layer = format!("{name}.{layer}");
            (
                self.param(&format!("{layer}.weight")),
                self.param(&format!("{layer}.bias")),
            )
        };
        let modulation = self.linear(g, c, &format!("{name}.adaLN_modulation.1"))?;
        let [
            shift_msa,
            scale_msa,
            gate_msa,
            shift_mlp,
            scale_mlp,
            gate_mlp,
        ] = chunk::split(g, modulation)?;

        let x = adaln::adaln(g, h, shift_msa, scale_msa, LN_EPS)?;
        let qkv = self.linear(g, x, &format!("{name}.attn.qkv"))?;
        let o = attention::attention(g, qkv, self.config.n_heads)?;
        let (w, b) = of("attn.proj");
        let h = linear::linear_gate(g, o, w, b, h, gate_msa, self.save)?;

        let x = adaln::adaln(g, h, shift_mlp, scale_mlp, LN_EPS)?;
        let (w, b) = of("mlp.fc1");
        let x = linear::linear_gelu(g, x, w, b, self.save)?;
        let (w, b) = of("mlp.fc2");
        linear::linear_gate(g, x, w, b, h, gate_mlp, self.save)
    }

    fn linear(&self, g: &mut Graph, x: Var, layer: &str) -> Result<Var> {
        linear::linear(
            g,
            x,
            self.param(&format!("{layer}.weight")),
            self.param(&format!("{layer}.bias")),
        )
    }

    fn param(&self, name: &str) -> Var {
        self.index[name]
    }
}
