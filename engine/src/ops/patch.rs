//! Images to tokens and back: patchify in the order of the convolution weight, unpatchify in the order of the final layer.

use super::{Case, axes};
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{PATCH_JOIN_BWD, PATCH_JOIN_FWD, PATCH_SPLIT_BWD, PATCH_SPLIT_FWD, PatchDims};

/// The two orders of the values in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    /// (channel, row, column), as the weight `[D, C, p, p]` of the patch convolution.
    Split,
    /// (row, column, channel), as the rows of `final_layer.linear.weight`; the token may have more channels than the image.
    Join,
}

/// Moves pixels between an image `[B, C, I, I]` and tokens `[B, T, p·p·token_channels]`, T = (I/p)² in row-major order.
#[derive(Clone, Copy, Debug)]
struct Patch {
    inner: Inner,
    to_tokens: bool,
    patch: usize,
    /// Channels of the image.
    channels: usize,
    /// Channels in a token; those beyond `channels` are dropped when an image is made, and 0 in its gradient.
    token_channels: usize,
}

/// Patchify: x `[B, C, I, I]` -> `[B, T, C·p·p]`, inner order (channel, row, column): a linear layer on it is the patch
/// convolution with kernel and stride p (SiT `x_embedder`).
///
/// # Errors
/// [`Error::Shape`] when I is not divisible by p or the image is not square.
pub fn patch_split(g: &mut Graph, x: Var, patch: usize) -> Result<Var> {
    expect_axes("patch_split", "x", g.ty(x), 4, "[B, C, I, I]")?;
    let channels = g.shape(x)[1];
    g.apply1(
        Patch {
            inner: Inner::Split,
            to_tokens: true,
            patch,
            channels,
            token_channels: channels,
        },
        &[x],
    )
}

/// Unpatchify: tokens `[B, T, p·p·Cout]` -> `[B, C, I, I]`, inner order (row, column, channel); channels C.. of Cout are
/// dropped (SiT `unpatchify` and the discarded sigma half).
///
/// # Errors
/// [`Error::Shape`] when the tokens do not make a square image or have fewer than C channels.
pub fn patch_join(g: &mut Graph, tokens: Var, patch: usize, channels: usize) -> Result<Var> {
    let token_channels = g.shape(tokens).last() / (patch * patch);
    g.apply1(
        Patch {
            inner: Inner::Join,
            to_tokens: false,
            patch,
            channels,
            token_channels,
        },
        &[tokens],
    )
}

impl Patch {
    fn token_len(&self) -> usize {
        self.patch * self.patch * self.token_channels
    }

    /// Index of a pixel in its token.
    fn at(&self, c: usize, row: usize, col: usize) -> usize {
        match self.inner {
            Inner::Split => (c * self.patch + row) * self.patch + col,
            Inner::Join => (row * self.patch + col) * self.token_channels + c,
        }
    }
}

impl Patch {
    /// `[B, C, G, p, G, p]` to `[B, G, G, C, p, p]` in two permutations of fewer axes: first rows of patches, then channels.
    fn split_in_primitives(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let (p, c) = (self.patch, self.channels);
        let (batch, grid) = (g.shape(x)[0], g.shape(x)[3] / p);
        let x = g.reshape(x, [batch * c * grid, p, grid, p])?;
        let x = axes::permute(g, x, &[0, 2, 1, 3])?;
        let x = g.reshape(x, [batch, c, grid * grid, p * p])?;
        let x = axes::permute(g, x, &[0, 2, 1, 3])?;
        g.reshape(x, [batch, grid * grid, c * p * p])
    }

    /// `[B, G, G, p, p, C]` to `[B, C, G, p, G, p]` in two permutations of fewer axes; the last channels are dropped.
    fn join_in_primitives(&self, g: &mut Graph, tokens: Var) -> Result<Var> {
        let (p, c) = (self.patch, self.token_channels);
        let (batch, grid) = (g.shape(tokens)[0], g.shape(tokens)[1].isqrt());
        let x = g.reshape(tokens, [batch * grid, grid, p, p * c])?;
        let x = axes::permute(g, x, &[0, 2, 1, 3])?;
        let size = grid * p;
        let x = g.reshape(x, [batch, size * size, c])?;
        let x = axes::slice(g, x, 2, 0..self.channels)?;
        let x = axes::permute(g, x, &[0, 2, 1])?;
        g.reshape(x, [batch, self.channels, size, size])
    }
}

impl Sealed for Patch {}

impl Define for Patch {
    fn name(&self) -> &'static str {
        match (self.inner, self.to_tokens) {
            (Inner::Split, true) => "patch_split_fwd",
            (Inner::Split, false) => "patch_split_bwd",
            (Inner::Join, false) => "patch_join_fwd",
            (Inner::Join, true) => "patch_join_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x, p) = (Define::name(self), &ins[0], self.patch);
        if self.to_tokens {
            expect_axes(name, "x", x, 4, "[B, C, I, I]")?;
            let (b, size) = (x.shape[0], x.shape[3]);
            expect(
                name,
                "x",
                x,
                [b, self.channels, size, size],
                format_args!("images are square with {} channels", self.channels),
            )?;
            if p == 0 || size % p != 0 {
                return Err(Error::Shape(format!(
                    "{name}: x is {x:?}, expected sides divisible by the patch size {p}"
                )));
            }
            return Ok(vec![Type::f32([b, (size / p).pow(2), self.token_len()])]);
        }
        expect_axes(name, "tokens", x, 3, "[B, T, p·p·C]")?;
        let (b, t) = (x.shape[0], x.shape[1]);
        let grid = t.isqrt();
        expect(
            name,
            "tokens",
            x,
            [b, grid * grid, self.token_len()],
            format_args!("patches of {p} make a square image"),
        )?;
        if self.token_channels < self.channels {
            return Err(Error::Shape(format!(
                "{name}: tokens have {} channels, expected at least {}",
                self.token_channels, self.channels
            )));
        }
        Ok(vec![Type::f32([b, self.channels, grid * p, grid * p])])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let image = if self.to_tokens { io.ins } else { io.outs };
        let [batch, channels, image_size] = [0, 1, 2].map(|axis| image[0].shape[axis] as u32);
        let dims = PatchDims {
            batch,
            channels,
            channels_out: self.token_channels as u32,
            image_size,
            patch_size: self.patch as u32,
        };
        let (kernel, from, to) = match (self.inner, self.to_tokens) {
            (Inner::Split, true) => (&PATCH_SPLIT_FWD, "x", "tokens"),
            (Inner::Split, false) => (&PATCH_SPLIT_BWD, "g", "gx"),
            (Inner::Join, false) => (&PATCH_JOIN_FWD, "tokens", "y"),
            (Inner::Join, true) => (&PATCH_JOIN_BWD, "g", "gtokens"),
        };
        let pixels = batch * channels * image_size * image_size;
        Ok(vec![
            Launch::new(kernel, &dims, kernel.grid_flat(pixels))
                .input(from, 0)
                .output(to, 0),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let (p, channels, len) = (self.patch, self.channels, self.token_len());
        let size = if self.to_tokens {
            io.shape(0)[3]
        } else {
            io.out_shape(0)[3]
        };
        let grid = size / p;
        let pixel = |c: usize, token: usize, row: usize, col: usize| {
            (c * size + token / grid * p + row) * size + token % grid * p + col
        };
        // (index in the tokens, index in the image) of every pixel of one sample.
        let places = || {
            (0..grid * grid * channels * p * p).map(move |i| {
                let (token, c, row, col) = (
                    i / (channels * p * p),
                    i / (p * p) % channels,
                    i / p % p,
                    i % p,
                );
                (
                    token * len + self.at(c, row, col),
                    pixel(c, token, row, col),
                )
            })
        };
        let (image_len, tokens_len) = (channels * size * size, grid * grid * len);
        let x = io.ins[0];
        let [y, ..] = io.outs;
        if self.to_tokens {
            for_rows(rows_mut(y, tokens_len), 1, |first, y| {
                y.fill(F::ZERO);
                for (y, x) in y
                    .chunks_exact_mut(tokens_len)
                    .zip(x[first * image_len..].chunks_exact(image_len))
                {
                    places().for_each(|(token, pixel)| y[token] = x[pixel]);
                }
            });
        } else {
            for_rows(rows_mut(y, image_len), 1, |first, y| {
                for (y, x) in y
                    .chunks_exact_mut(image_len)
                    .zip(x[first * tokens_len..].chunks_exact(tokens_len))
                {
                    places().for_each(|(token, pixel)| y[pixel] = x[token]);
                }
            });
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        _node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let transpose = Patch {
            to_tokens: !self.to_tokens,
            ..*self
        };
        Ok(vec![match grads[0] {
            Some(grad) => Some(g.apply1(transpose, &[grad])?),
            None => None,
        }])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let y = match (self.inner, self.to_tokens) {
            (Inner::Split, true) => self.split_in_primitives(g, ins[0]),
            (Inner::Join, false) => self.join_in_primitives(g, ins[0]),
            (Inner::Split, false) | (Inner::Join, true) => return None,
        };
        Some(y.map(|y| vec![y]))
    }
}

pub(super) fn cases() -> Vec<Case> {
    let split = |b, c, size, patch| {
        Case::with_grad(
            Patch {
                inner: Inner::Split,
                to_tokens: true,
                patch,
                channels: c,
                token_channels: c,
            },
            &[Type::f32([b, c, size, size])],
            &[0],
        )
    };
    let join = |b, c, token_channels, grid: usize, patch: usize| {
        Case::with_grad(
            Patch {
                inner: Inner::Join,
                to_tokens: false,
                patch,
                channels: c,
                token_channels,
            },
            &[Type::f32([b, grid * grid, patch * patch * token_channels])],
            &[0],
        )
    };
    vec![
        split(1, 1, 1, 1),
        split(2, 3, 6, 2),
        split(3, 4, 12, 4),
        split(2, 1, 8, 1),
        join(1, 1, 1, 1, 1),
        join(2, 3, 6, 3, 2),
        join(2, 4, 8, 3, 4),
        join(3, 1, 1, 8, 1),
    ]
}
