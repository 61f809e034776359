//! Where the content of a file is stored.

use std::path::PathBuf;
use std::sync::Arc;

/// A file that was dropped or chosen.
#[derive(Clone, PartialEq, Eq)]
pub enum Bytes {
    /// In memory, as a browser hands it over.
    Memory(Arc<[u8]>),
    /// On disk.
    Disk(PathBuf),
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bytes::Memory(bytes) => write!(f, "{} bytes", bytes.len()),
            Bytes::Disk(path) => path.fmt(f),
        }
    }
}

impl Bytes {
    /// All of it.
    ///
    /// # Errors
    /// Why the disk does not give it.
    pub fn read(&self) -> Result<Arc<[u8]>, String> {
        match self {
            Bytes::Memory(bytes) => Ok(Arc::clone(bytes)),
            Bytes::Disk(path) => {
                let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
                Ok(bytes.into())
            }
        }
    }
}
