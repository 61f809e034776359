//! PyTorch's `nn.Conv2d`, on images in the order `[B, H, W, C]`.

use super::{Init, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::conv::{self, Windows};
use crate::ops::{axes, linear};

/// A convolution with bias, of a kernel as high as wide.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// In the order of patches, `[O, k, k, C]`; `[O, C]` for a kernel of one pixel.
    weight: Var,
    bias: Var,
    windows: Windows,
}

impl Conv {
    /// Declares `name.weight` `[O, C, k, k]`, as PyTorch stores it, initialized by `init`, and `name.bias`, initialized to zeros;
    /// `sizes` are `[O, C, k]`. The image is padded with `k / 2` pixels on all sides.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(
        s: &mut Scope<'_>,
        name: &str,
        sizes: [usize; 3],
        stride: usize,
        init: Init,
    ) -> Result<Self> {
        let [n, c, k] = sizes;
        let mut s = s.at(name);
        let weight = s.param("weight", [n, c, k, k], init)?;
        let bias = s.param("bias", [n], Init::Zeros)?;
        let g = s.graph();
        let weight = match (k, stride) {
            (1, 1) => g.reshape(weight, [n, c])?,
            _ => {
                let taps = g.reshape(weight, [n, c, k * k])?;
                let taps = axes::permute(g, taps, &[0, 2, 1])?;
                g.reshape(taps, [n, k, k, c])?
            }
        };
        Ok(Conv {
            weight,
            bias,
            windows: Windows::new(stride, k / 2),
        })
    }

    /// x `[B, H, W, C]` -> `[B, H', W', O]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        if g.shape(self.weight).len() == 2 {
            return linear::linear(g, x, self.weight, self.bias);
        }
        conv::conv(g, x, self.weight, Some(self.bias), self.windows)
    }
}
