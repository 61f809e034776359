//! Sessions: one batch, step by step from noise to images.

mod read;

use super::Sampling;
use super::noise::{by_run, initial_noise, step_noise};
use super::plan::{Form, unique};
use super::write::{FormProgram, Writer, write_labels};
use crate::error::{Error, Result};
use crate::model::{Model, NetworkIo};
use crate::text::count;
use crate::transport::Step;

/// Takes one batch from noise to images, step by step.
#[derive(Debug)]
pub struct Session {
    sampling: Sampling<Model>,
    io: NetworkIo,
    steps: Vec<Step>,
    /// Steps that the session was made with; further ones were pushed.
    n_planned: usize,
    /// Index of the program of each step.
    forms: Vec<usize>,
    programs: Vec<FormProgram>,
    /// Steps done.
    done: usize,
    /// The initial state; empty before the start.
    start: Vec<f32>,
    /// Index of the program that ran last; its output is the state.
    last: Option<usize>,
    /// Seed and numbers of the images, if the session generates the noise.
    seed: u64,
    numbers: Vec<u64>,
    noise: Vec<f32>,
    labels: Vec<u32>,
    writer: Writer,
}

impl Session {
    pub(super) fn new(sampling: Sampling<Model>, steps: Vec<Step>) -> Result<Self> {
        if steps.is_empty() {
            return Err(Error::Config("a session needs at least one step".into()));
        }
        if let Some(pair) = steps.windows(2).find(|pair| pair[0].t_next != pair[1].t) {
            let (end, t) = (pair[0].t_next, pair[1].t);
            return Err(Error::Config(format!(
                "a step ends at t = {end} and the next one starts at t = {t}, expected the same time"
            )));
        }
        sampling.check_steps(&steps)?;
        let forms = sampling.forms(&steps);
        let programs = unique(&forms)
            .into_iter()
            .map(|form| FormProgram::new(&sampling, form))
            .collect::<Result<Vec<_>>>()?;
        let index = |form: &Form| {
            let place = programs.iter().position(|p| p.form == *form);
            place.expect("made above")
        };
        let (io, batch) = (sampling.io(), sampling.batch);
        Ok(Session {
            n_planned: steps.len(),
            forms: forms.iter().map(index).collect(),
            programs,
            steps,
            done: 0,
            start: Vec::new(),
            last: None,
            seed: 0,
            numbers: Vec::with_capacity(batch),
            noise: vec![0.0; batch * io.image_len()],
            labels: vec![0; 2 * batch],
            writer: Writer::new(batch),
            io,
            sampling,
        })
    }

    /// Whether all steps are done, so that the state holds the images.
    pub fn is_over(&self) -> bool {
        self.done == self.steps.len()
    }

    /// Time of the state.
    pub fn t(&self) -> f64 {
        match self.done {
            0 => self.steps[0].t,
            n => self.steps[n - 1].t_next,
        }
    }

    /// Appends a step to the schedule, for example one from a step size controller. Its form (number of evaluations,
    /// noise, guidance, error estimate) must be that of a step that was given when the session was created, so that its program exists.
    /// The next start drops it.
    ///
    /// # Errors
    /// [`Error::Config`] for a step of another form, or one that does not start at the end of the last step.
    pub fn push(&mut self, step: Step) -> Result<()> {
        self.sampling.check_steps(&[step])?;
        let form = self.sampling.forms(&[step])[0];
        let fits = |known: &Form| {
            let (own, of) = (form.step, known.step);
            let noise = of.is_noisy || !own.is_noisy;
            let first = of.has_first_row || !own.has_first_row;
            of.key() == own.key()
                && noise
                && first
                && known.guided == form.guided
                && known.has_error == form.has_error
        };
        let end = self.steps[self.steps.len() - 1].t_next;
        match self.programs.iter().position(|p| fits(&p.form)) {
            Some(at) if step.t == end => {
                self.forms.push(at);
                self.steps.push(step);
                Ok(())
            }
            Some(_) => Err(Error::Config(format!(
                "the step starts at t = {}, expected {end} as the last one ends",
                step.t
            ))),
            None => Err(Error::Config(format!(
                "the session has no program for a step of {}, expected a form of the steps that it was made with",
                count(step.times().len(), "evaluation")
            ))),
        }
    }

    /// Starts from the noise of the images with these numbers, at most a batch of them, with a label for each. A partial batch is
    /// padded with any states and label 0, since samples do not depend on each other.
    ///
    /// # Errors
    /// [`Error::Shape`] for more images than a batch or a wrong number of labels, [`Error::Config`] for a label beyond the null
    /// class.
    pub fn start(&mut self, seed: u64, numbers: &[u64], y: &[u32]) -> Result<()> {
        self.sampling.check_noise()?;
        let (io, len) = (self.io, self.io.image_len());
        let mut x = std::mem::take(&mut self.noise);
        if numbers.len() <= self.batch() {
            by_run(numbers, len, &mut x, |first, rows| {
                initial_noise(&io, seed, first, rows);
            });
            self.sampling.scale_start(&mut x);
        }
        let started = self.start_from(seed, numbers, &x, y);
        self.noise = x;
        started
    }

    /// As [`Session::start`], but from the states x `[B, C, H, W]`; the numbers determine the noise of an SDE.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn start_from(&mut self, seed: u64, numbers: &[u64], x: &[f32], y: &[u32]) -> Result<()> {
        if numbers.len() > self.batch() {
            return Err(Error::Shape(format!(
                "got {} images, expected at most {} at a time",
                numbers.len(),
                self.batch()
            )));
        }
        if self.io.n_classes > 0 {
            self.io.check_labels(y, numbers.len())?;
        }
        let mut labels = vec![0; self.batch()];
        labels.iter_mut().zip(y).for_each(|(to, from)| *to = *from);
        self.start_at(0, x, &labels)?;
        self.seed = seed;
        self.numbers.clear();
        self.numbers.extend_from_slice(numbers);
        Ok(())
    }

    /// Runs the next step; its noise is a function of the seed, the step and each image's number.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no next step, or when it needs noise but the numbers of the images are not known;
    /// [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&mut self) -> Result<()> {
        pollster::block_on(self.step_async())
    }

    /// Runs the next step with standard normal `noise` `[B, C, H, W]`, which is only read if the step adds noise.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no next step, [`Error::Shape`] for noise of a wrong length, [`Error::Device`] when the
    /// device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step_with(&mut self, noise: &[f32]) -> Result<()> {
        pollster::block_on(self.step_with_async(noise))
    }

    /// Clears what the steps of a program keep.
    fn forget_history(&mut self, at: usize) -> Result<()> {
        let FormProgram { names, program, .. } = &mut self.programs[at];
        if !names.history.is_empty() {
            let nothing = vec![0.0; self.sampling.batch * self.io.image_len()];
            for name in &names.history {
                program.write(name, &nothing)?;
            }
        }
        Ok(())
    }

    /// Hands what the last step kept to a step of another program, as far as that one uses it.
    async fn carry_history(&mut self, at: usize) -> Result<()> {
        self.forget_history(at)?;
        let Some(last) = self.last else { return Ok(()) };
        let n = |at: usize| self.programs[at].names.history.len();
        for j in 0..n(last).min(n(at)) {
            let FormProgram { names, program, .. } = &self.programs[last];
            let kept = program.read(&names.history[j]).await?;
            let FormProgram { names, program, .. } = &mut self.programs[at];
            program.write(&names.history[j], &kept)?;
        }
        Ok(())
    }
}

#[doc(hidden)]
impl Session {
    /// All steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Steps done since the start.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Async variant of [`Self::step`], for browsers.
    pub async fn step_async(&mut self) -> Result<()> {
        let mut noise = std::mem::take(&mut self.noise);
        if self.needs_noise() {
            let (io, seed, step) = (self.io, self.seed, self.done);
            by_run(&self.numbers, io.image_len(), &mut noise, |first, rows| {
                step_noise(&io, seed, step, first, rows);
            });
        }
        let done = match self.needs_noise() && self.numbers.is_empty() {
            true => Err(Error::Config(
                "the step adds noise, and the session was started without numbers of images".into(),
            )),
            false => self.step_with_async(&noise).await,
        };
        self.noise = noise;
        done
    }

    /// Async variant of [`Self::step_with`], for browsers.
    pub async fn step_with_async(&mut self, noise: &[f32]) -> Result<()> {
        let Some(&step) = self.steps.get(self.done) else {
            return Err(Error::Config(format!(
                "already done: {}",
                count(self.steps.len(), "step")
            )));
        };
        let at = self.forms[self.done];
        if self.last == Some(at) {
            let FormProgram { names, program, .. } = &mut self.programs[at];
            program.feed("x", "x")?;
            for name in &names.history {
                program.feed(name, name)?;
            }
        } else if self.last.is_some() || self.start.is_empty() {
            let x = self.read_async().await?;
            self.programs[at].program.write("x", &x)?;
            self.carry_history(at).await?;
        }
        if step.noise() != 0.0 {
            self.programs[at].program.write("noise", noise)?;
        }
        self.writer
            .step(&mut self.programs[at], &self.sampling, &[step])?;
        self.programs[at].program.run()?;
        self.last = Some(at);
        self.done += 1;
        Ok(())
    }

    /// The settings.
    pub fn sampling(&self) -> &Sampling<Model> {
        &self.sampling
    }

    /// Shapes of images and labels.
    pub fn io(&self) -> &NetworkIo {
        &self.io
    }

    /// Images per batch.
    pub fn batch(&self) -> usize {
        self.sampling.batch
    }

    /// What steps keep for the next one, each `[B, C, H, W]`; empty for one-step solvers. It goes with the state.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub async fn read_history_async(&self) -> Result<Vec<Vec<f32>>> {
        let Some(last) = self.last else {
            return Ok(Vec::new());
        };
        let FormProgram { names, program, .. } = &self.programs[last];
        let mut history = Vec::with_capacity(names.history.len());
        for name in &names.history {
            history.push(program.read(name).await?);
        }
        Ok(history)
    }

    /// After a start, gives the next step what [`Self::read_history_async`] returned.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is more of it than the next step uses, or for a wrong length.
    pub fn write_history(&mut self, history: &[Vec<f32>]) -> Result<()> {
        let Some(&at) = self.forms.get(self.done) else {
            return Ok(());
        };
        let FormProgram { names, program, .. } = &mut self.programs[at];
        if history.len() > names.history.len() {
            return Err(Error::Shape(format!(
                "history: got {}, expected at most {}",
                count(history.len(), "tensor"),
                names.history.len()
            )));
        }
        for (name, kept) in names.history.iter().zip(history) {
            program.write(name, kept)?;
        }
        Ok(())
    }

    /// Bytes allocated by the programs.
    pub fn bytes(&self) -> u64 {
        let programs = self.programs.iter();
        programs.map(|p| p.program.bytes()).sum()
    }

    /// Multiply-accumulates of step `i`.
    pub fn macs(&self, i: usize) -> u64 {
        self.programs[self.forms[i]].program.plan().macs()
    }

    /// Starts before step number `step` from the states x `[B, C, H, W]` at that time, with labels y `[B]` up to the null class; an
    /// unconditional model ignores y. The caller provides the noise of the steps, with [`Session::step_with`].
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong length, [`Error::Config`] for a label beyond the null class or when there is no such step.
    pub fn start_at(&mut self, step: usize, x: &[f32], y: &[u32]) -> Result<()> {
        if step >= self.n_planned {
            return Err(Error::Config(format!(
                "step {step}: got a schedule of {}",
                count(self.n_planned, "step")
            )));
        }
        let (at, batch) = (self.forms[step], self.batch());
        if let Some(null) = self.io.null_class() {
            self.io.check_labels(y, batch)?;
            self.labels[..batch].copy_from_slice(y);
            self.labels[batch..].fill(null);
            for FormProgram { program, .. } in &mut self.programs {
                write_labels(program, &self.labels)?;
            }
        }
        self.programs[at].program.write("x", x)?;
        self.forget_history(at)?;
        self.start.clear();
        self.start.extend_from_slice(x);
        self.numbers.clear();
        self.last = None;
        self.done = step;
        self.steps.truncate(self.n_planned);
        self.forms.truncate(self.n_planned);
        Ok(())
    }

    /// Whether the next step adds noise.
    pub fn needs_noise(&self) -> bool {
        let next = self.steps.get(self.done);
        next.is_some_and(|step| step.noise() != 0.0)
    }
}
