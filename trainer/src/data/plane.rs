//! Points in the plane as images of one pixel and two channels: the toys, and any other set of points.

use sit_engine::analytic::{Point, Points, Toy};
use std::path::Path;

use super::{DataConfig, DataError, Dataset, Split};

/// What a path to a toy begins with.
const PREFIX: &str = "toy:";

/// Points of a toy where `data.count` says nothing.
const N_POINTS: usize = 10_000;

/// The most points: each epoch has an order of its own in memory.
const MOST_POINTS: usize = 100_000_000;

/// The seeds of the points to train on and of those to test on. They determine the data: never change them.
const SEEDS: [u64; 2] = [0, 1];

/// A set of points as a data set of images `[2, 1, 1]`; every point is drawn where it is read.
pub struct Plane {
    name: String,
    points: Box<dyn Points + Send + Sync>,
    seed: u64,
    n: usize,
    n_classes: usize,
}

impl Plane {
    /// The first `n` points of `seed`, at least one.
    pub fn new(
        name: impl Into<String>,
        points: Box<dyn Points + Send + Sync>,
        seed: u64,
        n: usize,
    ) -> Self {
        Plane {
            name: name.into(),
            n_classes: points.n_classes() as usize,
            points,
            seed,
            n,
        }
    }

    fn point(&self, index: usize) -> Point {
        let index = index as u64;
        self.points.points(self.seed, index..index + 1)[0]
    }
}

/// The toy that a path names, as in `toy:moons`; `None` for any other path.
///
/// # Errors
/// [`DataError::Config`] listing the toys for an unknown name.
pub fn toy(path: &Path) -> Result<Option<Toy>, DataError> {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix(PREFIX)) else {
        return Ok(None);
    };
    match Toy::from_name(name) {
        Ok(toy) => Ok(Some(toy)),
        Err(_) => {
            let names: Vec<String> = Toy::ALL.iter().map(|toy| path_of(*toy)).collect();
            let expected = format!("one of {}", names.join(", "));
            Err(DataError::config(
                "path",
                format!("{PREFIX}{name}"),
                expected,
            ))
        }
    }
}

/// The path that names a toy.
pub fn path_of(toy: Toy) -> String {
    format!("{PREFIX}{}", toy.name())
}

/// Whether a path names a toy, known or not.
pub(super) fn is_toy(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(PREFIX))
}

impl DataConfig {
    /// The toy that this table describes, with its points and classes.
    pub(super) fn toy(&self) -> Result<Toy, DataError> {
        let path = self.required_path()?;
        toy(path)?.ok_or_else(|| {
            let expected = "a toy such as toy:moons, as data.kind = \"toy\" says";
            DataError::config("path", sit_engine::text::shown(path), expected)
        })
    }

    /// The number of points, checked.
    pub(super) fn n_points(&self) -> Result<usize, DataError> {
        match self.count.unwrap_or(N_POINTS) {
            n @ 1..=MOST_POINTS => Ok(n),
            n => {
                let expected = format!("1 to {MOST_POINTS} points");
                Err(DataError::config("count", n, expected))
            }
        }
    }
}

/// Opens a toy. Points to test on are other ones than those to train on.
pub(super) fn open(config: &DataConfig) -> Result<Plane, DataError> {
    let toy = config.toy()?;
    let [train, test] = SEEDS;
    let seed = match config.split {
        Split::Train => train,
        Split::Test => test,
    };
    let mut plane = Plane::new(path_of(toy), Box::new(toy), seed, config.n_points()?);
    if let Some(n) = config.n_classes {
        if n != 0 && n < plane.n_classes {
            let own = plane.n_classes;
            let expected = format!("at least {own}, the classes of {}, or 0", plane.name);
            return Err(DataError::config("n_classes", n, expected));
        }
        plane.n_classes = n;
    }
    Ok(plane)
}

impl Dataset for Plane {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.n
    }

    fn shape(&self) -> [usize; 3] {
        [2, 1, 1]
    }

    // Points have no levels.
    fn max_level(&self) -> u8 {
        255
    }

    fn has_levels(&self) -> bool {
        false
    }

    fn n_classes(&self) -> usize {
        self.n_classes
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> u32 {
        match self.n_classes {
            0 => 0,
            _ => self.point(index).label,
        }
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        image.copy_from_slice(&self.point(index).x);
        Ok(())
    }

    fn item_name(&self, index: usize) -> String {
        format!("{}, point {index}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DataConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_toy_is_a_data_set_by_its_name() {
        for toy in Toy::ALL {
            let path = path_of(*toy);
            let text = format!("kind = \"toy\"\npath = \"{path}\"\ncount = 50");
            let points = |split| {
                let config = DataConfig {
                    split,
                    ..config(&text)
                };
                config.check().unwrap();
                let plane = open(&config).unwrap();
                assert_eq!(
                    (plane.len(), plane.shape(), plane.name()),
                    (50, [2, 1, 1], &*path)
                );
                assert_eq!(plane.n_classes(), toy.n_classes() as usize);
                let mut all = vec![0.0; 100];
                for (index, x) in all.chunks_exact_mut(2).enumerate() {
                    plane.read(index, x).unwrap();
                    assert!((plane.label(index) as usize) < plane.n_classes());
                }
                all
            };
            let (train, test) = (points(Split::Train), points(Split::Test));
            assert_eq!(train, points(Split::Train));
            assert_ne!(train, test);
            let own = toy.points(0, 0..50);
            assert_eq!(train, own.iter().flat_map(|p| p.x).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_wrong_with_a_toy_is_named() {
        let cases = [
            (
                "path = \"toy:moon\"",
                "data.path: got toy:moon, expected one of toy:moons, toy:rings, toy:checkerboard, toy:spiral",
            ),
            (
                "path = \"moons\"",
                "data.path: got moons, expected a toy such as toy:moons",
            ),
            (
                "path = \"toy:moons\"\ncount = 0",
                "data.count: got 0, expected 1 to",
            ),
            (
                "path = \"toy:moons\"\nimage_size = 8",
                "data.image_size: got a value, expected none, data.kind = \"toy\"",
            ),
            ("", "data.path: got nothing"),
        ];
        for (text, expected) in cases {
            let message = config(&format!("kind = \"toy\"\n{text}"))
                .check()
                .unwrap_err();
            let message = message.to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let few = config("kind = \"toy\"\npath = \"toy:moons\"\nn_classes = 1");
        let message = open(&few).err().unwrap().to_string();
        assert!(
            message.starts_with("data.n_classes: got 1, expected at least 2"),
            "{message}"
        );
        let ignored = config("kind = \"toy\"\npath = \"toy:moons\"\nn_classes = 0");
        let ignored = open(&ignored).unwrap();
        assert!((0..100).all(|index| ignored.label(index) == 0));
        let text = "kind = \"folder\"\nimage_size = 8\npath = \"toy:moons\"";
        let message = config(text).check().unwrap_err().to_string();
        assert_eq!(
            message,
            "data.kind: got folder, expected toy for data.path toy:moons"
        );
    }
}
