//! `sit data encode`: images to latents, in the shards that `data.kind = "latents"` reads.

use crate::data::{About, DataConfig, DataError, Dataset, LATENTS, Latents, ShardAbout, VERSION};
use crate::error::{Failure, Result};
use crate::files::{self, FileError, write_atomically};
use crate::progress::Progress;
use crate::signals;
use crate::vae::Vae;
use half::f16;
use rayon::prelude::*;
use sit_engine::autoencoder::Encoder;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{self, Dtype};
use sit_engine::shape::Shape;
use sit_engine::text::shown;
use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

/// The description while shards are missing: a command that was stopped goes on from it.
const UNFINISHED: &str = "encoding.json";

/// Bytes of a shard at most, but for one image; and where another number of images is asked for.
const SHARD_BYTES: usize = 64 << 20;
const MOST_SHARD_BYTES: usize = 1 << 30;

/// Images that are read at a time, and their bytes.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 64 << 20;

/// How latents are stored.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// f16 instead of f32.
    pub half: bool,
    /// Whether mirrored images are encoded, too.
    pub flips: bool,
    /// Images of a shard; as many as fit by default.
    pub shard_images: Option<usize>,
}

/// What was made.
pub struct Summary {
    pub images: usize,
    pub shards: usize,
    /// Shards that were there already.
    pub kept: usize,
    pub latent: [usize; 3],
}

/// Encodes all images of `data` into the folder `out`. Shards that an earlier call has finished are kept.
///
/// # Errors
/// [`Failure::Input`] for a folder that holds other files or latents of other data; [`Failure::Interrupted`]; an image that cannot be read
/// or whose latents are not finite; a device that fails.
pub fn encode(
    data: &dyn Dataset,
    config: &DataConfig,
    vae: &mut Vae,
    device: &Device,
    out: &Path,
    options: Options,
) -> Result<Summary> {
    let at_once = batch(data.shape()) * (1 + usize::from(options.flips));
    let mut encoder = vae.encoder(device, data.shape(), at_once)?;
    let [scale, shift] = vae.scaling();
    let about = About {
        version: VERSION,
        latent: vae.latent(data.shape())?,
        image: data.shape(),
        flips: options.flips,
        variances: vae.has_variances(),
        half: options.half,
        scale,
        shift,
        autoencoder: shown(vae.path().file_name().unwrap_or(vae.path().as_os_str())),
        weights: format!("{:08x}", files::checksum(vae.path())?),
        source: config.described(),
        settings: toml::to_string(config).unwrap_or_default(),
        n_classes: data.n_classes(),
        classes: data.class_names().to_vec(),
        shards: Vec::new(),
    };
    begin(out, &about)?;
    let bytes = about.record_bytes() * about.n_flips();
    let most = options.shard_images.unwrap_or(SHARD_BYTES / bytes);
    let per_shard = most.min(MOST_SHARD_BYTES / bytes).clamp(1, data.len());
    let n_shards = data.len().div_ceil(per_shard);
    let (mut shards, mut kept) = (Vec::new(), 0);
    let mut bar = Progress::new("encoding", "images", 0, data.len() as u64);
    for number in 0..n_shards {
        let images = number * per_shard..data.len().min((number + 1) * per_shard);
        let file = format!("shard-{number:05}-of-{n_shards:05}.safetensors");
        let path = out.join(&file);
        let crc32c = match path.exists() {
            true => {
                kept += 1;
                check_kept(data, &about, &path, images.clone())?;
                files::checksum(&path)?
            }
            false => {
                let bytes = shard(data, &about, images.clone(), &mut encoder, &mut bar)?;
                write_atomically(&path, |out| out.write_all(&bytes))?;
                crc32c::crc32c(&bytes)
            }
        };
        bar.set(images.end as u64, String::new);
        shards.push(ShardAbout {
            file,
            images: images.len(),
            crc32c,
        });
    }
    drop(bar);
    let latent = about.latent;
    write_about(&out.join(LATENTS), &About { shards, ..about })?;
    let unfinished = out.join(UNFINISHED);
    fs::remove_file(&unfinished).map_err(FileError::of("remove", &unfinished))?;
    Ok(Summary {
        images: data.len(),
        shards: n_shards,
        kept,
        latent,
    })
}

/// Makes the folder, or finds in it what an earlier call with the same settings began.
fn begin(out: &Path, about: &About) -> Result<()> {
    let refuse = |what: String| Err(Failure::Input(format!("--out: {}: {what}", shown(out))));
    if out.join(LATENTS).exists() {
        return refuse("holds latents already; choose another folder".into());
    }
    let unfinished = out.join(UNFINISHED);
    if unfinished.exists() {
        let text = fs::read_to_string(&unfinished).map_err(FileError::of("read", &unfinished))?;
        return match serde_json::from_str::<About>(&text) {
            Ok(found) if found == *about => Ok(()),
            _ => refuse(format!(
                "{UNFINISHED} is of other images, another autoencoder or other settings; choose another folder"
            )),
        };
    }
    if out.exists() && !out.is_dir() {
        return refuse("is a file, expected a folder".into());
    }
    if out.is_dir() && fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return refuse("holds other files; choose an empty folder or a new one".into());
    }
    fs::create_dir_all(out).map_err(FileError::of("make", out))?;
    write_about(&unfinished, about)
}

fn write_about(path: &Path, about: &About) -> Result<()> {
    let text = serde_json::to_string_pretty(about).expect("it has no maps");
    Ok(write_atomically(path, |out| {
        out.write_all(text.as_bytes())
    })?)
}

/// Images `[C, H, W]` that are read at a time.
fn batch(image: [usize; 3]) -> usize {
    let len: usize = image.iter().product();
    (BATCH_BYTES / (4 * len)).clamp(1, BATCH)
}

/// The pixels of some images, each followed by the mirrored one if these are encoded, too.
fn pictures(data: &dyn Dataset, about: &About, some: &[usize]) -> Result<Vec<f32>> {
    let [channels, height, width] = about.image;
    let len = channels * height * width;
    let n_flips = about.n_flips();
    let mut pictures = vec![0.0; some.len() * n_flips * len];
    let each = pictures.par_chunks_exact_mut(n_flips * len);
    let read = each.zip(some).try_for_each(|(pictures, &index)| {
        let (image, mirrored) = pictures.split_at_mut(len);
        data.read(index, image)?;
        if about.flips {
            mirrored.copy_from_slice(image);
            mirrored.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        Ok(())
    });
    read.map(|()| pictures).map_err(|e: DataError| e.into())
}

/// The bytes of a shard.
fn shard(
    data: &dyn Dataset,
    about: &About,
    images: Range<usize>,
    encoder: &mut Encoder,
    bar: &mut Progress,
) -> Result<Vec<u8>> {
    let z: usize = about.latent.iter().product();
    let mut moments = Vec::new();
    let all: Vec<usize> = images.clone().collect();
    let batch = batch(about.image);
    let mut ahead = all.chunks(batch);
    let mut next = ahead.next().map(|some| pictures(data, about, some));
    for some in all.chunks(batch) {
        if signals::interrupted() {
            tracing::info!("stopped; the same command goes on after the shards that are whole");
            return Err(Failure::Interrupted);
        }
        let images = next.take().transpose()?.unwrap_or_default();
        // The next images are read while these are encoded.
        let (posterior, read) = rayon::join(
            || encoder.encode(&images),
            || ahead.next().map(|some| pictures(data, about, some)),
        );
        next = read;
        let posterior = posterior.map_err(|e| Failure::from(e).context("--vae"))?;
        let of_image = about.n_flips() * z;
        for (i, index) in some.iter().enumerate() {
            for at in (i * of_image..(i + 1) * of_image).step_by(z) {
                let mut values = posterior.mean[at..at + z].to_vec();
                if about.variances {
                    values.extend_from_slice(&posterior.log_variance[at..at + z]);
                }
                push(&mut moments, &values, about.half).map_err(|value| {
                    let item = data.item_name(*index);
                    Failure::Run(format!(
                        "{item}: a latent or its log-variance is {value}, which the file cannot hold; f16 holds numbers up to 65504 (--dtype f32)"
                    ))
                })?;
            }
        }
        bar.set(some.last().map_or(0, |last| *last as u64 + 1), String::new);
    }
    let names: Vec<String> = images.clone().map(|index| name(data, index)).collect();
    let names = names.join("\n");
    let [channels, height, width] = about.latent;
    let n = images.len();
    let dtype = if about.half { Dtype::F16 } else { Dtype::F32 };
    let shape = [
        n,
        about.n_flips(),
        about.n_moments(),
        channels,
        height,
        width,
    ];
    let tensors = [
        (Latents::MOMENTS.to_owned(), Shape::from(shape), dtype),
        (Latents::LABEL.to_owned(), Shape::from([n]), Dtype::I64),
        (
            Latents::NAMES.to_owned(),
            Shape::from([names.len()]),
            Dtype::U8,
        ),
    ];
    let mut bytes = checkpoint::header_of(&tensors, &[])?;
    bytes.extend(moments);
    for index in images {
        bytes.extend(i64::from(data.label(index)).to_le_bytes());
    }
    bytes.extend(names.as_bytes());
    Ok(bytes)
}

/// The name of an image below the folder of the data.
fn name(data: &dyn Dataset, index: usize) -> String {
    let plain = |text: &str| text.replace('\\', "/");
    let root = plain(data.name()).trim_end_matches('/').to_owned() + "/";
    let name = plain(&data.item_name(index));
    shown(name.strip_prefix(&root).unwrap_or(&name))
}

/// Refuses a shard that an earlier call has made of other images.
fn check_kept(data: &dyn Dataset, about: &About, path: &Path, images: Range<usize>) -> Result<()> {
    let (labels, names) = Latents::check_shard(path, about, images.len())?;
    let found = labels.into_iter().zip(names);
    let wanted = images.map(|index| (data.label(index), name(data, index).into_boxed_str()));
    match found.eq(wanted) {
        true => Ok(()),
        false => Err(Failure::Input(format!(
            "{}: has other images than the data has now; choose another --out",
            shown(path)
        ))),
    }
}

/// Appends values as they are stored.
fn push(bytes: &mut Vec<u8>, values: &[f32], half: bool) -> std::result::Result<(), f32> {
    for &value in values {
        let rounded = f16::from_f32(value);
        if !value.is_finite() || half && !rounded.is_finite() {
            return Err(value);
        }
        match half {
            true => bytes.extend(rounded.to_le_bytes()),
            false => bytes.extend(value.to_le_bytes()),
        }
    }
    Ok(())
}
