//! The folder of single PNGs that `--png` asks for.

use crate::data::classes;
use crate::error::{Failure, Result};
use crate::files::{FileError, parent, sync_folder};
use crate::png;
use crate::sampling::{Images, State};
use crate::stdout;
use sit_engine::model::NetworkIo;
use sit_engine::text::{count, shown};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with one file per image, named by number and class: `000010-class3-dog.png`. A file gets this name only when it is
/// complete.
pub struct Pictures {
    folder: PathBuf,
    io: NetworkIo,
    /// The class part of a file name, for each class and for none.
    classes: Vec<String>,
    /// Whether the folder was created here; if so, it is removed again when no image was written.
    made: bool,
    n: u64,
    bytes: u64,
}

/// Temporary name of the image that is being written.
const PARTIAL: &str = ".partial.png";

impl Pictures {
    /// Makes the folder. `names` are those of the classes, as many as are known.
    pub fn create(folder: &Path, io: &NetworkIo, names: &[String]) -> Result<Self> {
        let made = !folder.exists();
        if made {
            // `create_dir` fails if another command has created the folder in the meantime: it belongs to that command.
            fs::create_dir_all(parent(folder))
                .and_then(|()| fs::create_dir(folder))
                .map_err(FileError::of("make", folder))?;
        }
        Ok(Pictures {
            folder: folder.to_owned(),
            io: *io,
            classes: match io.n_classes {
                0 => Vec::new(),
                n => (0..n)
                    .map(|class| part_of_name(names, class))
                    .chain(["-none".to_owned()])
                    .collect(),
            },
            made,
            n: 0,
            bytes: 0,
        })
    }

    /// Goes on after the first `done` of the images, which another call has written.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the first one that is not there.
    pub fn go_on(&mut self, images: &Images, done: u64) -> Result<()> {
        for number in images.numbers().take(done as usize) {
            let path = self.folder.join(self.name(number, images.label(number)));
            let about = fs::metadata(&path).map_err(|e| {
                Failure::Input(format!(
                    "--png: {} is gone, which an earlier call has written ({e})",
                    shown(&path)
                ))
            })?;
            if about.len() == 0 {
                return Err(Failure::Input(format!(
                    "--png: {} is empty, which an earlier call has written; remove it and the folder of unfinished images",
                    shown(&path)
                )));
            }
            self.n += 1;
            self.bytes += about.len();
        }
        Ok(())
    }

    /// Writes the images of a batch.
    pub fn write(&mut self, state: &State<'_>) -> Result<()> {
        let images = state.x.chunks_exact(self.io.image_len());
        let partial = self.folder.join(PARTIAL);
        let mut bytes = Vec::new();
        for ((&number, &label), image) in state.numbers.iter().zip(state.labels).zip(images) {
            let path = self.folder.join(self.name(number, label));
            bytes.clear();
            png::write(&mut bytes, image, self.io.image)
                .and_then(|()| fs::write(&partial, &bytes))
                .and_then(|()| fs::rename(&partial, &path))
                .map_err(FileError::of("write", &path))?;
            self.n += 1;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn name(&self, number: u64, label: u32) -> String {
        let class = self.classes.get(label as usize);
        format!("{number:06}{}.png", class.map_or("", |class| class))
    }

    /// Flushes the folder, and returns a line that names it.
    pub fn finish(self) -> Result<String> {
        sync_folder(&self.folder).map_err(FileError::of("write", &self.folder))?;
        Ok(format!(
            "{}: {}{}\n",
            shown(&self.folder),
            count(self.n, "single picture"),
            stdout::size(self.bytes)
        ))
    }
}

/// The class part of a file name: the number, and the name in characters that any file system accepts.
fn part_of_name(names: &[String], class: usize) -> String {
    const MOST: usize = 40;
    let name = classes::name(names, class);
    if name == class.to_string() {
        return format!("-class{class}");
    }
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    let name: String = name.chars().take(MOST).map(plain).collect();
    format!("-class{class}-{name}")
}

impl Drop for Pictures {
    fn drop(&mut self) {
        // Removal fails if the file does not exist or the folder is not empty. Both are fine.
        fs::remove_file(self.folder.join(PARTIAL)).ok();
        if self.made && self.n == 0 {
            fs::remove_dir(&self.folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_are_made_plain() {
        let names = ["dog", "1", "a/../b c", "Bücher 猫"].map(str::to_owned);
        let parts = [0, 1, 2, 3, 4].map(|class| part_of_name(&names, class));
        let expected = [
            "-class0-dog",
            "-class1",
            "-class2-a____b_c",
            "-class3-B_cher__",
            "-class4",
        ];
        assert_eq!(parts, expected);
    }
}
