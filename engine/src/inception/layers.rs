//! The layers of the network, as data.

use crate::nn::{Init, ParamSpec};
use crate::ops::conv::Windows;

/// Outputs of the last layer: the 1000 classes of ImageNet, and 8 that are unused.
pub(super) const N_LOGITS: usize = 1008;
/// Features of an image.
pub(super) const N_FEATURES: usize = 2048;
/// Channels of the spatial features.
pub(super) const N_SPATIAL: usize = 7;

/// A part of the network, from an image `[B, H, W, C]` to another one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Layer {
    /// A convolution with batch norm and ReLU.
    Conv(Conv),
    /// The largest values of 3 x 3 pixels.
    MaxPool(Windows),
    /// Means of the 3 x 3 pixels around each; those outside the image do not count.
    MeanPool,
    /// Sequences of layers that read the same image; their channels are joined in this order.
    Branches(Vec<Vec<Layer>>),
    /// Reads the image here.
    Tap(Tap),
}

/// A convolution without bias and the batch norm behind it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conv {
    /// The beginning of the official names of its tensors.
    pub name: String,
    /// Channels before and after.
    pub channels: [usize; 2],
    /// Height and width.
    pub kernel: [usize; 2],
    pub windows: Windows,
}

/// What is read of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tap {
    Mean64,
    Mean192,
    Mean768,
    Mean2048,
    /// The first channels of every pixel.
    Spatial,
}

impl Tap {
    /// Its name as an output.
    pub fn name(self) -> &'static str {
        match self {
            Tap::Mean64 => "tap64",
            Tap::Mean192 => "tap192",
            Tap::Mean768 => "tap768",
            Tap::Mean2048 => "pool2048",
            Tap::Spatial => "spatial2023",
        }
    }
}

/// All layers but the last one, which maps the features to logits.
pub(super) fn network() -> Vec<Layer> {
    vec![
        whole("Conv2d_1a_3x3", [3, 32], 2),
        whole("Conv2d_2a_3x3", [32, 32], 1),
        padded("Conv2d_2b_3x3", [32, 64], [3, 3]),
        Layer::MaxPool(HALVE),
        Layer::Tap(Tap::Mean64),
        padded("Conv2d_3b_1x1", [64, 80], [1, 1]),
        whole("Conv2d_4a_3x3", [80, 192], 1),
        Layer::MaxPool(HALVE),
        Layer::Tap(Tap::Mean192),
        mixed_5("Mixed_5b", 192, 32),
        mixed_5("Mixed_5c", 256, 64),
        mixed_5("Mixed_5d", 288, 64),
        mixed_6a(),
        mixed_6("Mixed_6b", 128, None),
        mixed_6("Mixed_6c", 160, None),
        mixed_6("Mixed_6d", 160, Some(Tap::Spatial)),
        mixed_6("Mixed_6e", 192, None),
        Layer::Tap(Tap::Mean768),
        mixed_7a(),
        mixed_7("Mixed_7b", 1280, Layer::MeanPool),
        mixed_7("Mixed_7c", N_FEATURES, Layer::MaxPool(KEEP)),
        Layer::Tap(Tap::Mean2048),
    ]
}

/// Windows of a pool of 3 x 3 pixels that makes an image half as large, and of one that keeps its size.
const HALVE: Windows = Windows {
    stride: 2,
    top: 0,
    bottom: 0,
    left: 0,
    right: 0,
};
const KEEP: Windows = Windows {
    stride: 1,
    top: 1,
    bottom: 1,
    left: 1,
    right: 1,
};

/// A convolution that keeps the size of the image.
fn padded(name: &str, channels: [usize; 2], kernel: [usize; 2]) -> Layer {
    let [rows, columns] = kernel.map(|n| n / 2);
    Layer::Conv(Conv {
        name: name.to_owned(),
        channels,
        kernel,
        windows: Windows {
            stride: 1,
            top: rows,
            bottom: rows,
            left: columns,
            right: columns,
        },
    })
}

/// A convolution of 3 x 3 pixels inside the image.
fn whole(name: &str, channels: [usize; 2], stride: usize) -> Layer {
    Layer::Conv(Conv {
        name: name.to_owned(),
        channels,
        kernel: [3, 3],
        windows: Windows::new(stride, 0),
    })
}

/// Figure 5 of the paper, with a convolution of 5 x 5 pixels in place of two.
fn mixed_5(block: &str, from: usize, pool: usize) -> Layer {
    let conv =
        |name: &str, channels, side| padded(&format!("{block}.{name}"), channels, [side, side]);
    Layer::Branches(vec![
        vec![conv("branch1x1", [from, 64], 1)],
        vec![
            conv("branch5x5_1", [from, 48], 1),
            conv("branch5x5_2", [48, 64], 5),
        ],
        vec![
            conv("branch3x3dbl_1", [from, 64], 1),
            conv("branch3x3dbl_2", [64, 96], 3),
            conv("branch3x3dbl_3", [96, 96], 3),
        ],
        vec![Layer::MeanPool, conv("branch_pool", [from, pool], 1)],
    ])
}

/// Makes the image smaller, as figure 10.
fn mixed_6a() -> Layer {
    Layer::Branches(vec![
        vec![whole("Mixed_6a.branch3x3", [288, 384], 2)],
        vec![
            padded("Mixed_6a.branch3x3dbl_1", [288, 64], [1, 1]),
            padded("Mixed_6a.branch3x3dbl_2", [64, 96], [3, 3]),
            whole("Mixed_6a.branch3x3dbl_3", [96, 96], 2),
        ],
        vec![Layer::MaxPool(HALVE)],
    ])
}

/// Figure 6: convolutions of 7 x 7 pixels as rows and columns.
fn mixed_6(block: &str, c: usize, tap: Option<Tap>) -> Layer {
    const WIDTH: usize = 768;
    let conv = |name: &str, channels, kernel| padded(&format!("{block}.{name}"), channels, kernel);
    let (point, row, column) = ([1, 1], [1, 7], [7, 1]);
    let mut first = vec![conv("branch1x1", [WIDTH, 192], point)];
    first.extend(tap.map(Layer::Tap));
    Layer::Branches(vec![
        first,
        vec![
            conv("branch7x7_1", [WIDTH, c], point),
            conv("branch7x7_2", [c, c], row),
            conv("branch7x7_3", [c, 192], column),
        ],
        vec![
            conv("branch7x7dbl_1", [WIDTH, c], point),
            conv("branch7x7dbl_2", [c, c], column),
            conv("branch7x7dbl_3", [c, c], row),
            conv("branch7x7dbl_4", [c, c], column),
            conv("branch7x7dbl_5", [c, 192], row),
        ],
        vec![Layer::MeanPool, conv("branch_pool", [WIDTH, 192], point)],
    ])
}

/// Makes the image smaller once more.
fn mixed_7a() -> Layer {
    Layer::Branches(vec![
        vec![
            padded("Mixed_7a.branch3x3_1", [768, 192], [1, 1]),
            whole("Mixed_7a.branch3x3_2", [192, 320], 2),
        ],
        vec![
            padded("Mixed_7a.branch7x7x3_1", [768, 192], [1, 1]),
            padded("Mixed_7a.branch7x7x3_2", [192, 192], [1, 7]),
            padded("Mixed_7a.branch7x7x3_3", [192, 192], [7, 1]),
            whole("Mixed_7a.branch7x7x3_4", [192, 192], 2),
        ],
        vec![Layer::MaxPool(HALVE)],
    ])
}

/// Figure 7: convolutions of 3 x 3 pixels as rows beside columns.
fn mixed_7(block: &str, from: usize, pool: Layer) -> Layer {
    let conv = |name: &str, channels, kernel| padded(&format!("{block}.{name}"), channels, kernel);
    let (point, row, column) = ([1, 1], [1, 3], [3, 1]);
    let both = |names: [&str; 2]| {
        let [first, second] = names;
        Layer::Branches(vec![
            vec![conv(first, [384, 384], row)],
            vec![conv(second, [384, 384], column)],
        ])
    };
    Layer::Branches(vec![
        vec![conv("branch1x1", [from, 320], point)],
        vec![
            conv("branch3x3_1", [from, 384], point),
            both(["branch3x3_2a", "branch3x3_2b"]),
        ],
        vec![
            conv("branch3x3dbl_1", [from, 448], point),
            conv("branch3x3dbl_2", [448, 384], [3, 3]),
            both(["branch3x3dbl_3a", "branch3x3dbl_3b"]),
        ],
        vec![pool, conv("branch_pool", [from, 192], point)],
    ])
}

/// All convolutions of some layers, in order.
pub(super) fn convs<'a>(layers: &'a [Layer]) -> Vec<&'a Conv> {
    let of = |layer: &'a Layer| match layer {
        Layer::Conv(conv) => vec![conv],
        Layer::Branches(branches) => branches.iter().flat_map(|layers| convs(layers)).collect(),
        Layer::MaxPool(_) | Layer::MeanPool | Layer::Tap(_) => vec![],
    };
    layers.iter().flat_map(of).collect()
}

/// What a file calls its tensors, and the order of their axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// As pytorch-fid and torch-fidelity do: `conv.weight` `[O, C, kh, kw]`, `fc.weight` `[1008, 2048]`.
    Torch,
    /// As jax-fid does: `conv.kernel` `[kh, kw, C, O]`, `fc.kernel` `[2048, 1008]`.
    Jax,
}

impl Conv {
    /// The tensors that a file has of it: the weights, and the factor, the shift, the mean and the variance of the batch norm.
    pub fn specs(&self, names: Names, prefix: &str) -> [ParamSpec; 5] {
        let ([c, n], [kh, kw]) = (self.channels, self.kernel);
        let spec = |name: &str, shape: &[usize], init| ParamSpec {
            name: format!("{prefix}{}.{name}", self.name),
            shape: shape.into(),
            init,
        };
        let (weight, shape, norm) = match names {
            Names::Torch => (
                "conv.weight",
                [n, c, kh, kw],
                ["weight", "bias", "running_mean", "running_var"],
            ),
            Names::Jax => (
                "conv.kernel",
                [kh, kw, c, n],
                ["scale", "bias", "mean", "var"],
            ),
        };
        let [factor, shift, mean, variance] = norm.map(|name| format!("bn.{name}"));
        [
            spec(weight, &shape, Init::FanIn),
            spec(&factor, &[n], Init::Ones),
            spec(&shift, &[n], Init::Zeros),
            spec(&mean, &[n], Init::Zeros),
            spec(&variance, &[n], Init::Ones),
        ]
    }
}

/// Weights and bias of the last layer.
pub(super) fn last(names: Names, prefix: &str) -> [ParamSpec; 2] {
    let spec = |name: &str, shape: &[usize], init| ParamSpec {
        name: format!("{prefix}fc.{name}"),
        shape: shape.into(),
        init,
    };
    let weight = match names {
        Names::Torch => spec("weight", &[N_LOGITS, N_FEATURES], Init::FanIn),
        Names::Jax => spec("kernel", &[N_FEATURES, N_LOGITS], Init::FanIn),
    };
    [weight, spec("bias", &[N_LOGITS], Init::Zeros)]
}
