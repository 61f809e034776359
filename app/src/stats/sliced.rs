//! The sliced Wasserstein distance (Rabin, Peyre, Delon and Bernot, SSVM 2011; Bonneel et al., JMIV 2015).

use super::{Group, direction, resample::Strata};

/// Two groups projected on random directions, to compute the distance for any weights of the members.
#[derive(Debug)]
pub struct Sliced {
    strata: Strata,
    n_a: usize,
    n: usize,
    /// Members in ascending order along each direction, `[directions, n]`, and the gap to the next member.
    sorted: Vec<(u32, f32)>,
}

impl Sliced {
    /// Projects the groups on `n_directions` random directions, a function of the seed.
    ///
    /// # Panics
    /// If the groups' vectors have different lengths, a group is empty or there is no direction.
    pub fn new(a: &Group, b: &Group, n_directions: u32, seed: u64) -> Self {
        assert_eq!(a.d(), b.d(), "vectors of different lengths");
        assert!(
            !a.is_empty() && !b.is_empty() && n_directions > 0,
            "groups of {} and {} along {n_directions} directions",
            a.len(),
            b.len()
        );
        let n = a.len() + b.len();
        let mut sorted = Vec::with_capacity(n_directions as usize * n);
        for number in 0..n_directions {
            let direction = direction::random(seed, number, a.d());
            let mut x = direction::project(a.values(), &direction);
            x.extend(direction::project(b.values(), &direction));
            let mut order: Vec<(u32, f32)> = (0..).zip(x).collect();
            order.sort_unstable_by(|(i, x), (j, y)| x.total_cmp(y).then(i.cmp(j)));
            let value = |position: usize| order[position.min(n - 1)].1;
            sorted.extend((0..n).map(|p| (order[p].0, value(p + 1) - value(p))));
        }
        Self {
            strata: Strata::new(a.labels(), b.labels()),
            n_a: a.len(),
            n,
            sorted,
        }
    }

    /// The mean over directions of `W_1`, which along a line is the area between the two distribution functions.
    ///
    /// Unit: that of the vectors; a shift of both by `s` apart gives about `0.8 |s| / sqrt d`, that is 0.8 of its root mean
    /// square over pixels. Groups of one distribution have a distance above 0 too: [`Sliced::noise`].
    pub fn distance(&self) -> f64 {
        let steps: Vec<[f32; 1]> = (0..self.n).map(|i| [self.step(i, 1)]).collect();
        self.between(&steps)[0]
    }

    /// The contribution of member `i` of its group to the difference of the distribution functions if it counts `count` times.
    fn step(&self, i: usize, count: u32) -> f32 {
        let (n_a, n_b) = (self.n_a as f32, (self.n - self.n_a) as f32);
        if i < self.n_a {
            count as f32 / n_a
        } else {
            -(count as f32 / n_b)
        }
    }

    /// The distances for `K` weightings of the members, side by side so that it vectorizes. `steps` is what each member adds to the
    /// difference of the distribution functions.
    fn between<const K: usize>(&self, steps: &[[f32; K]]) -> [f64; K] {
        let mut sums = [0.0_f64; K];
        let lines = self.sorted.chunks_exact(self.n);
        let n_lines = lines.len() as f64;
        for line in lines {
            let (mut difference, mut area) = ([0.0_f32; K], [0.0_f32; K]);
            for &(i, gap) in line {
                let step = &steps[i as usize];
                for k in 0..K {
                    difference[k] += step[k];
                    area[k] += difference[k].abs() * gap;
                }
            }
            for k in 0..K {
                sums[k] += f64::from(area[k]);
            }
        }
        sums.map(|sum| sum / n_lines)
    }

    /// The distances for `count` weightings; `weigh` computes what each member adds to the difference.
    fn resampled(&self, count: u32, mut weigh: impl FnMut(u32, &mut [f32])) -> Vec<f64> {
        const K: usize = 8;
        let mut steps = vec![[0.0; K]; self.n];
        let mut of_one = vec![0.0; self.n];
        let mut distances = Vec::with_capacity(count as usize + K);
        for number in 0..count {
            weigh(number, &mut of_one);
            let k = number as usize % K;
            steps
                .iter_mut()
                .zip(&of_one)
                .for_each(|(all, one)| all[k] = *one);
            if k + 1 == K || number + 1 == count {
                distances.extend_from_slice(&self.between(&steps)[..=k]);
            }
        }
        distances
    }

    /// The distance expected from chance alone for groups of these sizes: its mean over random relabelings within classes.
    pub fn noise(&self, relabelings: u32, seed: u64) -> f64 {
        let distances = self.resampled(relabelings, |number, steps| {
            steps.fill(self.step(self.n_a, 1));
            for i in self.strata.relabeling(seed, number) {
                steps[i as usize] = self.step(0, 1);
            }
        });
        distances.iter().sum::<f64>() / f64::from(relabelings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::rng::{Stream, fill_normal};

    fn normals(number: u32, n: usize, d: usize, shift: &[f32]) -> Group {
        let mut x = vec![0.0; n * d];
        fill_normal(78, Stream::Noise, number, 0, &mut x);
        for row in x.chunks_exact_mut(d) {
            row.iter_mut().zip(shift).for_each(|(x, s)| *x += s);
        }
        Group::unlabelled(x, d)
    }

    #[test]
    fn along_a_line_it_is_the_mean_distance_of_sorted_members() {
        let a = Group::unlabelled(vec![3.0, 0.0, 1.0], 1);
        let b = Group::unlabelled(vec![5.0, -1.0, 4.0], 1);
        // |0 + 1| + |1 - 4| + |3 - 5|.
        assert!((Sliced::new(&a, &b, 2, 0).distance() - 2.0).abs() < 1e-6);
        // Sizes 1 and 2: half of the mass goes from 0 to -1, half from 0 to 4.
        let (a, b) = (
            Group::unlabelled(vec![0.0], 1),
            Group::unlabelled(vec![4.0, -1.0], 1),
        );
        assert!((Sliced::new(&a, &b, 1, 0).distance() - 2.5).abs() < 1e-6);
    }

    #[test]
    fn a_shift_gives_its_mean_projection() {
        let (d, shift) = (16, 5.0 / 4.0_f32);
        let a = normals(0, 64, d, &[0.0; 16]);
        let shifted = a.values().iter().map(|x| x + shift);
        let b = Group::unlabelled(shifted.collect(), d);
        // Along u the distance is |u . s|, whose mean over the sphere is |s| Gamma(d/2) / (sqrt pi Gamma((d+1)/2)).
        let length = f64::from(shift) * (d as f64).sqrt();
        let gamma = libm::tgamma(8.0) / libm::tgamma(8.5);
        let expected = length * gamma / std::f64::consts::PI.sqrt();
        let got = Sliced::new(&a, &b, 1000, 3).distance();
        // The deviation of |u . s| is 0.75 of its mean, here over 1000 directions.
        assert!((got / expected - 1.0).abs() < 0.1, "{got} {expected}");
        assert!(
            (expected / (0.8 * f64::from(shift)) - 1.0).abs() < 0.03,
            "{expected}"
        );
    }

    #[test]
    fn noise_is_what_groups_of_one_distribution_have() {
        let distances: Vec<f64> = (0..40)
            .map(|k| {
                let (a, b) = (normals(2 * k, 40, 4, &[]), normals(2 * k + 1, 40, 4, &[]));
                Sliced::new(&a, &b, 32, 1).distance()
            })
            .collect();
        let mean = distances.iter().sum::<f64>() / 40.0;
        let (a, b) = (normals(0, 40, 4, &[]), normals(1, 40, 4, &[2.0]));
        let same = Sliced::new(&a, &normals(1, 40, 4, &[]), 32, 1).noise(100, 2);
        assert!((same / mean - 1.0).abs() < 0.15, "{same} {mean}");
        let sliced = Sliced::new(&a, &b, 32, 1);
        assert!(sliced.distance() > 2.0 * sliced.noise(100, 2));
    }
}
