//! A data set whose levels lie in memory.

use std::path::PathBuf;

use super::{DataError, Dataset, scale};

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

    /// Sets the number of classes; `None` keeps those found and 0 drops the labels.
    pub(super) fn with_n_classes(mut self, n_classes: Option<usize>) -> Result<Self, DataError> {
        self.n_classes = n_classes.unwrap_or(self.n_classes);
        if self.n_classes == 0 {
            self.labels.fill(0);
            self.class_names.clear();
            return Ok(self);
        }
        match self
            .labels
            .iter()
            .position(|&label| label as usize >= self.n_classes)
        {
            None => Ok(self),
            Some(index) => Err(DataError::Label {
                path: self.labels_source,
                index,
                label: self.labels[index],
                n_classes: self.n_classes,
            }),
        }
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

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        scale(self.levels(index), self.max_level, image);
        Ok(())
    }

    fn item_name(&self, index: usize) -> String {
        format!("{}, image {index}", self.source.display())
    }
}
