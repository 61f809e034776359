//! The memory that training and sampling need on a device, and what would make it less.

use crate::budget::BudgetArg;
use crate::config::RunConfig;
use crate::error::{Result, in_flags};
use crate::memory::{self, Forecast};
use sit_engine::backend::Device;
use sit_engine::model::{Blueprint, Network as _, Output, Storage};
use sit_engine::sample::Sampling;
use sit_engine::transport::{Method, Sampler};

/// What a model needs on a device; training within the budget, if there is one.
///
/// # Errors
/// Settings that the sampler refuses.
pub fn text(config: &RunConfig, budget: BudgetArg, device: &Device) -> Result<String> {
    let mut text = format!("{device}\n");
    match budget.fit(config.clone(), device) {
        Ok(fitted) => text += &training(&fitted, device),
        Err(e) => text += &format!("  training: {e}\n"),
    }
    if config.model.output() != Output::Prediction {
        // It has no samples.
        return Ok(text);
    }
    match sampling(config, Storage::F32, device) {
        Ok(plain) => {
            text += &memory::sampling(&plain, device).to_string();
            let narrow = sampling(config, Storage::Bf16, device)?;
            let what = "with --dtype f16 or bf16";
            text += &line(what, &memory::sampling(&narrow, device));
        }
        Err(e) => text += &format!("  sampling: does not fit: {}\n", in_flags(&e)),
    }
    Ok(text)
}

fn training(config: &RunConfig, device: &Device) -> String {
    let mut text = memory::training(config, device).to_string();
    let blocks = config.step().n_blocks().unwrap_or(0);
    if blocks > config.train.recompute {
        let mut again = config.clone();
        again.train.recompute = blocks;
        let what = format!("with train.recompute={blocks}, for up to a third more work");
        text += &line(&what, &memory::training(&again, device));
    }
    text
}

/// A line about another way to do it.
fn line(what: &str, forecast: &Forecast) -> String {
    match forecast.bytes() {
        Ok(bytes) => format!("    {:.1} MiB {what}\n", bytes as f64 / f64::from(1 << 20)),
        Err(_) => String::new(),
    }
}

/// Sampling of a batch in a single step, since every step of the ODE is alike.
fn sampling(
    config: &RunConfig,
    storage: Storage,
    device: &Device,
) -> sit_engine::Result<Sampling<Blueprint>> {
    let guidance = match config.model.io().n_classes {
        0 => 1.0,
        // A student has its teacher's.
        _ if config.transport.student_steps.is_some() => 1.0,
        _ => 1.5,
    };
    let (model, transport) = (config.model.clone(), config.transport.clone());
    let blueprint = Blueprint::stored(model, transport, storage, device.max_segment_bytes())?;
    let sampling = Sampling::new(blueprint, Sampler::ode(Method::Euler, 1));
    Ok(sampling.batch(config.train.batch).guidance(guidance))
}
