//! The test cases for all backends.

use super::{Epilogue, Linear};
use crate::ops::Case;
use crate::shape::Type;

pub(in crate::ops) fn cases() -> Vec<Case> {
    let plain = |epilogue, save, m: usize, n: usize, k: usize, wrt: &[usize]| {
        Case::with_grad(
            Linear::Fwd { epilogue, save },
            &[Type::f32([m, k]), Type::f32([n, k]), Type::f32([n])],
            wrt,
        )
    };
    let gate = |save, b: usize, t: usize, n: usize, k: usize, wrt: &[usize]| {
        let y = Type::f32([b, t, n]);
        let ins = [
            Type::f32([b, t, k]),
            Type::f32([n, k]),
            Type::f32([n]),
            y,
            Type::f32([b, n]),
        ];
        Case::with_grad(
            Linear::Fwd {
                epilogue: Epilogue::Gate,
                save,
            },
            &ins,
            wrt,
        )
    };
    let bwd_x_mul = |m: usize, n: usize, k: usize| {
        let ins = [Type::f32([m, n]), Type::f32([n, k]), Type::f32([m, k])];
        Case::new(Linear::BwdX { mul: true }, &ins)
    };
    vec![
        bwd_x_mul(3, 5, 7),
        bwd_x_mul(70, 68, 36),
        plain(Epilogue::None, false, 1, 1, 1, &[0, 1, 2]),
        plain(Epilogue::None, false, 3, 5, 7, &[0, 1, 2]),
        plain(Epilogue::None, false, 65, 33, 70, &[0, 1, 2]),
        plain(Epilogue::None, false, 16, 384, 384, &[]),
        // Enough rows for the gradient of w to be split into slices.
        plain(Epilogue::None, false, 515, 3, 5, &[0, 1, 2]),
        plain(Epilogue::None, false, 300, 8, 12, &[0, 1, 2]),
        plain(Epilogue::Gelu, false, 5, 8, 4, &[]),
        plain(Epilogue::Gelu, true, 70, 68, 20, &[0, 1, 2]),
        plain(Epilogue::Gelu, false, 5, 9, 3, &[]),
        plain(Epilogue::Gelu, true, 5, 9, 3, &[0, 1, 2]),
        plain(Epilogue::Gelu, true, 33, 70, 17, &[0, 1, 2]),
        gate(false, 2, 3, 8, 4, &[]),
        gate(true, 2, 35, 68, 20, &[0, 1, 2, 3, 4]),
        gate(false, 2, 3, 5, 7, &[]),
        gate(true, 2, 3, 5, 7, &[0, 1, 2, 3, 4]),
        gate(true, 3, 17, 34, 20, &[0, 1, 2, 3, 4]),
    ]
}
