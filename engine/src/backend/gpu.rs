//! The GPU backend: runs a plan on a wgpu device.

use crate::error::{Error, Result};
use crate::graph::{Arena, Layout, Plan};
use std::fmt;

/// An open wgpu device.
#[derive(Clone, Debug)]
pub struct Gpu {}

/// Arenas in device memory, shared by programs.
#[derive(Clone, Debug)]
pub struct Arenas {}

/// A plan with its buffers, pipelines and bind groups.
#[derive(Debug)]
pub struct Program {
    plan: Plan,
}

impl Gpu {
    /// Opens the first GPU.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn open(_allow_software: bool) -> Result<Gpu> {
        Err(Error::Device("no GPU".into()))
    }

    /// Most bytes of a segment.
    pub fn max_segment_bytes(&self) -> u64 {
        0
    }

    /// Allocates arenas.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn arenas(&self, _layout: &Layout, _kinds: &[Arena]) -> Result<Arenas> {
        Ok(Arenas {})
    }

    /// Makes a program.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn program(&self, plan: Plan, _arenas: &Arenas) -> Result<Program> {
        Ok(Program { plan })
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU")
    }
}

impl Arenas {
    /// Bytes allocated.
    pub fn bytes(&self) -> u64 {
        0
    }
    /// Writes.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn write(&self, _arena: Arena, _name: &str, _data: &[f32]) -> Result<()> {
        Ok(())
    }
    /// Reads.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub async fn read(&self, _arena: Arena, _name: &str) -> Result<Vec<f32>> {
        Ok(vec![])
    }
}

impl Program {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        0
    }
    /// Writes.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn write(&mut self, _input: &str, _data: &[f32]) -> Result<()> {
        Ok(())
    }
    /// Writes.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn write_u32(&mut self, _input: &str, _data: &[u32]) -> Result<()> {
        Ok(())
    }
    /// Runs.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn run(&mut self) -> Result<()> {
        Ok(())
    }
    /// Feeds.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn feed(&mut self, _output: &str, _input: &str) -> Result<()> {
        Ok(())
    }
    /// Reads.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub async fn read(&self, _output: &str) -> Result<Vec<f32>> {
        Ok(vec![])
    }
}
