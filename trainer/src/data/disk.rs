//! Decoded images on disk, so that a second start does not decode again.
//!
//! One file holds the cropped levels of one data set in one crop. An entry is valid for a file of the same name, length and
//! modification time. Its checksum is compared when it is read. Images that do not match are decoded again, and the file is
//! rewritten.
//!
//! Little endian: the magic, `u32` [`VERSION`], `u64` images, `u64` bytes an image; a table of `u32` length of the name, the name,
//! `u64` bytes of the file, `u64` seconds and `u32` nanoseconds of its change, `u32` CRC-32 of the levels; `u32` CRC-32 of the
//! table; then the levels of each image.

use sit_engine::text::shown;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::decode::Fit;
use super::item::{Item, Source};

/// To be changed whenever decoding or cropping gives other levels.
const VERSION: u32 = 1;

const MAGIC: &[u8; 12] = b"sit images\r\n";

/// Data sets whose files take less than this in total are not cached.
const MIN_SOURCE_BYTES: u64 = 1 << 20;

/// The most bytes of all cache files together; the least recently used ones are deleted first.
const MAX_BYTES: u64 = 8 << 30;

/// The user's cache folder: `$SIT_CACHE`, or the system's.
pub fn place() -> Option<PathBuf> {
    let var = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    if let Some(path) = std::env::var_os("SIT_CACHE").filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path));
    }
    let system = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|home| home.join("Library/Caches"))
    } else {
        var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")))
    };
    system.map(|folder| folder.join("sit"))
}

/// Identifies the content of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stamp {
    /// Below the data's folder, as the system writes it.
    name: Vec<u8>,
    bytes: u64,
    seconds: u64,
    nanoseconds: u32,
}

impl Stamp {
    /// That of a picture with the metadata of its file, or of the archive that has it.
    fn of(root: &Path, path: &Path, metadata: &Metadata) -> Option<Self> {
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let name = path.strip_prefix(root).unwrap_or(path);
        Some(Self {
            name: name.as_os_str().as_encoded_bytes().to_vec(),
            bytes: metadata.len(),
            seconds: changed.as_secs(),
            nanoseconds: changed.subsec_nanos(),
        })
    }
}

/// The cache of one data set in one crop.
pub struct Cache {
    file: PathBuf,
    image_bytes: usize,
    /// The stamp of each image in the order of the data; `None` if the file's metadata cannot be read.
    stamps: Vec<Option<Stamp>>,
    min_source_bytes: u64,
}

impl Cache {
    /// The cache below `place` of the images `files` of the folder or archives `root`.
    pub fn new(place: &Path, root: &Path, fit: &Fit, files: &[Item], source: &Source) -> Self {
        let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let mut sum = flate2::Crc::new();
        sum.update(real.as_os_str().as_encoded_bytes());
        let mut name = OsString::from(real.file_name().unwrap_or_default());
        // Long names would be refused by the file system.
        if name.len() > 100 {
            name = OsString::from("images");
        }
        let archives = source.as_ref().map(|reader| reader.archives());
        let archives = archives.unwrap_or_default();
        let archives: Vec<_> = archives
            .iter()
            .map(|path| fs::metadata(path).ok())
            .collect();
        let stamp = |item: &Item| match archives.get(item.at.archive as usize) {
            Some(metadata) => Stamp::of(root, &item.path, metadata.as_ref()?),
            None => Stamp::of(root, &item.path, &fs::metadata(&item.path).ok()?),
        };
        let [r, g, b] = fit.background;
        name.push(format!(
            "-{:08x}-{}x{}-{r:02x}{g:02x}{b:02x}{}.images",
            sum.sum(),
            fit.image_size,
            fit.channels,
            if fit.rules.orientation { "-turned" } else { "" },
        ));
        Self {
            file: place.join("images").join(name),
            image_bytes: fit.bytes(),
            stamps: files.iter().map(stamp).collect(),
            min_source_bytes: MIN_SOURCE_BYTES,
        }
    }

    /// Keeps small data as well.
    #[cfg(test)]
    pub fn keep_all(&mut self) {
        self.min_source_bytes = 0;
    }

    /// Fills the `levels` (`[N, ...]`) of the images that the cache has, and returns which these are.
    pub fn read(&self, levels: &mut [u8]) -> Vec<bool> {
        let mut found = vec![false; self.stamps.len()];
        // Images read before an error are valid: each has its checksum.
        let result = self.fill(levels, &mut found);
        if let Err(error) = result
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::info!("{}: made anew: {error}", shown(&self.file));
        }
        found
    }

    fn fill(&self, levels: &mut [u8], found: &mut [bool]) -> io::Result<()> {
        let file = File::open(&self.file)?;
        let length = file.metadata()?.len();
        // Marks the file as recently used. A failure is harmless: the cache can still be read.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        let mut input = BufReader::with_capacity(1 << 20, file);
        let table = read_table(&mut input, self.image_bytes, length)?;
        let wanted: HashMap<&Stamp, usize> = self
            .stamps
            .iter()
            .enumerate()
            .filter_map(|(index, stamp)| Some((stamp.as_ref()?, index)))
            .collect();
        for (stamp, sum) in &table {
            let Some(&index) = wanted.get(stamp) else {
                input.seek_relative(self.image_bytes as i64)?;
                continue;
            };
            let image = &mut levels[index * self.image_bytes..][..self.image_bytes];
            input.read_exact(image)?;
            found[index] = crc(image) == *sum;
        }
        Ok(())
    }

    /// Writes the images for which `is_good` holds, and removes the least recently used files. A cache that cannot be written is
    /// not an error: the next start decodes again.
    pub fn write(&self, levels: &[u8], is_good: &[bool]) {
        let good: Vec<(&Stamp, &[u8])> = self
            .stamps
            .iter()
            .zip(levels.chunks_exact(self.image_bytes))
            .zip(is_good)
            .filter(|(_, is_good)| **is_good)
            .filter_map(|((stamp, image), _)| Some((stamp.as_ref()?, image)))
            .collect();
        let source_bytes: u64 = good.iter().map(|(stamp, _)| stamp.bytes).sum();
        let bytes = good.len() as u64 * self.image_bytes as u64;
        if source_bytes < self.min_source_bytes || bytes > MAX_BYTES / 2 {
            return;
        }
        let result = self.write_all(&good).and_then(|()| {
            let folder = self.file.parent().unwrap_or(Path::new("."));
            prune(folder, &self.file, MAX_BYTES)
        });
        if let Err(error) = result {
            tracing::info!(
                "{}: decoded images are not kept: {error}",
                shown(&self.file)
            );
        }
    }

    fn write_all(&self, images: &[(&Stamp, &[u8])]) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut temporary = tempfile::Builder::new()
            .prefix(".partial-")
            .tempfile_in(folder)?;
        let mut table = Vec::new();
        for (stamp, image) in images {
            table.extend((stamp.name.len() as u32).to_le_bytes());
            table.extend(&stamp.name);
            table.extend(stamp.bytes.to_le_bytes());
            table.extend(stamp.seconds.to_le_bytes());
            table.extend(stamp.nanoseconds.to_le_bytes());
            table.extend(crc(image).to_le_bytes());
        }
        let mut out = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&(images.len() as u64).to_le_bytes())?;
        out.write_all(&(self.image_bytes as u64).to_le_bytes())?;
        out.write_all(&table)?;
        out.write_all(&crc(&table).to_le_bytes())?;
        for (_, image) in images {
            out.write_all(image)?;
        }
        out.flush()?;
        drop(out);
        temporary.as_file().sync_all()?;
        temporary.persist(&self.file).map_err(|e| e.error)?;
        Ok(())
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The stamps and checksums of a cache file of `length` bytes, used only if the checksum of the table matches.
fn read_table(
    input: &mut impl Read,
    image_bytes: usize,
    length: u64,
) -> io::Result<Vec<(Stamp, u32)>> {
    fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if array(input)? != *MAGIC || u32::from_le_bytes(array(input)?) != VERSION {
        return Err(bad("of another version"));
    }
    let n_images = u64::from_le_bytes(array(input)?);
    let size = u64::from_le_bytes(array(input)?);
    if size != image_bytes as u64 || n_images.saturating_mul(size) > length {
        return Err(bad("not the size that its header says"));
    }
    let (mut table, mut sum) = (Vec::new(), flate2::Crc::new());
    for _ in 0..n_images {
        let n: [u8; 4] = array(input)?;
        let n_name = u32::from_le_bytes(n);
        if n_name > 1 << 16 {
            return Err(bad("a damaged table"));
        }
        let mut name = vec![0; n_name as usize];
        input.read_exact(&mut name)?;
        let [bytes, seconds]: [[u8; 8]; 2] = [array(input)?, array(input)?];
        let [nanoseconds, crc]: [[u8; 4]; 2] = [array(input)?, array(input)?];
        for part in [&n[..], &name, &bytes, &seconds, &nanoseconds, &crc] {
            sum.update(part);
        }
        let stamp = Stamp {
            name,
            bytes: u64::from_le_bytes(bytes),
            seconds: u64::from_le_bytes(seconds),
            nanoseconds: u32::from_le_bytes(nanoseconds),
        };
        table.push((stamp, u32::from_le_bytes(crc)));
    }
    if u32::from_le_bytes(array(input)?) != sum.sum() {
        return Err(bad("a damaged table"));
    }
    Ok(table)
}

/// Removes the least recently used files until the others take at most `max_bytes`, and unfinished files.
fn prune(folder: &Path, keep: &Path, max_bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let used = metadata.modified().unwrap_or(UNIX_EPOCH);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = SystemTime::now().duration_since(used).unwrap_or_default();
        if name.starts_with(".partial-") && age > Duration::from_secs(24 * 3600) {
            fs::remove_file(entry.path())?;
        } else if name.ends_with(".images") && entry.path() != keep {
            files.push((used, metadata.len(), entry.path()));
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|file| file.1).sum();
    total += fs::metadata(keep)?.len();
    for (_, bytes, path) in files {
        if total <= max_bytes {
            break;
        }
        fs::remove_file(path)?;
        total -= bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
