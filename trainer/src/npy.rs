//! NumPy arrays in a zip archive, as `numpy.load` reads them.

use std::io::{self, Cursor, Seek, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// An array of an archive.
pub struct Array {
    /// Its name, without `.npy`.
    pub name: String,
    /// NumPy's name of its type, such as `<f4`.
    pub dtype: &'static str,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its bytes, little-endian and row-major.
    pub bytes: Vec<u8>,
}

impl Array {
    /// An array of 32-bit numbers.
    pub fn f32(name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        Array {
            name: name.into(),
            dtype: "<f4",
            shape: shape.iter().map(|size| *size as u64).collect(),
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// An archive of some arrays, in memory.
///
/// # Errors
/// When a name is too long for a zip archive.
pub fn archive(arrays: &[Array]) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for array in arrays {
        let name = format!("{}.npy", array.name);
        start(&mut zip, &name, array.dtype, &array.shape)?;
        zip.write_all(&array.bytes)?;
    }
    Ok(zip.finish().map_err(io::Error::from)?.into_inner())
}

/// Starts an array: NumPy's format 1.0, whose data begin at a multiple of 64 bytes.
pub(crate) fn start(
    zip: &mut ZipWriter<impl Write + Seek>,
    name: &str,
    dtype: &str,
    shape: &[u64],
) -> io::Result<()> {
    // The entry's size is unknown beforehand; the flag allows more than 4 GiB.
    zip.start_file(name, SimpleFileOptions::default().large_file(true))?;
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}");
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let padded = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    header = format!("{header:<width$}\n", width = padded - 1);
    zip.write_all(MAGIC)?;
    zip.write_all(&(padded as u16).to_le_bytes())?;
    zip.write_all(header.as_bytes())
}
