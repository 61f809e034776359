//! `sit sweep`: samples of every combination of some settings, measured, in one table.

mod args;
mod cells;
mod folder;
mod lines;
mod table;

pub use args::Args;

use super::sample::guides::Guides;
use super::sample::images::check_null_class;
use super::sample::{begin, table as losses};
use super::source::{Opened, SourceArgs};
use crate::data::BaseData;
use crate::error::{Failure, Result};
use crate::judge::{Agreement, Frechet, check_classes};
use crate::png::Plot;
use crate::progress::duration;
use crate::real::Real;
use crate::sampling::{self, Images, Noise};
use crate::{memory, signals, stdout};
use args::Metric;
use cells::Cell;
use folder::Folder;
use sit_engine::backend::Device;
use sit_engine::model::{Blueprint, Model, NetworkIo, Storage};
use sit_engine::sample::Sampling;
use sit_engine::text::{count, shown};
use sit_engine::transport::{Sampler, Step};
use std::time::Instant;
use table::{Measured, Row};

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a combination of flags that is refused, a folder of another sweep, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut sweep = Sweep::open(args)?;
    let mut folder = Folder::check(args)?;
    let real = sweep.real()?;
    let device = args.backend.open()?;
    let jobs = sweep.jobs(&device)?;
    let arguments = folder::arguments(
        args,
        &sweep.sources[0].origin,
        &sweep.metric_names(),
        &device,
    );
    folder.open(&arguments)?;
    signals::catch();
    let outcome = sweep.measure(&mut folder, &jobs, real.as_ref(), &device);
    let judges = outcome.inspect_err(|failure| {
        if matches!(failure, Failure::Interrupted) {
            let (done, all) = (folder.rows.len(), jobs.len());
            tracing::info!("stopped after {done} of {all} cells; the same command goes on");
        }
    })?;
    let mut notes = judges.notes(args.count);
    if let Some(eps) = args.t_eps_sample {
        notes.push(format!("t_eps_sample: {eps}"));
    }
    let title = format!("sit sweep {}", shown(&args.checkpoint));
    let markdown = table::markdown(&title, &folder.rows, &notes);
    let plot = lines::plot(&folder.rows, &sweep.metrics);
    folder.finish(&markdown, &Plot::png(&plot))?;
    stdout::print(&markdown)
}

/// What is swept.
struct Sweep<'a> {
    args: &'a Args,
    /// The checkpoint with each of the weights.
    sources: Vec<Opened>,
    guides: Guides<Opened>,
    /// Shapes of the images, and the classes that they are of.
    io: NetworkIo,
    classes: Vec<String>,
    metrics: Vec<Metric>,
    cells: Vec<Cell>,
    images: Images,
    base: Option<BaseData>,
}

/// A cell with all that is known of it before it is sampled.
struct Job {
    cell: Cell,
    /// Number of its weights.
    source: usize,
    sampler: Sampler,
    /// `None` where the solver chooses them.
    steps: Option<Vec<Step>>,
}

impl Job {
    /// About how many passes of a network an image takes.
    fn cost(&self) -> f64 {
        /// Of a solver that chooses its steps.
        const OWN: f64 = 60.0;
        match &self.steps {
            Some(steps) => self.cell.passes(steps) as f64,
            None => OWN * (1 + self.cell.n_guides()) as f64,
        }
    }
}

/// The judges of a sweep.
struct Judges {
    agreement: Option<Agreement>,
    frechet: Option<Frechet>,
}

impl<'a> Sweep<'a> {
    /// Opens the checkpoint and the guides, and lists the cells.
    fn open(args: &'a Args) -> Result<Self> {
        let weights = match &args.weights[..] {
            [] => vec![None],
            weights => weights.iter().copied().map(Some).collect(),
        };
        let open = |weights| -> Result<Opened> {
            let checkpoint = args.checkpoint.clone();
            let file = args.file.clone();
            let source = SourceArgs {
                checkpoint,
                weights,
                file,
            };
            let mut source = source.open()?;
            source.require_samples()?;
            let own = &mut source.recipe.transport.t_eps_sample;
            *own = args.t_eps_sample.or(*own);
            Ok(source)
        };
        let sources = weights.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        let recipe = &sources[0].recipe;
        let at = |path: &'a Option<std::path::PathBuf>| path.as_deref().map(|path| (path, 1.0));
        let guides = Guides::open(at(&args.autoguide), at(&args.classifier), recipe)?;
        let mut io = recipe.model.io();
        let mut classes = recipe.classes.clone();
        if let Some((classifier, _)) = guides.classifier.as_ref().filter(|_| io.n_classes == 0) {
            io.n_classes = classifier.recipe.model.io().n_classes;
            classes.clone_from(&classifier.recipe.classes);
        }
        let labels: Vec<u32> = (0..io.n_classes.max(1) as u32).collect();
        for guidance in &args.guidance {
            check_null_class(*guidance, &io, recipe, &labels)?;
        }
        let metrics = match (&args.metric[..], io.n_classes) {
            ([], 0) => vec![Metric::Frechet],
            ([], _) => vec![Metric::Agreement, Metric::Frechet],
            (metrics, _) => metrics.to_vec(),
        };
        if metrics.contains(&Metric::Agreement) && io.n_classes == 0 {
            return Err(Failure::Input(
                "--metric agreement: this model has no classes that an image could agree with; expected frechet".into(),
            ));
        }
        let cells = cells::all(args, &recipe.model.io(), recipe.transport.student_steps)?;
        tracing::info!(
            "{} of {}",
            count(cells.len(), "cell"),
            count(args.count, "image")
        );
        Ok(Sweep {
            base: begin::begin(None, &sources[0], args.seed)?,
            images: Images::new(labels, 1, args.count.into()),
            args,
            sources,
            guides,
            io,
            classes,
            metrics,
            cells,
        })
    }

    fn has(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    /// The metrics, in the order of the columns.
    fn metric_names(&self) -> String {
        let all = [Metric::Agreement, Metric::Frechet];
        let names = all.into_iter().filter(|metric| self.has(*metric));
        let names: Vec<&str> = names.map(Metric::name).collect();
        names.join(",")
    }

    /// The images that the judges need.
    fn real(&self) -> Result<Option<Real>> {
        let of_held_out = self.has(Metric::Agreement) && self.args.judge.is_none();
        if !self.has(Metric::Frechet) && !of_held_out {
            return Ok(None);
        }
        let data = self.args.data.as_deref();
        let real = super::real::of(&self.args.checkpoint, &self.sources[0], data)?;
        if self.has(Metric::Frechet) {
            check_classes(&*real.training).map_err(|e| e.context("--metric frechet"))?;
        }
        Ok(Some(real))
    }

    /// The settings of a cell with networks of some form.
    fn sampling<M: AsRef<Blueprint> + Clone>(
        &self,
        cell: &Cell,
        sampler: &Sampler,
        model: M,
        guides: &Guides<M>,
    ) -> Sampling<M> {
        let batch = self.args.batch.min(self.args.count) as usize;
        let sampling = Sampling::new(model, sampler.clone());
        let sampling = sampling.guided(cell.guidance).batch(batch);
        guides
            .scaled(cell.autoguide, cell.classifier)
            .apply(sampling)
    }

    /// Checks every cell before the first one is sampled.
    fn jobs(&self, device: &Device) -> Result<Vec<Job>> {
        let most = device.max_segment_bytes();
        let guides = self.guides.blueprints(Storage::F32, most)?;
        let of_cell = |cell: &Cell| {
            let mut weights = self.args.weights.iter().copied().map(Some);
            let source = weights.position(|weights| weights == cell.weights);
            let source = source.unwrap_or(0);
            let recipe = &self.sources[source].recipe;
            let (model, transport) = (&recipe.model, &recipe.transport);
            let own_loss = || losses::of_run(&self.sources[source]);
            let solver = cell.solver_args(self.args.kl_eta)?;
            let sampler = solver.sampler(self.io.image_len(), transport, own_loss)?;
            let blueprint = Blueprint::new(model.clone(), transport.clone(), most)?;
            let sampling = self.sampling(cell, &sampler, blueprint, &guides);
            let steps = match sampler.is_adaptive() {
                true => None,
                false => Some(sampling.schedule()?),
            };
            let bytes = 3 * 4 * (sampling.batch_size() * self.io.image_len()) as u64;
            memory::sampling(&sampling, device)
                .with_host("batch", bytes)
                .require()?;
            Ok(Job {
                cell: cell.clone(),
                source,
                sampler,
                steps,
            })
        };
        let named = |cell: &Cell| of_cell(cell).map_err(|e: Failure| e.context(cell));
        self.cells.iter().map(named).collect()
    }

    fn judges(&self, folder: &Folder, real: Option<&Real>, device: &Device) -> Result<Judges> {
        let (io, names) = (&self.io, &self.classes[..]);
        let agreement = match (&self.args.judge, real) {
            _ if !self.has(Metric::Agreement) => None,
            (Some(judge), _) => {
                let judge = Agreement::of_folder(judge, io, names, &self.images);
                Some(judge.map_err(|e| e.context("--judge"))?)
            }
            (None, Some(real)) => {
                let title = real.floor();
                let judge =
                    Agreement::of_images(&*real.held_out, &title, (io, names), &self.images);
                Some(judge.map_err(|e| e.hint("--judge DIR takes other images"))?)
            }
            (None, None) => None,
        };
        let frechet = match real.filter(|_| self.has(Metric::Frechet)) {
            None => None,
            Some(real) => Some(Frechet::open(real, folder.judge(), device)?),
        };
        if let Some(judge) = &frechet {
            let (floor, n) = judge.floor();
            tracing::info!(
                "judge {}: {}; {n} held-out images have the distance {floor:.5}",
                judge.hash(),
                judge.name()
            );
            if (self.args.count as usize) <= judge.n_features() {
                tracing::warn!(
                    "--count {}: fewer images than the {} features span no whole covariance; the distance is large for that alone",
                    self.args.count,
                    judge.n_features()
                );
            }
        }
        Ok(Judges { agreement, frechet })
    }

    /// Samples and measures the cells that are not done.
    fn measure(
        &mut self,
        folder: &mut Folder,
        jobs: &[Job],
        real: Option<&Real>,
        device: &Device,
    ) -> Result<Judges> {
        let mut judges = self.judges(folder, real, device)?;
        let rows: Vec<Row> = jobs.iter().map(|job| self.row(job, &judges)).collect();
        folder.check_rows(&rows)?;
        let done = folder.rows.len();
        if done > 0 {
            tracing::info!("{done} of {} cells are done already", jobs.len());
        }
        folder.begin()?;
        let guides = self.guides.load(device, Storage::F32)?;
        let mut loaded: Option<(usize, Model)> = None;
        let mut pace = Pace::new(&jobs[done..]);
        for (i, (job, row)) in jobs.iter().zip(rows).enumerate().skip(done) {
            let model = match loaded.take() {
                Some((source, model)) if source == job.source => model,
                _ => self.load(job.source, device)?,
            };
            let name = || format!("cell {} of {}, {}", i + 1, jobs.len(), job.cell);
            let measured = self
                .cell(job, &model, &guides, &mut judges)
                .map_err(|e| e.context(name()).on_the_way())?;
            loaded = Some((job.source, model));
            folder.push(row.with(&measured))?;
            let left = pace.left(job);
            tracing::info!("{}: {}{left}", name(), said(&measured));
        }
        Ok(judges)
    }

    fn row(&self, job: &Job, judges: &Judges) -> Row {
        let hash = judges.frechet.as_ref().map(Frechet::hash);
        Row::new(
            &job.cell,
            self.sources[job.source].origin.weights,
            self.io.n_classes > 0,
            (self.args.count, self.args.seed),
            hash.as_deref(),
        )
    }

    fn load(&mut self, source: usize, device: &Device) -> Result<Model> {
        let source = &mut self.sources[source];
        tracing::info!("weights: {}", source.origin);
        let recipe = &source.recipe;
        let model = Model::zeros(device, recipe.model.clone(), recipe.transport.clone())?;
        source.weights.load(&model)?;
        Ok(model)
    }

    /// Samples and measures a cell.
    fn cell(
        &self,
        job: &Job,
        model: &Model,
        guides: &Guides<Model>,
        judges: &mut Judges,
    ) -> Result<Measured> {
        let sampling = self.sampling(&job.cell, &job.sampler, model.clone(), guides);
        let noise = match &self.base {
            None => Noise::Drawn,
            Some(base) => Noise::Base(base.clone(), model.transport().start_std(&job.sampler)),
        };
        let seed = self.args.seed;
        let effort = sampling::finished(sampling, &self.images, &noise, seed, |state| {
            if let Some(judge) = &mut judges.agreement {
                judge.look(&state);
            }
            match &mut judges.frechet {
                Some(judge) => judge.look(&state),
                None => Ok(()),
            }
        })?;
        let evaluations = effort.mean();
        Ok(Measured {
            evaluations,
            passes: match &job.steps {
                Some(steps) => job.cell.passes(steps) as f64,
                None => job.cell.passes_of(evaluations),
            },
            agreement: judges.agreement.as_mut().map(Agreement::percent),
            frechet: judges.frechet.as_mut().map(Frechet::verdict).transpose()?,
        })
    }
}

impl Judges {
    /// What they are, and what real images get from them.
    fn notes(&self, n: u32) -> Vec<String> {
        let agreement = self.agreement.as_ref().map(|judge| {
            format!(
                "agreement: percent of the images that are of the class that was asked for, says {}",
                judge.said()
            )
        });
        let frechet = self.frechet.as_ref().map(|judge| {
            let (floor, n_held_out) = judge.floor();
            let few = match n as usize <= judge.n_features() {
                true => "; they are fewer than the features, and the distance is large for that alone",
                false => "",
            };
            format!(
                "frechet: Frechet distance of {n} images from the training images{few}; judge {} ({}). It falls with the number of images: \
                 {n_held_out} real images that the judge has not seen have {floor:.5}",
                judge.hash(),
                judge.name()
            )
        });
        agreement.into_iter().chain(frechet).collect()
    }
}

/// The results of a cell, for people.
fn said(measured: &Measured) -> String {
    let agreement = measured
        .agreement
        .map(|share| format!("agreement {share:.1} %"));
    let frechet = measured
        .frechet
        .map(|distance| format!("frechet {distance:.4}"));
    let all: Vec<String> = agreement.into_iter().chain(frechet).collect();
    all.join(", ")
}

/// How long the rest takes, by what the cells so far have cost.
struct Pace {
    started: Instant,
    done: f64,
    left: f64,
}

impl Pace {
    fn new(jobs: &[Job]) -> Self {
        Pace {
            started: Instant::now(),
            done: 0.0,
            left: jobs.iter().map(Job::cost).sum(),
        }
    }

    /// After a cell; empty after the last one.
    fn left(&mut self, job: &Job) -> String {
        self.done += job.cost();
        self.left -= job.cost();
        match self.left > 0.5 {
            true => {
                let seconds = self.started.elapsed().as_secs_f64() * self.left / self.done;
                format!(", about {} left", duration(seconds))
            }
            false => String::new(),
        }
    }
}
