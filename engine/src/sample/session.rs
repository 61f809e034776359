//! Sessions: one batch, step by step from noise to images.

mod read;

use super::Sampling;
use super::noise::{by_run, initial_noise, step_noise};
use super::plan::{Form, Names, Row, plan, unique};
use crate::backend::Program;
use crate::error::{Error, Result};
use crate::model::{Model, NetworkIo};
use crate::ops::lincomb::MAX_TERMS;
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
    coef: Vec<f32>,
    times: Vec<f32>,
}

/// The program of the steps of a form.
#[derive(Debug)]
struct FormProgram {
    form: Form,
    names: Names,
    program: Program,
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
        let forms = sampling.forms(&steps);
        let models = std::iter::once(&sampling.model).chain(&sampling.guide);
        let sets: Vec<_> = models.clone().map(Model::arenas).collect();
        let weights: Vec<_> = models.map(Model::weights).collect();
        let mut programs = Vec::new();
        for form in unique(&forms) {
            let plan = plan(&sampling.field(), form, sampling.keep_out, weights.clone())?;
            let program = sampling.model.device().program(plan, &sets)?;
            programs.push(FormProgram {
                names: Names::new(&form),
                form,
                program,
            });
        }
        let index = |form: &Form| {
            let place = programs.iter().position(|p| p.form == *form);
            place.expect("made above")
        };
        let (io, batch) = (sampling.model.io(), sampling.batch);
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
            coef: vec![0.0; MAX_TERMS * batch],
            times: vec![0.0; 2 * batch],
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
        let form = self.sampling.forms(&[step])[0];
        let fits = |known: &Form| {
            let noise = known.step.is_noisy || !form.step.is_noisy;
            known.step.n_stages == form.step.n_stages
                && noise
                && known.is_guided == form.is_guided
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
        let (io, len) = (self.io, self.io.image_len());
        let mut x = std::mem::take(&mut self.noise);
        if numbers.len() <= self.batch() {
            by_run(numbers, len, &mut x, |first, rows| {
                initial_noise(&io, seed, first, rows);
            });
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

    /// Writes the times and guidance scales of the evaluations.
    fn write_times(&mut self, at: usize, step: &Step) -> Result<()> {
        let FormProgram {
            form,
            names,
            program,
        } = &mut self.programs[at];
        for (i, &t) in step.times().iter().enumerate() {
            // A network may ignore the time.
            if program.plan().has_input(&names.times[i]) {
                let n = program.plan().input(&names.times[i])?.ty.shape.numel();
                self.times.fill(t as f32);
                program.write(&names.times[i], &self.times[..n])?;
            }
            let scale = self.sampling.guidance.scale_at(t);
            if form.is_guided && self.sampling.guide.is_some() {
                let shares = [scale, 1.0 - scale];
                write_row(program, &names.shares[i], &shares, &mut self.coef)?;
            } else if form.is_guided {
                program.write(&names.scales[i], &[scale as f32])?;
            }
        }
        Ok(())
    }

    /// Writes the coefficients of the intermediate states and of the result.
    fn write_rows(&mut self, at: usize, step: &Step) -> Result<()> {
        let FormProgram {
            form,
            names,
            program,
        } = &mut self.programs[at];
        let coef = &mut self.coef;
        if form.step.is_noise_first() {
            write_row(program, &names.start, &[1.0, step.noise()], coef)?;
        }
        for i in 1..form.step.n_stages {
            write_row(program, &names.rows[i], step.row(i), coef)?;
        }
        let noise = [step.noise()];
        let is_noise_last = form.step.is_noisy && !form.step.is_noise_first();
        let mut end = [0.0; crate::transport::MAX_STAGES + 2];
        let row = step
            .end()
            .iter()
            .chain(noise.iter().filter(|_| is_noise_last));
        let n = row.clone().count();
        end.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
        if let Some(row) = step.error().filter(|_| form.has_error) {
            write_row(program, &names.error, row, coef)?;
            write_row(program, &names.square, &[1.0, 1.0], coef)?;
        }
        write_row(program, &names.end, &end[..n], coef)
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
            self.programs[at].program.feed("x", "x")?;
        } else if self.last.is_some() || self.start.is_empty() {
            let x = self.read_async().await?;
            self.programs[at].program.write("x", &x)?;
        }
        if step.noise() != 0.0 {
            self.programs[at].program.write("noise", noise)?;
        }
        self.write_times(at, &step)?;
        self.write_rows(at, &step)?;
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
                // A network may ignore the label.
                if program.plan().has_input("y") {
                    let n = program.plan().input("y")?.ty.shape.numel();
                    program.write_u32("y", &self.labels[..n])?;
                }
            }
        }
        self.programs[at].program.write("x", x)?;
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

/// Writes a row of coefficients, the same for every sample.
fn write_row(program: &mut Program, names: &Row, row: &[f64], coef: &mut [f32]) -> Result<()> {
    for &(ref name, from, to) in names {
        // After the first piece, the sum so far is the first term.
        let carried = usize::from(from > 0);
        let mut piece = [0.0; MAX_TERMS];
        piece[..carried].fill(1.0);
        let terms = piece[carried..].iter_mut().zip(&row[from..to]);
        terms.for_each(|(to, from)| *to = *from as f32);
        let rows = coef.chunks_exact_mut(MAX_TERMS);
        rows.for_each(|row| row.copy_from_slice(&piece));
        program.write(name, coef)?;
    }
    Ok(())
}
