//! What the checkpoints of a run make of one sample's noise, computed one step of one checkpoint at a time.

use crate::source::checkpoint;
use crate::state::{CELLS_BUDGET, COLUMNS, Cell, STRIDE, Sweep, TimelineAction, ode, row_bytes};
use crate::words::in_controls;
use sit_engine::backend::Device;
use sit_engine::error::{Error, Result};
use sit_engine::model::{Model, ModelConfig};
use sit_engine::sample::Session;
use sit_engine::transport::{Method, Transport};

/// A sweep in progress.
pub struct Sweeping {
    sweep: Sweep,
    /// Index of the row being computed, among those of the sweep.
    at: usize,
    /// Bytes of the rows that are done or begun.
    bytes: u64,
    network: Option<Network>,
    /// Whether the row's weights are in the network.
    is_loaded: bool,
}

/// The programs, which rows of one shape share.
struct Network {
    config: ModelConfig,
    transport: Transport,
    model: Model,
    session: Session,
}

impl Sweeping {
    /// Begins.
    pub fn new(sweep: Sweep) -> Self {
        Sweeping {
            bytes: sweep.held_bytes,
            sweep,
            at: 0,
            network: None,
            is_loaded: false,
        }
    }

    /// Does one piece of work: loads a checkpoint, or does one step. Returns false when nothing is left to do.
    pub async fn work(&mut self, device: &Device, say: impl Fn(TimelineAction)) -> bool {
        let Some((row, _)) = self.sweep.rows.get(self.at) else {
            return false;
        };
        let (number, row) = (self.sweep.number, *row);
        let done = match &mut self.network {
            Some(network) if self.is_loaded => {
                let cells = network.step().await;
                cells.map(|cells| {
                    for cell in cells {
                        say(TimelineAction::CellDone { number, row, cell });
                    }
                    network.session.is_over()
                })
            }
            _ => self.load(device).map(|model| {
                let model = Box::new(model);
                say(TimelineAction::RowOpened { number, row, model });
                false
            }),
        };
        let done = done.unwrap_or_else(|error| {
            let message = in_controls(&error);
            say(TimelineAction::RowFailed {
                number,
                row,
                message,
            });
            true
        });
        if done {
            self.at += 1;
            self.is_loaded = false;
        }
        true
    }

    /// Loads the weights of the row, and starts from the noise.
    fn load(&mut self, device: &Device) -> Result<(ModelConfig, Transport)> {
        let (sweep, at) = (&self.sweep, self.at);
        let opened = checkpoint("the checkpoint", &sweep.rows[at].1, sweep.weights);
        let (model, mut weights) = opened.map_err(Error::Checkpoint)?;
        let (Some(config), transport) = (model.network.clone(), model.transport.clone()) else {
            return Err(Error::Config("the checkpoint has no network".into()));
        };
        if model.is_plane() {
            return Err(Error::Config(
                "points in the plane: they are shown in the lanes, not here".into(),
            ));
        }
        self.bytes += row_bytes(model.io.image_len());
        if self.bytes > CELLS_BUDGET {
            return Err(Error::Config(format!(
                "the pictures of all rows may take {} MiB",
                CELLS_BUDGET >> 20
            )));
        }
        let is_same = |n: &Network| n.config == config && n.transport == transport;
        let network = match self.network.take().filter(is_same) {
            Some(network) => network,
            None => Network::new(device, config.clone(), transport.clone())?,
        };
        let network = self.network.insert(network);
        weights.load(&network.model)?;
        let start = &sweep.start;
        let labels = start.classes.labels(model.io.n_classes, start.sample + 1);
        let (numbers, labels) = ([start.sample as u64], &labels[start.sample..]);
        network.session.start(start.seed, &numbers, labels)?;
        self.is_loaded = true;
        Ok((config, transport))
    }
}

impl Network {
    fn new(device: &Device, config: ModelConfig, transport: Transport) -> Result<Self> {
        let model = Model::zeros(device, config.clone(), transport.clone())?;
        let sampler = ode(Method::Euler, (STRIDE * (COLUMNS - 1)) as u32);
        Ok(Network {
            session: model.sampler(sampler).batch(1).keep_out().session()?,
            config,
            transport,
            model,
        })
    }

    /// Does one step and returns the cells that are now known.
    async fn step(&mut self) -> Result<Vec<Cell>> {
        let session = &mut self.session;
        let (k, n) = (session.done(), session.steps().len());
        let before = match k.is_multiple_of(STRIDE) {
            true => Some((session.t(), session.read_async().await?.into())),
            false => None,
        };
        session.step_async().await?;
        let mut cells = Vec::new();
        if let Some((t, x)) = before {
            let out = Some(session.read_out_async().await?.into());
            cells.push(Cell { t, x, out });
        }
        if k + 1 == n {
            let (t, x) = (session.t(), session.read_async().await?.into());
            cells.push(Cell { t, x, out: None });
        }
        let mut values = cells.iter().flat_map(|cell| cell.x.iter());
        match values.all(|x| x.is_finite()) {
            true => Ok(cells),
            false => Err(Error::Config(format!(
                "step {} of {n} gives numbers that are not finite",
                k + 1
            ))),
        }
    }
}
