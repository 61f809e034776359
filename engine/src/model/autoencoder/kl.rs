//! diffusers' `AutoencoderKL`, with its names.

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{Conv, GroupNorm, Init, Scope};
use crate::ops::conv::Windows;
use crate::ops::{attention, axes, linear, pointwise, resample};

/// Added to the variances of norms.
const EPS: f32 = 1e-6;

/// Bounds of the logarithm of the variance.
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// The autoencoder of Stable Diffusion: residual blocks in levels of half the size each, and one block with attention over the pixels
/// of the smallest (Rombach et al. 2022, arXiv 2112.10752).
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderKl {
    /// Channels of an image.
    pub channels: usize,
    /// Channels of a latent.
    pub latent_channels: usize,
    /// Channels of the levels, from the size of the image down.
    pub widths: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub blocks: usize,
    /// Groups of every norm.
    pub groups: usize,
    /// Whether the residual blocks of the smallest size have attention between them.
    pub attention: bool,
    /// Whether a convolution of one pixel is after the encoder and another one before the decoder.
    pub quant: bool,
    /// What a latent less its shift is multiplied by for a latent model.
    pub scale: f64,
    /// What is subtracted from a latent before that.
    pub shift: f64,
}

impl AutoencoderKl {
    /// Stable Diffusion's, which SiT and DiT are trained with: 83,653,863 parameters.
    pub fn stable_diffusion() -> Self {
        AutoencoderKl {
            channels: 3,
            latent_channels: 4,
            widths: vec![128, 256, 512, 512],
            blocks: 2,
            groups: 32,
            attention: true,
            quant: true,
            scale: 0.18215,
            shift: 0.0,
        }
    }

    /// Pixels of an image for one of a latent, along each axis.
    pub fn factor(&self) -> usize {
        let halvings = self.widths.len().saturating_sub(1) as u32;
        // More than the levels that are accepted would overflow.
        1_usize.checked_shl(halvings).unwrap_or(usize::MAX)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |key: &str, got: String, expected: &str| {
            Err(Error::setting(
                key,
                format!("got {got}, expected {expected}"),
            ))
        };
        const MOST: usize = 1 << 14;
        for (key, size) in [
            ("channels", self.channels),
            ("latent_channels", self.latent_channels),
            ("blocks", self.blocks),
            ("groups", self.groups),
        ] {
            if !(1..=MOST).contains(&size) {
                return refuse(key, size.to_string(), "1 to 16384");
            }
        }
        if !(1..=8).contains(&self.widths.len()) {
            return refuse("widths", format!("{} levels", self.widths.len()), "1 to 8");
        }
        for width in &self.widths {
            if *width == 0 || *width > MOST || width % self.groups != 0 {
                let expected = format!("a multiple of the {} groups up to {MOST}", self.groups);
                return refuse("widths", width.to_string(), &expected);
            }
        }
        for (key, number) in [("scale", self.scale), ("shift", self.shift)] {
            if !number.is_finite() || (key == "scale" && number == 0.0) {
                return refuse(
                    key,
                    number.to_string(),
                    "a finite number, and no scale of 0",
                );
            }
        }
        Ok(())
    }

    fn last_width(&self) -> usize {
        self.widths.last().copied().unwrap_or_default()
    }

    /// x `[B, C, H, W]` -> mean and logarithm of the variance, `[B, Z, H / f, W / f]`.
    pub(crate) fn encode(&self, s: &mut Scope<'_>, x: Var) -> Result<[Var; 2]> {
        let moments = 2 * self.latent_channels;
        let x = axes::channels_last(s.graph(), x)?;
        let mut h = self.encoder(&mut s.at("encoder"), x)?;
        if self.quant {
            let quant = Conv::new(s, "quant_conv", [moments, moments, 1], 1, Init::FanIn)?;
            h = quant.forward(s.graph(), h)?;
        }
        let g = s.graph();
        let h = axes::channels_first(g, h)?;
        let mean = axes::slice(g, h, 1, 0..self.latent_channels)?;
        let log_variance = axes::slice(g, h, 1, self.latent_channels..moments)?;
        Ok([mean, clamp(g, log_variance, LOG_VARIANCE)?])
    }

    /// z `[B, Z, h, w]` -> x `[B, C, f h, f w]`.
    pub(crate) fn decode(&self, s: &mut Scope<'_>, z: Var) -> Result<Var> {
        let c = self.latent_channels;
        let mut h = axes::channels_last(s.graph(), z)?;
        if self.quant {
            let quant = Conv::new(s, "post_quant_conv", [c, c, 1], 1, Init::FanIn)?;
            h = quant.forward(s.graph(), h)?;
        }
        let h = self.decoder(&mut s.at("decoder"), h)?;
        axes::channels_first(s.graph(), h)
    }

    fn encoder(&self, s: &mut Scope<'_>, x: Var) -> Result<Var> {
        let first = [self.widths[0], self.channels, 3];
        let conv = Conv::new(s, "conv_in", first, 1, Init::FanIn)?;
        let mut h = conv.forward(s.graph(), x)?;
        for (level, &width) in self.widths.iter().enumerate() {
            let mut s = s.at(format_args!("down_blocks.{level}"));
            for block in 0..self.blocks {
                let from = s.graph().shape(h).last();
                let name = format!("resnets.{block}");
                h = Resnet::new(&mut s, &name, [from, width], self.groups)?
                    .forward(s.graph(), h)?;
            }
            if level + 1 < self.widths.len() {
                let sizes = [width, width, 3];
                let halve = Conv::new(&mut s, "downsamplers.0.conv", sizes, 2, Init::FanIn)?;
                // The image is padded on the right and below alone.
                let windows = Windows {
                    bottom: 1,
                    right: 1,
                    ..Windows::new(2, 0)
                };
                h = halve.with_windows(windows).forward(s.graph(), h)?;
            }
        }
        let middle = Middle::new(s, self)?;
        let last = Last::new(
            s,
            [self.last_width(), 2 * self.latent_channels],
            self.groups,
        )?;
        let h = middle.forward(s.graph(), h)?;
        last.forward(s.graph(), h)
    }

    /// The middle is declared after the levels, and evaluated before them.
    fn decoder(&self, s: &mut Scope<'_>, z: Var) -> Result<Var> {
        let width = self.last_width();
        let first = [width, self.latent_channels, 3];
        let conv = Conv::new(s, "conv_in", first, 1, Init::FanIn)?;
        let (mut levels, mut from) = (Vec::new(), width);
        for (level, &width) in self.widths.iter().rev().enumerate() {
            let mut s = s.at(format_args!("up_blocks.{level}"));
            let mut blocks = Vec::new();
            for block in 0..=self.blocks {
                let name = format!("resnets.{block}");
                blocks.push(Resnet::new(&mut s, &name, [from, width], self.groups)?);
                from = width;
            }
            let enlarge = match level + 1 < self.widths.len() {
                true => {
                    let sizes = [width, width, 3];
                    Some(Conv::new(
                        &mut s,
                        "upsamplers.0.conv",
                        sizes,
                        1,
                        Init::FanIn,
                    )?)
                }
                false => None,
            };
            levels.push((blocks, enlarge));
        }
        let middle = Middle::new(s, self)?;
        let last = Last::new(s, [from, self.channels], self.groups)?;

        let g = s.graph();
        let h = conv.forward(g, z)?;
        let mut h = middle.forward(g, h)?;
        for (blocks, enlarge) in levels {
            for block in blocks {
                h = block.forward(g, h)?;
            }
            if let Some(enlarge) = enlarge {
                h = resample::enlarge(g, h, 2)?;
                h = enlarge.forward(g, h)?;
            }
        }
        last.forward(g, h)
    }
}

/// `x` between two bounds, exactly x inside.
fn clamp(g: &mut Graph, x: Var, [low, high]: [f64; 2]) -> Result<Var> {
    let below = pointwise::affine(g, x, -1.0, low)?;
    let below = pointwise::relu(g, below)?;
    let above = pointwise::affine(g, x, 1.0, -high)?;
    let above = pointwise::relu(g, above)?;
    let x = pointwise::add(g, x, below)?;
    pointwise::sub(g, x, above)
}

/// `silu(norm(x))` and a convolution, `[B, H, W, C]`.
struct NormConv {
    norm: GroupNorm,
    conv: Conv,
}

impl NormConv {
    fn new(
        s: &mut Scope<'_>,
        [norm, conv]: [&str; 2],
        [from, to]: [usize; 2],
        groups: usize,
    ) -> Result<Self> {
        Ok(NormConv {
            norm: GroupNorm::new(s, norm, from, groups)?.with_eps(EPS),
            conv: Conv::new(s, conv, [to, from, 3], 1, Init::FanIn)?,
        })
    }

    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let h = self.norm.silu(g, x)?;
        self.conv.forward(g, h)
    }
}

/// The last layer of a half.
struct Last(NormConv);

impl Last {
    fn new(s: &mut Scope<'_>, sizes: [usize; 2], groups: usize) -> Result<Self> {
        NormConv::new(s, ["conv_norm_out", "conv_out"], sizes, groups).map(Last)
    }

    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        self.0.forward(g, x)
    }
}

/// `skip(x) + conv(silu(norm(conv(silu(norm(x))))))`.
struct Resnet {
    first: NormConv,
    second: NormConv,
    skip: Option<Conv>,
}

impl Resnet {
    fn new(s: &mut Scope<'_>, name: &str, [from, to]: [usize; 2], groups: usize) -> Result<Self> {
        let mut s = s.at(name);
        Ok(Resnet {
            first: NormConv::new(&mut s, ["norm1", "conv1"], [from, to], groups)?,
            second: NormConv::new(&mut s, ["norm2", "conv2"], [to, to], groups)?,
            skip: match from == to {
                true => None,
                false => {
                    let sizes = [to, from, 1];
                    Some(Conv::new(&mut s, "conv_shortcut", sizes, 1, Init::FanIn)?)
                }
            },
        })
    }

    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        g.block(|g| {
            let h = self.first.forward(g, x)?;
            let h = self.second.forward(g, h)?;
            let x = match &self.skip {
                Some(skip) => skip.forward(g, x)?,
                None => x,
            };
            pointwise::add(g, x, h)
        })
    }
}

/// Two residual blocks, mostly with attention between them.
struct Middle {
    attention: Option<Attention>,
    blocks: [Resnet; 2],
}

impl Middle {
    fn new(s: &mut Scope<'_>, kl: &AutoencoderKl) -> Result<Self> {
        let (mut s, width, groups) = (s.at("mid_block"), kl.last_width(), kl.groups);
        let attention = match kl.attention {
            true => Some(Attention::new(&mut s.at("attentions.0"), width, groups)?),
            false => None,
        };
        let sizes = [width, width];
        let first = Resnet::new(&mut s, "resnets.0", sizes, groups)?;
        let second = Resnet::new(&mut s, "resnets.1", sizes, groups)?;
        Ok(Middle {
            attention,
            blocks: [first, second],
        })
    }

    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let h = self.blocks[0].forward(g, x)?;
        let h = match &self.attention {
            Some(attention) => attention.forward(g, h)?,
            None => h,
        };
        self.blocks[1].forward(g, h)
    }
}

/// `x + out(attention(norm(x)))` over the pixels, with one head as wide as the image. Weights and biases of q, k, v and out.
struct Attention {
    norm: GroupNorm,
    weights: [Var; 4],
    biases: [Var; 4],
}

impl Attention {
    fn new(s: &mut Scope<'_>, width: usize, groups: usize) -> Result<Self> {
        let norm = GroupNorm::new(s, "group_norm", width, groups)?.with_eps(EPS);
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for name in ["to_q", "to_k", "to_v", "to_out.0"] {
            let mut s = s.at(name);
            weights.push(s.param("weight", [width, width], Init::FanIn)?);
            biases.push(s.param("bias", [width], Init::Zeros)?);
        }
        let four = |vars: Vec<Var>| std::array::from_fn(|i| vars[i]);
        Ok(Attention {
            norm,
            weights: four(weights),
            biases: four(biases),
        })
    }

    /// Composed of products: the fused kernel has no head as wide as 512.
    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let shape = g.shape(x).clone();
        let h = self.norm.forward(g, x)?;
        let h = g.reshape(h, [shape[0], shape[1] * shape[2], shape[3]])?;
        let q = linear::linear(g, h, self.weights[0], self.biases[0])?;
        let weight = axes::concat(g, &self.weights[1..3], 0)?;
        let bias = axes::concat(g, &self.biases[1..3], 0)?;
        let kv = linear::linear(g, h, weight, bias)?;
        let h = attention::cross_attention(g, q, kv, 1)?;
        let h = linear::linear(g, h, self.weights[3], self.biases[3])?;
        let h = g.reshape(h, shape)?;
        pointwise::add(g, x, h)
    }
}
