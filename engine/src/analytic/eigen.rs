//! Eigenvalues of small symmetric matrices.

/// Eigenvalues and eigenvectors of a symmetric matrix `[d, d]` by Jacobi's rotations (1846): `a = V diag(l) V^T`. Column `i` of `V`
/// `[d, d]` belongs to value `i`.
pub(super) fn symmetric(a: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = a.to_vec();
    let mut v = vec![0.0; d * d];
    (0..d).for_each(|i| v[i * d + i] = 1.0);
    // The convergence is quadratic; far fewer sweeps are needed.
    for _ in 0..50 {
        let off: f64 = (0..d * d)
            .filter(|i| i / d != i % d)
            .map(|i| a[i] * a[i])
            .sum();
        if off == 0.0 {
            break;
        }
        for p in 0..d {
            for q in p + 1..d {
                rotate(&mut a, &mut v, d, p, q);
            }
        }
    }
    ((0..d).map(|i| a[i * d + i]).collect(), v)
}

/// Makes the entry `(p, q)` zero by a rotation of these two coordinates.
fn rotate(a: &mut [f64], v: &mut [f64], d: usize, p: usize, q: usize) {
    let apq = a[p * d + q];
    if apq == 0.0 {
        return;
    }
    let theta = (a[q * d + q] - a[p * d + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + libm::sqrt(theta * theta + 1.0));
    let c = 1.0 / libm::sqrt(t * t + 1.0);
    let s = t * c;
    let mix = |m: &mut [f64], i: usize, j: usize| {
        let (x, y) = (m[i], m[j]);
        (m[i], m[j]) = (c * x - s * y, s * x + c * y);
    };
    for k in 0..d {
        mix(a, k * d + p, k * d + q);
        mix(v, k * d + p, k * d + q);
    }
    for k in 0..d {
        mix(a, p * d + k, q * d + k);
    }
    (a[p * d + q], a[q * d + p]) = (0.0, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_vectors_make_up_the_matrix() {
        for d in [1, 2, 5, 16] {
            let entry = |i: usize, j: usize| {
                let (i, j) = (i.min(j) as f64, i.max(j) as f64);
                (1.7 * i + 0.3 * j).sin() + if i == j { 2.0 } else { 0.0 }
            };
            let a: Vec<f64> = (0..d * d).map(|i| entry(i / d, i % d)).collect();
            let (values, v) = symmetric(&a, d);
            for i in 0..d {
                for j in 0..d {
                    let sum = |f: &dyn Fn(usize) -> f64| (0..d).map(f).sum::<f64>();
                    let back = sum(&|k| v[i * d + k] * values[k] * v[j * d + k]);
                    assert!((back - a[i * d + j]).abs() < 1e-12);
                    let product = sum(&|k| v[k * d + i] * v[k * d + j]);
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
                }
            }
        }
    }
}
