//! How many sampled images are nearest to a real one of their own class.

use crate::data::{self, DataConfig, Dataset, Kind, Knn, Split, classes, digits};
use crate::error::{Failure, Result};
use crate::memory;
use crate::png;
use crate::progress::Progress;
use crate::sampling::{Images, State};
use sit_engine::checkpoint::Recipe;
use sit_engine::model::NetworkIo;
use sit_engine::text::{count, shown};
use std::collections::BTreeSet;
use std::path::Path;

/// Compares sampled images with the nearest real ones.
pub struct Agreement {
    knn: Knn,
    /// A description of the real images, and of how well they classify each other.
    said: String,
    agree: usize,
    n: usize,
}

impl Agreement {
    /// The judge of `--judge`, else the one of a model of the embedded digits; nothing for another model. `io` and `names` are those of
    /// the images and their classes.
    ///
    /// # Errors
    /// A folder that cannot be read, or one without images of a class that is sampled.
    pub fn of(
        folder: Option<&Path>,
        recipe: &Recipe,
        (io, names): (&NetworkIo, &[String]),
        images: &Images,
    ) -> Result<Option<Self>> {
        if let Some(folder) = folder {
            return Self::of_folder(folder, io, names, images)
                .map(Some)
                .map_err(|e| e.context("--judge"));
        }
        let kind = Kind::Digits.to_string();
        if recipe.data.as_ref().is_none_or(|data| data.name != kind) {
            return Ok(None);
        }
        let held_out = digits::held_out();
        let fits = io.image == held_out.shape();
        let is_class = |label: u32| (label as usize) < io.n_classes.min(10);
        if !fits || !images.all_labels().all(is_class) {
            return Ok(None);
        }
        Ok(Some(Agreement {
            knn: Knn::new(&held_out, Knn::DEFAULT_K)?,
            said: "the nearest real digit that was held out".into(),
            agree: 0,
            n: 0,
        }))
    }

    /// The judge of a folder of images, whose class folders are called like the model's classes.
    ///
    /// # Errors
    /// As of [`Agreement::of`].
    pub fn of_folder(
        folder: &Path,
        io: &NetworkIo,
        of_model: &[String],
        images: &Images,
    ) -> Result<Self> {
        let refuse = |what: &str| Err(Failure::Input(format!("this model {what}")));
        if io.n_classes == 0 {
            return refuse("has no classes");
        }
        if !png::is_picture(io.channels()) {
            return refuse("makes latents, which are no pictures without a decoder");
        }
        let mut config = match folder.is_dir() && data::has_idx(folder, Split::Test)? {
            true => DataConfig {
                kind: Kind::Idx,
                path: Some(folder.to_owned()),
                split: Split::Test,
                ..DataConfig::digits()
            },
            false => DataConfig {
                kind: Kind::Folder,
                path: Some(folder.to_owned()),
                // The part to test with, where there is one.
                split: data::splits(folder)?.last().copied().unwrap_or_default(),
                image_size: Some(io.image[1]),
                channels: Some(io.channels()),
                disk_cache: Some(false),
                skip_bad: true,
                ..DataConfig::digits()
            },
        };
        config.settle();
        let bar = Progress::shared("reading", "files");
        let real = data::open(&config, &bar)?;
        drop(bar);
        if real.shape() != io.image {
            return Err(Failure::Input(format!(
                "{}: got images of {:?}, expected {:?} as the model makes",
                shown(folder),
                real.shape(),
                io.image
            )));
        }
        Self::of_images(&*real, &shown(folder), (io, of_model), images)
    }

    /// The judge of real images that are called `title`. Their classes are matched by name, those without one by number.
    ///
    /// # Errors
    /// No image of a class that is sampled.
    pub fn of_images(
        real: &dyn Dataset,
        title: &str,
        (io, of_model): (&NetworkIo, &[String]),
        images: &Images,
    ) -> Result<Self> {
        let names: Vec<String> = (0..real.n_classes())
            .map(|class| classes::name(real.class_names(), class))
            .collect();
        let known: Vec<String> = (0..io.n_classes)
            .map(|class| classes::name(of_model, class))
            .collect();
        let number = |name: &String| known.iter().position(|other| other == name);
        let numbers: Vec<Option<usize>> = names.iter().map(number).collect();
        let sampled: BTreeSet<u32> = images.all_labels().collect();
        for label in sampled {
            if !numbers.contains(&Some(label as usize)) {
                let wanted = known.get(label as usize).map_or("none", |name| name);
                let got = match names.is_empty() {
                    true => "no class folders".to_owned(),
                    false => format!("the class folders {}", classes::list(names.into_iter())),
                };
                return Err(Failure::Input(format!(
                    "{title}: got {got}, expected one called {wanted}: that class is sampled"
                )));
            }
        }
        let bytes = 4 * real.len() as u64 * io.image_len() as u64;
        memory::require_host(
            &format!("the judge's images of {title}"),
            Some(bytes),
            "take fewer images",
        )?;
        let mut knn = Knn::new(real, Knn::DEFAULT_K)?;
        let (right, of) = knn.among_themselves();
        let n_real = count(real.len(), "image");
        // Use the model's class numbers. A class unknown to the model is never sampled.
        let unknown = u32::MAX;
        knn.renumber(|class| numbers[class as usize].map_or(unknown, |number| number as u32));
        Ok(Agreement {
            knn,
            said: format!(
                "the nearest of {n_real} in {title} (of the real images themselves {right} of {of}, {:.1} %, are nearest to one of \
                 their class)",
                percent(right, of)
            ),
            agree: 0,
            n: 0,
        })
    }

    /// Looks at the images of a batch.
    pub fn look(&mut self, state: &State<'_>) {
        self.agree += self.knn.agreement(state.x, state.labels);
        self.n += state.labels.len();
    }

    /// Images that agree, and all that were looked at.
    pub fn counts(&self) -> [usize; 2] {
        [self.agree, self.n]
    }

    /// Goes on after the images of another call, which [`Agreement::counts`] tells of.
    pub fn go_on(&mut self, [agree, n]: [usize; 2]) {
        (self.agree, self.n) = (agree, n);
    }

    /// The share of the images that are what was asked for, in percent; they are forgotten.
    pub fn percent(&mut self) -> f64 {
        let share = percent(self.agree, self.n);
        (self.agree, self.n) = (0, 0);
        share
    }

    /// What judges.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// A line about all of them.
    pub fn verdict(&self) -> String {
        let (agree, n) = (self.agree, self.n);
        format!(
            "{agree} of {n} ({:.1} %) are what was asked for, says {}\n",
            percent(agree, n),
            self.said
        )
    }
}

fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of as f64
}
