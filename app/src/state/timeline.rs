//! Training step against sampling time: what a run's checkpoints make of the same noise.

use super::{Bytes, Classes};
use serde::{Deserialize, Serialize};
use sit_engine::model::ModelConfig;
use sit_engine::transport::Transport;
use std::path::PathBuf;
use std::sync::Arc;

/// Sampling times that are shown.
pub const COLUMNS: usize = 8;

/// Steps of the ODE between two of them.
pub const STRIDE: usize = 4;

/// The most checkpoints that are shown; of a larger number, evenly spaced ones.
pub const MAX_ROWS: usize = 64;

/// Bytes that all cells together may take.
pub const CELLS_BUDGET: u64 = 64 << 20;

/// Which weights of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Weights {
    /// The moving average.
    #[default]
    Ema,
    /// As they were trained.
    Raw,
}

/// Where a row's weights are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// In a run folder, of this training step.
    Step(PathBuf, u64),
    /// A file of one set of weights.
    File(Bytes),
}

/// What was computed at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The time.
    pub t: f64,
    /// The state, `[C, I, I]`.
    pub x: Arc<[f32]>,
    /// The network's output there; `None` at the end of the path.
    pub out: Option<Arc<[f32]>>,
}

/// A checkpoint.
#[derive(Debug, Clone)]
pub struct Row {
    /// `step 1000`, or the name of a file.
    pub name: String,
    /// Where its weights are stored.
    pub checkpoint: Checkpoint,
    /// Its sizes and transport, once it was opened.
    pub model: Option<(ModelConfig, Transport)>,
    /// Its cells in order of time, as far as they were computed.
    pub cells: Vec<Cell>,
    /// Why it cannot go on.
    pub error: Option<String>,
}

impl Row {
    fn is_done(&self) -> bool {
        self.error.is_some() || self.cells.len() == COLUMNS
    }

    fn bytes(&self) -> u64 {
        let of = |c: &Cell| c.x.len() + c.out.as_ref().map_or(0, |out| out.len());
        4 * self.cells.iter().map(of).sum::<usize>() as u64
    }
}

/// What all rows start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Start {
    /// The session's seed.
    pub seed: u64,
    /// Number of the sample.
    pub sample: usize,
    /// The session's classes.
    pub classes: Classes,
}

/// Rows to compute.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Its number, which answers refer to.
    pub number: u64,
    /// What the rows start from.
    pub start: Start,
    /// Which weights.
    pub weights: Weights,
    /// Row number in the timeline and checkpoint, for each.
    pub rows: Vec<(usize, Checkpoint)>,
    /// Bytes of the rows that are done.
    pub held_bytes: u64,
}

/// What can happen to a timeline.
#[derive(Debug, Clone, PartialEq)]
pub enum TimelineAction {
    /// Show the checkpoints of a run, in order.
    Open {
        /// The run's name.
        name: String,
        /// The checkpoints, each with its name.
        rows: Vec<(String, Checkpoint)>,
    },
    /// Take these weights of them.
    Weights(Weights),
    /// A checkpoint was opened.
    RowOpened {
        /// The sweep.
        number: u64,
        /// The row.
        row: usize,
        /// Sizes and transport.
        model: Box<(ModelConfig, Transport)>,
    },
    /// The next cell of a row was computed.
    CellDone {
        /// The sweep.
        number: u64,
        /// The row.
        row: usize,
        /// The cell.
        cell: Cell,
    },
    /// A checkpoint cannot be used.
    RowFailed {
        /// The sweep.
        number: u64,
        /// The row.
        row: usize,
        /// Why.
        message: String,
    },
}

/// The rows of a run.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// The run's name.
    pub name: String,
    /// Which weights.
    pub weights: Weights,
    /// The checkpoints, by training step.
    pub rows: Vec<Row>,
    /// Number of checkpoints of the run.
    pub of: usize,
    /// What the rows start from.
    pub start: Start,
    /// Sweeps so far, to recognize answers of an abandoned one.
    number: u64,
}

impl Timeline {
    /// Applies `action`; answers of an earlier sweep are ignored.
    pub fn apply(&mut self, action: TimelineAction) {
        match action {
            TimelineAction::Open { name, rows } => self.open(name, rows),
            TimelineAction::Weights(weights) => {
                self.weights = weights;
                self.restart();
            }
            TimelineAction::RowOpened { number, row, model } => {
                if let Some(row) = self.row_mut(number, row) {
                    (row.model, row.cells) = (Some(*model), Vec::new());
                }
            }
            TimelineAction::CellDone { number, row, cell } => {
                if let Some(row) = self.row_mut(number, row) {
                    row.cells.push(cell);
                }
            }
            TimelineAction::RowFailed {
                number,
                row,
                message,
            } => {
                if let Some(row) = self.row_mut(number, row) {
                    row.error = Some(message);
                }
            }
        }
    }

    fn open(&mut self, name: String, checkpoints: Vec<(String, Checkpoint)>) {
        let of = checkpoints.len();
        let kept = evenly(of, MAX_ROWS);
        let mut checkpoints: Vec<_> = checkpoints.into_iter().map(Some).collect();
        let row = |i: usize| {
            let (name, checkpoint) = checkpoints[i].take()?;
            Some(Row {
                name,
                checkpoint,
                model: None,
                cells: Vec::new(),
                error: None,
            })
        };
        self.rows = kept.into_iter().filter_map(row).collect();
        (self.name, self.of) = (name, of);
        self.number += 1;
    }

    /// Starts again if the rows now start from something else.
    pub fn follow(&mut self, start: Start) {
        if self.start != start {
            self.start = start;
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.number += 1;
        for row in &mut self.rows {
            (row.model, row.error) = (None, None);
            row.cells.clear();
        }
    }

    /// Identifies what is shown: it changes with the run, the start and the choice of weights.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Number of the sweep under way; `None` when nothing is left to do.
    pub fn wanted(&self) -> Option<u64> {
        let left = self.rows.iter().any(|row| !row.is_done());
        left.then_some(self.number)
    }

    /// The rows that are left to compute.
    pub fn sweep(&self) -> Sweep {
        let rows = self.rows.iter().enumerate();
        let rows = rows.filter(|(_, row)| !row.is_done());
        Sweep {
            number: self.number,
            start: self.start,
            weights: self.weights,
            rows: rows.map(|(i, row)| (i, row.checkpoint.clone())).collect(),
            held_bytes: self
                .rows
                .iter()
                .filter(|r| r.is_done())
                .map(Row::bytes)
                .sum(),
        }
    }

    fn row_mut(&mut self, number: u64, row: usize) -> Option<&mut Row> {
        let is_current = self.number == number;
        self.rows.get_mut(row).filter(|_| is_current)
    }

    /// Cells done, and cells in all of the rows that can be computed.
    pub fn progress(&self) -> (usize, usize) {
        let rows = self.rows.iter().filter(|row| row.error.is_none());
        rows.fold((0, 0), |(done, all), row| {
            (done + row.cells.len(), all + COLUMNS)
        })
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(Row::bytes).sum()
    }
}

/// Bytes of the cells of a row with images of `len` numbers.
pub fn row_bytes(len: usize) -> u64 {
    4 * ((2 * COLUMNS - 1) * len) as u64
}

/// At most `most` evenly spaced numbers below `n`, including the first and the last.
fn evenly(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    (0..most).map(|i| i * (n - 1) / (most - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(n: u64) -> Vec<(String, Checkpoint)> {
        let step = |i| (format!("step {i}"), Checkpoint::Step("run".into(), i));
        (0..n).map(step).collect()
    }

    #[test]
    fn a_long_run_is_thinned_and_keeps_its_ends() {
        let mut timeline = Timeline::default();
        timeline.open("run".into(), checkpoints(1000));
        assert_eq!((timeline.rows.len(), timeline.of), (MAX_ROWS, 1000));
        assert_eq!(timeline.rows[0].name, "step 0");
        assert_eq!(timeline.rows[MAX_ROWS - 1].name, "step 999");
        let names: std::collections::BTreeSet<&str> =
            timeline.rows.iter().map(|row| &row.name[..]).collect();
        assert_eq!(names.len(), MAX_ROWS);
    }

    #[test]
    fn another_start_begins_again_and_the_same_one_does_not() {
        let mut timeline = Timeline::default();
        timeline.open("run".into(), checkpoints(2));
        let number = timeline.wanted().unwrap();
        let cell = Cell {
            t: 0.0,
            x: [1.0, 2.0].into(),
            out: Some([3.0, 4.0].into()),
        };
        let row = timeline.row_mut(number, 0).unwrap();
        row.cells = vec![cell; COLUMNS];
        timeline.row_mut(number, 1).unwrap().error = Some("gone".into());
        assert_eq!((timeline.wanted(), timeline.progress()), (None, (8, 8)));
        assert_eq!(timeline.bytes(), 8 * 4 * 4);
        assert_eq!(row_bytes(2), 8 * 4 * 4 - 8);
        timeline.follow(Start::default());
        assert_eq!(timeline.wanted(), None);
        timeline.follow(Start {
            seed: 1,
            ..Start::default()
        });
        assert_eq!(timeline.sweep().rows.len(), 2);
        // Answers of the earlier sweep are ignored.
        assert!(timeline.row_mut(number, 0).is_none());
        assert_eq!(timeline.bytes(), 0);
    }
}
