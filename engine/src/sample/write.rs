//! Writes the numbers of a step into the inputs of its program.

use super::Sampling;
use super::field::{LABELS, Y};
use super::plan::{Form, GUIDE_STD, Names, POSTERIOR, Row, plan};
use crate::backend::Program;
use crate::error::Result;
use crate::model::Model;
use crate::ops::ancestral;
use crate::ops::lincomb::MAX_TERMS;
use crate::transport::{MAX_STAGES, Posterior, Step};

/// The program of the steps of a form.
#[derive(Debug)]
pub(super) struct FormProgram {
    pub form: Form,
    pub names: Names,
    pub program: Program,
}

impl FormProgram {
    pub fn new(sampling: &Sampling<Model>, form: Form) -> Result<Self> {
        let sets: Vec<_> = sampling.networks().map(Model::arenas).collect();
        let weights = sampling.networks().map(Model::weights).collect();
        let plan = plan(&sampling.field(), form, sampling.keep_out, weights)?;
        Ok(FormProgram {
            names: Names::new(&form),
            form,
            program: sampling.model.device().program(plan, &sets)?,
        })
    }
}

/// Buffers for the inputs of a step.
#[derive(Debug)]
pub(super) struct Writer {
    batch: usize,
    coef: Vec<f32>,
    times: Vec<f32>,
    posterior: Vec<f32>,
}

impl Writer {
    pub fn new(batch: usize) -> Self {
        Writer {
            batch,
            coef: vec![0.0; MAX_TERMS * batch],
            times: vec![0.0; 2 * batch],
            posterior: vec![0.0; ancestral::COLUMNS * batch],
        }
    }

    /// Writes times, guidance scales and coefficients. `steps` has a step of the program's form for each sample, or one for all of
    /// them.
    pub fn step(
        &mut self,
        to: &mut FormProgram,
        sampling: &Sampling<Model>,
        steps: &[Step],
    ) -> Result<()> {
        let step = |b: usize| &steps[b % steps.len()];
        self.times(to, sampling, &step)?;
        let FormProgram {
            form,
            names,
            program,
        } = to;
        let coef = &mut self.coef;
        if form.step.adds_noise_first() {
            write_rows(program, &names.start, coef, |b| {
                row(&[1.0, step(b).noise()])
            })?;
        }
        for i in usize::from(!form.step.has_first_row)..form.step.n_stages {
            write_rows(program, &names.rows[i], coef, |b| row(step(b).row(i)))?;
        }
        for (j, name) in names.keep.iter().enumerate() {
            write_rows(program, name, coef, |b| row(step(b).keep(j)))?;
        }
        if form.has_error {
            let error = |b: usize| row(step(b).error().unwrap_or_default());
            write_rows(program, &names.error, coef, error)?;
            if !form.is_adaptive {
                write_rows(program, &names.square, coef, |_| row(&[1.0, 1.0]))?;
            }
        }
        if form.step.has_posterior {
            let rows = (0..self.batch).flat_map(|b| step(b).as_posterior().map(Posterior::row));
            for (to, from) in self.posterior.iter_mut().zip(rows.flatten()) {
                *to = from as f32;
            }
            program.write(POSTERIOR, &self.posterior)?;
            if form.guided.classifier && form.step.is_learned {
                let rows =
                    (0..self.batch).flat_map(|b| step(b).as_posterior().map(Posterior::std_row));
                for (to, from) in self.posterior.iter_mut().zip(rows.flatten()) {
                    *to = from as f32;
                }
                program.write(GUIDE_STD, &self.posterior)?;
            }
            return Ok(());
        }
        let is_noise_last = form.step.is_noisy && !form.step.is_noise_first;
        write_rows(program, &names.end, coef, |b| {
            let mut end = row(step(b).end());
            if is_noise_last {
                end[step(b).end().len()] = step(b).noise();
            }
            end
        })
    }

    /// Writes the times and guidance scales of the evaluations.
    fn times<'s>(
        &mut self,
        to: &mut FormProgram,
        sampling: &Sampling<Model>,
        step: &impl Fn(usize) -> &'s Step,
    ) -> Result<()> {
        let FormProgram {
            form,
            names,
            program,
        } = to;
        let batch = self.batch;
        for i in 0..form.step.n_stages {
            let time = |b: usize| step(b % batch).times()[i];
            // A network may ignore the time.
            if program.plan().has_input(&names.times[i]) {
                let n = program.plan().input(&names.times[i])?.ty.shape.numel();
                for (b, to) in self.times[..n].iter_mut().enumerate() {
                    *to = sampling.time_input(time(b)) as f32;
                }
                program.write(&names.times[i], &self.times[..n])?;
            }
            if sampling.model.io().has_span {
                let spans = &mut self.times[..batch];
                for (b, to) in spans.iter_mut().enumerate() {
                    let Step { t, t_next, .. } = *step(b);
                    *to = (t_next - t) as f32;
                }
                program.write(&names.spans[i], spans)?;
            }
            if form.guided.class {
                let scales = &mut self.times[..batch];
                for (b, to) in scales.iter_mut().enumerate() {
                    *to = sampling.guidance.scale_at(time(b)) as f32;
                }
                program.write(&names.scales[i], scales)?;
            }
            if form.guided.weak {
                let shares = |b: usize| {
                    let scale = sampling.weak_scale_at(time(b));
                    row(&[scale, 1.0 - scale])
                };
                write_rows(program, &names.shares[i], &mut self.coef, shares)?;
            }
            if form.guided.classifier {
                let push = |b: usize| {
                    let push = match step(b).as_posterior() {
                        Some(posterior) => {
                            posterior.gradient * sampling.classifier_scale_at(time(b))
                        }
                        None => sampling.push_at(time(b)),
                    };
                    row(&[1.0, push])
                };
                write_rows(program, &names.pushes[i], &mut self.coef, push)?;
            }
        }
        Ok(())
    }
}

/// Writes labels and then as many of the null class; a program has those that its networks read.
pub(super) fn write_labels(program: &mut Program, labels: &[u32]) -> Result<()> {
    for name in [Y, LABELS] {
        if program.plan().has_input(name) {
            let n = program.plan().input(name)?.ty.shape.numel();
            program.write_u32(name, &labels[..n])?;
        }
    }
    Ok(())
}

/// Coefficients of at most as many terms as a step has, with its noise.
type Coefs = [f64; MAX_STAGES + 2];

fn row(values: &[f64]) -> Coefs {
    let mut row = [0.0; MAX_STAGES + 2];
    row[..values.len()].copy_from_slice(values);
    row
}

/// Writes a row of coefficients for each sample.
fn write_rows(
    program: &mut Program,
    names: &Row,
    coef: &mut [f32],
    row: impl Fn(usize) -> Coefs,
) -> Result<()> {
    for &(ref name, from, to) in names {
        // After the first piece, the sum so far is the first term.
        let carried = usize::from(from > 0);
        for (b, piece) in coef.chunks_exact_mut(MAX_TERMS).enumerate() {
            piece.fill(0.0);
            piece[..carried].fill(1.0);
            let row = row(b);
            let terms = piece[carried..].iter_mut().zip(&row[from..to]);
            terms.for_each(|(to, from)| *to = *from as f32);
        }
        program.write(name, coef)?;
    }
    Ok(())
}
