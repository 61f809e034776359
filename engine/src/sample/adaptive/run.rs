//! Steps of a pool: places are filled, a step is attempted, and its error decides.

use super::{Accepted, Finished, Place, Pool, START_NFE, write_labels};
use crate::error::{Error, Result};
use crate::sample::plan::{NEXT, TAKEN};
use crate::transport::ErrorNorm;

#[doc(hidden)]
impl Pool {
    /// Gives free places to waiting images.
    async fn fill(&mut self) -> Result<()> {
        let is_shared = self.solver.tolerance().norm == ErrorNorm::Batch;
        let n_free = self.places.iter().filter(|place| place.is_none()).count();
        // Images that share a step size begin together.
        let may_begin = n_free > 0 && (!is_shared || n_free == self.places.len());
        if self.waiting.is_empty() || !may_begin {
            if self.has_run {
                for name in NEXT {
                    self.attempt.program.feed(name, name)?;
                }
            }
            return Ok(());
        }
        let (batch, len) = (self.sampling.batch, self.io.image_len());
        let mut next = match self.has_run {
            true => self.attempt.program.read_all(NEXT).await?,
            false => [vec![0.0; batch * len], vec![0.0; batch * len]],
        };
        for (b, place) in self.places.iter_mut().enumerate() {
            if place.is_some() {
                continue;
            }
            let Some(image) = self.waiting.pop_front() else {
                break;
            };
            next[0][b * len..][..len].copy_from_slice(&image.x);
            next[1][b * len..][..len].copy_from_slice(&image.drift);
            self.labels[b] = image.label;
            // What was written is taken by the next step.
            self.taken[b] = 1.0;
            *place = Some(Place {
                number: image.number,
                t: self.solver.times[0],
                h: image.h,
                nfe: START_NFE,
                n_accepted: 0,
                n_rejected: 0,
            });
        }
        for (name, values) in NEXT.into_iter().zip(&next) {
            self.attempt.program.write(name, values)?;
        }
        write_labels(&mut self.attempt, &self.labels)
    }

    /// Async variant of [`Self::step`], for browsers.
    pub async fn step_async(&mut self) -> Result<Vec<Finished>> {
        self.fill().await?;
        for (place, step) in self.places.iter().zip(&mut self.steps) {
            if let Some(place) = place {
                *step = self.solver.step(place.t, place.h)?;
            }
        }
        let program = &mut self.attempt.program;
        if self.has_run {
            program.feed("x", "x")?;
            program.feed("history0", "history0")?;
        } else {
            let nothing = vec![0.0; self.sampling.batch * self.io.image_len()];
            program.write("x", &nothing)?;
            program.write("history0", &nothing)?;
        }
        program.write(TAKEN, &self.taken)?;
        self.writer
            .step(&mut self.attempt, &self.sampling, &self.steps)?;
        self.attempt.program.run()?;
        self.has_run = true;
        self.judge().await
    }

    /// Takes or rejects the steps just attempted.
    async fn judge(&mut self) -> Result<Vec<Finished>> {
        let mut squares = self.attempt.program.read("error").await?;
        if self.solver.tolerance().norm == ErrorNorm::Batch {
            let used = self.places.iter().zip(&squares);
            let used: Vec<f32> = used.filter(|(p, _)| p.is_some()).map(|(_, s)| *s).collect();
            let sum: f64 = used.iter().map(|&s| f64::from(s)).sum();
            squares.fill((sum / used.len().max(1) as f64) as f32);
        }
        let n_evaluations = self.solver.evaluations() as u32;
        let max_nfe = self.solver.tolerance().max_nfe;
        let mut is_over = Vec::new();
        for (b, place) in self.places.iter_mut().enumerate() {
            self.taken[b] = 0.0;
            let Some(place) = place else { continue };
            let step = &self.steps[b];
            let error = f64::from(squares[b]).sqrt();
            let verdict = self.solver.judge((step.t_next - step.t).abs(), error);
            place.nfe += n_evaluations;
            place.h = verdict.next;
            if verdict.is_accepted {
                self.taken[b] = 1.0;
                (place.t, place.n_accepted) = (step.t_next, place.n_accepted + 1);
            } else {
                place.n_rejected += 1;
            }
            let (number, t) = (place.number, place.t);
            if verdict.is_accepted && t == self.solver.times[1] {
                is_over.push(b);
            } else if self.solver.is_underflow(t, place.h) {
                return Err(Error::Config(format!(
                    "image {number}: the step size became {:.1e} at t = {t}, where the error is {error:.1e} times what is tolerated; \
                     set `rtol` or `atol` larger, or `t_eps_sample` above 0 if the solution is singular at an end",
                    place.h
                )));
            } else if place.nfe >= max_nfe {
                return Err(Error::Config(format!(
                    "image {number}: {} network evaluations reached only t = {t}; set `max_nfe` above {max_nfe}, or `rtol` or `atol` \
                     larger",
                    place.nfe
                )));
            }
        }
        if is_over.is_empty() {
            return Ok(Vec::new());
        }
        let (ends, len) = (
            self.attempt.program.read(NEXT[0]).await?,
            self.io.image_len(),
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
        let len = self.io.image_len();
        let next = match self.has_run {
            true => self.attempt.program.read(NEXT[0]).await?,
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
