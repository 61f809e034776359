//! The loss by time that a run has logged, for the diffusion w-kl-eta.

use crate::commands::source::Opened;
use crate::error::Result;
use serde::Deserialize;
use sit_engine::text::shown;
use sit_engine::transport::{Curve, LossWeight, Prediction, Transport};
use std::fs;
use std::path::Path;

/// Lines of metrics that are averaged, the last ones before the checkpoint.
const LINES: usize = 10;

/// The loss of a run's velocity by time, from the lines of its metrics up to the checkpoint; `None` for a file of weights, for a run that
/// trained another loss than the velocity's, or without such lines.
///
/// # Errors
/// A loss that is negative or not finite.
pub fn of_run(source: &Opened) -> Result<Option<Curve>> {
    let (Some(step), Some(run)) = (source.origin.step, source.origin.path.parent()) else {
        return Ok(None);
    };
    if !is_of_velocity(&source.recipe.transport) {
        return Ok(None);
    }
    // The checkpoint may be given as `.` or without its run.
    let run = match run == Path::new("") {
        true => Path::new("."),
        false => run,
    };
    let file = run.join("metrics.jsonl");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let Some(points) = points(&text, step) else {
        return Ok(None);
    };
    let curve = Curve::through(points)?;
    tracing::info!("loss by time: of {}, up to step {step}", shown(&file));
    Ok(Some(curve))
}

/// Whether the training loss is that of the velocity, a mean over values.
fn is_of_velocity(transport: &Transport) -> bool {
    match transport.prediction {
        Prediction::Velocity => true,
        Prediction::Denoiser => false,
        _ => transport.loss_weight == LossWeight::Velocity,
    }
}

/// `[t, loss]` at the middle of each bin that has images, and the same values at the ends of time.
fn points(metrics: &str, step: u64) -> Option<Vec<[f64; 2]>> {
    #[derive(Deserialize)]
    struct Line {
        step: u64,
        loss_by_t: Vec<Option<f64>>,
    }
    let lines = metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let lines: Vec<Line> = lines.filter(|line| line.step <= step).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let n_bins = last.first()?.loss_by_t.len();
    let mut points = Vec::with_capacity(n_bins + 2);
    for bin in 0..n_bins {
        let losses = last
            .iter()
            .filter_map(|line| line.loss_by_t.get(bin).copied().flatten());
        let losses: Vec<f64> = losses.collect();
        if !losses.is_empty() {
            let t = (bin as f64 + 0.5) / n_bins as f64;
            points.push([t, losses.iter().sum::<f64>() / losses.len() as f64]);
        }
    }
    let (first, end) = (points.first()?[1], points.last()?[1]);
    points.insert(0, [0.0, first]);
    points.push([1.0, end]);
    Some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_up_to_the_checkpoint_count() {
        let line = |step: u64, loss: f64| {
            format!("{{\"step\":{step},\"loss\":1,\"loss_by_t\":[{loss},null]}}\n")
        };
        let text: String = (1..=30).map(|i| line(i, i as f64)).collect();
        // Lines 11 to 20, and a bin without images.
        let want = vec![[0.0, 15.5], [0.25, 15.5], [1.0, 15.5]];
        assert_eq!(points(&text, 20), Some(want));
        assert_eq!(points(&text, 0), None);
        assert_eq!(points("no json\n", 9), None);
        assert_eq!(points("{\"step\":1,\"loss_by_t\":[null]}\n", 9), None);
    }

    #[test]
    fn only_a_loss_of_the_velocity_counts() {
        let with = |prediction, loss_weight| {
            is_of_velocity(&Transport {
                prediction,
                loss_weight,
                ..Transport::default()
            })
        };
        assert!(with(Prediction::Velocity, LossWeight::None));
        assert!(with(Prediction::Noise, LossWeight::Velocity));
        assert!(!with(Prediction::Noise, LossWeight::None));
        assert!(!with(Prediction::Denoiser, LossWeight::None));
    }
}
