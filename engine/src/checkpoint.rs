//! Tensors in safetensors files under official names: headers are checked before anything is read, tensors are read one at a
//! time, and every refusal names the tensor. Files are the caller's; this module reads and writes streams.

use crate::backend::Arenas;
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{ModelConfig, params, pos_embed};
use crate::shape::Shape;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};

/// Official name of the fixed position embedding, `[1, T, D]`: written for other programs, checked when it is read.
const POS_EMBED: &str = "pos_embed";

/// Key of the file's metadata that holds the [`ModelConfig`] as JSON.
pub const CONFIG_KEY: &str = "sit.model";

/// Largest header that is read; safetensors itself allows no more.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A safetensors file that is open for reading, its header checked against its length.
#[derive(Debug)]
pub struct Reader<R> {
    name: String,
    stream: R,
    metadata: Metadata,
    data_at: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header; `name` is what messages call the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a file that is truncated or is not a safetensors file.
    pub fn new(name: impl Into<String>, mut stream: R) -> Result<Self> {
        let name = name.into();
        let refuse = |what: String| Error::Checkpoint(format!("{name}: {what}"));
        let io = |e: std::io::Error| refuse(format!("cannot be read: {e}"));
        let len = stream.seek(SeekFrom::End(0)).map_err(io)?;
        if len < 8 {
            return Err(refuse(format!(
                "is {len} bytes long, too short for a safetensors file"
            )));
        }
        stream.rewind().map_err(io)?;
        let mut prefix = [0; 8];
        stream.read_exact(&mut prefix).map_err(io)?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER_BYTES.min(len - 8) {
            return Err(refuse(format!(
                "states a header of {header_len} bytes in a file of {len}: truncated, or not a safetensors file"
            )));
        }
        let mut header = vec![0; header_len as usize];
        stream.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| refuse(format!("has a header that cannot be read: {e}")))?;
        let data_at = 8 + header_len;
        let mut infos: Vec<(String, &TensorInfo)> = metadata.tensors().into_iter().collect();
        infos.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
        let mut end = data_at;
        for (tensor, info) in infos {
            end = data_at + info.data_offsets.1 as u64;
            if end > len {
                return Err(refuse(format!(
                    "is truncated: {tensor} ends at byte {end}, the file at {len}"
                )));
            }
        }
        if end < len {
            return Err(refuse(format!(
                "has {} bytes after the last tensor",
                len - end
            )));
        }
        Ok(Reader {
            name,
            stream,
            metadata,
            data_at,
        })
    }

    /// The file's text metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata
            .metadata()
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// Names and shapes of all tensors, by name.
    pub fn shapes(&self) -> Vec<(String, Shape)> {
        let mut list: Vec<_> = self
            .metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, Shape::from(&info.shape[..])))
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    }

    /// Shape of a tensor, if the file has it.
    pub fn shape(&self, tensor: &str) -> Option<Shape> {
        self.metadata
            .info(tensor)
            .map(|info| Shape::from(&info.shape[..]))
    }

    fn refuse<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        Err(Error::Checkpoint(format!("{}: {what}", self.name)))
    }

    /// Reads a tensor of any shape.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing, is not f32, holds a NaN or an infinity, or the file cannot be read.
    pub fn read(&mut self, tensor: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(tensor, Dtype::F32)?;
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return self.refuse(format_args!(
                "{tensor}[{at}] is {}, expected a finite number",
                values[at]
            ));
        }
        Ok(values)
    }

    /// Reads a tensor of class labels, i64, i32 or u8 in the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing, has another type or a negative label, or the file cannot be read.
    pub fn read_labels(&mut self, tensor: &str) -> Result<Vec<u32>> {
        let dtype = self.metadata.info(tensor).map(|info| info.dtype);
        let wide: Vec<i64> = match dtype {
            Some(Dtype::U8) => self
                .bytes(tensor, Dtype::U8)?
                .into_iter()
                .map(i64::from)
                .collect(),
            Some(Dtype::I32) => {
                let bytes = self.bytes(tensor, Dtype::I32)?;
                bytes
                    .chunks_exact(4)
                    .map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                    .collect()
            }
            _ => {
                let bytes = self.bytes(tensor, Dtype::I64)?;
                bytes
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|b| i64::from_le_bytes(*b))
                    .collect()
            }
        };
        let labels: std::result::Result<Vec<u32>, _> =
            wide.iter().map(|&label| u32::try_from(label)).collect();
        labels.or_else(|_| {
            self.refuse(format_args!(
                "{tensor} holds a label that is negative or too large"
            ))
        })
    }

    fn bytes(&mut self, tensor: &str, dtype: Dtype) -> Result<Vec<u8>> {
        let Some(info) = self.metadata.info(tensor).cloned() else {
            return self.refuse(format_args!("has no tensor {tensor}"));
        };
        if info.dtype != dtype {
            return self.refuse(format_args!("{tensor} is {}, expected {dtype}", info.dtype));
        }
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        let start = SeekFrom::Start(self.data_at + info.data_offsets.0 as u64);
        let done = self
            .stream
            .seek(start)
            .and_then(|_| self.stream.read_exact(&mut bytes));
        match done {
            Ok(()) => Ok(bytes),
            Err(e) => self.refuse(format_args!("{tensor} cannot be read: {e}")),
        }
    }

    /// The model that the file's tensors make: from its metadata if this program wrote it, else from the shapes.
    ///
    /// Shapes do not tell the number of heads, nor the image size when there is no position embedding; they come from
    /// `n_heads` and `input_size`, from the metadata, or for the published widths from the published sizes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that is missing or does not fit, or the number that must be given.
    pub fn model(&self, n_heads: Option<usize>, input_size: Option<usize>) -> Result<ModelConfig> {
        let stated: Option<ModelConfig> = match self.metadata(CONFIG_KEY) {
            None => None,
            Some(json) => match serde_json::from_str(json) {
                Ok(config) => Some(config),
                Err(e) => return self.refuse(format_args!("metadata {CONFIG_KEY}: {e}")),
            },
        };
        let sizes = |tensor: &str, n_axes: usize| match self.shape(tensor) {
            Some(shape) if shape.len() == n_axes && shape.iter().all(|&n| n > 0) => Ok(shape),
            Some(shape) => self.refuse(format_args!("{tensor} is {shape}, expected {n_axes} axes")),
            None => self.refuse(format_args!(
                "has no tensor {tensor}; is it a SiT with the official names?"
            )),
        };
        let proj = sizes("x_embedder.proj.weight", 4)?;
        let (dim, channels, patch) = (proj[0], proj[1], proj[2]);
        let out = sizes("final_layer.linear.weight", 2)?[0];
        let pixel = out / (patch * patch);
        if pixel * patch * patch != out || (pixel != channels && pixel != 2 * channels) {
            return self.refuse(format_args!(
                "final_layer.linear.weight has {out} rows, expected {} or {} for patch {patch} and {channels} channels",
                patch * patch * channels,
                2 * patch * patch * channels
            ));
        }
        let depth = (0..)
            .take_while(|i| self.shape(&format!("blocks.{i}.attn.qkv.weight")).is_some())
            .count();
        let n_classes = match self.shape("y_embedder.embedding_table.weight") {
            Some(_) => sizes("y_embedder.embedding_table.weight", 2)?[0].saturating_sub(1),
            None => 0,
        };
        let input_size = match (
            self.shape(POS_EMBED),
            input_size.or(stated.map(|s| s.input_size)),
        ) {
            (Some(shape), _) if shape.len() == 3 => shape[1].isqrt() * patch,
            (_, Some(size)) => size,
            _ => {
                return self.refuse(
                    "has no pos_embed [1, T, D] to tell the image size; give --input-size",
                );
            }
        };
        let published = crate::model::PRESETS
            .iter()
            .find(|p| p.dim == dim)
            .map(|p| p.n_heads);
        let Some(n_heads) = n_heads.or(stated.map(|s| s.n_heads)).or(published) else {
            return self.refuse(format_args!(
                "its tensors do not tell the number of heads of width {dim}; give --n-heads"
            ));
        };
        let learn_sigma = pixel == 2 * channels;
        let config = ModelConfig {
            input_size,
            channels,
            patch,
            dim,
            depth,
            n_heads,
            n_classes,
            learn_sigma,
        };
        config.validate().or_else(|e| self.refuse(e))?;
        Ok(config)
    }

    /// Checks that the file has exactly the tensors of `config`, with an optional position embedding, in their shapes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that is missing, too many or misshaped.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let wanted: HashMap<String, Shape> = params(config).into_iter().collect();
        for (name, shape) in params(config) {
            match self.shape(&name) {
                Some(got) if got == shape => {}
                Some(got) => return self.refuse(format_args!("{name} is {got}, expected {shape}")),
                None => return self.refuse(format_args!("has no tensor {name} {shape}")),
            }
        }
        for (name, shape) in self.shapes() {
            if name == POS_EMBED {
                let want = Shape::from([1, config.tokens(), config.dim]);
                if shape != want {
                    return self.refuse(format_args!("{name} is {shape}, expected {want}"));
                }
            } else if !wanted.contains_key(&name) {
                return self.refuse(format_args!(
                    "has a tensor {name} {shape} that this model does not have"
                ));
            }
        }
        Ok(())
    }

    /// Loads all tensors of `config` into `arena`; nothing is written before the names and shapes of all were checked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that does not fit, is not finite or cannot be read, or a position embedding
    /// other than the fixed one; [`Error::Device`] when the device fails.
    pub fn load(&mut self, config: &ModelConfig, arenas: &Arenas, arena: Arena) -> Result<()> {
        self.check(config)?;
        if self.shape(POS_EMBED).is_some() {
            let stored = self.read(POS_EMBED)?;
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-5;
            if let Some(at) = stored.iter().zip(&pos_embed(config)).position(differs) {
                let got = stored[at];
                return self.refuse(format_args!(
                    "{POS_EMBED}[{at}] is {got}: not the fixed position embedding of a SiT"
                ));
            }
        }
        for (name, _) in params(config) {
            let values = self.read(&name)?;
            arenas.write(arena, &name, &values)?;
        }
        Ok(())
    }
}

/// Tensors to write: name, shape and where the values are.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub shape: Shape,
    /// Arena and parameter; `None` is the fixed position embedding.
    pub source: Option<(Arena, String)>,
}

/// The tensors of a model under their official names, the position embedding first as in the official files.
pub fn model_tensors(config: &ModelConfig, arena: Arena) -> Vec<Tensor> {
    let pos = Tensor {
        name: POS_EMBED.into(),
        shape: [1, config.tokens(), config.dim].into(),
        source: None,
    };
    let of = |(name, shape): (String, Shape)| Tensor {
        source: Some((arena, name.clone())),
        name,
        shape,
    };
    std::iter::once(pos)
        .chain(params(config).into_iter().map(of))
        .collect()
}

/// The moments of AdamW: `exp_avg.NAME` and `exp_avg_sq.NAME`, PyTorch's terms.
pub fn moment_tensors(config: &ModelConfig) -> Vec<Tensor> {
    let kinds = [("exp_avg", Arena::MomentM), ("exp_avg_sq", Arena::MomentV)];
    let of = |(kind, arena): (&str, Arena)| {
        params(config)
            .into_iter()
            .map(|(name, shape)| Tensor {
                name: format!("{kind}.{name}"),
                shape,
                source: Some((arena, name)),
            })
            .collect::<Vec<_>>()
    };
    kinds.into_iter().flat_map(of).collect()
}

/// Loads the moments that [`moment_tensors`] describes.
///
/// # Errors
/// As [`Reader::load`].
pub fn load_moments<R: Read + Seek>(
    file: &mut Reader<R>,
    config: &ModelConfig,
    arenas: &Arenas,
) -> Result<()> {
    let tensors = moment_tensors(config);
    for tensor in &tensors {
        match file.shape(&tensor.name) {
            Some(got) if got == tensor.shape => {}
            got => {
                let got = got.map_or("missing".to_owned(), |s| s.to_string());
                return file.refuse(format_args!(
                    "{} is {got}, expected {}",
                    tensor.name, tensor.shape
                ));
            }
        }
    }
    for tensor in tensors {
        let values = file.read(&tensor.name)?;
        if let Some((arena, name)) = tensor.source {
            arenas.write(arena, &name, &values)?;
        }
    }
    Ok(())
}

/// Writes `tensors` of `config` as a safetensors file, one tensor in memory at a time.
///
/// # Errors
/// [`Error::Checkpoint`] when the stream refuses, [`Error::Device`] when the device fails.
pub async fn write(
    out: &mut impl Write,
    config: &ModelConfig,
    tensors: &[Tensor],
    arenas: &Arenas,
) -> Result<()> {
    let io = |e: std::io::Error| Error::Checkpoint(format!("cannot be written: {e}"));
    let json = serde_json::to_string(config).map_err(|e| Error::Checkpoint(e.to_string()))?;
    let shapes: Vec<(String, Shape)> = tensors
        .iter()
        .map(|t| (t.name.clone(), t.shape.clone()))
        .collect();
    out.write_all(&header(&shapes, &[(CONFIG_KEY, &json)])?)
        .map_err(io)?;
    for tensor in tensors {
        let values = match &tensor.source {
            None => pos_embed(config),
            Some((arena, name)) => arenas.read(*arena, name).await?,
        };
        write_values(out, &values).map_err(io)?;
    }
    Ok(())
}

/// The header of a safetensors file of f32 tensors in this order; their values follow, see [`write_values`].
///
/// # Errors
/// [`Error::Checkpoint`] when a name stands twice.
pub fn header(tensors: &[(String, Shape)], metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, shape)| {
        let start = end;
        end += 4 * shape.numel();
        (
            name.clone(),
            TensorInfo {
                dtype: Dtype::F32,
                shape: shape.to_vec(),
                data_offsets: (start, end),
            },
        )
    });
    let text = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let refuse = |e: String| Error::Checkpoint(e);
    let metadata = Metadata::new(Some(text), infos.collect()).map_err(|e| refuse(e.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| refuse(e.to_string()))?;
    // Values start at a multiple of 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}

/// Writes values as little-endian f32.
///
/// # Errors
/// Those of the stream.
pub fn write_values(out: &mut impl Write, values: &[f32]) -> std::io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values
        .iter()
        .try_for_each(|x| out.write_all(&x.to_le_bytes()))
}
