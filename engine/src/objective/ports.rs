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

/// Buffers of one type of elements, by name, with their lengths; there are few. A buffer is allocated when it is filled first, so that a
/// forecast of memory takes none.
type Buffers<T> = Vec<(&'static str, usize, Vec<T>)>;

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

macro_rules! port_elem {
    ($elem:ty, $buffers:ident, $input:ident) => {
        impl PortElem for $elem {
            fn input(g: &mut Graph, name: &'static str, shape: Shape) -> Var {
                g.$input(name, shape)
            }

            fn buffers(ports: &Ports) -> &Buffers<$elem> {
                &ports.$buffers
            }

            fn buffers_mut(ports: &mut Ports) -> &mut Buffers<$elem> {
                &mut ports.$buffers
            }
        }
    };
}

port_elem!(f32, floats, input);
port_elem!(u32, ints, input_u32);

/// The inputs of an objective, each with a buffer that is kept from run to run.
#[derive(Debug)]
pub struct Ports {
    batch: usize,
    io: NetworkIo,
    floats: Buffers<f32>,
    ints: Buffers<u32>,
    parts: Vec<(&'static str, Var)>,
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

    /// Declares an input of this shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when the port has been declared already.
    pub fn input<T: PortElem>(
        &mut self,
        g: &mut Graph,
        port: Port<T>,
        shape: impl Into<Shape>,
    ) -> Result<Var> {
        let floats = self.floats.iter().map(|port| port.0);
        let mut names = floats.chain(self.ints.iter().map(|port| port.0));
        if names.any(|name| name == port.0) {
            return Err(Error::Shape(format!(
                "the objective declares {port:?} twice"
            )));
        }
        let shape = shape.into();
        let buffer = (port.0, shape.numel(), Vec::new());
        T::buffers_mut(self).push(buffer);
        Ok(T::input(g, port.0, shape))
    }

    /// Names a part of the loss, `[B]`, for a trainer to tell beside it ([`Report::parts`](crate::train::Report::parts)).
    pub fn part(&mut self, name: &'static str, per_sample: Var) {
        self.parts.push((name, per_sample));
    }

    /// The buffer of an input; empty before it is filled.
    ///
    /// # Errors
    /// [`Error::Shape`] when the objective has not made it.
    pub fn get<T: PortElem>(&self, port: Port<T>) -> Result<&[T]> {
        let mut buffers = T::buffers(self).iter();
        let found = buffers.find(|(name, ..)| *name == port.0);
        found
            .map(|(_, _, buffer)| &buffer[..])
            .ok_or_else(|| none(port))
    }

    /// The buffer of an input, to be filled.
    ///
    /// # Errors
    /// As [`Ports::get`].
    pub fn fill<T: PortElem>(&mut self, port: Port<T>) -> Result<&mut [T]> {
        let mut buffers = T::buffers_mut(self).iter_mut();
        let found = buffers.find(|(name, ..)| *name == port.0);
        found.map(filled).ok_or_else(|| none(port))
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

    /// Writes the buffers into the inputs of a program. A program has no input that nothing depends on.
    pub(crate) fn write(&mut self, program: &mut Program) -> Result<()> {
        for port in &mut self.ints {
            if program.plan().has_input(port.0) {
                program.write_u32(port.0, filled(port))?;
            }
        }
        for port in &mut self.floats {
            if program.plan().has_input(port.0) {
                program.write(port.0, filled(port))?;
            }
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
            parts: Vec::new(),
        }
    }

    /// The parts of the loss.
    pub fn parts(&self) -> &[(&'static str, Var)] {
        &self.parts
    }
}

/// The buffer, with zeros where it was never filled.
fn filled<'a, T: PortElem>(port: &'a mut (&'static str, usize, Vec<T>)) -> &'a mut [T] {
    let (_, len, buffer) = port;
    buffer.resize(*len, T::default());
    buffer
}

fn none<T>(port: Port<T>) -> Error {
    Error::Shape(format!("the objective has no input {port:?}"))
}
