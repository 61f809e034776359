//! Directions to look along.

use super::{Group, dot, squared_distance};
use sit_engine::rng::{Stream, fill_normal};

/// The axis of coordinate `k`, such as one pixel.
///
/// # Panics
/// If `k` is not below `d`.
pub fn axis(k: usize, d: usize) -> Vec<f32> {
    let mut direction = vec![0.0; d];
    direction[k] = 1.0;
    direction
}

/// Direction number `number` of a seed, uniform on the unit sphere.
pub fn random(seed: u64, number: u32, d: usize) -> Vec<f32> {
    let mut direction = vec![0.0; d];
    fill_normal(seed, Stream::Direction, number, 0, &mut direction);
    normalize(&mut direction);
    direction
}

/// The inner products `[n]` of vectors `x` `[n, d]` with a direction `[d]`.
pub fn project(x: &[f32], direction: &[f32]) -> Vec<f32> {
    x.chunks_exact(direction.len())
        .map(|row| dot(row, direction))
        .collect()
}

/// A principal component.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The direction `[d]`, of length 1; its largest coordinate is positive.
    pub direction: Vec<f32>,
    /// Variance along it.
    pub variance: f64,
}

/// The first principal components, by power iteration on the covariance with those found before taken out.
///
/// Fewer than `k` if the group varies in fewer directions. Components of nearly equal variance may come out rotated.
pub fn principal(group: &Group, k: usize) -> Vec<Principal> {
    // If more iterations are needed, the variances are nearly equal, and any mixture of the components is as good.
    const MAX_ITERATIONS: usize = 100;
    let (n, d) = (group.len(), group.d());
    if n < 2 {
        return Vec::new();
    }
    let mut mean = vec![0.0; d];
    for row in group.rows() {
        add_scaled(&mut mean, row, 1.0 / n as f32);
    }
    let mut centered = group.values().to_vec();
    for row in centered.chunks_exact_mut(d) {
        add_scaled(row, &mean, -1.0);
    }
    let total: f64 = centered.iter().map(|x| f64::from(x * x)).sum::<f64>() / (n - 1) as f64;
    let mut found: Vec<Principal> = Vec::new();
    for number in 0..k.min(d) {
        let mut direction = random(0, number as u32, d);
        let mut variance = 0.0;
        for _ in 0..MAX_ITERATIONS {
            let mut next = vec![0.0; d];
            for row in centered.chunks_exact(d) {
                add_scaled(&mut next, row, dot(row, &direction) / (n - 1) as f32);
            }
            for earlier in &found {
                let share = dot(&next, &earlier.direction);
                add_scaled(&mut next, &earlier.direction, -share);
            }
            variance = normalize(&mut next);
            let turn = squared_distance(&next, &direction);
            direction = next;
            if turn < 1e-8 {
                break;
            }
        }
        // What is left is rounding error: the covariance has a lower rank.
        if variance <= 1e-6 * total {
            break;
        }
        let largest = direction
            .iter()
            .copied()
            .max_by(|a, b| a.abs().total_cmp(&b.abs()));
        if largest.is_some_and(|x| x < 0.0) {
            direction.iter_mut().for_each(|x| *x = -*x);
        }
        found.push(Principal {
            direction,
            variance,
        });
    }
    found
}

fn add_scaled(sum: &mut [f32], x: &[f32], factor: f32) {
    sum.iter_mut().zip(x).for_each(|(s, x)| *s += factor * x);
}

/// Scales to length 1 and returns the original length.
fn normalize(x: &mut [f32]) -> f64 {
    let length = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        x.iter_mut()
            .for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_are_inner_products() {
        let x = [1.0, 2.0, 3.0, -1.0, 0.5, 4.0];
        assert_eq!(project(&x, &axis(1, 3)), [2.0, 0.5]);
        assert_eq!(project(&x, &[2.0, 0.0, -1.0]), [-1.0, -6.0]);
    }

    #[test]
    fn random_directions_are_uniform_units() {
        const N: u32 = 4000;
        let mut second = [[0.0; 3]; 3];
        for number in 0..N {
            let u = random(3, number, 3);
            assert!((dot(&u, &u) - 1.0).abs() < 1e-6);
            for i in 0..3 {
                for j in 0..3 {
                    second[i][j] += f64::from(u[i] * u[j]) / f64::from(N);
                }
            }
        }
        // Second moments of the sphere are a third of the unit matrix; deviations are below 0.3 / sqrt N.
        for (i, row) in second.iter().enumerate() {
            for (j, got) in row.iter().enumerate() {
                let expected = if i == j { 1.0 / 3.0 } else { 0.0 };
                assert!((got - expected).abs() < 0.02, "{second:?}");
            }
        }
        assert_ne!(random(3, 0, 3), random(4, 0, 3));
    }

    #[test]
    fn principal_components_of_a_stretched_cloud() {
        // Two independent coordinates of deviations 3 and 1, rotated into two of three dimensions about an offset.
        const N: usize = 5000;
        let mut z = vec![0.0; 2 * N];
        fill_normal(5, Stream::Noise, 0, 0, &mut z);
        let (sin, cos) = 0.6_f32.sin_cos();
        let x = z.chunks(2).flat_map(|z| {
            let (u, v) = (3.0 * z[0], z[1]);
            [7.0 + cos * u - sin * v, -2.0, sin * u + cos * v]
        });
        let found = principal(&Group::unlabelled(x.collect(), 3), 3);
        // The third direction does not vary.
        assert_eq!(found.len(), 2);
        let expected = [([cos, 0.0, sin], 9.0), ([-sin, 0.0, cos], 1.0)];
        for (got, (direction, variance)) in found.iter().zip(expected) {
            assert!(dot(&got.direction, &direction) > 0.999, "{got:?}");
            // The deviation of a variance is sqrt(2 / N) of it, 2 %.
            assert!((got.variance / variance - 1.0).abs() < 0.1, "{got:?}");
        }
    }
}
