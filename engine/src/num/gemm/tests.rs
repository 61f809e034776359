use super::*;

fn wave<F: Real>(n: usize, step: f64) -> Vec<F> {
    (0..n).map(|i| F::of((i as f64 * step).sin())).collect()
}

/// A matrix of shape `[rows, cols]`, stored transposed or not, with gaps between the stored rows.
fn mat<F: Real>(data: &[F], rows: usize, cols: usize, transposed: bool) -> Mat<'_, F> {
    if transposed {
        Mat::strided(data, cols, rows, rows + 3).t()
    } else {
        Mat::strided(data, rows, cols, cols + 3)
    }
}

/// Products of odd sizes against a triple loop in f64, in every transposition, strided.
fn agrees_with_triple_loop<F: Real>(eps: f64) {
    let sizes = [
        (1, 1, 1),
        (1, 7, 5),
        (5, 1, 3),
        (6, 16, 256),
        (7, 17, 257),
        (13, 33, 300),
        (50, 64, 70),
        (3, 5, 0),
        (0, 4, 2),
        (4, 0, 2),
    ];
    for (m, n, k) in sizes {
        for (ta, tb) in [(false, true), (false, false), (true, false), (true, true)] {
            let (a_data, b_data) = (
                wave::<F>((m + 3) * (k + 3), 0.71),
                wave::<F>((n + 3) * (k + 3), 0.37),
            );
            let (a, b) = (mat(&a_data, m, k, ta), mat(&b_data, k, n, tb));
            let stride = n + 2;
            let before = wave::<F>(m * stride, 0.53);
            let mut want = before.clone();
            for i in 0..m {
                for j in 0..n {
                    let term = |p: usize| {
                        a.data[i * a.row_stride + p * a.col_stride].to_f64()
                            * b.data[p * b.row_stride + j * b.col_stride].to_f64()
                    };
                    let value = (0..k).map(term).sum::<f64>();
                    want[i * stride + j] = F::of(value * (1.0 + i as f64));
                }
            }
            let epilogue = |i: usize, _: usize, piece: &mut [F]| {
                piece.iter_mut().for_each(|x| *x *= F::of(1.0 + i as f64))
            };
            let mut got = before;
            gemm(MatMut::strided(&mut got, m, n, stride), a, b, epilogue);
            for (got, want) in got.iter().zip(&want) {
                let error = (got.to_f64() - want.to_f64()).abs();
                let bound = eps * (1 + k) as f64 * (1 + m) as f64;
                assert!(error <= bound, "{m} {n} {k}: {got:?} for {want:?}");
            }
        }
    }
}

#[test]
fn f32_product_agrees_with_triple_loop() {
    agrees_with_triple_loop::<f32>(6e-8);
}

#[test]
fn f64_product_agrees_with_triple_loop() {
    agrees_with_triple_loop::<f64>(2e-16);
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn row_sums_agree_with_a_loop() {
    for (m, n, k) in [
        (1, 1, 1),
        (1, 3, 40),
        (9, 5, 1),
        (20, 17, 600),
        (20, 17, 3 * PART + 1),
        (300, 250, PART + 1),
    ] {
        let (g, x) = (wave::<f64>(k * m, 0.71), wave::<f64>(k * n, 0.37));
        let (mut gw, mut sums) = (vec![0.0; m * n], vec![0.0; m]);
        let (a, b) = (Mat::new(&g, k, m).t(), Mat::new(&x, k, n));
        gemm_row_sums(&mut gw, &mut sums, a, b);
        for (i, sum) in sums.iter().enumerate() {
            let want: f64 = g.iter().skip(i).step_by(m).sum();
            assert!((sum - want).abs() < 1e-12, "{m} {n} {k}: {sum} for {want}");
        }
        let mut want = vec![0.0; m * n];
        let out = MatMut::new(&mut want, m, n);
        gemm(out, a, b, |_, _, _| ());
        for (gw, want) in gw.iter().zip(&want) {
            assert!((gw - want).abs() < 1e-12, "{m} {n} {k}: {gw} for {want}");
        }
    }
}

#[test]
fn bits_of_a_row_do_not_depend_on_its_company() {
    for (m, n, k) in [(31, 40, 600), (130, 1, 64), (64, 17, 256), (200, 64, 384)] {
        let (x, w) = (wave::<f32>(m * k, 0.71), wave::<f32>(n * k, 0.37));
        for transposed in [false, true] {
            let a = if transposed {
                Mat::new(&x, k, m).t()
            } else {
                Mat::new(&x, m, k)
            };
            let b = Mat::new(&w, n, k).t();
            let run = |rows: std::ops::Range<usize>| {
                let mut out = vec![0.0; rows.len() * n];
                let part = Mat {
                    data: &a.data[rows.start * a.row_stride..],
                    rows: rows.len(),
                    ..a
                };
                gemm(MatMut::new(&mut out, rows.len(), n), part, b, |_, _, _| ());
                bits(&out)
            };
            let full = run(0..m);
            for size in [1, 2, 5, 6, 7, 24, 29] {
                for start in (0..m).step_by(size) {
                    let rows = start..(start + size).min(m);
                    assert_eq!(
                        run(rows.clone()),
                        full[rows.start * n..rows.end * n],
                        "{m} {n} {k} {rows:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn bits_of_a_column_do_not_depend_on_its_company() {
    let (m, n, k) = (20, 37, 300);
    let (x, w) = (wave::<f32>(m * k, 0.71), wave::<f32>(n * k, 0.37));
    let run = |cols: std::ops::Range<usize>| {
        let mut out = vec![0.0; m * cols.len()];
        let b = Mat::new(&w[cols.start * k..cols.end * k], cols.len(), k).t();
        gemm(
            MatMut::new(&mut out, m, cols.len()),
            Mat::new(&x, m, k),
            b,
            |_, _, _| (),
        );
        out
    };
    let full = run(0..n);
    for j in 0..n {
        let column: Vec<f32> = full.iter().skip(j).step_by(n).copied().collect();
        assert_eq!(bits(&run(j..j + 1)), bits(&column), "column {j}");
    }
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn bits_do_not_depend_on_threads() {
    let (m, n, k) = (100, 90, 4 * PART);
    let (x, w) = (wave::<f32>(m * k, 0.71), wave::<f32>(n * k, 0.37));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let (mut out, mut gw, mut sums) = (vec![0.0; m * n], vec![0.0; m * n], vec![0.0; m]);
        pool.install(|| {
            let (a, b) = (Mat::new(&x, k, m).t(), Mat::new(&w, k, n));
            gemm(MatMut::new(&mut out, m, n), a, b, |_, _, _| ());
            gemm_row_sums(&mut gw, &mut sums, a, b);
        });
        [bits(&out), bits(&gw), bits(&sums)]
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(7));
}
