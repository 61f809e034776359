//! Which images are made: labels, numbers, and where the noise comes from.

use super::args::Args;
use crate::commands::classes::Known;
use crate::data::classes;
use crate::error::{Failure, Result};
use crate::memory;
use crate::png::{Grid, is_plane};
use crate::sampling::{Images, Noise};
use crate::weights;
use sit_engine::checkpoint::Recipe;
use sit_engine::model::NetworkIo;
use sit_engine::text::{count, shown};
use std::iter;
use std::ops::Range;
use std::path::Path;

/// More images than any real request.
const MAX_IMAGES: u64 = 10_000_000;

/// Numbers of images, in parts that do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index(Vec<Range<u64>>);

/// Reads a list such as `10` or `3,8-9`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_index(text: &str) -> std::result::Result<Index, String> {
    let number = |s: &str| {
        s.trim()
            .parse::<u64>()
            .ok()
            .filter(|&number| number < MAX_IMAGES)
            .ok_or_else(|| {
                format!(
                    "{s:?} is not the number of an image; expected a list like 10 or 3,8-9, of numbers below {MAX_IMAGES}"
                )
            })
    };
    let mut parts = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!(
                "{part:?}: expected the first number before the last"
            ));
        }
        parts.push(Range {
            start: first,
            end: last + 1,
        });
    }
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.start);
    match sorted.windows(2).find(|two| two[1].start < two[0].end) {
        Some(two) => Err(format!("image {} stands in it twice", two[1].start)),
        None => Ok(Index(parts)),
    }
}

/// What to sample.
pub struct Wanted {
    /// The images.
    pub images: Images,
    /// The noise at the start.
    pub noise: Noise,
    /// The layout of the images in the grid.
    pub place: Grid,
    /// A line that says where each class is in the grid; empty without classes.
    pub said: String,
}

impl Args {
    /// Labels of all images, and where the noise comes from.
    pub fn wanted(&self, io: &NetworkIo, names: &[String]) -> Result<Wanted> {
        let init = self
            .init
            .as_deref()
            .map(|path| read_init(path, io))
            .transpose()?;
        if self.classes.is_some() {
            let why = match &init {
                _ if io.n_classes == 0 => "this model has no classes",
                Some(Init { y: Some(_), .. }) => "the file of --init has labels y",
                _ => "",
            };
            if !why.is_empty() {
                return Err(Failure::Input(format!("--classes: {why}")));
            }
        }
        let n_classes = io.n_classes;
        let classes = match &self.classes {
            Some(text) => Known {
                n: n_classes,
                names,
            }
            .parse(text)
            .map_err(|e| Failure::Input(format!("--classes {e}")))?,
            None if self.many().is_some() => (0..n_classes.max(1) as u32).collect(),
            None => (0..n_classes.clamp(1, 10) as u32).collect(),
        };
        let usual = if is_plane(io.image) { 1000 } else { 8 };
        let per_class = self.per_class.unwrap_or(usual) as usize;
        let (images, n, mut place, noise) = match (init, self.many()) {
            (None, Some(n)) => {
                let images = match self.balanced {
                    true => Images::new(classes.clone(), 1, n),
                    false => Images::drawn(classes.clone(), self.seed, n),
                };
                (images, n, Grid::square(n as usize), Noise::Drawn)
            }
            (None, None) => {
                let n = (per_class as u64).saturating_mul(classes.len() as u64);
                let place = match n_classes {
                    0 => Grid::square(per_class),
                    _ => Grid::by_class(classes.len(), per_class),
                };
                let images = Images::new(classes.clone(), per_class as u64, n);
                (images, n, place, Noise::Drawn)
            }
            (Some(Init { n, x, y, noise }), _) => {
                let images = Images::new(y.unwrap_or_else(|| classes.clone()), 1, n as u64);
                let noise = match noise {
                    None => Noise::Given(x),
                    Some(noise) => Noise::Chain(x, noise),
                };
                (images, n as u64, Grid::square(n), noise)
            }
        };
        if n > MAX_IMAGES {
            return Err(Failure::Input(format!(
                "--per-class: got {n} images in all, expected at most {MAX_IMAGES}; take several seeds"
            )));
        }
        let images = match &self.index {
            None => images,
            Some(Index(parts)) => {
                if let Some(part) = parts.iter().find(|part| part.end > n) {
                    return Err(Failure::Input(format!(
                        "--index: got {}, expected 0 to {}: the list has {}",
                        part.end - 1,
                        n - 1,
                        count(n, "image")
                    )));
                }
                let images = images.pick(parts.clone());
                place = Grid::square(images.n() as usize);
                images
            }
        };
        let said = match (n_classes, &noise, &self.index) {
            _ if is_plane(io.image) || self.grid().is_none() => String::new(),
            (0, ..) | (_, Noise::Given(_) | Noise::Chain(..), _) | (.., Some(_)) => String::new(),
            _ => {
                let numbers = classes.iter().map(|&class| class as usize);
                let all = match self.classes.is_none() && n_classes > classes.len() {
                    true => format!(" of {}", count(n_classes, "class")),
                    false => String::new(),
                };
                let shown = numbered(names, n_classes, numbers);
                format!("{}{all}: {shown}\n", place.say())
            }
        };
        Ok(Wanted {
            images,
            noise,
            place,
            said,
        })
    }

    /// Refuses a file of `--init` whose noise is of another number of steps than the `n` that add some.
    pub fn check_chain(&self, noise: &Noise, n: usize) -> Result<()> {
        let (Some(init), Noise::Chain(x, steps)) = (&self.init, noise) else {
            return Ok(());
        };
        let got = steps.len() / x.len().max(1);
        match got == n {
            true => Ok(()),
            false => Err(Failure::Input(format!(
                "--init: {} holds noise of {}, expected {n}: as many as the solver's steps add noise",
                shown(init),
                count(got, "step")
            ))),
        }
    }
}

/// Refuses guidance of a model trained without its null class, and warns that its samples of that class mean nothing.
pub fn check_null_class(
    guidance: f64,
    io: &NetworkIo,
    recipe: &Recipe,
    labels: &[u32],
) -> Result<()> {
    let Some(null) = io
        .null_class()
        .filter(|_| recipe.class_dropout == Some(0.0))
    else {
        return Ok(());
    };
    // Of a student the sampler refuses it, for another reason.
    if guidance != 1.0 && recipe.transport.student_steps.is_none() {
        return Err(Failure::Input(format!(
            "--guidance: got {guidance}, expected 1 (none): the model was trained with train.class_dropout = 0, so it has never seen the \
             null class that guidance compares with"
        )));
    }
    if labels.contains(&null) {
        tracing::warn!(
            "the model was trained with train.class_dropout = 0: it has never seen the null class (none), whose samples mean nothing"
        );
    }
    Ok(())
}

/// Classes by number and name, the null class by its name.
fn numbered(names: &[String], n: usize, classes: impl ExactSizeIterator<Item = usize>) -> String {
    classes::list(classes.map(|class| match class == n {
        true => "none".to_owned(),
        false => classes::numbered(names, iter::once(class)),
    }))
}

struct Init {
    n: usize,
    x: Vec<f32>,
    y: Option<Vec<u32>>,
    /// The noise of each step that adds some, one after the other.
    noise: Option<Vec<f32>>,
}

fn read_init(path: &Path, io: &NetworkIo) -> Result<Init> {
    let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
    let mut file = weights::open(path)?;
    let image = io.image;
    let [c, h, w] = image;
    let (n, n_states) = match file.shape("x").as_deref() {
        Some(&[n, ref one @ ..]) if n > 0 && *one == image => (n, 1),
        // A trajectory.
        Some(&[states, n, ref one @ ..]) if states > 0 && n > 0 && *one == image => (n, states),
        Some(shape) => {
            return Err(refuse(format!(
                "x is {shape:?}, expected [B, {c}, {h}, {w}]"
            )));
        }
        None => return Err(refuse("has no tensor x".into())),
    };
    let y = match file.shape("y").as_deref() {
        None => None,
        Some(&[m]) if m == n => Some(file.read_labels("y")?),
        Some(shape) => return Err(refuse(format!("y is {shape:?}, expected [{n}]"))),
    };
    let unknown = |&&label: &&u32| label as usize > io.n_classes;
    if let Some(label) = y.iter().flatten().find(unknown) {
        return Err(refuse(format!(
            "y holds {label}, expected 0 to {}",
            io.n_classes
        )));
    }
    let numel = n * io.image_len();
    let bytes = 8 * (numel as u64).saturating_mul(n_states as u64);
    memory::require_host(
        &format!("--init: x of {}", shown(path)),
        Some(bytes),
        "take a file of fewer images",
    )?;
    let mut x = file.read("x")?;
    x.truncate(numel);
    let noise = match file.shape("noise").as_deref() {
        None => None,
        Some(&[_, m, ref one @ ..]) if m == n && *one == image => Some(file.read("noise")?),
        Some(shape) => {
            return Err(refuse(format!(
                "noise is {shape:?}, expected [steps, {n}, {c}, {h}, {w}] for the {n} images of x"
            )));
        }
    };
    Ok(Init { n, x, y, noise })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_images() {
        let list = |text| parse_index(text).map(|Index(parts)| parts);
        assert_eq!(list("10,12"), Ok(vec![10..11, 12..13]));
        assert_eq!(list("3, 8-9,0"), Ok(vec![3..4, 8..10, 0..1]));
        let cases = [
            ("", "\"\" is not the number of an image"),
            ("a", "\"a\" is not the number of an image"),
            ("5-", "\"\" is not the number of an image"),
            ("0-10000000", "\"10000000\" is not the number of an image"),
            ("9-8", "\"9-8\": expected the first number before the last"),
            ("3,0-5", "image 3 stands in it twice"),
        ];
        for (text, expected) in cases {
            let message = list(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
