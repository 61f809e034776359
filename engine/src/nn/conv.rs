//! PyTorch's `nn.Conv2d`, on images in the order `[B, H, W, C]`.

use super::{Init, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::conv::{self, Windows};
use crate::ops::{axes, linear, pointwise};

/// A convolution of a kernel as high as wide.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// In the order of patches, `[O, k, k, C]`; `[O, C]` for a kernel of one pixel with a bias.
    weight: Var,
    bias: Option<Var>,
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
        let mut conv =
            Self::without_bias(s, name, sizes, Windows::new(stride, sizes[2] / 2), init)?;
        conv.bias = Some(s.at(name).param("bias", [sizes[0]], Init::Zeros)?);
        if (sizes[2], stride) == (1, 1) {
            conv.weight = s.graph().reshape(conv.weight, [sizes[0], sizes[1]])?;
        }
        Ok(conv)
    }

    /// The same without a bias, for any windows.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn without_bias(
        s: &mut Scope<'_>,
        name: &str,
        sizes: [usize; 3],
        windows: Windows,
        init: Init,
    ) -> Result<Self> {
        let [n, c, k] = sizes;
        let weight = s.at(name).param("weight", [n, c, k, k], init)?;
        let g = s.graph();
        let weight = match k {
            1 => g.reshape(weight, [n, 1, 1, c])?,
            _ => {
                let taps = g.reshape(weight, [n, c, k * k])?;
                let taps = axes::permute(g, taps, &[0, 2, 1])?;
                g.reshape(taps, [n, k, k, c])?
            }
        };
        Ok(Conv {
            weight,
            bias: None,
            windows,
        })
    }

    /// The same convolution with other windows.
    pub fn with_windows(self, windows: Windows) -> Self {
        Conv { windows, ..self }
    }

    /// x `[B, H, W, C]` -> `[B, H', W', O]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        match self.bias {
            Some(bias) if g.shape(self.weight).len() == 2 => {
                linear::linear(g, x, self.weight, bias)
            }
            bias => conv::conv(g, x, self.weight, bias, self.windows),
        }
    }

    /// `max(forward(x), 0)`, in one pass where that is possible.
    ///
    /// # Errors
    /// As [`Conv::forward`].
    pub fn relu(&self, g: &mut Graph, x: Var) -> Result<Var> {
        match self.bias {
            Some(bias) if g.shape(self.weight).len() == 4 => {
                conv::conv_relu(g, x, self.weight, bias, self.windows)
            }
            _ => {
                let y = self.forward(g, x)?;
                pointwise::relu(g, y)
            }
        }
    }
}
