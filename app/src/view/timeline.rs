//! Pictures of a timeline: one per row, drawn again when the row has changed.

use super::{Pictures, Scale, Sheet, sheet};
use crate::state::{Cell, Quantity, Row, State};
use egui::{TextureHandle, TextureOptions};
use sit_engine::transport::{Coefs, Transport};

/// Identifies the content of a row's picture.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    number: u64,
    cells: usize,
    quantity: Quantity,
}

/// A row's picture.
#[derive(Clone)]
pub struct RowPicture {
    key: Key,
    /// How its cells lie.
    pub sheet: Sheet,
    /// The pixels.
    pub texture: TextureHandle,
    /// Place in the picture of each of the row's cells; `None` for one with nothing to show.
    pub places: Vec<Option<usize>>,
}

/// The quantity that is drawn in a timeline: the state, the velocity, or else the predicted data.
pub fn of_cells(quantity: Quantity) -> Quantity {
    match quantity {
        Quantity::State | Quantity::Velocity => quantity,
        Quantity::VelocityCond => Quantity::Velocity,
        _ => Quantity::Predicted,
    }
}

/// What is drawn of a cell, `[C, I, I]`; `None` for the velocity at the end and a prediction at a singular start.
pub fn value(cell: &Cell, quantity: Quantity, transport: &Transport) -> Option<Vec<f32>> {
    let coefs = match quantity {
        Quantity::State => return Some(cell.x.to_vec()),
        Quantity::Predicted if cell.out.is_none() => return Some(cell.x.to_vec()),
        Quantity::Predicted => transport.x1_pred(cell.t),
        _ => transport.velocity(cell.t),
    };
    let (Coefs { x, out }, values) = (coefs.ok()?, cell.out.as_ref()?);
    let pairs = cell.x.iter().zip(values.iter());
    Some(pairs.map(|(a, b)| x as f32 * a + out as f32 * b).collect())
}

impl Pictures {
    /// The picture of a row; `None` while there is nothing to show.
    pub fn row(&mut self, ctx: &egui::Context, state: &State, row: usize) -> Option<RowPicture> {
        let timeline = &state.timeline;
        self.rows.resize_with(timeline.rows.len(), || None);
        let key = Key {
            number: timeline.number(),
            cells: timeline.rows[row].cells.len(),
            quantity: of_cells(state.view.quantity),
        };
        if self.rows[row].as_ref().is_none_or(|old| old.key != key) {
            self.rows[row] = draw(ctx, &timeline.rows[row], key);
        }
        self.rows[row].clone()
    }
}

fn draw(ctx: &egui::Context, row: &Row, key: Key) -> Option<RowPicture> {
    let (config, transport) = row.model.as_ref()?;
    let shape = config.io().image;
    let (mut values, mut n, mut places) = (Vec::new(), 0, Vec::new());
    for cell in &row.cells {
        let value = value(cell, key.quantity, transport);
        places.push(value.is_some().then_some(n));
        n += usize::from(value.is_some());
        values.extend(value.into_iter().flatten());
    }
    if n == 0 {
        return None;
    }
    let (sheet, image) = sheet(&values, shape, Some(n), Scale::of(key.quantity));
    Some(RowPicture {
        key,
        sheet,
        texture: ctx.load_texture("timeline", image, TextureOptions::NEAREST),
        places,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_straight_way() {
        let transport = Transport::default();
        // From -1 with velocity 3: at t = 1/4 the state is -1/4, and the data 2.
        let cell = Cell {
            t: 0.25,
            x: [-0.25].into(),
            out: Some([3.0].into()),
        };
        let of = |cell: &Cell, quantity| value(cell, of_cells(quantity), &transport);
        assert_eq!(of(&cell, Quantity::State), Some(vec![-0.25]));
        assert_eq!(of(&cell, Quantity::VelocityCond), Some(vec![3.0]));
        assert_eq!(of(&cell, Quantity::Difference), Some(vec![2.0]));
        let end = Cell { out: None, ..cell };
        assert_eq!(of(&end, Quantity::Predicted), Some(vec![-0.25]));
        assert_eq!(of(&end, Quantity::Velocity), None);
    }
}
