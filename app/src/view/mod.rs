//! Numbers to pictures: color scales, sheets of samples, and the textures that show them.

mod color;
mod sheet;
mod timeline;

pub use color::{Scale, range};
pub use sheet::{Sheet, sheet};
pub use timeline::{RowPicture, of_cells};

use crate::errors::Ways;
use crate::state::{Layout, Quantity, Record, State, terms, total};
use egui::{ColorImage, TextureHandle, TextureOptions};

/// Rows of a film strip.
const FILM_SAMPLES: usize = 8;

/// Columns of a film strip.
const FILM_STEPS: usize = 10;

/// What a lane's picture was made of: as long as this is the same, the picture is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key {
    run: u64,
    position: usize,
    /// Whether the network's output at this state was there.
    settled: bool,
    quantity: Quantity,
    layout: Layout,
    /// The lead lane's run and position, for the difference from it.
    lead: (u64, usize, bool),
}

/// The lanes' pictures. A picture is made again only when something of it has changed.
#[derive(Default)]
pub struct Pictures {
    /// The exact ways of the points of each lane in the plane.
    pub(crate) ways: Vec<Ways>,
    lanes: Vec<Option<(Key, Sheet, TextureHandle)>>,
    /// The rows of a timeline.
    rows: Vec<Option<RowPicture>>,
}

impl Pictures {
    /// The picture of a lane as the state has it; `None` while there is nothing to show.
    pub fn lane(
        &mut self,
        ctx: &egui::Context,
        state: &State,
        lane: usize,
    ) -> Option<(Sheet, TextureHandle)> {
        self.lanes.resize_with(state.lanes.len(), || None);
        let settled = |lane: usize| state.records[lane].frames.len() > state.position(lane);
        let lead = state.lead();
        let key = Key {
            run: state.records[lane].run,
            position: state.position(lane),
            settled: settled(lane),
            quantity: state.view.quantity,
            layout: state.view.layout,
            lead: (state.records[lead].run, state.position(lead), settled(lead)),
        };
        let slot = &mut self.lanes[lane];
        if slot.as_ref().is_none_or(|(old, ..)| *old != key) {
            let (sheet, image) = picture(state, lane)?;
            let texture = match slot.take() {
                Some((_, _, mut texture)) => {
                    texture.set(image, TextureOptions::NEAREST);
                    texture
                }
                None => ctx.load_texture(format!("lane {lane}"), image, TextureOptions::NEAREST),
            };
            *slot = Some((key, sheet, texture));
        }
        slot.as_ref()
            .map(|(_, sheet, texture)| (*sheet, texture.clone()))
    }
}

/// Draws a lane as the state has it.
pub fn picture(state: &State, lane: usize) -> Option<(Sheet, ColorImage)> {
    let model = state.model.as_ref()?;
    let config = &model.config;
    let shape = [config.channels, config.input_size, config.input_size];
    let scale = Scale::of(state.view.quantity);
    match state.view.layout {
        Layout::Grid => {
            let values = values(state, lane, state.position(lane))?;
            Some(sheet(&values, shape, None, scale))
        }
        Layout::Film => {
            let columns = film_steps(&state.records[lane], state.position(lane));
            let n = state.n_samples.min(FILM_SAMPLES);
            let len = config.image_len();
            let strips: Vec<Vec<f32>> = columns
                .iter()
                .filter_map(|&step| values(state, lane, step))
                .collect();
            let mut film = Vec::with_capacity(n * strips.len() * len);
            for sample in 0..n {
                for strip in &strips {
                    film.extend_from_slice(&strip[sample * len..][..len]);
                }
            }
            (!film.is_empty()).then(|| sheet(&film, shape, Some(strips.len()), scale))
        }
    }
}

/// What is drawn of a lane after `n` steps, `[N, C, I, I]`.
pub fn values(state: &State, lane: usize, n: usize) -> Option<Vec<f32>> {
    let (model, record) = (state.model.as_ref()?, &state.records[lane]);
    let quantity = state.view.quantity;
    let mut values = total(&terms(record, n, quantity, &model.transport))?;
    if quantity == Quantity::Difference {
        let lead = state.lead();
        let at = state.records[lead].steps_until(record.t(n));
        let from = total(&terms(&state.records[lead], at, quantity, &model.transport))?;
        values.iter_mut().zip(&from).for_each(|(x, y)| *x -= y);
    }
    Some(values)
}

/// Steps of a film strip: evenly from the start to where the lane is.
pub fn film_steps(record: &Record, position: usize) -> Vec<usize> {
    let last = position.min(record.frames.len());
    let columns = last.min(FILM_STEPS - 1);
    let mut steps: Vec<usize> = (0..=columns)
        .map(|c| (c * last).checked_div(columns).unwrap_or(0))
        .collect();
    steps.dedup();
    steps
}
