//! How much memory a job needs, part by part, before anything is allocated.

mod eval;

pub use eval::{JUDGE_BATCH, of_real, pixels, stream};

use crate::config::RunConfig;
use crate::data::Loader;
use crate::error::{Failure, Result};
use crate::host;
use crate::preview;
use sit_engine::Error;
use sit_engine::backend::Device;
use sit_engine::model::{Blueprint, Reconstruct};
use sit_engine::sample::Sampling;
use std::fmt;

/// The memory that a job needs on a device and on the host, and what is free there.
#[derive(Debug)]
pub struct Forecast {
    what: String,
    /// Bytes on the device by part, or why the device cannot run it.
    device: Result<Vec<Part>>,
    /// Bytes beside it, in the memory of the process, by part.
    host: Vec<Part>,
    /// Whether the device uses the memory of the process.
    is_cpu: bool,
    /// Bytes that the process can still allocate, if the system reports them.
    free: Option<u64>,
}

/// The name of a part, and its bytes.
type Part = (&'static str, u64);

/// The memory of a training run.
pub fn training(config: &RunConfig, device: &Device) -> Forecast {
    let image = 4 * config.model.io().image_len() as u64;
    // The host also holds the noise of each batch.
    let batch = (config.train.batch as u64).saturating_mul(2 * image);
    let most = device.max_segment_bytes();
    let training = config.step();
    let blueprint = training.blueprint(most);
    let largest = blueprint.iter().flat_map(Blueprint::specs);
    let largest = largest.map(|spec| 4 * spec.shape.numel() as u64).max();
    let packed = blueprint
        .as_ref()
        .map_or(0, |blueprint| packed(blueprint, device));
    let evaluation = match (&blueprint, config.log.eval.every_steps) {
        (Ok(blueprint), 1..) => eval::forecast(config, blueprint),
        _ => Ok((0, 0)),
    };
    let validates = config.log.validation.every_steps > 0;
    let validation = match &blueprint {
        Ok(blueprint) if validates => training.validation_bytes(blueprint),
        _ => Ok(0),
    };
    let reconstructions = match &blueprint {
        // One for held-out images, and one that measures the scale of the latents of a checkpoint.
        Ok(blueprint) if config.trains_autoencoder() => {
            let one = Reconstruct::forecast(blueprint, config.train.batch);
            one.map(|bytes| bytes.saturating_mul(1 + u64::from(validates)))
        }
        _ => Ok(0),
    };
    let is_cpu = matches!(device, Device::Cpu);
    let within = match &blueprint {
        Ok(blueprint) if !is_cpu => training.plans(blueprint).and_then(|plans| {
            device.check(&plans.grad)?;
            device.check(&plans.update)
        }),
        _ => Ok(()),
    };
    let previews = blueprint
        .map_err(Failure::from)
        .and_then(|blueprint| preview::forecast(config, &blueprint));
    let (on_device, on_host) = match &previews {
        Ok(bytes) => *bytes,
        Err(_) => (0, 0),
    };
    let eval_on_host = evaluation.as_ref().map_or(0, |(_, on_host)| *on_host);
    let parts = training.forecast(most).map_err(Failure::from);
    let parts = parts.and_then(|mut parts| {
        within?;
        previews?;
        if on_device > 0 {
            parts.push(("previews", on_device));
        }
        if validates {
            parts.push(("validation", validation?));
        }
        if let (1.., _) = evaluation.as_ref().map_err(Failure::clone)? {
            parts.push(("evaluation", evaluation?.0));
        }
        if config.trains_autoencoder() {
            parts.push(("reconstructions", reconstructions?));
        }
        Ok(parts)
    });
    Forecast {
        what: format!("training at batch {}", config.train.batch),
        device: parts,
        host: vec![
            ("pictures of previews", on_host),
            ("samples of an evaluation", eval_on_host),
            (
                "batches ahead",
                (Loader::batches_ahead(config.data.workers.min(256)) as u64)
                    .saturating_mul(match config.transport.base.data() {
                        None => batch / 2,
                        // With what stands in the place of noise.
                        Some(_) => batch,
                    })
                    .saturating_add(batch),
            ),
            ("packed weights", packed),
            // The images of a batch, and the inputs of the program.
            (
                "held-out images",
                if validates { batch / 2 + batch } else { 0 },
            ),
            // Tensors are written one at a time.
            ("checkpoint writing", largest.unwrap_or(0)),
        ],
        is_cpu,
        free: host::free_memory(),
    }
}

/// What the threads of the CPU pack of the weights, each those of the product that it does. The label table is in no product.
fn packed(blueprint: &Blueprint, device: &Device) -> u64 {
    let rows = blueprint.io().n_classes + 1;
    let shapes = blueprint.specs().iter().map(|spec| &spec.shape);
    let matrices = shapes.filter(|shape| shape.len() == 2 && shape[0] != rows);
    let largest = matrices.map(|shape| 4 * shape.numel() as u64).max();
    match device {
        Device::Cpu => largest.unwrap_or(0) * rayon::current_num_threads() as u64,
        _ => 0,
    }
}

/// The memory of sampling on a device.
pub fn sampling(sampling: &Sampling<Blueprint>, device: &Device) -> Forecast {
    let with_guidance = match sampling.guidance_settings().scale {
        1.0 => "",
        _ => " with guidance",
    };
    Forecast {
        what: format!("sampling at batch {}{with_guidance}", sampling.batch_size()),
        device: sampling.forecast().map_err(Failure::from),
        host: vec![("packed weights", packed(sampling.model(), device))],
        is_cpu: matches!(device, Device::Cpu),
        free: host::free_memory(),
    }
}

/// The memory of a job with these parts on a device.
pub fn parts(
    what: String,
    parts: std::result::Result<Vec<Part>, Error>,
    device: &Device,
) -> Forecast {
    Forecast {
        what,
        device: parts.map_err(Failure::from),
        host: Vec::new(),
        is_cpu: matches!(device, Device::Cpu),
        free: host::free_memory(),
    }
}

fn total(parts: &[Part]) -> u64 {
    let bytes = parts.iter().map(|(_, bytes)| bytes);
    bytes.fold(0, |sum, &bytes| sum.saturating_add(bytes))
}

impl Forecast {
    /// Adds memory on the device.
    #[must_use]
    pub fn with_device(mut self, part: &'static str, bytes: u64) -> Self {
        if let Ok(parts) = &mut self.device {
            parts.push((part, bytes));
        }
        self
    }

    /// Adds memory that the process uses on any device.
    #[must_use]
    pub fn with_host(mut self, part: &'static str, bytes: u64) -> Self {
        self.host.push((part, bytes));
        self
    }

    /// Bytes on the device, with those beside it where it is the CPU.
    ///
    /// # Errors
    /// A job that the device cannot run.
    pub fn bytes(&self) -> Result<u64> {
        let device = self.device.clone()?;
        match self.is_cpu {
            true => Ok(self.on_host(&device)),
            false => Ok(total(&device)),
        }
    }

    /// Bytes in the memory of the process.
    fn on_host(&self, device: &[Part]) -> u64 {
        let device = if self.is_cpu { total(device) } else { 0 };
        total(&self.host).saturating_add(device)
    }

    /// Refuses a job that does not fit in memory; the system would kill the process in the middle of it.
    ///
    /// # Errors
    /// [`Failure::Input`] with what is needed and what is free.
    pub fn require(self) -> Result<()> {
        let device = self.device.clone()?;
        let needed = self.on_host(&device);
        match self.free {
            Some(free) if needed > free => Err(Failure::Input(format!(
                "{} needs {:.0} MiB of memory, {:.0} MiB are free; use a smaller batch or model",
                self.what,
                mib(needed),
                mib(free)
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = match &self.device {
            Ok(parts) => parts,
            Err(e) => return writeln!(f, "  {}: does not fit: {e}", self.what),
        };
        writeln!(f, "  {}", self.what)?;
        let beside = if self.is_cpu {
            ""
        } else {
            " (beside the device)"
        };
        let parts = device.iter().map(|part| (part, ""));
        let parts = parts.chain(self.host.iter().map(|part| (part, beside)));
        for ((part, bytes), place) in parts.filter(|((_, bytes), _)| *bytes > 0) {
            writeln!(f, "    {part:<20} {:>10.1} MiB{place}", mib(*bytes))?;
        }
        let free = self.free.filter(|_| self.is_cpu);
        let beside = if self.is_cpu { total(&self.host) } else { 0 };
        let all = total(device).saturating_add(beside);
        let verdict = match free {
            Some(free) if all > free => format!("does not fit: {:.0} MiB are free", mib(free)),
            Some(free) => format!("fits: {:.0} MiB are free", mib(free)),
            None => "how much is free on this device is not known".to_owned(),
        };
        writeln!(f, "    {:<20} {:>10.1} MiB; {verdict}", "all", mib(all))
    }
}

/// Refuses `what` if its `bytes` of the process's memory are not free; `None` is more than any memory.
///
/// # Errors
/// [`Failure::Input`] with what is needed, what is free, and what to do `instead`.
pub fn require_host(what: &str, bytes: Option<u64>, instead: &str) -> Result<()> {
    let free = host::free_memory();
    match bytes {
        Some(bytes) if free.is_none_or(|free| bytes <= free) => Ok(()),
        Some(bytes) => Err(Failure::Input(format!(
            "{what} needs {:.0} MiB of memory, {:.0} MiB are free; {instead}",
            mib(bytes),
            mib(free.unwrap_or(0))
        ))),
        None => Err(Failure::Input(format!(
            "{what} is larger than a PNG can be; {instead}"
        ))),
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
