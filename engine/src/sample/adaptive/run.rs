//! Steps of a pool: places are filled, a step is attempted, and its error decides.

use super::{Accepted, Finished, Place, Pool, Ready, Waiting};
use crate::error::Result;
use crate::sample::attempts::Attempts;
use crate::sample::plan::{NEXT, TAKEN};
use crate::sample::write::write_labels;
use crate::transport::{Adaptive, ErrorNorm, START_NFE};

#[doc(hidden)]
impl Pool {
    /// Finds the sizes of the first steps of waiting images: for a whole batch at once, because an evaluation costs the same for fewer.
    async fn begin(&mut self) -> Result<()> {
        let (batch, len) = (self.attempts.sampling.batch, self.attempts.io.image_len());
        let n = self.waiting.len().min(batch);
        let images: Vec<Waiting> = self.waiting.drain(..n).collect();
        let t = vec![self.attempts.solver.times[0]; n];
        let labels: Vec<u32> = images.iter().map(|image| image.label).collect();
        let x: Vec<f32> = images.iter().flat_map(|image| image.x.clone()).collect();
        let [f0, _] = self.attempts.drifts(&t, &x, &labels).await?;
        let solver = &self.attempts.solver;
        let is_shared = solver.tolerance().norm == ErrorNorm::Batch;
        // Norms over a sample, or over all of them.
        let norms = |solver: &Adaptive, values: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let squares = |i: usize| {
                let row = i * len..(i + 1) * len;
                let states = x[row.clone()].iter().map(|&x| f64::from(x));
                solver.mean_square(row.map(values), states)
            };
            let mut squares: Vec<f64> = (0..n).map(squares).collect();
            if is_shared {
                let mean = squares.iter().sum::<f64>() / n as f64;
                squares.fill(mean);
            }
            squares.into_iter().map(f64::sqrt).collect()
        };
        let d0 = norms(solver, &|k| x[k].into());
        let d1 = norms(solver, &|k| f0[k].into());
        let h0: Vec<f64> = (0..n).map(|i| solver.trial(d0[i], d1[i])).collect();
        let direction = (solver.times[1] - solver.times[0]).signum();
        let trial: Vec<f32> = (0..n * len)
            .map(|k| (f64::from(x[k]) + direction * h0[k / len] * f64::from(f0[k])) as f32)
            .collect();
        let t1: Vec<f64> = h0.iter().map(|h| t[0] + direction * h).collect();
        let [f1, _] = self.attempts.drifts(&t1, &trial, &labels).await?;
        let change = norms(&self.attempts.solver, &|k| {
            f64::from(f1[k]) - f64::from(f0[k])
        });
        for (i, image) in images.into_iter().enumerate() {
            self.ready.push_back(Ready {
                image,
                drift: f0[i * len..][..len].to_vec(),
                h: self.attempts.solver.first(h0[i], d1[i], change[i]),
            });
        }
        Ok(())
    }

    /// Gives free places to waiting images.
    async fn fill(&mut self) -> Result<()> {
        let is_shared = self.attempts.solver.tolerance().norm == ErrorNorm::Batch;
        let n_free = self.places.iter().filter(|place| place.is_none()).count();
        // Images that share a step size begin together.
        let may_begin = n_free > 0 && (!is_shared || n_free == self.places.len());
        let wanted = if is_shared { 1 } else { n_free };
        if may_begin && self.ready.len() < wanted && !self.waiting.is_empty() {
            self.begin().await?;
        }
        if self.ready.is_empty() || !may_begin {
            if self.has_run {
                for name in NEXT {
                    self.attempts.attempt.program.feed(name, name)?;
                }
            }
            return Ok(());
        }
        let (batch, len) = (self.attempts.sampling.batch, self.attempts.io.image_len());
        let mut next = match self.has_run {
            true => self.attempts.attempt.program.read_all(NEXT).await?,
            false => [vec![0.0; batch * len], vec![0.0; batch * len]],
        };
        for (b, place) in self.places.iter_mut().enumerate() {
            if place.is_some() {
                continue;
            }
            let Some(Ready { image, drift, h }) = self.ready.pop_front() else {
                break;
            };
            next[0][b * len..][..len].copy_from_slice(&image.x);
            next[1][b * len..][..len].copy_from_slice(&drift);
            self.attempts.labels[b] = image.label;
            // What was written is taken by the next step.
            self.taken[b] = 1.0;
            *place = Some(Place {
                number: image.number,
                t: self.attempts.solver.times[0],
                h,
                nfe: START_NFE,
                n_accepted: 0,
                n_rejected: 0,
            });
        }
        for (name, values) in NEXT.into_iter().zip(&next) {
            self.attempts.attempt.program.write(name, values)?;
        }
        write_labels(&mut self.attempts.attempt.program, &self.attempts.labels)
    }

    /// Async variant of [`Self::step`], for browsers.
    pub async fn step_async(&mut self) -> Result<Vec<Finished>> {
        self.fill().await?;
        for (place, step) in self.places.iter().zip(&mut self.steps) {
            if let Some(place) = place {
                *step = self.attempts.solver.step(place.t, place.h)?;
            }
        }
        let program = &mut self.attempts.attempt.program;
        if self.has_run {
            program.feed("x", "x")?;
            program.feed("history0", "history0")?;
        }
        program.write(TAKEN, &self.taken)?;
        let Attempts {
            sampling,
            attempt,
            writer,
            ..
        } = &mut self.attempts;
        writer.step(attempt, sampling, &self.steps)?;
        self.attempts.attempt.program.run()?;
        self.has_run = true;
        self.judge().await
    }

    /// Takes or rejects the steps just attempted.
    async fn judge(&mut self) -> Result<Vec<Finished>> {
        let squares = self.attempts.attempt.program.read("error").await?;
        let used = self.places.iter().zip(&squares);
        let used = used.filter(|(place, _)| place.is_some());
        let (sum, n) = used.fold((0.0, 0.0), |(sum, n), (_, square)| {
            (sum + f64::from(*square), n + 1.0)
        });
        let is_shared = self.attempts.solver.tolerance().norm == ErrorNorm::Batch;
        let shared = is_shared.then_some(sum / n);
        let n_evaluations = self.attempts.solver.evaluations() as u32;
        let mut is_over = Vec::new();
        for (b, place) in self.places.iter_mut().enumerate() {
            self.taken[b] = 0.0;
            let Some(place) = place else { continue };
            let step = &self.steps[b];
            let error = shared.unwrap_or(squares[b].into()).sqrt();
            let verdict = self
                .attempts
                .solver
                .judge((step.t_next - step.t).abs(), error);
            place.nfe += n_evaluations;
            place.h = verdict.next;
            if verdict.is_accepted {
                self.taken[b] = 1.0;
                (place.t, place.n_accepted) = (step.t_next, place.n_accepted + 1);
            } else {
                place.n_rejected += 1;
            }
            if verdict.is_accepted && place.t == self.attempts.solver.times[1] {
                is_over.push(b);
                continue;
            }
            let who = format_args!("image {}", place.number);
            let solver = &self.attempts.solver;
            solver.check(who, place.t, &verdict, place.nfe)?;
        }
        if is_over.is_empty() {
            return Ok(Vec::new());
        }
        let (ends, len) = (
            self.attempts.attempt.program.read(NEXT[0]).await?,
            self.attempts.io.image_len(),
        );
        let finish = |b: usize| {
            let place = self.places[b].take()?;
            Some(Finished {
                number: place.number,
                x: ends[b * len..][..len].to_vec(),
                nfe: place.nfe,
                n_steps: [place.n_accepted, place.n_rejected],
            })
        };
        Ok(is_over.into_iter().filter_map(finish).collect())
    }

    /// The states that the last step has accepted, of images that are not finished.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn accepted(&self) -> Result<Vec<Accepted>> {
        pollster::block_on(self.accepted_async())
    }

    /// Async variant of [`Self::accepted`], for browsers.
    pub async fn accepted_async(&self) -> Result<Vec<Accepted>> {
        let len = self.attempts.io.image_len();
        let next = match self.has_run {
            true => self.attempts.attempt.program.read(NEXT[0]).await?,
            false => Vec::new(),
        };
        let of = |(b, place): (usize, &Option<Place>)| {
            let place = place.as_ref().filter(|_| self.taken[b] != 0.0)?;
            Some(Accepted {
                number: place.number,
                t: place.t,
                x: next[b * len..][..len].to_vec(),
            })
        };
        Ok(self.places.iter().enumerate().filter_map(of).collect())
    }
}
