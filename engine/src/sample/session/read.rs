//! Results of a session: states, network outputs, estimated errors, and a profile of the last step.

use super::Session;
use crate::backend::Program;
use crate::backend::profile::{Clock, Profile};
use crate::error::{Error, Result};
use crate::sample::write::FormProgram;

impl Session {
    /// The estimated error of the last step for each sample, as a root mean square over its values, `[B]`.
    ///
    /// # Errors
    /// [`Error::Config`] before the first step, without [`Sampling::keep_error`](crate::sample::Sampling::keep_error) or after a step without an estimate;
    /// [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_error(&self) -> Result<Vec<f64>> {
        pollster::block_on(self.read_error_async())
    }

    /// The network's output `[B, C, H, W]` at the state and time before the last step (in a step with several evaluations the first
    /// one, after the step's noise was added); in a step with classifier-free guidance `[2B, C, H, W]`, first
    /// conditional, then unconditional.
    ///
    /// # Errors
    /// [`Error::Config`] before the first step or without [`Sampling::keep_out`](crate::sample::Sampling::keep_out), [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_out(&self) -> Result<Vec<f32>> {
        pollster::block_on(self.read_out_async())
    }

    fn kept(&self) -> Result<&Program> {
        let program = self.program().filter(|_| self.sampling.keep_out);
        program.ok_or_else(|| {
            Error::Config(
                "the network's output is kept from the first step on, with keep_out".into(),
            )
        })
    }

    /// The state `[B, C, H, W]`.
    ///
    /// # Errors
    /// [`Error::Config`] when the session was not started, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&self) -> Result<Vec<f32>> {
        pollster::block_on(self.read_async())
    }
}

#[doc(hidden)]
impl Session {
    /// Async variant of [`Self::read_error`], for browsers.
    pub async fn read_error_async(&self) -> Result<Vec<f64>> {
        let last = self.last.map(|at| &self.programs[at]);
        let Some(FormProgram { program, .. }) = last.filter(|p| p.form.has_error) else {
            return Err(Error::Config(
                "the error is kept from the first step on, with keep_error and a method that estimates it".into(),
            ));
        };
        let squares = program.read("error").await?;
        Ok(squares.iter().map(|&x| f64::from(x).sqrt()).collect())
    }

    /// Async variant of [`Self::read_out`], for browsers.
    pub async fn read_out_async(&self) -> Result<Vec<f32>> {
        self.kept()?.read("out").await
    }

    /// Async variant of [`Self::read`], for browsers.
    pub async fn read_async(&self) -> Result<Vec<f32>> {
        match self.last {
            Some(at) => self.programs[at].program.read("x").await,
            None if self.start.is_empty() => {
                Err(Error::Config("the session was not started".into()))
            }
            None => Ok(self.start.clone()),
        }
    }

    /// Returns both [`Session::read`] and [`Session::read_out`], on a GPU with a single wait.
    ///
    /// # Errors
    /// As [`Session::read_out`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_both(&self) -> Result<[Vec<f32>; 2]> {
        pollster::block_on(self.read_both_async())
    }

    /// Async variant of [`Self::read_both`], for browsers.
    pub async fn read_both_async(&self) -> Result<[Vec<f32>; 2]> {
        self.kept()?.read_all(["x", "out"]).await
    }

    /// The program of the last step; `None` before the first. Its outputs are the state `x` and, with
    /// [`Sampling::keep_out`](crate::sample::Sampling::keep_out), the network's output `out`, as in [`Session::read`] and
    /// [`Session::read_out`].
    pub fn program(&self) -> Option<&Program> {
        self.last.map(|at| &self.programs[at].program)
    }

    /// Repeats the last step, from the same state, and measures each kernel ([`Program::profile`]).
    ///
    /// # Errors
    /// [`Error::Config`] before the first step, [`Error::Device`] when the device fails.
    pub async fn profile(&mut self, clock: &mut Clock<'_>) -> Result<Profile> {
        match self.last {
            Some(at) => self.programs[at].program.profile(clock).await,
            None => Err(Error::Config("the session has done no step".into())),
        }
    }
}
