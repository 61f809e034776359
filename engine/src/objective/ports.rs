//! Program inputs that the host fills before each run.

use crate::backend::Program;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::NetworkIo;
use crate::shape::Shape;
use std::fmt;
use std::marker::PhantomData;

/// An input of an objective: its name, with the type `T` of its elements, `f32` or `u32`. An objective has each of its ports as a
/// constant, so that what is made and what is filled cannot differ.
pub struct Port<T>(&'static str, PhantomData<T>);

impl<T> Port<T> {
    /// The port of this name.
    pub const fn new(name: &'static str) -> Self {
        Port(name, PhantomData)
    }
}

impl<T> Clone for Port<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Port<T> {}

impl<T> fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Buffers of one type of elements, by name; there are few.
type Buffers<T> = Vec<(&'static str, Vec<T>)>;

/// The type of a port's elements.
#[doc(hidden)]
pub trait PortElem: Copy + Default + 'static {
    #[doc(hidden)]
    fn input(g: &mut Graph, name: &'static str, shape: Shape) -> Var;
    #[doc(hidden)]
    fn buffers(ports: &Ports) -> &Buffers<Self>;
    #[doc(hidden)]
    fn buffers_mut(ports: &mut Ports) -> &mut Buffers<Self>;
}

impl PortElem for f32 {
    fn input(g: &mut Graph, name: &'static str, shape: Shape) -> Var {
        g.input(name, shape)
    }

    fn buffers(ports: &Ports) -> &Buffers<f32> {
        &ports.floats
    }

    fn buffers_mut(ports: &mut Ports) -> &mut Buffers<f32> {
        &mut ports.floats
    }
}

impl PortElem for u32 {
    fn input(g: &mut Graph, name: &'static str, shape: Shape) -> Var {
        g.input_u32(name, shape)
    }

    fn buffers(ports: &Ports) -> &Buffers<u32> {
        &ports.ints
    }

    fn buffers_mut(ports: &mut Ports) -> &mut Buffers<u32> {
        &mut ports.ints
    }
}

/// The inputs of an objective, each with a buffer that is kept from run to run.
#[derive(Debug)]
pub struct Ports {
    batch: usize,
    io: NetworkIo,
    floats: Buffers<f32>,
    ints: Buffers<u32>,
}

impl Ports {
    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Shapes of the images and labels.
    pub fn io(&self) -> &NetworkIo {
        &self.io
    }

    /// Makes the input `port` of this shape.
    pub fn input<T: PortElem>(
        &mut self,
        g: &mut Graph,
        port: Port<T>,
        shape: impl Into<Shape>,
    ) -> Var {
        let shape = shape.into();
        let buffer = vec![T::default(); shape.numel()];
        T::buffers_mut(self).push((port.0, buffer));
        T::input(g, port.0, shape)
    }

    /// The buffer of an input.
    ///
    /// # Errors
    /// [`Error::Shape`] when the objective has not made it.
    pub fn get<T: PortElem>(&self, port: Port<T>) -> Result<&[T]> {
        let mut buffers = T::buffers(self).iter();
        let found = buffers.find(|(name, _)| *name == port.0);
        found
            .map(|(_, buffer)| &buffer[..])
            .ok_or_else(|| none(port))
    }

    /// The buffer of an input, to be filled.
    ///
    /// # Errors
    /// As [`Ports::get`].
    pub fn fill<T: PortElem>(&mut self, port: Port<T>) -> Result<&mut [T]> {
        let mut buffers = T::buffers_mut(self).iter_mut();
        let found = buffers.find(|(name, _)| *name == port.0);
        found
            .map(|(_, buffer)| &mut buffer[..])
            .ok_or_else(|| none(port))
    }

    /// Copies values into the buffer of an input.
    ///
    /// # Errors
    /// [`Error::Shape`] when the objective has not made it, or the length differs.
    pub fn copy<T: PortElem>(&mut self, port: Port<T>, values: &[T]) -> Result<()> {
        let buffer = self.fill(port)?;
        if buffer.len() != values.len() {
            return Err(Error::Shape(format!(
                "{port:?} got {} values, expected {}",
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

#[doc(hidden)]
impl Ports {
    /// An empty list of ports, for batches of `batch` images of `io`.
    pub fn new(io: NetworkIo, batch: usize) -> Self {
        Ports {
            batch,
            io,
            floats: Vec::new(),
            ints: Vec::new(),
        }
    }
}

fn none<T>(port: Port<T>) -> Error {
    Error::Shape(format!("the objective has no input {port:?}"))
}
