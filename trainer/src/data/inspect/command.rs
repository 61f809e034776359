//! The command that trains on what was inspected.

use super::Report;
use crate::data::{Kind, Split};

impl Report {
    /// A command that trains on this data, for a shell; `None` where a path is not UTF-8.
    pub fn command(&self) -> Option<String> {
        let data = &self.suggestion;
        let path = match &data.path {
            Some(path) => quoted(path.to_str()?),
            None => return Some("sit train --preset digits".to_owned()),
        };
        let mut words = Vec::new();
        match data.kind {
            Kind::Digits | Kind::Latents | Kind::Toy => {}
            Kind::Folder => {
                words.push(format!("--preset pictures-32 --set data.path={path}"));
                // Smaller images keep their size if it is a multiple of the patch; other sizes are enlarged.
                let size = data.image_size.unwrap_or(32);
                if size < 32 && size.is_multiple_of(4) {
                    let sizes =
                        format!("--set data.image_size={size} --set model.input_size={size}");
                    words.push(sizes);
                }
                if data.split == Split::Test {
                    words.push("--set data.split=test".to_owned());
                }
                if data.channels == Some(1) {
                    words.push("--set data.channels=1 --set model.channels=1".to_owned());
                }
                if data.skip_bad {
                    words.push("--skip-bad".to_owned());
                }
            }
            Kind::Idx => {
                words.push(format!("--preset fashion-mnist --set data.path={path}"));
                if data.split == Split::Test {
                    words.push("--set data.split=test".to_owned());
                }
                let (side, height) = self.sizes.keys().next().copied()?;
                if side != height {
                    // No network takes images that are not square.
                    return None;
                }
                if side != 28 {
                    let patch = [4, 2, 1]
                        .into_iter()
                        .find(|patch: &usize| side.is_multiple_of(*patch))?;
                    let sizes = format!("--set model.input_size={side} --set model.patch={patch}");
                    words.push(sizes);
                }
                if self.classes.len() != 10 {
                    words.push("--set model.n_classes=auto".to_owned());
                }
            }
        }
        Some(format!("sit train {}", words.join(" ")))
    }
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-~:\\".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
