//! Products of packed matrices, small enough to stay in the cache and used in several products each (attention).

use super::mat::MatMut;
use super::pack::Packed;
use super::real::Real;
use super::tile::{NR, Sink, tile_panels, tile_rows};
use pulp::{Simd, WithSimd};

/// out = aᵀ b, or out + aᵀ b if `add`, for packed a `[k, m]` and b `[k, n]`, which are not copied.
///
/// Every element is a single chain of (fused) multiply-adds over k, from zero.
#[inline(always)]
pub fn product_packed<S: Simd, F: Real>(
    simd: S,
    out: MatMut<'_, F>,
    add: bool,
    a: Packed<'_, F>,
    b: Packed<'_, F>,
) {
    product::<S, F, false>(simd, out, NR, add, a, b);
}

/// [`product_packed`] with a packed result, in the first [`Packed::len_of`] values of `out`.
#[inline(always)]
pub fn product_to_panels<'o, S: Simd, F: Real>(
    simd: S,
    out: &'o mut [F],
    a: Packed<'_, F>,
    b: Packed<'_, F>,
) -> &'o mut [[F; NR]] {
    let (rows, cols) = (a.cols, b.cols);
    let out = &mut out[..Packed::<F>::len_of(rows, cols)];
    let to = MatMut {
        data: &mut *out,
        rows,
        cols,
        row_stride: NR,
    };
    product::<S, F, false>(simd, to, rows * NR, false, a, b);
    out.as_chunks_mut().0
}

/// [`product_packed`] without the transpose: out = a b for packed a `[m, k]`.
#[inline(always)]
pub fn product_of_rows<S: Simd, F: Real>(
    simd: S,
    out: MatMut<'_, F>,
    add: bool,
    a: Packed<'_, F>,
    b: Packed<'_, F>,
) {
    product::<S, F, true>(simd, out, NR, add, a, b);
}

#[inline(always)]
fn product<S: Simd, F: Real, const OF_ROWS: bool>(
    simd: S,
    out: MatMut<'_, F>,
    panel_stride: usize,
    add: bool,
    a: Packed<'_, F>,
    b: Packed<'_, F>,
) {
    let (depth, rows) = if OF_ROWS {
        (a.cols, a.rows)
    } else {
        (a.rows, a.cols)
    };
    assert_eq!(depth, b.rows, "inner dimensions of a product");
    assert_eq!((out.rows, out.cols), (rows, b.cols), "shape of a product");
    // A call: inlining would duplicate the tile code at each call site.
    simd.vectorize(ProductPacked::<F, OF_ROWS> {
        out,
        panel_stride,
        add,
        a,
        b,
    });
}

struct ProductPacked<'a, F, const OF_ROWS: bool> {
    out: MatMut<'a, F>,
    /// Offset of the next `NR` columns of the result.
    panel_stride: usize,
    add: bool,
    a: Packed<'a, F>,
    b: Packed<'a, F>,
}

impl<F: Real, const OF_ROWS: bool> WithSimd for ProductPacked<'_, F, OF_ROWS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let side_by_side = tile_panels::<S, F>() == 2 && self.panel_stride == NR;
        let mut panels = 0..self.b.cols.div_ceil(NR);
        while !panels.is_empty() {
            let first = panels.start;
            if side_by_side && panels.len() > 1 {
                self.panels::<S, 2>(simd, first);
                panels.start += 2;
            } else {
                self.panels::<S, 1>(simd, first);
                panels.start += 1;
            }
        }
    }
}

impl<F: Real, const OF_ROWS: bool> ProductPacked<'_, F, OF_ROWS> {
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
            panel_stride,
            add,
            a,
            b,
        } = self;
        let panels: [_; P] = std::array::from_fn(|p| &b.panels[(first + p) * b.rows..][..b.rows]);
        let cols = (P * NR).min(cols - first * NR);
        for row in (0..rows).step_by(NR) {
            // Tiles that together cover the `NR` rows of a panel.
            macro_rules! tiles {
                ($($first:literal: $n:literal),*) => {{$(
                    if row + $first < rows {
                        let row = row + $first;
                        let sink = Sink {
                            data: &mut data[row * row_stride + first * panel_stride..],
                            row_stride,
                            rows: rows - row,
                            cols,
                            add,
                        };
                        if OF_ROWS {
                            let a = a.panels.get(row..).unwrap_or_default();
                            F::tile_of_rows::<S, $n, P>(simd, panels, a, rows, sink);
                        } else {
                            let a = &a.panels[row / NR * a.rows..][..a.rows];
                            F::tile::<S, $n, P, NR, $first>(simd, panels, a, sink);
                        }
                    }
                )*}};
            }
            match (tile_rows::<S, F>(), P) {
                // 16 rows of one panel use as many registers as 8 rows of two.
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

    struct ProductOfRows<'a, F>(Product<'a, F>);

    impl<F: Real> WithSimd for ProductOfRows<'_, F> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let Product(out, add, a, b) = self.0;
            product_of_rows(simd, out, add, a, b);
        }
    }

    struct ProductToPanels<'a, F>(&'a mut [F], Packed<'a, F>, Packed<'a, F>);

    impl<F: Real> WithSimd for ProductToPanels<'_, F> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            product_to_panels(simd, self.0, self.1, self.2);
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
            let term = |i: usize, j: usize| {
                let term = |p: usize| a[p * m + i].to_f64() * b[p * n + j].to_f64();
                (0..k).map(term).sum::<f64>()
            };
            let check = |got: F, want: f64, what: &str| {
                let error = (got.to_f64() - want).abs();
                assert!(error <= eps * (1 + k) as f64, "{m} {n} {k}: {what}");
            };

            let mut packed = vec![F::ZERO; Packed::<F>::len_of(m, n)];
            dispatch(ProductToPanels(&mut packed, pa, pb));
            for (j, i) in (0..n).flat_map(|j| (0..m).map(move |i| (j, i))) {
                let at = (j / NR * m + i) * NR + j % NR;
                check(packed[at], term(i, j), "to panels");
            }

            let mut rows = vec![F::ZERO; Packed::<F>::len_of(m, k)];
            let rows = Packed::new(Mat::new(&a, k, m).t(), &mut rows);
            let stride = n + 2;
            let before = wave(m * stride, 0.53);
            for add in [false, true] {
                let (mut out, mut of_rows) = (before.clone(), before.clone());
                let to = MatMut::strided(&mut out, m, n, stride);
                dispatch(Product(to, add, pa, pb));
                let to = MatMut::strided(&mut of_rows, m, n, stride);
                dispatch(ProductOfRows(Product(to, add, rows, pb)));
                assert_eq!(out, of_rows, "{m} {n} {k}");
                for (i, (out, before)) in out.chunks(stride).zip(before.chunks(stride)).enumerate()
                {
                    for j in 0..n {
                        let old = if add { before[j].to_f64() } else { 0.0 };
                        check(out[j], old + term(i, j), "to rows");
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
