//! One run: a lane's steps, computed some samples at a time.

use super::adaptive::Adapting;
use super::part::Part;
use super::{Field, Pace, Plan};
use crate::state::{Frame, LaneStep, Noise, Open};
use crate::twins::Twins;
use sit_engine::analytic::Mixture;
use sit_engine::error::{Error, Result};
use sit_engine::model::{self, NetworkIo};
use sit_engine::sample::{Session, brownian_noise, initial_noise, step_noise};
use sit_engine::transport::{LastStep, Sampler, Transport};
use std::rc::Rc;
use std::sync::Arc;
use web_time::{Duration, Instant};

/// A run in progress.
pub struct Run {
    plan: Plan,
    field: Rc<Field>,
    /// Set if the device also draws the window.
    twins: Option<Twins>,
    /// State `[N, C, I, I]` after `done` steps.
    x: Vec<f32>,
    done: usize,
    /// Network evaluations of those that it has done.
    nfe: usize,
    /// What that step kept for the next one of its segment: with a network, each `[N, C, I, I]`, and with an exact field.
    history: Vec<Vec<f32>>,
    exact_history: Vec<f64>,
    /// The step under way.
    part: Part,
    session: Option<Programs>,
    adapting: Option<Adapting>,
    /// Samples at a time.
    chunk: usize,
    /// The shortest time of a piece in the last step with this chunk size.
    took: Option<Duration>,
    /// The time spent waiting for an answer, independent of the number of samples; `None` until it is measured.
    wait: Option<Duration>,
}

/// The programs of a segment.
struct Programs {
    segment: usize,
    /// Number of the session's first step in the lane.
    first: usize,
    session: Session,
}

/// Number of samples per piece at first, before the time of one is known; the second if the window has to wait for them.
const FIRST_CHUNK: usize = 64;
const FIRST_SHARED_CHUNK: usize = 4;

impl Run {
    /// A run and, if it starts from noise, that noise.
    pub fn new(
        plan: Plan,
        field: Rc<Field>,
        twins: Option<Twins>,
    ) -> Result<(Self, Option<Arc<[f32]>>)> {
        let len = field.io().image_len();
        let (done, x, start) = match &plan.from {
            Some((done, x)) => (*done, x.to_vec(), None),
            None => {
                let mut x = vec![0.0; plan.n * len];
                initial_noise(&field.io(), plan.seed, plan.first as u64, &mut x);
                let std = field.transport().start_std(&plan.settings[0].sampler) as f32;
                x.iter_mut().for_each(|x| *x *= std);
                let start: Arc<[f32]> = x.as_slice().into();
                if let Some(twins) = &twins {
                    twins.upload(&start);
                }
                (0, x, Some(start))
            }
        };
        let first_chunk = if twins.is_some() || cfg!(target_arch = "wasm32") {
            FIRST_SHARED_CHUNK
        } else {
            FIRST_CHUNK
        };
        let run = Run {
            chunk: first_chunk.min(plan.n),
            plan,
            field,
            twins,
            x,
            done,
            nfe: 0,
            history: Vec::new(),
            exact_history: Vec::new(),
            part: Part::default(),
            session: None,
            adapting: None,
            took: None,
            wait: None,
        };
        Ok((run, start))
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.plan.run
    }

    /// Names of the classes of its network.
    pub fn class_names(&self) -> &[String] {
        &self.plan.classes
    }

    /// Whether its samples are those of a lane.
    pub fn is_shown(&self) -> bool {
        self.plan.first == 0
    }

    /// Steps done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Whether all steps are done.
    pub fn is_over(&self) -> bool {
        self.done == self.plan.steps.len() && self.plan.steps.is_whole()
    }

    /// What it follows.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Shapes of what it moves.
    pub fn io(&self) -> NetworkIo {
        self.field.io()
    }

    /// Its state `[N, C, I, I]`, and the labels `[N]` of its last segment.
    pub fn samples(&self) -> (&[f32], &[u32]) {
        let labels = self.plan.labels.last();
        (&self.x, labels.map_or(&[], |labels| labels))
    }

    /// Network evaluations of the steps that it has done; one with guidance counts twice.
    pub fn nfe(&self) -> usize {
        self.nfe
    }

    /// The last step that was done.
    pub fn last(&self) -> Option<&LaneStep> {
        self.plan.steps.get(self.done.checked_sub(1)?)
    }

    /// Does one piece of the next step: some samples. Returns the step when all of them are done.
    pub async fn work(&mut self, pace: &Pace) -> Result<Option<Frame>> {
        let frame = self.piece(pace).await?;
        if let (Some(frame), Some(step)) = (&frame, self.last()) {
            self.nfe += step.nfe * (1 + usize::from(frame.uncond.is_some()));
        }
        Ok(frame)
    }

    async fn piece(&mut self, pace: &Pace) -> Result<Option<Frame>> {
        if let Some(open) = self.plan.steps.open()
            && self.done == self.plan.steps.len()
        {
            return self.adapt(open, pace).await;
        }
        let planned = self.plan.steps[self.done];
        if self.done > 0 && self.plan.steps[self.done - 1].segment != planned.segment {
            self.history.clear();
            self.exact_history.clear();
        }
        let field = Rc::clone(&self.field);
        let network = match &*field {
            Field::Network(network) => network,
            Field::Exact {
                transport, mixture, ..
            } => return self.exact(transport, mixture).map(Some),
        };
        self.open(network, planned.segment)?;
        let begin = Instant::now();
        let len = self.field.io().image_len();
        let first = self.part.x.len() / len;
        let count = self.chunk.min(self.plan.n - first);
        let noise = self.noise(&planned, first)?;
        let Some(Programs {
            first: first_step,
            session,
            ..
        }) = &mut self.session
        else {
            unreachable!("opened above");
        };
        let step = self.done - *first_step;
        // If a session takes all samples at once, its own state is already right.
        if self.chunk < self.plan.n || session.done() != step || step == 0 {
            // The last piece is filled up with its last sample, whose further results are dropped.
            let samples: Vec<usize> = (first..first + self.chunk)
                .map(|sample| sample.min(self.plan.n - 1))
                .collect();
            let values = |of: &Vec<f32>| -> Vec<f32> {
                let rows = samples.iter().map(|sample| &of[sample * len..][..len]);
                rows.flatten().copied().collect()
            };
            let labels = &self.plan.labels[planned.segment];
            let y: Vec<u32> = samples.iter().map(|sample| labels[*sample]).collect();
            session.start_at(step, &values(&self.x), &y)?;
            let history: Vec<Vec<f32>> = self.history.iter().map(values).collect();
            session.write_history(&history)?;
        }
        session.step_with_async(&noise).await?;
        let [next, out] = session.read_both_async().await?;
        let time = begin.elapsed();
        if self.wait.is_none() {
            // A second read measures only the wait.
            session.read_async().await?;
            self.wait = Some(begin.elapsed() - time);
        }
        if planned.step.form().n_history > 0 {
            let history = session.read_history_async().await?;
            self.part.keep(&history, count * len);
        }
        let uncond = (out.len() > next.len()).then_some(self.chunk * len);
        if let (Some(twins), Some(program)) = (&self.twins, session.program()) {
            let piece = first * len..(first + count) * len;
            self.part
                .copy(twins, program, uncond, piece, self.x.len())?;
        }
        self.part.x.extend_from_slice(&next[..count * len]);
        self.part.cond.extend_from_slice(&out[..count * len]);
        if let Some(uncond) = uncond {
            let half = &out[uncond..];
            self.part.uncond.extend_from_slice(&half[..count * len]);
        }
        if !noise.is_empty() {
            self.part.noise.extend_from_slice(&noise[..count * len]);
        }
        self.part.add_time(time);
        if self.part.x.len() < self.x.len() {
            return Ok(None);
        }
        let mut part = std::mem::take(&mut self.part);
        let took = part.shortest.unwrap_or_default();
        if part.x.iter().any(|x| !x.is_finite()) {
            return Err(Error::Config(format!(
                "step {} gives numbers that are not finite: take smaller steps or a smaller diffusion",
                self.done + 1
            )));
        }
        self.x.clone_from(&part.x);
        self.history = std::mem::take(&mut part.history);
        self.done += 1;
        let wait = self.wait.unwrap_or_default();
        self.fit(took.saturating_sub(wait), pace.piece());
        Ok(Some(part.frame(self.twins.as_ref())))
    }

    /// Does one piece of what the solver of an open segment wants. Returns the step that is taken, if one is.
    async fn adapt(&mut self, open: Open, pace: &Pace) -> Result<Option<Frame>> {
        let (field, settings) = (Rc::clone(&self.field), &self.plan.settings[open.segment]);
        let adapting = match &mut self.adapting {
            Some(adapting) if adapting.segment == open.segment => adapting,
            other => {
                (self.session, self.took) = (None, None);
                other.insert(Adapting::new(&field, settings, open)?)
            }
        };
        if let Field::Exact { .. } = *field {
            self.chunk = self.plan.n;
        }
        adapting.open(&field, settings, self.chunk)?;
        let begin = Instant::now();
        let (len, is_attempt) = (field.io().image_len(), adapting.is_attempt());
        let first = self.part.x.len() / len;
        let end = self.plan.n.min(first + self.chunk);
        let y = &self.plan.labels[open.segment];
        let y = y.get(first..end).unwrap_or_default();
        let piece = (&self.x[..], first * len..end * len);
        let done = adapting.piece(&field, piece, y);
        self.part.add(done.await?, (end - first) * len);
        self.part.add_time(begin.elapsed());
        if self.part.x.len() < self.x.len() {
            return Ok(None);
        }
        let mut part = std::mem::take(&mut self.part);
        let took = part.shortest.unwrap_or_default();
        let step = adapting.judge(&mut self.x, &mut part)?;
        if is_attempt {
            self.fit(took, pace.piece());
        }
        Ok(step.map(|step| {
            self.plan.steps.choose(step);
            self.done += 1;
            if self.plan.steps.open() != Some(open) {
                (self.adapting, self.took) = (None, None);
            }
            part.uploaded(self.twins.as_ref())
        }))
    }

    /// A whole step with the exact field, in f64.
    fn exact(&mut self, transport: &Transport, mixture: &Mixture) -> Result<Frame> {
        let begin = Instant::now();
        let planned = self.plan.steps[self.done];
        self.chunk = self.plan.n;
        let noise = self.noise(&planned, 0)?;
        let mut x: Vec<f64> = self.x.iter().map(|x| f64::from(*x)).collect();
        let mut first = None;
        let outputs = |inputs: &[f64], t: f64| {
            let out = mixture.outputs(transport, t, inputs);
            first.get_or_insert_with(|| out.iter().map(|x| *x as f32).collect());
            out
        };
        let step = planned.step;
        step.apply_with(&mut x, &mut self.exact_history, &noise, outputs);
        self.x = x.iter().map(|x| *x as f32).collect();
        self.done += 1;
        Ok(Frame {
            x: self.x.as_slice().into(),
            cond: first.unwrap_or_default(),
            uncond: None,
            noise: (!noise.is_empty()).then(|| noise.into()),
            ms: begin.elapsed().as_secs_f64() * 1e3,
            rejected: Vec::new(),
        })
    }

    /// Makes the programs of a segment, unless they are there.
    fn open(&mut self, network: &model::Model, segment: usize) -> Result<()> {
        if self.session.as_ref().is_some_and(|o| o.segment == segment) {
            return Ok(());
        }
        let all = &self.plan.steps;
        let first = all.iter().take_while(|s| s.segment != segment).count();
        let of_segment = all[first..].iter().take_while(|s| s.segment == segment);
        let settings = &self.plan.settings[segment];
        let sampling = network
            .sampler(settings.sampler.clone())
            .guided(settings.guidance);
        let steps = of_segment.map(|s| s.step).collect();
        self.session = Some(Programs {
            segment,
            first,
            session: sampling.batch(self.chunk).keep_out().session_of(steps)?,
        });
        Ok(())
    }

    /// The normal numbers of a step for a piece that begins with sample `first`; none for a step without noise.
    fn noise(&self, planned: &LaneStep, first: usize) -> Result<Vec<f32>> {
        if planned.noise() == 0.0 {
            return Ok(Vec::new());
        }
        let io = self.field.io();
        let settings = &self.plan.settings[planned.segment];
        // The seed uses the high half, so that no path's seed equals that of another session.
        let seed = self.plan.seed ^ settings.noise_seed << 32;
        let mut noise = vec![0.0; self.chunk * io.image_len()];
        let first = (self.plan.first + first) as u64;
        match (settings.noise, &settings.sampler) {
            (Noise::Brownian, Sampler::Sde(sde)) => {
                // A branch goes on in the middle of the path, whatever steps came before it.
                let of_segment = self.plan.steps.iter();
                let of_segment = of_segment.filter(|s| s.segment == planned.segment);
                let ends = of_segment.map(|s| s.step.t_next);
                let left = ends.filter(|t| *t > planned.step.t).count();
                let last = usize::from(sde.last_step != LastStep::None);
                let step = (sde.n_steps as usize + last).saturating_sub(left);
                brownian_noise(&io, seed, step, sde.n_steps, first, &mut noise)?;
            }
            // The noise of EDM's sampler and of a chain is no increment of a path.
            _ => step_noise(&io, seed, self.done, first, &mut noise),
        }
        Ok(noise)
    }

    /// Chooses the number of samples per piece from the shortest time `took` of a piece in the last two steps. The shortest counts
    /// because a frame that is drawn at the same time can slow a piece down several times.
    fn fit(&mut self, took: Duration, budget: Duration) {
        let before = self.took.replace(took);
        let took = before.map_or(took, |before| before.min(took));
        let chunk = chunk(self.plan.n, self.chunk, took, budget);
        // Making the programs again takes time, so do it only for a clear gain.
        if chunk < self.chunk * 3 / 4 || chunk > self.chunk * 2 {
            self.chunk = chunk;
            self.took = None;
            self.session = None;
        }
    }
}

/// The number of samples out of `n` that fits the budget if `done` of them took this long; all pieces are about equal.
fn chunk(n: usize, done: usize, took: Duration, budget: Duration) -> usize {
    let per_sample = took.as_secs_f64() / done as f64;
    let fits = (budget.as_secs_f64() / per_sample.max(1e-9)) as usize;
    let pieces = n.div_ceil(fits.clamp(1, n));
    n.div_ceil(pieces)
}

#[cfg(test)]
mod tests;
