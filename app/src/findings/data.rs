//! The training data of a network, to compare its samples with.

use crate::state::{Model, Source};
use crate::stats::nearest::HeldOut;
use crate::stats::{Group, direction};
use crate::train::Data;
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::transport::Path;
use sit_trainer::data::{Dataset, digits};
use std::collections::BTreeMap;

/// Points that are drawn of a distribution in the plane.
const POINTS: usize = 2048;

/// The data of a source.
pub struct Known {
    /// The data; of a distribution in the plane, some points.
    pub all: Group,
    /// Its first principal component, `[d]`.
    pub principal: Vec<f32>,
    /// The distances from held-out images to it, for images.
    pub held_out: Option<HeldOut>,
}

impl Known {
    /// The data of a model's source; `None` if it is not available.
    pub fn of(model: &Model) -> Option<Self> {
        let data = match &model.source {
            Source::Digits => Data::Digits,
            Source::Exact(name) | Source::Trained(name) => {
                Data::all().into_iter().find(|data| data.name() == name)?
            }
            // What they learned from is not part of the program.
            Source::Emoji | Source::File(_) => return None,
        };
        let dataset = data.dataset().ok()?;
        let all = read(&*dataset, POINTS)?;
        if all.d() != model.io.image_len() {
            return None;
        }
        let all = match model.io.n_classes {
            0 => Group::unlabelled(all.values().to_vec(), all.d()),
            _ => all,
        };
        let principal = direction::principal(&all, 1).pop()?.direction;
        let held_out = match data {
            Data::Digits => Some(HeldOut::new(&read(&digits::held_out(), POINTS)?, &all)),
            _ => None,
        };
        Some(Known {
            all,
            principal,
            held_out,
        })
    }

    /// At most `most` members with classes in the proportions of `labels`. If a label is not a class of the data, such as the null
    /// class, all classes are used.
    pub fn like(&self, labels: &[u32], most: usize) -> Group {
        let mut wanted = BTreeMap::<u32, usize>::new();
        for &label in labels {
            *wanted.entry(label).or_default() += 1;
        }
        let count = |label: u32| self.all.labels().iter().filter(|l| **l == label).count();
        let times = wanted.iter().map(|(label, n)| count(*label) / n).min();
        let times = times.unwrap_or(0).min(most / labels.len().max(1));
        let d = self.all.d();
        if times == 0 {
            let n = self.all.len().min(most);
            let label = labels.first().copied().unwrap_or(0);
            return Group::new(self.all.values()[..n * d].to_vec(), d, vec![label; n]);
        }
        wanted.values_mut().for_each(|n| *n *= times);
        let (mut x, mut of) = (Vec::new(), Vec::new());
        for (row, &label) in self.all.rows().zip(self.all.labels()) {
            if let Some(left) = wanted.get_mut(&label).filter(|left| **left > 0) {
                *left -= 1;
                x.extend_from_slice(row);
                of.push(label);
            }
        }
        Group::new(x, d, of)
    }
}

/// The first images of a data set.
fn read(dataset: &dyn Dataset, most: usize) -> Option<Group> {
    let d = dataset.shape().iter().product();
    let n = dataset.len().min(most);
    let mut x = vec![0.0; n * d];
    for (index, image) in x.chunks_exact_mut(d).enumerate() {
        dataset.read(index, image).ok()?;
    }
    Some(Group::new(x, d, (0..n).map(|i| dataset.label(i)).collect()))
}

/// The marginal of the path at time `t`: `x_t = alpha_t x1 + sigma_t x0`, with noise x0 that is the same at every time.
pub fn at(data: &Group, path: &Path, t: f64, seed: u64) -> Group {
    let mut x = vec![0.0; data.values().len()];
    fill_normal(seed, Stream::Noise, 0, 0, &mut x);
    let (alpha, sigma) = (path.alpha(t) as f32, path.sigma(t) as f32);
    let pairs = x.iter_mut().zip(data.values());
    pairs.for_each(|(x, x1)| *x = alpha * x1 + sigma * *x);
    Group::new(x, data.d(), data.labels().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Origin, open};

    fn digits() -> (Model, Known) {
        let Ok(Origin::Network((model, _))) = open(&Source::Digits) else {
            panic!("the embedded digits open");
        };
        let known = Known::of(&model).unwrap();
        (model, known)
    }

    #[test]
    fn the_digits_are_compared_class_by_class() {
        let (model, known) = digits();
        assert_eq!((known.all.len(), known.all.d()), (1442, 64));
        let like = known.like(&[3, 3, 7], 31);
        assert!(like.len() >= 28 && like.len() <= 31, "{}", like.len());
        let threes = like.labels().iter().filter(|l| **l == 3).count();
        let sevens = like.labels().iter().filter(|l| **l == 7).count();
        assert_eq!((threes, threes + sevens), (2 * sevens, like.len()));
        // Without a class, all members count as one class.
        let null = model.io.null_class().unwrap();
        let like = known.like(&[null; 8], 100);
        assert_eq!(like.labels(), [null; 100]);
        assert_eq!(like.values(), &known.all.values()[..6400]);
    }

    #[test]
    fn the_path_leads_from_noise_to_the_data() {
        let (_, known) = digits();
        let data = known.like(&[0, 1], 100);
        assert_eq!(at(&data, &Path::Linear, 1.0, 5), data);
        let noise = at(&data, &Path::Linear, 0.0, 5);
        let middle = at(&data, &Path::Linear, 0.5, 5);
        for ((m, a), b) in middle
            .values()
            .iter()
            .zip(noise.values())
            .zip(data.values())
        {
            assert!((m - 0.5 * (a + b)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_dropped_file_does_not_say_what_it_learned_from() {
        let (model, _) = digits();
        let source = Source::File("mine.safetensors".into());
        assert!(Known::of(&Model { source, ..model }).is_none());
    }
}
