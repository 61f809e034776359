//! Blocks and their order, with the names of guided-diffusion.

use super::Unet;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::{Inputs, Outputs};
use crate::nn::{Conv, GroupNorm, Init, Linear, Scope, sines};
use crate::ops::{attention, axes, chunk, gather, pointwise, resample};
use crate::text::count;

/// Channels of the embedding relative to the width.
const EMBED_RATIO: usize = 4;

/// Every layer is declared where it is used: the order of use is that of the official module's `__init__`.
pub(super) fn forward(net: &Unet, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
    let c = embedding(net, s, inputs)?;
    let x = axes::channels_last(s.graph(), inputs.x)?;
    let first = [net.level_width(0), net.channels, 3];
    let stem = Conv::new(s, "input_blocks.0.0", first, 1, Init::FanIn)?;
    let mut h = stem.forward(s.graph(), x)?;
    let mut skips = vec![h];
    let n_levels = net.multipliers.len();
    for level in 0..n_levels {
        for _ in 0..net.blocks {
            let mut s = s.at(format_args!("input_blocks.{}", skips.len()));
            h = s.block(|s| net.block(s, h, c, level))?;
            skips.push(h);
        }
        if level + 1 < n_levels {
            let mut s = s.at(format_args!("input_blocks.{}", skips.len()));
            let width = net.level_width(level);
            let halve = Conv::new(&mut s, "0.op", [width, width, 3], 2, Init::FanIn)?;
            h = halve.forward(s.graph(), h)?;
            skips.push(h);
        }
    }
    let width = net.level_width(n_levels - 1);
    h = s.block(|s| {
        let h = res_block(net, &mut s.at("middle_block.0"), h, c, width)?;
        let h = attend(net, &mut s.at("middle_block.1"), h)?;
        res_block(net, &mut s.at("middle_block.2"), h, c, width)
    })?;
    let mut n_blocks = 0;
    for level in (0..n_levels).rev() {
        for i in 0..=net.blocks {
            let mut s = s.at(format_args!("output_blocks.{n_blocks}"));
            n_blocks += 1;
            // There are as many output blocks as skips.
            let skip = skips.pop().unwrap_or(h);
            h = axes::concat(s.graph(), &[h, skip], 3)?;
            h = s.block(|s| net.block(s, h, c, level))?;
            if level > 0 && i == net.blocks {
                let at = 1 + usize::from(net.attends(level));
                h = enlarge(&mut s.at(at), h)?;
            }
        }
    }
    last(net, &mut s.at("out"), h)
}

/// `c [B, 4 width]`, which all blocks share.
fn embedding(net: &Unet, s: &mut Scope<'_>, inputs: Inputs) -> Result<Var> {
    let (n_freqs, dim) = (net.width / 2, EMBED_RATIO * net.width);
    let first = Linear::new(s, "time_embed.0", [dim, net.width], Init::FanIn)?;
    let second = Linear::new(s, "time_embed.2", [dim, dim], Init::FanIn)?;
    let table = match (inputs.y, net.n_classes) {
        (None, 0) => None,
        (Some(y), 1..) => {
            let rows = [net.n_classes + 1, dim];
            Some((s.param("label_emb.weight", rows, Init::Normal(1.0))?, y))
        }
        (Some(_), 0) => return refuse("the network has no classes, and got labels".into()),
        (None, n) => {
            let classes = count(n, "class");
            return refuse(format!("the network has {classes}, and got no labels"));
        }
    };
    // Of a time in [0, 1], nearly all frequencies would see no more than a straight line.
    let of_time = |g: &mut Graph, t: Var, [first, second]: [&Linear; 2]| {
        let e = sines(g, t, n_freqs, net.time_scale as f32)?;
        let e = first.forward(g, e)?;
        let e = pointwise::silu(g, e)?;
        second.forward(g, e)
    };
    let mut e = of_time(s.graph(), inputs.t, [&first, &second])?;
    if let Some(span) = inputs.span {
        let first = Linear::new(s, "span_embed.0", [dim, net.width], Init::FanIn)?;
        // 0 at the start, so that a network that is given a span goes on from what it computes.
        let second = Linear::new(s, "span_embed.2", [dim, dim], Init::Zeros)?;
        let span = of_time(s.graph(), span, [&first, &second])?;
        e = pointwise::add(s.graph(), e, span)?;
    }
    let g = s.graph();
    if let Some((table, y)) = table {
        let y = gather::gather(g, table, y)?;
        e = pointwise::add(g, e, y)?;
    }
    pointwise::silu(g, e)
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Shape(what))
}

impl Unet {
    /// A residual block, and attention at the sizes that have it: h `[B, H, W, ..]` -> `[B, H, W, C]`.
    fn block(&self, s: &mut Scope<'_>, h: Var, c: Var, level: usize) -> Result<Var> {
        let h = res_block(self, &mut s.at(0), h, c, self.level_width(level))?;
        match self.attends(level) {
            true => attend(self, &mut s.at(1), h),
            false => Ok(h),
        }
    }
}

/// `skip(x) + conv(silu(norm(conv(silu(norm(x)))) (1 + scale) + shift))` with scale and shift from c; the last convolution starts at
/// 0, so that each block starts as its skip. x `[B, H, W, Cin]` -> `[B, H, W, C]`.
fn res_block(net: &Unet, s: &mut Scope<'_>, x: Var, c: Var, width: usize) -> Result<Var> {
    let from = s.graph().shape(x).last();
    let dim = EMBED_RATIO * net.width;
    let norm = GroupNorm::new(s, "in_layers.0", from, net.groups)?;
    let conv = Conv::new(s, "in_layers.2", [width, from, 3], 1, Init::FanIn)?;
    let modulation = Linear::new(s, "emb_layers.1", [2 * width, dim], Init::FanIn)?;
    let second_norm = GroupNorm::new(s, "out_layers.0", width, net.groups)?;
    let second_conv = Conv::new(s, "out_layers.3", [width, width, 3], 1, Init::Zeros)?;
    let skip = match from == width {
        true => None,
        false => Some(Conv::new(
            s,
            "skip_connection",
            [width, from, 1],
            1,
            Init::FanIn,
        )?),
    };
    let g = s.graph();
    let h = norm.silu(g, x)?;
    let h = conv.forward(g, h)?;
    let modulation = modulation.forward(g, c)?;
    let modulation = chunk::split(g, modulation)?;
    let h = second_norm.modulated(g, h, modulation)?;
    let h = second_conv.forward(g, h)?;
    let x = match skip {
        Some(skip) => skip.forward(g, x)?,
        None => x,
    };
    pointwise::add(g, x, h)
}

/// `x + proj(attention(qkv(norm(x))))` over the pixels; the projection starts at 0. x `[B, H, W, C]` -> `[B, H, W, C]`.
fn attend(net: &Unet, s: &mut Scope<'_>, x: Var) -> Result<Var> {
    let shape = s.graph().shape(x).clone();
    let (batch, tokens, c) = (shape[0], shape[1] * shape[2], shape[3]);
    let norm = GroupNorm::new(s, "norm", c, net.groups)?;
    let qkv = s.param("qkv.weight", [3 * c, c, 1], Init::FanIn)?;
    let qkv_bias = s.param("qkv.bias", [3 * c], Init::Zeros)?;
    let proj = s.param("proj_out.weight", [c, c, 1], Init::Zeros)?;
    let proj_bias = s.param("proj_out.bias", [c], Init::Zeros)?;
    let g = s.graph();
    let (qkv, qkv_bias) = (
        by_kind(g, qkv, net.n_heads)?,
        by_kind(g, qkv_bias, net.n_heads)?,
    );
    let (qkv, proj) = (g.reshape(qkv, [3 * c, c])?, g.reshape(proj, [c, c])?);
    let h = norm.forward(g, x)?;
    let h = g.reshape(h, [batch, tokens, c])?;
    let h = crate::ops::linear::linear(g, h, qkv, qkv_bias)?;
    let h = attention::attention(g, h, net.n_heads)?;
    let h = crate::ops::linear::linear(g, h, proj, proj_bias)?;
    let h = g.reshape(h, shape)?;
    pointwise::add(g, x, h)
}

/// Rows in the order (query, key or value; head) instead of guided-diffusion's (head; query, key or value) (`QKVAttentionLegacy`).
fn by_kind(g: &mut Graph, x: Var, n_heads: usize) -> Result<Var> {
    if n_heads == 1 {
        return Ok(x);
    }
    let shape = g.shape(x).clone();
    let grouped = g.reshape(x, [n_heads, 3, shape.numel() / (3 * n_heads)])?;
    let turned = axes::permute(g, grouped, &[1, 0, 2])?;
    g.reshape(turned, shape)
}

/// Twice the height and width, by repeated pixels and a convolution.
fn enlarge(s: &mut Scope<'_>, x: Var) -> Result<Var> {
    let c = s.graph().shape(x).last();
    let conv = Conv::new(s, "conv", [c, c, 3], 1, Init::FanIn)?;
    let x = resample::enlarge(s.graph(), x, 2)?;
    conv.forward(s.graph(), x)
}

/// `conv(silu(norm(h)))`, which starts at 0, in the order of images.
fn last(net: &Unet, s: &mut Scope<'_>, h: Var) -> Result<Outputs> {
    let (c, channels) = (net.level_width(0), net.out_channels());
    let norm = GroupNorm::new(s, "0", c, net.groups)?;
    let conv = Conv::new(s, "2", [channels, c, 3], 1, Init::Zeros)?;
    let g = s.graph();
    let h = norm.silu(g, h)?;
    let h = conv.forward(g, h)?;
    let all = axes::channels_first(g, h)?;
    if channels == net.channels {
        return Ok(Outputs::new(all));
    }
    let out = axes::slice(g, h, 3, 0..net.channels)?;
    let out = axes::channels_first(g, out)?;
    Ok(Outputs {
        all,
        ..Outputs::new(out)
    })
}
