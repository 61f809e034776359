//! The network: SiT, a transformer on image patches with adaLN-Zero conditioning (arXiv 2401.08740, section 4; DiT, arXiv
//! 2212.09748, section 3.2).
//!
//! [`ModelConfig`] is its sizes, [`params`] its tensors under their official names, [`Network`] its graph.

mod config;
mod forward;
mod params;

pub use config::{ModelConfig, PRESETS, Preset};
pub use forward::{FREQS, Network, POS_EMBED, write_tables};
pub use params::{init, params, pos_embed, time_freqs};
