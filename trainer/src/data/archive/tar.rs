//! Tar files, plain or as WebDataset writes them: the files of one sample share their name up to the first dot, as in `000017.jpg` and
//! `000017.cls`.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sit_engine::text::{count, shown};

use super::super::decode::is_image;
use super::super::item::{At, Content, Item, Reader};
use super::super::labels::{Label, label_in};
use super::super::listing::LeftOut;
use super::super::names::{class_of_each, class_order, is_system};
use super::{DataConfig, DataError, Found, read_bytes};

/// More bytes than the name of any file has.
const MAX_NAME: u64 = 1 << 16;

/// More bytes than any label has, and any description of a picture.
const MAX_LABEL: u64 = 1 << 12;
const MAX_JSON: u64 = 1 << 20;

/// Reads files in tar files.
struct Tar {
    archives: Vec<PathBuf>,
}

impl Reader for Tar {
    fn archives(&self) -> &[PathBuf] {
        &self.archives
    }

    fn read(&self, at: At) -> Result<Content, String> {
        read_bytes(&self.archives, at).map(Content::File)
    }
}

/// Lists the pictures of tar files, in their order.
///
/// A picture's label is the content of its `.cls`, or `label` or the like in its `.json`.
///
/// # Errors
/// A file that is no tar file, is damaged or cut off; two entries of one name; two pictures of one sample; a label that cannot be read.
pub fn list(archives: &[PathBuf], config: &DataConfig) -> Result<Found, DataError> {
    let (mut items, mut labels) = (Vec::new(), HashMap::new());
    let mut left_out = LeftOut::default();
    for (number, path) in archives.iter().enumerate() {
        let samples = Samples::read(path, config, &mut left_out)?;
        samples.take(
            path,
            number as u32,
            config,
            &mut items,
            &mut labels,
            &mut left_out,
        )?;
    }
    let archives = archives.to_vec();
    Ok(Found {
        items,
        labels,
        names: Vec::new(),
        left_out,
        reader: Box::new(Tar { archives }),
    })
}

/// Labels pictures by the folders that they lie in, below those that all share; none if they lie in no others.
///
/// # Errors
/// Pictures in folders beside others in none.
pub fn folders(
    root: &Path,
    archives: &[PathBuf],
    items: &mut [Item],
    config: &DataConfig,
) -> Result<Vec<String>, DataError> {
    let inside = |item: &Item| {
        let archive = &archives[item.at.archive as usize];
        let inside = item.path.strip_prefix(archive).unwrap_or(&item.path);
        inside.to_string_lossy().replace('\\', "/")
    };
    let names: Vec<String> = items.iter().map(inside).collect();
    let classes = class_of_each(names.iter().map(|name| &name[..]));
    let found: BTreeSet<&str> = classes.iter().flatten().copied().collect();
    let n_flat = classes.iter().filter(|class| class.is_none()).count();
    if n_flat > 0 && !found.is_empty() {
        let got = format!(
            "both {} in no folder and {} of them",
            count(n_flat, "picture"),
            count(found.len(), "folder")
        );
        let expected = "pictures, or one folder of them per class";
        return Err(DataError::content(root, got, expected));
    }
    let mut found: Vec<&str> = found.into_iter().collect();
    let compare = class_order(
        config.class_order.unwrap_or_default(),
        found.iter().copied(),
    );
    found.sort_by(|a, b| compare(a, b));
    let number: HashMap<&str, u32> = found.iter().copied().zip(0..).collect();
    for (item, class) in items.iter_mut().zip(&classes) {
        item.label = class.map_or(0, |class| number[class]);
    }
    Ok(found.into_iter().map(shown).collect())
}

/// An entry of a tar file: a file's name and where its bytes lie.
struct Entry {
    name: String,
    first: u64,
    bytes: u64,
}

/// The files of one sample, as numbers of entries.
#[derive(Default)]
struct Sample {
    pictures: Vec<usize>,
    class: Option<usize>,
    json: Option<usize>,
}

/// The samples of a tar file.
struct Samples {
    entries: Vec<Entry>,
    samples: Vec<Sample>,
}

impl Samples {
    fn read(path: &Path, config: &DataConfig, left_out: &mut LeftOut) -> Result<Self, DataError> {
        let mut all = Samples {
            entries: Vec::new(),
            samples: Vec::new(),
        };
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut keys: HashMap<String, usize> = HashMap::new();
        entries(path, left_out, |entry, left_out| {
            if entry.name.split('/').any(is_system) {
                left_out.system += 1;
                return Ok(());
            }
            let (key, ending) = key(&entry.name);
            let last = ending.rsplit('.').next().unwrap_or(ending).to_lowercase();
            let is_class = last == "cls" || ending.eq_ignore_ascii_case("cls.txt");
            let is_json = ending.eq_ignore_ascii_case("json");
            let is_picture = is_image(Path::new(&entry.name));
            if !is_picture && !is_class && !is_json {
                *left_out.formats.entry(last).or_default() += 1;
                return Ok(());
            }
            let number = match known.entry(entry.name.clone()) {
                Slot::Vacant(slot) => *slot.insert(all.entries.len()),
                Slot::Occupied(slot) if config.skip_bad => {
                    tracing::warn!("{}: took the last entry {}", shown(path), shown(slot.key()));
                    all.entries[*slot.get()] = entry;
                    return Ok(());
                }
                Slot::Occupied(slot) => {
                    let got = format!("two entries {}", shown(slot.key()));
                    let expected = "one of each name; data.skip_bad = true takes the last";
                    return Err(DataError::content(path, got, expected));
                }
            };
            let sample = *keys.entry(key.to_owned()).or_insert(all.samples.len());
            if sample == all.samples.len() {
                all.samples.push(Sample::default());
            }
            let sample = &mut all.samples[sample];
            if is_picture {
                sample.pictures.push(number);
            } else if is_class {
                sample.class = Some(number);
            } else {
                sample.json = Some(number);
            }
            all.entries.push(entry);
            Ok(())
        })?;
        Ok(all)
    }

    /// Adds the pictures and their labels to the lists.
    fn take(
        &self,
        path: &Path,
        archive: u32,
        config: &DataConfig,
        items: &mut Vec<Item>,
        labels: &mut HashMap<PathBuf, Label>,
        left_out: &mut LeftOut,
    ) -> Result<(), DataError> {
        let mut file = File::open(path).map_err(|e| DataError::io(path, e))?;
        for sample in &self.samples {
            let is_plain = |n: &usize| !key(&self.entries[*n].name).1.contains('.');
            let (plain, others): (Vec<usize>, Vec<usize>) =
                sample.pictures.iter().partition(|n| is_plain(n));
            let pictures = if plain.is_empty() { &others } else { &plain };
            if !plain.is_empty() {
                // Masks and the like: 000017.seg.png beside 000017.jpg.
                for n in others.iter() {
                    let ending = key(&self.entries[*n].name).1.to_lowercase();
                    *left_out.formats.entry(ending).or_default() += 1;
                }
            }
            let has_label = sample.class.is_some() || sample.json.is_some();
            if has_label && pictures.len() > 1 {
                let [a, b] = [0, 1].map(|i| shown(&self.entries[pictures[i]].name));
                let got = format!("two pictures of one sample, {a} and {b}");
                if !config.skip_bad {
                    let expected = "one; data.skip_bad = true leaves such samples out";
                    return Err(DataError::content(path, got, expected));
                }
                tracing::warn!("{}: left out {got}", shown(path));
                continue;
            }
            let label = match config.n_classes {
                Some(0) => None,
                _ => self.label(path, &mut file, sample)?,
            };
            for n in pictures {
                let entry = &self.entries[*n];
                let at = At {
                    archive,
                    bytes: entry.bytes.try_into().unwrap_or(u32::MAX),
                    first: entry.first,
                };
                let (path, label) = (path.join(&entry.name), label.clone());
                labels.extend(label.map(|label| (path.clone(), label)));
                let label = 0;
                items.push(Item { path, label, at });
            }
        }
        Ok(())
    }

    /// The label of a sample, if there is one.
    fn label(
        &self,
        path: &Path,
        file: &mut File,
        sample: &Sample,
    ) -> Result<Option<Label>, DataError> {
        let mut text = |n: usize, most: u64| {
            let entry = &self.entries[n];
            let name = path.join(&entry.name);
            if entry.bytes > most {
                let got = count(entry.bytes as usize, "byte");
                return Err(DataError::content(&name, got, format!("at most {most}")));
            }
            let mut bytes = vec![0; entry.bytes as usize];
            file.seek(SeekFrom::Start(entry.first))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|e| DataError::io(&name, e))?;
            let text = String::from_utf8_lossy(&bytes);
            Ok((name, text.trim().to_owned()))
        };
        if let Some(class) = sample.class {
            let (_, text) = text(class, MAX_LABEL)?;
            return Ok((!text.is_empty()).then_some(Label::Text(text)));
        }
        let Some(json) = sample.json else {
            return Ok(None);
        };
        let (name, text) = text(json, MAX_JSON)?;
        let refuse = |got: String| {
            let expected =
                "{\"label\": 6} or {\"label\": \"cat\"}; data.n_classes = 0 ignores labels";
            DataError::content(&name, got, expected)
        };
        let object =
            serde_json::from_str(&text).map_err(|e| refuse(format!("other JSON ({e})")))?;
        label_in(&object).map_err(|got| refuse(format!("the label {got}")))
    }
}

/// What the files of a sample share, and the rest of a name after the first dot of its last part.
fn key(name: &str) -> (&str, &str) {
    let begin = name.rfind('/').map_or(0, |slash| slash + 1);
    // A name that begins with a dot is a system's.
    let dot = name[begin..].find('.').map(|dot| begin + dot);
    dot.map_or((name, ""), |dot| (&name[..dot], &name[dot + 1..]))
}

/// Calls `each` with every file of a tar file, as its headers say, and counts what is no file.
fn entries(
    path: &Path,
    left_out: &mut LeftOut,
    mut each: impl FnMut(Entry, &mut LeftOut) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let io_error = |e| DataError::io(path, e);
    let refuse = |got: String, expected: &str| DataError::content(path, got, expected);
    let file = File::open(path).map_err(io_error)?;
    let n_bytes = file.metadata().map_err(io_error)?.len();
    let mut archive = ::tar::Archive::new(file);
    let (mut long_name, mut at) = (None, 0);
    let damaged = |at: u64, e: std::io::Error| {
        let got = format!("no header, or a damaged one, at byte {at} ({e})");
        refuse(got, "a tar file")
    };
    // Raw: the library would read a long name of any length.
    let all = archive.entries_with_seek().map_err(|e| damaged(0, e))?;
    for entry in all.raw(true) {
        let mut entry = entry.map_err(|e| damaged(at, e))?;
        let kind = entry.header().entry_type();
        let (first, bytes) = (entry.raw_file_position(), entry.size());
        let end = first.checked_add(bytes).filter(|end| *end <= n_bytes);
        let name = match long_name.take() {
            Some(name) => name,
            None => String::from_utf8_lossy(&entry.header().path_bytes()).into_owned(),
        };
        let Some(end) = end else {
            let got = format!("an entry {} of {bytes} bytes", shown(&name));
            let left = n_bytes.saturating_sub(first);
            let expected = format!("at most the {left} that follow; it is cut off or damaged");
            return Err(refuse(got, &expected));
        };
        at = end.next_multiple_of(512);
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            if bytes > MAX_NAME {
                let got = format!("a name of {bytes} bytes");
                return Err(refuse(got, &format!("at most {MAX_NAME}")));
            }
            let mut content = Vec::new();
            entry
                .read_to_end(&mut content)
                .map_err(|e| damaged(first, e))?;
            long_name = match kind.is_gnu_longname() {
                true => {
                    let end = content.iter().position(|byte| *byte == 0);
                    let name = &content[..end.unwrap_or(content.len())];
                    Some(String::from_utf8_lossy(name).into_owned())
                }
                false => {
                    pax_name(&content).map_err(|got| refuse(got, "plain files below 8 GiB"))?
                }
            };
            continue;
        }
        if kind.is_gnu_sparse() {
            let got = format!("a sparse file {}", shown(&name));
            return Err(refuse(got, "whole files; tar without --sparse makes them"));
        }
        let is_file = kind.is_file() || kind.is_contiguous();
        if is_file && !name.ends_with('/') {
            let parts = name.split('/').filter(|part| !["", "."].contains(part));
            let name = parts.collect::<Vec<_>>().join("/");
            each(Entry { name, first, bytes }, left_out)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            left_out.entry_links += 1;
        } else if !(kind.is_dir()
            || is_file
            || kind.is_gnu_longlink()
            || kind.is_pax_global_extensions())
        {
            left_out.special += 1;
        }
        if kind.is_gnu_longlink() {
            // The name, if there is a long one, is that of the entry after it.
            long_name = Some(name).filter(|name| name != "././@LongLink");
        }
    }
    if let Some(what) = after_end(path, at).map_err(io_error)? {
        tracing::warn!("{}: {what}", shown(path));
    }
    Ok(())
}

/// What is odd about the bytes after the last entry, which ends at byte `at`: an archive that was cut off between two entries, or that
/// another one follows.
fn after_end(path: &Path, at: u64) -> std::io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(at))?;
    // Two blocks of zeros, and more of them up to the size of a record.
    let mut rest = Vec::new();
    file.take(64 << 10).read_to_end(&mut rest)?;
    if rest.len() < 512 {
        return Ok(Some(format!(
            "ends at byte {len} without the mark of an archive's end; it may be cut off"
        )));
    }
    Ok(rest.iter().any(|byte| *byte != 0).then(|| {
        format!(
            "what follows the end of the archive at byte {at}, such as another archive, is not read"
        )
    }))
}

/// The name that a PAX header gives the next entry; refuses other sizes and sparse files.
fn pax_name(content: &[u8]) -> Result<Option<String>, String> {
    let mut name = None;
    for pair in ::tar::PaxExtensions::new(content) {
        let pair = pair.map_err(|e| format!("a PAX header that cannot be read ({e})"))?;
        match pair.key_bytes() {
            b"path" => name = Some(String::from_utf8_lossy(pair.value_bytes()).into_owned()),
            b"size" => return Err("a PAX header with a size".into()),
            key if key.starts_with(b"GNU.sparse.") => return Err("a sparse file".into()),
            _ => {}
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_was_cut_off_between_entries_or_has_a_second_one_is_told() {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_ustar();
        header.set_size(5);
        header.set_cksum();
        builder
            .append_data(&mut header, "a.png", &b"hello"[..])
            .unwrap();
        let whole = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        // A header and a block of content.
        let end = 1024;
        let said = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            after_end(&path, end).unwrap()
        };
        assert_eq!(said(&whole), None);
        let cut = said(&whole[..end as usize]).unwrap();
        assert!(cut.contains("it may be cut off"), "{cut}");
        let twice = said(&[&whole[..], &whole[..]].concat()).unwrap();
        assert!(twice.contains("another archive"), "{twice}");
    }
}
