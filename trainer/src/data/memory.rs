//! A data set in memory.

use sit_engine::text::shown;
use std::path::PathBuf;

use super::{DataConfig, DataError, Dataset, classes, scale};

/// 8-bit images and their labels in memory.
#[derive(Debug, Clone)]
pub struct InMemory {
    pub(super) name: String,
    /// The file that images are named by.
    pub(super) source: PathBuf,
    /// The file that labels are named by.
    pub(super) labels_source: PathBuf,
    pub(super) shape: [usize; 3],
    pub(super) max_level: u8,
    /// `[N, C, H, W]`.
    pub(super) levels: Vec<u8>,
    /// `[N]`.
    pub(super) labels: Vec<u32>,
    pub(super) n_classes: usize,
    pub(super) class_names: Vec<String>,
    /// The label of class 0, where it is not 0 or was asked for.
    pub(super) first_label: Option<u32>,
    /// Whether rows and columns of the file were exchanged, if that was set explicitly or is known of such files.
    pub(super) transpose: Option<bool>,
}

impl InMemory {
    pub(super) fn levels(&self, index: usize) -> &[u8] {
        let size: usize = self.shape.iter().product();
        &self.levels[index * size..][..size]
    }

    /// The images for which `keep(index)` holds, in order.
    pub(super) fn filter(&self, name: &str, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|&index| keep(index)).collect();
        Self {
            name: name.to_owned(),
            source: PathBuf::from(name),
            labels_source: PathBuf::from(name),
            levels: kept
                .iter()
                .flat_map(|&index| self.levels(index))
                .copied()
                .collect(),
            labels: kept.iter().map(|&index| self.labels[index]).collect(),
            class_names: self.class_names.clone(),
            ..*self
        }
    }

    /// Exchanges rows and columns of every image.
    pub(super) fn transpose(&mut self) {
        let [channels, height, width] = self.shape;
        let mut upright = vec![0; height * width];
        for plane in self.levels.chunks_exact_mut(height * width) {
            for (at, level) in upright.iter_mut().enumerate() {
                *level = plane[at % height * width + at / height];
            }
            plane.copy_from_slice(&upright);
        }
        self.shape = [channels, width, height];
    }

    /// Numbers and names the classes as the table asks; see [`classes::number`].
    pub(super) fn with_classes(mut self, config: &DataConfig) -> Result<Self, DataError> {
        let numbered = classes::number(
            &mut self.labels,
            std::mem::take(&mut self.class_names),
            config,
            &self.labels_source,
        )?;
        self.n_classes = numbered.n;
        self.class_names = numbered.names;
        self.first_label = numbered.first_label;
        Ok(self)
    }
}

impl Dataset for InMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn max_level(&self) -> u8 {
        self.max_level
    }

    fn n_classes(&self) -> usize {
        self.n_classes
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn resolve(&self, config: &mut DataConfig) {
        config.n_classes = Some(self.n_classes);
        config.classes.clone_from(&self.class_names);
        config.first_label = self.first_label;
        config.transpose = self.transpose;
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        scale(self.levels(index), self.max_level, image);
        Ok(())
    }

    fn item_name(&self, index: usize) -> String {
        format!("{}, image {index}", shown(&self.source))
    }
}
