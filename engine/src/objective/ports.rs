//! Program inputs that the host fills before each run.

use crate::backend::Program;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::NetworkIo;
use crate::shape::Shape;
use std::collections::BTreeMap;

/// Inputs by name, each with a reusable host buffer.
#[derive(Debug)]
pub struct Ports {
    batch: usize,
    io: NetworkIo,
    floats: BTreeMap<&'static str, Vec<f32>>,
    ints: BTreeMap<&'static str, Vec<u32>>,
}

impl Ports {
    /// An empty list of ports, for batches of `batch` images of `io`.
    pub fn new(io: NetworkIo, batch: usize) -> Self {
        Ports {
            batch,
            io,
            floats: BTreeMap::new(),
            ints: BTreeMap::new(),
        }
    }

    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shapes of the images and labels.
    pub fn io(&self) -> &NetworkIo {
        &self.io
    }

    /// Declares a float input.
    pub fn float(&mut self, g: &mut Graph, name: &'static str, shape: impl Into<Shape>) -> Var {
        let shape = shape.into();
        self.floats.insert(name, vec![0.0; shape.numel()]);
        g.input(name, shape)
    }

    /// Declares an integer input.
    pub fn int(&mut self, g: &mut Graph, name: &'static str, shape: impl Into<Shape>) -> Var {
        let shape = shape.into();
        self.ints.insert(name, vec![0; shape.numel()]);
        g.input_u32(name, shape)
    }

    /// The buffer of a float input.
    ///
    /// # Errors
    /// [`Error::Shape`] when the objective has not declared that name.
    pub fn fill(&mut self, name: &str) -> Result<&mut [f32]> {
        let buffer = self.floats.get_mut(name);
        buffer
            .map(|buffer| &mut buffer[..])
            .ok_or_else(|| none(name))
    }

    /// The buffer of an integer input.
    ///
    /// # Errors
    /// As [`Ports::fill`].
    pub fn fill_int(&mut self, name: &str) -> Result<&mut [u32]> {
        let buffer = self.ints.get_mut(name);
        buffer
            .map(|buffer| &mut buffer[..])
            .ok_or_else(|| none(name))
    }

    /// The buffer of a float input, read-only.
    ///
    /// # Errors
    /// As [`Ports::fill`].
    pub fn get(&self, name: &str) -> Result<&[f32]> {
        let buffer = self.floats.get(name);
        buffer.map(|buffer| &buffer[..]).ok_or_else(|| none(name))
    }

    /// Copies values into the buffer of a float input.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is none of that name, or the length differs.
    pub fn copy(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let buffer = self.fill(name)?;
        if buffer.len() != values.len() {
            return Err(Error::Shape(format!(
                "{name} got {} values, expected {}",
                values.len(),
                buffer.len()
            )));
        }
        buffer.copy_from_slice(values);
        Ok(())
    }

    /// Writes all buffers into the inputs of a program.
    pub(crate) fn write(&self, program: &mut Program) -> Result<()> {
        for (name, values) in &self.ints {
            program.write_u32(name, values)?;
        }
        for (name, values) in &self.floats {
            program.write(name, values)?;
        }
        Ok(())
    }
}

fn none(name: &str) -> Error {
    Error::Shape(format!("the objective has no input {name}"))
}
