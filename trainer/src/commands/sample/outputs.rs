//! What `sit sample` writes.

use super::args::Args;
use crate::error::Result;
use crate::outputs::Outputs;

impl Args {
    /// Refuses outputs that cannot be written, or would replace an input or each other, before the work rather than after it.
    pub fn check_outputs(&self) -> Result<()> {
        let mut outputs = Outputs::default();
        outputs.reads("CHECKPOINT", &self.source.checkpoint);
        if let Some(init) = &self.init {
            outputs.reads("--init", init);
        }
        outputs.writes("--out", &self.out, &["png"])?;
        if let Some(npz) = &self.npz {
            outputs.writes("--npz", npz, &["npz"])?;
        }
        if let Some(trajectory) = &self.trajectory {
            outputs.writes("--trajectory", trajectory, &["safetensors"])?;
        }
        Ok(())
    }
}
