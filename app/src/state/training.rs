//! The state of the training, as the window knows it.

use std::sync::Arc;

/// Bins of the time axis in the loss by time.
pub const TIME_BINS: usize = 10;

/// Memory of the loss by time, in steps: weights fall to 1/e after this many.
const MEMORY: f64 = 100.0;

/// The most points of the loss curve; beyond this, every other point is dropped.
const MAX_POINTS: usize = 2000;

/// One training step.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Steps done.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Time and loss of each image.
    pub by_image: Vec<(f64, f64)>,
    /// Whether it was skipped because its loss or gradient was not finite.
    pub skipped: bool,
    /// Time it took, in milliseconds.
    pub ms: f64,
}

/// The status of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Nothing was started.
    #[default]
    Idle,
    /// On its way.
    Running,
    /// Stopped for now.
    Paused,
    /// All steps are done.
    Done,
}

/// What can happen to a training.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingAction {
    /// A training begins.
    Started {
        /// What it learns.
        name: String,
        /// `[C, I, I]` of what it learns.
        shape: [usize; 3],
        /// Steps to do.
        total: u64,
        /// Some of it, `[N, C, I, I]`, of the classes of the previews.
        data: Arc<[f32]>,
    },
    /// The training stops for now, or goes on.
    Paused(bool),
    /// A training step.
    Learned(Box<Learned>),
    /// Samples `[N, C, I, I]` from the present state of the training.
    Previewed {
        /// Steps done.
        step: u64,
        /// The samples.
        x: Arc<[f32]>,
    },
    /// The averaged weights as a file.
    Kept(Arc<[u8]>),
}

/// A training as the window knows it.
#[derive(Debug, Clone, Default)]
pub struct TrainingView {
    /// What it learns.
    pub name: String,
    /// `[C, I, I]` of what it learns.
    pub shape: [usize; 3],
    /// How it is going.
    pub status: Status,
    /// Steps done.
    pub step: u64,
    /// Steps to do.
    pub total: u64,
    /// Steps skipped.
    pub skipped: u64,
    /// Milliseconds of a step, averaged.
    pub ms: f64,
    /// Steps and losses; each loss is the mean over the steps since the point before.
    pub curve: Vec<[f64; 2]>,
    /// Steps in a point of the curve.
    stride: u64,
    /// Sum and number of the losses since the last point.
    point: (f64, u64),
    /// Mean loss by time, with its weight.
    by_t: [(f64, f64); TIME_BINS],
    /// Some of the data, `[N, C, I, I]`.
    pub data: Arc<[f32]>,
    /// The number of this training.
    pub number: u64,
    /// Samples `[N, C, I, I]` from the last preview, and the step it was made at.
    pub preview: Option<(u64, Arc<[f32]>)>,
    /// The averaged weights as a file, when requested, until the host has taken them.
    pub kept: Option<Arc<[u8]>>,
}

impl TrainingView {
    /// Does `action`.
    pub fn apply(&mut self, action: TrainingAction) {
        match action {
            TrainingAction::Started {
                name,
                shape,
                total,
                data,
            } => {
                let number = self.number + 1;
                *self = TrainingView {
                    data,
                    number,
                    ..TrainingView::start(name, shape, total)
                };
            }
            TrainingAction::Paused(paused) => {
                if matches!(self.status, Status::Running | Status::Paused) {
                    self.status = if paused {
                        Status::Paused
                    } else {
                        Status::Running
                    };
                }
            }
            TrainingAction::Learned(learned) => self.learn(&learned),
            TrainingAction::Previewed { step, x } => self.preview = Some((step, x)),
            TrainingAction::Kept(bytes) => self.kept = Some(bytes),
        }
    }

    /// A training that begins.
    fn start(name: String, shape: [usize; 3], total: u64) -> Self {
        TrainingView {
            name,
            shape,
            total,
            status: Status::Running,
            stride: 1,
            ..TrainingView::default()
        }
    }

    /// Takes a step.
    fn learn(&mut self, learned: &Learned) {
        self.step = learned.step;
        self.ms += (learned.ms - self.ms) / (self.step.min(20)) as f64;
        if self.step >= self.total {
            self.status = Status::Done;
        }
        if learned.skipped {
            self.skipped += 1;
            return;
        }
        for &(t, loss) in &learned.by_image {
            let bin = ((t * TIME_BINS as f64) as usize).min(TIME_BINS - 1);
            let (mean, weight) = &mut self.by_t[bin];
            // A running mean over the images of about the last MEMORY steps.
            *weight =
                (*weight + 1.0).min(MEMORY * learned.by_image.len() as f64 / TIME_BINS as f64);
            *mean += (loss - *mean) / weight.max(1.0);
        }
        self.point.0 += learned.loss;
        self.point.1 += 1;
        if self.point.1 >= self.stride {
            let (sum, n) = std::mem::take(&mut self.point);
            self.curve.push([self.step as f64, sum / n as f64]);
        }
        if self.curve.len() >= MAX_POINTS {
            let pairs = self.curve.as_chunks::<2>().0.iter();
            self.curve = pairs.map(|[a, b]| [b[0], 0.5 * (a[1] + b[1])]).collect();
            self.stride *= 2;
        }
    }

    /// Name of its checkpoint's file.
    pub fn file_name(&self) -> String {
        format!(
            "sit-{}-{}.safetensors",
            self.name.replace(' ', "-"),
            self.step
        )
    }

    /// Mean loss by time: middle of the bin and loss, of the bins that have one.
    pub fn by_t(&self) -> Vec<[f64; 2]> {
        let bins = self.by_t.iter().enumerate();
        bins.filter(|(_, (_, weight))| *weight > 0.0)
            .map(|(bin, (mean, _))| [(bin as f64 + 0.5) / TIME_BINS as f64, *mean])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, loss: f64) -> Learned {
        Learned {
            step,
            loss,
            by_image: vec![(0.05, loss), (0.95, 2.0 * loss)],
            skipped: false,
            ms: 3.0,
        }
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_mean() {
        let mut view = TrainingView::start("moons".into(), [2, 1, 1], 10_000);
        for i in 1..=10_000 {
            view.learn(&step(i, i as f64));
        }
        assert!(view.curve.len() < MAX_POINTS, "{}", view.curve.len());
        assert_eq!(view.status, Status::Done);
        assert!((view.ms - 3.0).abs() < 1e-9);
        assert_eq!(view.curve[0], [8.0, 4.5]);
        assert_eq!(view.curve.last(), Some(&[10_000.0, 9996.5]));
    }

    #[test]
    fn loss_by_time_follows_and_skipped_steps_do_not_count() {
        let mut view = TrainingView::start("moons".into(), [2, 1, 1], 10_000);
        view.learn(&step(1, 1.0));
        let by_t = view.by_t();
        assert_eq!(by_t, [[0.05, 1.0], [0.95, 2.0]]);
        let skipped = Learned {
            skipped: true,
            ..step(2, f64::NAN)
        };
        view.learn(&skipped);
        assert_eq!((view.skipped, view.by_t(), view.curve.len()), (1, by_t, 1));
    }
}
