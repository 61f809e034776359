//! TensorBoard event files.
//!
//! A file is a sequence of TFRecords, `[length u64] [crc of length u32] [data] [crc of data u32]`, little-endian, with masked
//! CRC-32C. The data are protobuf messages `tensorflow.Event` (TensorFlow's `event.proto` and `summary.proto`), of which
//! this writes `file_version`, `summary` with scalars and PNG images, and `session_log`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::hparams::Setting;
use crate::files::FileError;

/// A new event file of a run's folder.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Starts a file in `folder` for the steps after `last_step`. TensorBoard then ignores these steps in earlier files.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be made or written.
    pub fn create(folder: &Path, last_step: u64) -> Result<Self, FileError> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // TensorBoard reads the files of a folder in the order of their names.
        let path = folder.join(format!(
            "events.out.tfevents.{:010}.{:09}",
            time.as_secs(),
            time.subsec_nanos()
        ));
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.map_err(FileError::of("create", &path))?;
        let mut log = Self { path, file };
        log.write(0, |event| event.bytes(3, b"brain.Event:2"))?;
        // A SessionLog with status START.
        log.write(last_step + 1, |event| {
            event.message(7, |session| session.int(1, 1))
        })?;
        Ok(log)
    }

    /// Writes values of a step by tag; a tag's part before a slash groups charts.
    ///
    /// # Errors
    /// [`FileError`] if they cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<(), FileError> {
        self.write(step, |event| {
            event.message(5, |summary| {
                // Leave a gap in the chart: TensorBoard would draw a marker for a NaN.
                for (tag, scalar) in scalars.iter().filter(|(_, scalar)| !scalar.is_nan()) {
                    summary.message(1, |value| {
                        value.bytes(1, tag.as_bytes());
                        value.fixed32(2, (*scalar as f32).to_le_bytes());
                    });
                }
            });
        })
    }

    /// Writes the settings of the run and what is measured beside losses, for TensorBoard's table of runs (HParams).
    ///
    /// # Errors
    /// [`FileError`] if they cannot be written.
    pub fn hparams(
        &mut self,
        settings: &[(String, Setting)],
        measured: &[String],
    ) -> Result<(), FileError> {
        super::hparams::messages(settings, measured)
            .into_iter()
            .try_for_each(|summary| self.write(0, |event| event.bytes(5, &summary.0)))
    }

    /// Writes a PNG image of a step.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    ///
    /// # Panics
    /// If `png` is too short for a PNG.
    pub fn image(&mut self, step: u64, tag: &str, png: &[u8]) -> Result<(), FileError> {
        // The header chunk comes first: width, height, bit depth, color type (2 is RGB).
        let size = |at: usize| u32::from_be_bytes([png[at], png[at + 1], png[at + 2], png[at + 3]]);
        let (width, height, n_channels) = (size(16), size(20), if png[25] == 2 { 3 } else { 1 });
        self.write(step, |event| {
            event.message(5, |summary| {
                summary.message(1, |value| {
                    value.bytes(1, tag.as_bytes());
                    value.message(4, |image| {
                        image.int(1, height.into());
                        image.int(2, width.into());
                        image.int(3, n_channels);
                        image.bytes(4, png);
                    });
                });
            });
        })
    }

    fn write(&mut self, step: u64, fill: impl FnOnce(&mut Message)) -> Result<(), FileError> {
        let mut event = Message::default();
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        event.fixed64(1, time.as_secs_f64().to_le_bytes());
        event.int(2, step);
        fill(&mut event);
        self.file
            .write_all(&record(&event.0))
            .map_err(FileError::of("write", &self.path))
    }
}

/// One TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let masked_crc = |data: &[u8]| {
        crc32c::crc32c(data)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8)
            .to_le_bytes()
    };
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), data, &masked_crc(data)].concat()
}

/// A protobuf message under construction.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    pub(super) fn int(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u64, value: [u8; 8]) {
        self.key(field, 1);
        self.0.extend(value);
    }

    pub(super) fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    pub(super) fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    pub(super) fn fixed32(&mut self, field: u64, value: [u8; 4]) {
        self.key(field, 5);
        self.0.extend(value);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::png;

    /// CRC-32C bit by bit: polynomial 0x1EDC6F41, reflected.
    fn slow_crc(data: &[u8]) -> u32 {
        !data.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                }
            })
        })
    }

    fn unmask(masked: &[u8]) -> u32 {
        let rotated = u32::from_le_bytes(masked.try_into().unwrap()).wrapping_sub(0xa282_ead8);
        rotated.rotate_left(15)
    }

    /// The records' data, both sums checked.
    fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(unmask(&bytes[8..12]), slow_crc(&bytes[..8]));
            let data = &bytes[12..12 + len];
            assert_eq!(unmask(&bytes[12 + len..16 + len]), slow_crc(data));
            records.push(data);
            bytes = &bytes[16 + len..];
        }
        records
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (head, rest) = bytes.split_at(len);
        *bytes = rest;
        head.iter()
            .rev()
            .fold(0, |value, &byte| value << 7 | u64::from(byte & 0x7f))
    }

    /// Fields by number; a number's bytes are its little-endian u64.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let len = match key & 7 {
                0 => {
                    fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                5 => 4,
                wire_type => panic!("wire type {wire_type}"),
            };
            let (value, rest) = bytes.split_at(len);
            fields.push((key >> 3, value.to_vec()));
            bytes = rest;
        }
        fields
    }

    fn field(message: &[u8], number: u64) -> Vec<u8> {
        fields(message)
            .into_iter()
            .find(|field| field.0 == number)
            .expect("the field is there")
            .1
    }

    #[test]
    fn the_sum_is_crc_32c() {
        assert_eq!(slow_crc(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = TensorBoard::create(folder.path(), 300).unwrap();
        let scalars = [("train/loss", 0.75), ("gap", f64::NAN), ("train/lr", 0.1)];
        log.scalars(301, &scalars.map(|(tag, scalar)| (tag.to_owned(), scalar)))
            .unwrap();
        let png = png::grid(&[0.5; 3 * 2 * 60], [3, 2, 60], png::Grid::rows(1));
        log.image(302, "preview", &png).unwrap();

        let bytes = fs::read(&log.path).unwrap();
        let records = records(&bytes);
        assert_eq!(records.len(), 4);
        let steps: Vec<Vec<u8>> = records.iter().map(|event| field(event, 2)).collect();
        assert_eq!(
            steps,
            [0_u64, 301, 301, 302].map(|step| step.to_le_bytes().to_vec())
        );
        for event in &records {
            let time = f64::from_le_bytes(field(event, 1).try_into().unwrap());
            assert!((1.7e9..1e10).contains(&time), "{time}");
        }
        assert_eq!(field(records[0], 3), b"brain.Event:2");
        assert_eq!(field(&field(records[1], 7), 1), 1_u64.to_le_bytes());

        let values = fields(&field(records[2], 5));
        assert_eq!(values.len(), 2);
        assert_eq!(
            (field(&values[0].1, 1), field(&values[0].1, 2)),
            (b"train/loss".to_vec(), 0.75_f32.to_le_bytes().to_vec())
        );
        assert_eq!(field(&values[1].1, 1), b"train/lr");

        let value = field(&field(records[3], 5), 1);
        assert_eq!(field(&value, 1), b"preview");
        let image = field(&value, 4);
        let numbers =
            [1, 2, 3].map(|number| u64::from_le_bytes(field(&image, number).try_into().unwrap()));
        assert_eq!(numbers, [2, 60, 3]);
        assert_eq!(field(&image, 4), png);
    }
}
