//! A column of a row group: where its pages lie, and its values.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::Type;
use parquet::column::page::PageReader;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::super::labels::Label;

/// More than a page unpacks to: for each packed byte (gzip reaches 1032), and for all.
const MOST_RATIO: u64 = 1100;
const MOST_BYTES: u64 = 1 << 30;

/// Values that are read at a time.
const BATCH: usize = 1024;

/// The column's part in one row group.
pub struct Chunk {
    /// The number of its first row in the file.
    pub first_row: u64,
    n_rows: u64,
    about: ColumnChunkMetaData,
    pages: Vec<PageLocation>,
}

impl Chunk {
    /// Finds the pages of a column by their headers, and checks what these promise.
    pub fn find(
        file: File,
        about: &ColumnChunkMetaData,
        first_row: u64,
        n_rows: u64,
    ) -> Result<Self> {
        let refuse = |what: &str| Err(ParquetError::General(what.to_owned()));
        let n_bytes = file.metadata()?.len();
        let (start, len) = about.byte_range();
        let end = start.checked_add(len).filter(|end| *end <= n_bytes);
        let Some(end) = end else {
            return refuse("a column that reaches beyond the file's end");
        };
        let headers = Arc::new(Headers {
            file,
            last: Mutex::new(0),
        });
        let reader = Arc::clone(&headers);
        let mut reader = SerializedPageReader::new(reader, about, n_rows as usize, None)?;
        let (mut pages, mut row): (Vec<PageLocation>, u64) = (Vec::new(), 0);
        while let Some(page) = reader.peek_next_page()? {
            if !page.is_dict {
                let offset = headers.last() as i64;
                pages.push(PageLocation {
                    offset,
                    compressed_page_size: 0,
                    first_row_index: row as i64,
                });
                let n = page.num_rows.or(page.num_levels).unwrap_or(0);
                row = row.saturating_add(n as u64);
            }
            reader.skip_next_page()?;
        }
        if row != n_rows || pages.is_empty() {
            return refuse("pages of another number of rows than the row group has");
        }
        let ends: Vec<i64> = pages.iter().skip(1).map(|page| page.offset).collect();
        for (page, end) in pages.iter_mut().zip(ends.into_iter().chain([end as i64])) {
            let size = i32::try_from(end - page.offset);
            page.compressed_page_size = size.map_err(|e| ParquetError::General(e.to_string()))?;
        }
        Ok(Self {
            first_row,
            n_rows,
            about: about.clone(),
            pages,
        })
    }

    /// The number of its pages.
    #[cfg(test)]
    pub fn n_pages(&self) -> usize {
        self.pages.len()
    }

    fn reader<T: DataType>(&self, file: File) -> Result<ColumnReaderImpl<T>> {
        let pages = Some(self.pages.clone());
        let n_rows = self.n_rows as usize;
        let pages = SerializedPageReader::new(Arc::new(file), &self.about, n_rows, pages)?;
        let about = self.about.column_descr_ptr();
        Ok(ColumnReaderImpl::new(about, Box::new(pages)))
    }

    /// The value of a row, counted from the chunk's first; `None` for a null.
    pub fn value(&self, file: File, row: u64) -> Result<Option<Vec<u8>>> {
        let mut reader = self.reader::<ByteArrayType>(file)?;
        reader.skip_records(row as usize)?;
        let (mut defined, mut values) = (Vec::new(), Vec::new());
        let (n, _, _) = reader.read_records(1, Some(&mut defined), None, &mut values)?;
        match (n, values.pop()) {
            (0, _) => Err(ParquetError::General("fewer rows than were found".into())),
            (_, value) => Ok(value.map(|value| value.data().to_vec())),
        }
    }

    /// Appends the label of each row.
    pub fn labels(&self, file: File, labels: &mut Vec<Option<Label>>) -> Result<()> {
        match self.about.column_type() {
            Type::INT32 => self.each::<Int32Type>(file, labels, |v| Label::number((*v).into())),
            Type::INT64 => self.each::<Int64Type>(file, labels, |v| Label::number(*v)),
            _ => self.each::<ByteArrayType>(file, labels, |v| super::text_label(v.data())),
        }
    }

    fn each<T: DataType>(
        &self,
        file: File,
        labels: &mut Vec<Option<Label>>,
        label: impl Fn(&T::T) -> Option<Label>,
    ) -> Result<()> {
        let mut reader = self.reader::<T>(file)?;
        let most = self.about.column_descr().max_def_level();
        let mut left = self.n_rows as usize;
        while left > 0 {
            let (mut defined, mut values) = (Vec::new(), Vec::new());
            let most_rows = left.min(BATCH);
            let (n, _, _) =
                reader.read_records(most_rows, Some(&mut defined), None, &mut values)?;
            if n == 0 || n > left {
                return Err(ParquetError::General("fewer rows than were found".into()));
            }
            left -= n;
            let mut values = values.iter();
            let is_some = |i: usize| most == 0 || defined.get(i) == Some(&most);
            labels.extend((0..n).map(|i| match is_some(i) {
                true => values.next().and_then(&label),
                false => None,
            }));
        }
        Ok(())
    }
}

/// Reads headers of pages, and refuses those of a page that unpacks to more than its bytes can hold: the library makes room for what a header
/// says. Whoever skips all pages reads nothing else through it.
struct Headers {
    file: File,
    /// Where the last header began.
    last: Mutex<u64>,
}

impl Headers {
    fn last(&self) -> u64 {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Length for Headers {
    fn len(&self) -> u64 {
        Length::len(&self.file)
    }
}

impl ChunkReader for Headers {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = start;
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        let mut begin = Vec::new();
        (&mut file).take(32).read_to_end(&mut begin)?;
        let [unpacked, packed] = sizes(&begin)
            .ok_or_else(|| ParquetError::General("a header of a page without sizes".into()))?;
        let most = packed.saturating_mul(MOST_RATIO).saturating_add(1 << 16);
        if unpacked > most.min(MOST_BYTES) {
            return Err(ParquetError::General(format!(
                "a page of {packed} bytes that unpacks to {unpacked}"
            )));
        }
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.file.get_bytes(start, length)
    }
}

/// The sizes in the header of a page, unpacked and packed. They follow its type; all three are required, and in this order.
fn sizes(mut header: &[u8]) -> Option<[u64; 2]> {
    /// A field whose number is one more than the last, of type i32, in Thrift's compact protocol.
    const NEXT_I32: u8 = 0x15;
    let mut next = || {
        let (&NEXT_I32, mut rest) = header.split_first()? else {
            return None;
        };
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let (&byte, after) = rest.split_first()?;
            value |= u64::from(byte & 0x7f) << shift;
            (rest, shift) = (after, shift + 7);
            if byte < 0x80 {
                break;
            }
            if shift > 28 {
                return None;
            }
        }
        header = rest;
        // Zigzag: odd numbers are negative.
        (value % 2 == 0).then_some(value / 2)
    };
    next()?;
    Some([next()?, next()?])
}
