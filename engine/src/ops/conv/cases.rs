//! The test cases for all backends.

use super::{Conv, Windows};
use crate::ops::Case;
use crate::shape::Type;

pub(in crate::ops) fn cases() -> Vec<Case> {
    let of = |x: [usize; 4], w: [usize; 3], windows: Windows, relu: bool, wrt: &[usize]| {
        let weight = Type::f32([w[0], w[1], w[2], x[3]]);
        let ins = [Type::f32(x), weight, Type::f32([w[0]])];
        Case::with_grad(Conv::Fwd { windows, relu }, &ins, wrt)
    };
    let case = |x, w, windows, wrt: &[usize]| of(x, w, windows, false, wrt);
    let relu = |x, w, windows, wrt: &[usize]| of(x, w, windows, true, wrt);
    let all = &[0, 1, 2];
    let (same, half) = (Windows::new(1, 1), Windows::new(2, 1));
    let pad = |top, bottom, left, right| Windows {
        stride: 1,
        top,
        bottom,
        left,
        right,
    };
    vec![
        case([1, 1, 1, 1], [1, 1, 1], Windows::new(1, 0), all),
        case([2, 4, 5, 3], [5, 3, 3], same, all),
        case([2, 8, 8, 16], [20, 3, 3], same, all),
        // Enough columns for the threads to share them.
        case([1, 6, 5, 36], [4, 3, 3], same, all),
        // Enough windows for the gradient of w to be split into slices.
        case([3, 13, 14, 4], [4, 3, 3], same, all),
        // The strided convolutions of a U-Net, of an autoencoder and of Inception.
        case([2, 6, 4, 8], [12, 3, 3], half, all),
        case(
            [2, 5, 4, 3],
            [4, 3, 3],
            Windows {
                stride: 2,
                ..pad(0, 1, 0, 1)
            },
            all,
        ),
        case([1, 7, 9, 2], [3, 3, 3], Windows::new(2, 0), all),
        case([1, 4, 7, 5], [3, 1, 7], pad(0, 0, 3, 3), all),
        case([1, 7, 4, 5], [3, 7, 1], pad(3, 3, 0, 0), all),
        // Pixels that no window reads, and a kernel wider than the image.
        case([1, 5, 5, 2], [2, 2, 2], Windows::new(3, 0), all),
        case([1, 2, 3, 4], [4, 5, 5], Windows::new(1, 2), all),
        case([1, 16, 16, 64], [64, 3, 3], same, &[]),
        // The convolutions of Inception, with their ReLU: of one pixel, of a row, of a column, and with a stride.
        relu([2, 3, 4, 5], [6, 1, 1], Windows::new(1, 0), all),
        relu([2, 4, 3, 8], [8, 1, 1], Windows::new(1, 0), all),
        relu([1, 9, 8, 48], [20, 1, 1], Windows::new(1, 0), &[]),
        relu([1, 3, 5, 4], [8, 1, 3], pad(0, 0, 1, 1), all),
        relu([1, 5, 3, 4], [8, 3, 1], pad(1, 1, 0, 0), all),
        relu([2, 7, 5, 3], [4, 3, 3], Windows::new(2, 0), all),
        relu([1, 9, 9, 32], [32, 7, 1], pad(3, 3, 0, 0), &[]),
    ]
}
