//! The measurements of a run: `metrics.jsonl` and TensorBoard event files.

mod metrics;
mod tensorboard;

pub use metrics::{Metrics, MetricsLine};
pub use tensorboard::TensorBoard;
