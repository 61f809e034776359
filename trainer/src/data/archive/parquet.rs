//! Parquet files with a column of images, as Hugging Face's data sets have them: a struct of `bytes` and `path`, or plain bytes.
//!
//! The list has the place of every page of the column. A picture is read by decoding the page that has its row.

mod column;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::ColumnDescriptor;
use serde::Deserialize;
use sit_engine::text::{count, shown};

use self::column::Chunk;
use super::super::decode::guarded;
use super::super::item::{At, Content, Item, Reader};
use super::super::labels::{LABEL_COLUMNS, Label};
use super::super::listing::LeftOut;
use super::{DataConfig, DataError, Found, MAX_FILE_BYTES};

/// Names of columns of images, in the order that they are looked for where there are several.
const IMAGE_COLUMNS: [&str; 8] = [
    "image", "img", "images", "picture", "photo", "png", "jpg", "webp",
];

/// Pictures of Parquet files.
struct Pictures {
    archives: Vec<PathBuf>,
    /// Of each file, its row groups.
    files: Vec<Vec<Chunk>>,
}

impl Reader for Pictures {
    fn archives(&self) -> &[PathBuf] {
        &self.archives
    }

    fn read(&self, at: At) -> Result<Content, String> {
        let archive = at.archive as usize;
        let file = File::open(&self.archives[archive]).map_err(|e| e.to_string())?;
        let chunks = &self.files[archive];
        let chunk = chunks.partition_point(|chunk| chunk.first_row <= at.first) - 1;
        let chunk = &chunks[chunk];
        let bytes = guarded(|| {
            let value = chunk.value(file, at.first - chunk.first_row);
            value.map_err(|e| words(&e))
        })?;
        let bytes = bytes.ok_or("the row has no picture")?;
        match bytes.len() <= MAX_FILE_BYTES as usize {
            true => Ok(Content::File(bytes)),
            false => Err(format!("more than {MAX_FILE_BYTES} bytes")),
        }
    }
}

/// Lists the rows of files.
///
/// # Errors
/// A file that is no Parquet file, is damaged or compressed otherwise; one without a column of images or with several; a null label.
pub fn list(archives: &[PathBuf], config: &DataConfig) -> Result<Found, DataError> {
    let (mut items, mut labels) = (Vec::new(), HashMap::new());
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for (archive, path) in (0..).zip(archives) {
        let table = Table::open(path)?;
        let image = table.image_column(path)?;
        let own = match config.n_classes {
            Some(0) => None,
            _ => table.label_column(),
        };
        let broken = |got: String| DataError::content(path, got, "a whole Parquet file");
        let chunks = guarded(|| table.chunks(image).map_err(|e| words(&e))).map_err(broken)?;
        let values = match own {
            None => Vec::new(),
            Some(column) => {
                guarded(|| table.labels(column).map_err(|e| words(&e))).map_err(broken)?
            }
        };
        if let Some(found) = own.and_then(|own| table.names(own)) {
            if archive > 0 && found != names {
                let got = "other names of classes than the files before it";
                return Err(DataError::content(path, got, "the same in all"));
            }
            names = found;
        }
        for row in 0..table.n_rows {
            let item = Item {
                path: path.join(format!("{row:06}")),
                label: 0,
                at: At {
                    archive,
                    bytes: 0,
                    first: row,
                },
            };
            let label = values.get(row as usize).cloned().flatten();
            labels.extend(label.map(|label| (item.path.clone(), label)));
            items.push(item);
        }
        files.push(chunks);
    }
    let archives = archives.to_vec();
    Ok(Found {
        items,
        labels,
        names,
        left_out: LeftOut::default(),
        reader: Box::new(Pictures { archives, files }),
    })
}

fn words(error: &ParquetError) -> String {
    shown(error.to_string())
}

/// An open file.
struct Table {
    file: File,
    about: ParquetMetaData,
    n_rows: u64,
    /// What Hugging Face says of the columns, by name.
    features: HashMap<String, Feature>,
}

#[derive(Deserialize)]
struct Feature {
    #[serde(rename = "_type")]
    kind: Option<String>,
    names: Option<Vec<String>>,
}

impl Table {
    fn open(path: &Path) -> Result<Self, DataError> {
        let io_error = |e| DataError::io(path, e);
        let file = File::open(path).map_err(io_error)?;
        let n_bytes = file.metadata().map_err(io_error)?.len();
        let read = || {
            let reader = ParquetMetaDataReader::new();
            reader.parse_and_finish(&file).map_err(|e| words(&e))
        };
        let about = guarded(read).map_err(|e| {
            let got = format!("no Parquet file, or a damaged one ({e})");
            DataError::content(path, got, "a Parquet file")
        })?;
        let rows = about.row_groups().iter().map(|group| group.num_rows());
        let n_rows = rows.clone().try_fold(0, |sum: i64, n| sum.checked_add(n));
        // So the list of the rows is in proportion to the file.
        let is_good = |n: &i64| *n >= 0 && *n as u64 <= n_bytes;
        let n_rows = n_rows.filter(|n| is_good(n) && rows.clone().all(|n| is_good(&n)));
        let n_rows = n_rows.ok_or_else(|| {
            let got = "a number of rows that is negative or too large";
            DataError::content(path, got, format!("at most {n_bytes} rows, a byte each"))
        })?;
        let features = features(&about);
        Ok(Self {
            file,
            about,
            n_rows: n_rows as u64,
            features,
        })
    }

    fn columns(&self) -> impl Iterator<Item = (usize, &ColumnDescriptor)> {
        let schema = self.about.file_metadata().schema_descr();
        (0..schema.num_columns()).map(move |i| (i, &**schema.columns().get(i).expect("in range")))
    }

    /// The number of the column with the bytes of the pictures.
    fn image_column(&self, path: &Path) -> Result<usize, DataError> {
        let mut found = Vec::new();
        for (number, column) in self.columns() {
            let parts = column.path().parts();
            let is_bytes = column.physical_type() == Type::BYTE_ARRAY
                && column.max_rep_level() == 0
                && column.converted_type() != ConvertedType::UTF8
                && column.logical_type_ref() != Some(&LogicalType::String);
            let is_image = match parts {
                [_] => true,
                [_, field] => field == "bytes",
                _ => false,
            };
            if is_bytes && is_image {
                found.push((number, &parts[0]));
            }
        }
        let is_feature = |name: &str| {
            let feature = self.features.get(name).and_then(|f| f.kind.as_deref());
            feature == Some("Image")
        };
        let by_feature: Vec<_> = found.iter().filter(|(_, name)| is_feature(name)).collect();
        let known = || {
            let named = |known: &&str| found.iter().find(|(_, name)| name == known);
            IMAGE_COLUMNS.iter().find_map(named)
        };
        let column = match (&by_feature[..], &found[..]) {
            ([one], _) => Some(*one),
            (_, [one]) => Some(one),
            _ => known(),
        };
        let Some((column, _)) = column else {
            let mut names: Vec<String> = self
                .columns()
                .map(|(_, column)| shown(column.path().string()))
                .collect();
            let n_more = names.len().saturating_sub(20);
            names.truncate(20);
            if n_more > 0 {
                names.push(format!("and {n_more} more"));
            }
            let got = format!("the columns {}", names.join(", "));
            let expected = "one of the bytes of pictures, such as image.bytes or image";
            return Err(DataError::content(path, got, expected));
        };
        for group in self.about.row_groups() {
            let Some(chunk) = group.columns().get(*column) else {
                let expected = "as many columns as the schema has";
                return Err(DataError::content(path, "a row group of fewer", expected));
            };
            let codec = chunk.compression();
            if !matches!(
                codec,
                Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)
            ) {
                let got = format!("pages compressed by {codec}");
                let expected = "snappy (pyarrow's default), gzip or none";
                return Err(DataError::content(path, got, expected));
            }
        }
        Ok(*column)
    }

    /// The number of the column with the labels, if there is one.
    fn label_column(&self) -> Option<usize> {
        let fits = |column: &ColumnDescriptor| {
            let is_value = matches!(
                column.physical_type(),
                Type::INT32 | Type::INT64 | Type::BYTE_ARRAY
            );
            is_value && column.max_rep_level() == 0 && column.path().parts().len() == 1
        };
        let columns = || self.columns().filter(|(_, column)| fits(column));
        let named = |known: &str| columns().find(|(_, column)| column.name() == known);
        let is_class = |name: &str| {
            let feature = self.features.get(name).and_then(|f| f.kind.as_deref());
            feature == Some("ClassLabel")
        };
        let of_known = LABEL_COLUMNS.iter().chain(&["fine_label"]);
        let mut of_known = of_known.filter_map(|known| named(known));
        let found = of_known
            .next()
            .or_else(|| columns().find(|(_, column)| is_class(column.name())));
        found.map(|(number, _)| number)
    }

    /// The names of the labels of a column, by number.
    fn names(&self, column: usize) -> Option<Vec<String>> {
        let name = self.about.file_metadata().schema_descr().column(column);
        let names = self.features.get(name.name())?.names.clone()?;
        (names.len() <= 1_000_000).then_some(names)
    }

    /// The chunks of a column, one for each row group with rows.
    fn chunks(&self, column: usize) -> Result<Vec<Chunk>, ParquetError> {
        let mut first_row = 0;
        let mut chunks = Vec::new();
        for group in self.about.row_groups() {
            let n_rows = group.num_rows() as u64;
            if n_rows > 0 {
                let file = self.file.try_clone()?;
                chunks.push(Chunk::find(file, group.column(column), first_row, n_rows)?);
            }
            first_row += n_rows;
        }
        Ok(chunks)
    }

    /// The label of each row.
    fn labels(&self, column: usize) -> Result<Vec<Option<Label>>, ParquetError> {
        let mut labels = Vec::new();
        for chunk in self.chunks(column)? {
            let file = self.file.try_clone()?;
            chunk.labels(file, &mut labels)?;
        }
        match labels.len() as u64 == self.n_rows {
            true => Ok(labels),
            false => Err(ParquetError::General(format!(
                "{} of {}",
                count(labels.len(), "label"),
                count(self.n_rows as usize, "row")
            ))),
        }
    }
}

/// What Hugging Face's metadata says of the columns: `{"info": {"features": {"label": {"names": [...], "_type": "ClassLabel"}}}}`.
fn features(about: &ParquetMetaData) -> HashMap<String, Feature> {
    #[derive(Deserialize)]
    struct Info {
        features: HashMap<String, serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Root {
        info: Info,
    }
    let pairs = about.file_metadata().key_value_metadata();
    let pairs = pairs.into_iter().flatten();
    let mut texts = pairs.filter(|pair| pair.key == "huggingface");
    let text = texts.next().and_then(|pair| pair.value.as_deref());
    let root: Option<Root> = text.and_then(|text| serde_json::from_str(text).ok());
    let features = root.map(|root| root.info.features).unwrap_or_default();
    // Features of lists have another form.
    let feature = |value| serde_json::from_value(value).ok();
    let features = features.into_iter();
    features
        .filter_map(|(name, value)| Some((name, feature(value)?)))
        .collect()
}

/// A text that is a label.
fn text_label(bytes: &[u8]) -> Option<Label> {
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    (!text.is_empty()).then_some(Label::Text(text))
}

#[cfg(test)]
mod tests;
