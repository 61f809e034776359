//! The products on the CPU.

use super::{Epilogue, Linear};
use crate::graph::CpuIo;
use crate::num::{Mat, MatMut, Real, gemm, gemm_pair, gemm_row_sums, slice};

pub(super) fn run<F: Real>(op: &Linear, io: CpuIo<'_, F>) {
    match *op {
        Linear::Fwd { epilogue, save } => fwd(io, epilogue, save),
        Linear::BwdX { mul } => {
            let (n, k) = (io.shape(1)[0], io.shape(1)[1]);
            let ([g, w, factor, ..], [gx, ..]) = (io.ins, io.outs);
            let m = g.len() / n;
            let (gx, g, w) = (MatMut::new(gx, m, k), Mat::new(g, m, n), Mat::new(w, n, k));
            if !mul {
                return gemm(gx, g, w, |_, _, _| ());
            }
            gemm(
                gx,
                g,
                w,
                #[inline(always)]
                |row, col, gx| {
                    for (gx, &factor) in gx.iter_mut().zip(&factor[row * k + col..]) {
                        *gx *= factor;
                    }
                },
            );
        }
        Linear::BwdW => {
            let (n, k) = (io.out_shape(0)[0], io.out_shape(0)[1]);
            let ([g, x, ..], [gw, gb, ..]) = (io.ins, io.outs);
            let m = g.len() / n;
            gemm_row_sums(gw, gb, Mat::new(g, m, n).t(), Mat::new(x, m, k));
        }
    }
}

fn fwd<F: Real>(io: CpuIo<'_, F>, epilogue: Epilogue, save: bool) {
    let (n, k) = (io.shape(1)[0], io.shape(1)[1]);
    let tokens = io.shape(0)[io.shape(0).len() - 2..][0];
    let [x, w, b, res, gate, ..] = io.ins;
    let [y, saved, ..] = io.outs;
    let m = x.len() / k;
    let (x, w) = (Mat::new(x, m, k), Mat::new(w, n, k).t());
    macro_rules! product {
        ($epilogue:expr) => {
            gemm(
                MatMut::new(y, m, n),
                x,
                w,
                #[inline(always)]
                $epilogue,
            )
        };
    }
    macro_rules! pair {
        ($epilogue:expr) => {
            gemm_pair(
                y,
                saved,
                x,
                w,
                #[inline(always)]
                $epilogue,
            )
        };
    }
    match (epilogue, save) {
        (Epilogue::None, _) => product!(|_, col, y: &mut [F]| {
            for (y, &b) in y.iter_mut().zip(&b[col..]) {
                *y += b;
            }
        }),
        (Epilogue::Gelu, false) => product!(|_, col, y: &mut [F]| {
            for (y, &b) in y.iter_mut().zip(&b[col..]) {
                *y = slice::gelu(*y + b);
            }
        }),
        (Epilogue::Gelu, true) => pair!(|_, col, y: &mut [F], slope: &mut [F]| {
            for ((y, slope), &b) in y.iter_mut().zip(slope).zip(&b[col..]) {
                (*y, *slope) = slice::gelu_with_slope(*y + b);
            }
        }),
        (Epilogue::Gate, false) => product!(|row, col, y: &mut [F]| {
            let (res, gate) = (&res[row * n + col..], &gate[row / tokens * n + col..]);
            for (((y, &b), &res), &gate) in y.iter_mut().zip(&b[col..]).zip(res).zip(gate) {
                *y = res + gate * (*y + b);
            }
        }),
        (Epilogue::Gate, true) => pair!(|row, col, y: &mut [F], branch: &mut [F]| {
            let (res, gate) = (&res[row * n + col..], &gate[row / tokens * n + col..]);
            let outs = y.iter_mut().zip(branch);
            for ((((y, branch), &b), &res), &gate) in outs.zip(&b[col..]).zip(res).zip(gate) {
                *branch = *y + b;
                *y = res + gate * *branch;
            }
        }),
    }
}
