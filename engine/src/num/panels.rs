//! Products of packed matrices: small ones, which stay in the cache and go into several products each (those of attention).

use super::mat::MatMut;
use super::pack::Packed;
use super::real::Real;
use super::tile::{NR, Sink, tile_panels, tile_rows};
use pulp::{Simd, WithSimd};

/// out = aᵀ b, or out + aᵀ b (`add`), for packed a `[k, m]` and b `[k, n]`, read where they lie.
///
/// Every element is one chain of (fused) multiply-adds over k, from zero.
#[inline(always)]
pub fn product_packed<S: Simd, F: Real>(
    simd: S,
    out: MatMut<'_, F>,
    add: bool,
    a: Packed<'_, F>,
    b: Packed<'_, F>,
) {
    assert_eq!(a.rows, b.rows, "inner dimensions of a product");
    assert_eq!((out.rows, out.cols), (a.cols, b.cols), "shape of a product");
    // A call, where inlining would repeat the tiles at each place.
    simd.vectorize(ProductPacked { out, add, a, b });
}

struct ProductPacked<'a, F> {
    out: MatMut<'a, F>,
    add: bool,
    a: Packed<'a, F>,
    b: Packed<'a, F>,
}

impl<F: Real> WithSimd for ProductPacked<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut panels = 0..self.b.cols.div_ceil(NR);
        while !panels.is_empty() {
            let first = panels.start;
            if tile_panels::<S, F>() == 2 && panels.len() > 1 {
                self.panels::<S, 2>(simd, first);
                panels.start += 2;
            } else {
                self.panels::<S, 1>(simd, first);
                panels.start += 1;
            }
        }
    }
}

impl<F: Real> ProductPacked<'_, F> {
    /// The columns of `P` panels of b, from panel `first` on.
    #[inline(always)]
    fn panels<S: Simd, const P: usize>(&mut self, simd: S, first: usize) {
        let &mut Self {
            out:
                MatMut {
                    rows,
                    cols,
                    row_stride,
                    ref mut data,
                },
            add,
            a,
            b,
        } = self;
        let panels: [_; P] = std::array::from_fn(|p| b.panel(first + p).panels);
        let col = first * NR;
        for row in (0..rows).step_by(NR) {
            let a = a.panel(row / NR).panels;
            // Tiles that together have the rows of a panel.
            macro_rules! tiles {
                ($($first:literal: $n:literal),*) => {{$(
                    if row + $first < rows {
                        let sink = Sink {
                            data: &mut data[(row + $first) * row_stride + col..],
                            row_stride,
                            rows: rows - row - $first,
                            cols: (P * NR).min(cols - col),
                            add,
                        };
                        F::tile::<S, $n, P, NR, $first>(simd, panels, a, sink);
                    }
                )*}};
            }
            match (tile_rows::<S, F>(), P) {
                // As many registers as with two panels.
                (8, 1) => tiles!(0: 16),
                (8, _) => tiles!(0: 8, 8: 8),
                (6, _) => tiles!(0: 6, 6: 5, 11: 5),
                _ => tiles!(0: 2, 2: 2, 4: 2, 6: 2, 8: 2, 10: 2, 12: 2, 14: 2),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Mat;
    use crate::num::simd::dispatch;

    struct Product<'a, F>(MatMut<'a, F>, bool, Packed<'a, F>, Packed<'a, F>);

    impl<F: Real> WithSimd for Product<'_, F> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            product_packed(simd, self.0, self.1, self.2, self.3);
        }
    }

    fn agrees_with_triple_loop<F: Real>(eps: f64) {
        let wave = |n: usize, step: f64| -> Vec<F> {
            (0..n).map(|i| F::of((i as f64 * step).sin())).collect()
        };
        for (m, n, k) in [
            (1, 1, 1),
            (16, 16, 64),
            (5, 17, 3),
            (64, 40, 16),
            (23, 1, 0),
        ] {
            let (a, b) = (wave(k * m, 0.71), wave(k * n, 0.37));
            let mut panels = [
                vec![F::ZERO; Packed::<F>::len_of(k, m)],
                vec![F::ZERO; Packed::<F>::len_of(k, n)],
            ];
            let [pa, pb] = &mut panels;
            let (pa, pb) = (
                Packed::new(Mat::new(&a, k, m), pa),
                Packed::new(Mat::new(&b, k, n), pb),
            );
            let stride = n + 2;
            let before = wave(m * stride, 0.53);
            for add in [false, true] {
                let mut out = before.clone();
                let to = MatMut::strided(&mut out, m, n, stride);
                dispatch(Product(to, add, pa, pb));
                for (i, (out, before)) in out.chunks(stride).zip(before.chunks(stride)).enumerate()
                {
                    for j in 0..n {
                        let term = |p: usize| a[p * m + i].to_f64() * b[p * n + j].to_f64();
                        let old = if add { before[j].to_f64() } else { 0.0 };
                        let want = old + (0..k).map(term).sum::<f64>();
                        let error = (out[j].to_f64() - want).abs();
                        assert!(error <= eps * (1 + k) as f64, "{m} {n} {k}: {i} {j}");
                    }
                    assert_eq!(out[n..], before[n..]);
                }
            }
        }
    }

    #[test]
    fn products_agree_with_a_triple_loop() {
        agrees_with_triple_loop::<f32>(1.2e-7);
        agrees_with_triple_loop::<f64>(2.3e-16);
    }
}
