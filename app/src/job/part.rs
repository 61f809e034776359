//! A step in progress, assembled from its pieces.

use crate::state::Frame;
use crate::twins::Twins;
use sit_engine::backend::Program;
use sit_engine::backend::gpu::Tensor;
use sit_engine::error::Result;
use std::ops::Range;
use web_time::Duration;

/// What has been computed of a step.
#[derive(Default)]
pub struct Part {
    pub x: Vec<f32>,
    pub cond: Vec<f32>,
    pub uncond: Vec<f32>,
    pub noise: Vec<f32>,
    /// What the step keeps for the next one.
    pub history: Vec<Vec<f32>>,
    /// The mean square of each sample's error, of an adaptive solver.
    pub squares: Vec<f32>,
    pub time: Duration,
    /// Where rejected attempts would have ended.
    pub rejected: Vec<f64>,
    /// The time of the fastest piece.
    pub shortest: Option<Duration>,
    /// Buffers on the GPU for the first three, in this order, if there is room.
    twins: Vec<Option<Tensor>>,
}

/// What a task of an adaptive solver gives for some samples.
pub struct Evaluated {
    /// The state after an attempt, or else the drift.
    pub x: Vec<f32>,
    /// The drift there, of an attempt.
    pub drift: Vec<f32>,
    /// The network's outputs, with those without a class after the others.
    pub out: Vec<f32>,
    /// The mean square of each sample's error, of an attempt.
    pub squares: Vec<f32>,
}

impl Part {
    /// Copies the range `piece` of the step's `len` numbers on the GPU, from the outputs of `program`. The outputs of the null
    /// class, if any, begin at `uncond`.
    pub fn copy(
        &mut self,
        twins: &Twins,
        program: &Program,
        uncond: Option<usize>,
        piece: Range<usize>,
        len: usize,
    ) -> Result<()> {
        let outputs = [
            Some(("x", 0)),
            Some(("out", 0)),
            uncond.map(|at| ("out", at)),
        ];
        let outputs = outputs.into_iter().flatten();
        if piece.start == 0 {
            self.twins = outputs.clone().map(|_| twins.place(len)).collect();
        }
        for ((output, at), twin) in outputs.zip(&self.twins) {
            if let Some(twin) = twin {
                program.copy(output, at..at + piece.len(), twin, piece.start)?;
            }
        }
        Ok(())
    }

    /// Adds the first `len` numbers of each tensor that a piece kept.
    pub fn keep(&mut self, history: &[Vec<f32>], len: usize) {
        self.history.resize(history.len(), Vec::new());
        let pairs = self.history.iter_mut().zip(history);
        pairs.for_each(|(all, piece)| all.extend_from_slice(&piece[..len.min(piece.len())]));
    }

    /// Adds the time of a piece.
    pub fn add_time(&mut self, time: Duration) {
        self.time += time;
        self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
    }

    /// Adds what a task of an adaptive solver gave for a piece of `len` numbers.
    pub fn add(&mut self, piece: Evaluated, len: usize) {
        self.x.extend_from_slice(&piece.x);
        let (cond, uncond) = piece.out.split_at(len);
        self.cond.extend_from_slice(cond);
        self.uncond.extend_from_slice(uncond);
        self.keep(&[piece.drift], len);
        self.squares.extend_from_slice(&piece.squares);
    }

    /// The network's outputs, with and without the classes.
    pub fn take_outs(&mut self) -> [Vec<f32>; 2] {
        [&mut self.cond, &mut self.uncond].map(std::mem::take)
    }

    /// The finished step, which was computed without copies on the GPU.
    pub fn uploaded(self, twins: Option<&Twins>) -> Frame {
        let frame = self.frame(None);
        if let Some(twins) = twins {
            let arrays = [Some(&frame.x), Some(&frame.cond), frame.uncond.as_ref()];
            let arrays = arrays.into_iter().flatten();
            arrays.for_each(|array| twins.upload(array));
        }
        frame
    }

    /// The finished step.
    pub fn frame(self, twins: Option<&Twins>) -> Frame {
        let frame = Frame {
            x: self.x.into(),
            cond: self.cond.into(),
            uncond: (!self.uncond.is_empty()).then(|| self.uncond.into()),
            noise: (!self.noise.is_empty()).then(|| self.noise.into()),
            ms: self.time.as_secs_f64() * 1e3,
            rejected: self.rejected,
        };
        if let Some(twins) = twins {
            let arrays = [Some(&frame.x), Some(&frame.cond), frame.uncond.as_ref()];
            for (array, twin) in arrays.into_iter().flatten().zip(self.twins) {
                twin.into_iter().for_each(|twin| twins.put(array, twin));
            }
            frame.noise.iter().for_each(|noise| twins.upload(noise));
        }
        frame
    }
}
