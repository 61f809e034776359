//! A picture before it is drawn: sums of recorded arrays, their layout and their colors.

use super::{Scale, Sheet, sheet};
use crate::state::{Autoencoder, FILM_SAMPLES, Layout, Quantity, State, Term, terms, total};
use egui::ColorImage;

/// A sum of recorded arrays of a lane after some steps, minus another sum.
#[derive(Debug, Clone)]
pub struct Sum {
    /// At least one term.
    pub terms: Vec<Term>,
    /// The lead lane's terms, to subtract for a difference.
    pub less: Vec<Term>,
}

impl Sum {
    /// The sum for a lane after `n` steps; `None` while there is nothing to draw.
    pub fn of(state: &State, lane: usize, n: usize) -> Option<Self> {
        let (model, record) = (state.model_of(lane)?, &state.records[lane]);
        let quantity = state.view.quantity;
        let some = |terms: Vec<Term>| (!terms.is_empty()).then_some(terms);
        let sum = some(terms(record, n, quantity, &model.transport))?;
        let mut less = Vec::new();
        if quantity == Quantity::Difference {
            let lead = &state.records[state.lead()];
            let transport = &state.model_of(state.lead())?.transport;
            let at = lead.steps_until(record.t(n));
            less = some(terms(lead, at, quantity, transport))?;
        }
        Some(Sum { terms: sum, less })
    }

    /// Its numbers, `[N, C, I, I]`.
    pub fn values(&self) -> Option<Vec<f32>> {
        let mut values = total(&self.terms)?;
        if let Some(less) = total(&self.less) {
            values.iter_mut().zip(&less).for_each(|(x, y)| *x -= y);
        }
        Some(values)
    }
}

/// A lane's picture before it is drawn.
pub struct Figure {
    /// Where the samples lie.
    pub sheet: Sheet,
    /// Channels of a sample.
    pub channels: usize,
    /// How its numbers become colors.
    pub scale: Scale,
    /// Parts of the sheet from left to right, equally wide: a single one, or one per step.
    pub strips: Vec<Sum>,
}

impl Figure {
    /// The figure of a lane in its present state; `None` while there is nothing to show.
    pub fn of(state: &State, lane: usize) -> Option<Self> {
        if let Some(autoencoder) = state.decoder() {
            return Figure::decoded(state, lane, autoencoder);
        }
        let io = state.model.as_ref()?.io;
        let side = io.image[1];
        let position = state.position(lane);
        let (strips, sheet) = match state.view.layout {
            Layout::Grid => {
                let all = vec![Sum::of(state, lane, position)?];
                (all, Sheet::new(state.n_samples, side, None))
            }
            Layout::Film => {
                let steps = state.records[lane].film_steps(position).into_iter();
                let strips: Vec<Sum> = steps
                    .filter_map(|step| Sum::of(state, lane, step))
                    .collect();
                let (rows, columns) = (state.n_samples.min(FILM_SAMPLES), strips.len());
                (columns > 0).then_some(())?;
                (strips, Sheet::new(rows * columns, side, Some(columns)))
            }
        };
        Some(Figure {
            sheet,
            channels: io.channels(),
            scale: Scale::of(state.view.quantity),
            strips,
        })
    }

    /// The figure of a lane whose latents are decoded; `None` before there are pictures.
    fn decoded(state: &State, lane: usize, autoencoder: &Autoencoder) -> Option<Self> {
        let position = state.position(lane);
        let [channels, side, _] = autoencoder.picture(state.model.as_ref()?.io.image);
        let sum = |pictures| Sum {
            terms: vec![Term {
                coef: 1.0,
                data: pictures,
            }],
            less: Vec::new(),
        };
        let (strips, sheet) = match state.view.layout {
            Layout::Grid => {
                let moment = state.moment(lane, position)?;
                let done = state.nearest_decoded(&moment)?;
                let sheet = Sheet::new(moment.n, side, None);
                (vec![sum(done.pictures.clone())], sheet)
            }
            Layout::Film => {
                let steps = state.records[lane].film_steps(position).into_iter();
                let moments = steps.filter_map(|step| state.moment(lane, step));
                let done = moments.filter_map(|moment| state.decoded(&moment));
                let strips: Vec<Sum> = done.map(|done| sum(done.pictures.clone())).collect();
                let (rows, columns) = (state.n_decoded(autoencoder), strips.len());
                (columns > 0).then_some(())?;
                (strips, Sheet::new(rows * columns, side, Some(columns)))
            }
        };
        Some(Figure {
            sheet,
            channels,
            scale: Scale::Image,
            strips,
        })
    }

    /// Draws it with the CPU.
    pub fn image(&self) -> Option<ColorImage> {
        let (Sheet { n, side, .. }, n_strips) = (self.sheet, self.strips.len());
        let len = self.channels * side * side;
        let strips = self.strips.iter().map(Sum::values);
        let strips: Vec<Vec<f32>> = strips.collect::<Option<_>>()?;
        let mut values = Vec::with_capacity(n * len);
        for sample in 0..n / n_strips {
            for strip in &strips {
                values.extend_from_slice(&strip[sample * len..][..len]);
            }
        }
        let columns = Some(self.sheet.columns);
        Some(sheet(&values, [self.channels, side, side], columns, self.scale).1)
    }
}

/// Draws a lane as the state has it, with the CPU.
pub fn picture(state: &State, lane: usize) -> Option<(Sheet, ColorImage)> {
    let figure = Figure::of(state, lane)?;
    Some((figure.sheet, figure.image()?))
}
