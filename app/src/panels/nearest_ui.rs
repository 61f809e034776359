//! The training image nearest to the picked sample: shows whether the network copies its data or makes something new.

use super::Scene;
use crate::state::{Quantity, terms, total};
use crate::view::{Scale, sheet};
use egui::{Color32, Rect, Sense, Ui, pos2, vec2};

/// Side of an image, in points.
const SIDE: f32 = 56.0;

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>, lanes: &[usize]) {
    let state = scene.state;
    let all = &mut scene.findings.distances;
    let Some(held_out) = all.known(state).and_then(|known| known.held_out.as_ref()) else {
        return;
    };
    let median = held_out.median();
    let Some((sample, model)) = state.view.sample.zip(state.model.as_ref()) else {
        ui.weak("Click a sample to see the training image nearest to it.");
        return;
    };
    let shape = model.io.image;
    ui.label(format!(
        "Sample {} and its nearest training image",
        sample + 1
    ));
    for &lane in lanes {
        let record = &state.records[lane];
        let terms = terms(
            record,
            state.position(lane),
            Quantity::Predicted,
            &model.transport,
        );
        let len = model.io.image_len();
        let Some(x) = total(&terms).and_then(|x| Some(x.get(sample * len..)?.get(..len)?.to_vec()))
        else {
            continue;
        };
        let Some((nearest, known, share)) = all.nearest(state, &x) else {
            continue;
        };
        ui.horizontal(|ui| {
            thumbnail(ui, &x, shape);
            if let Some(image) = known.all.rows().nth(nearest.index) {
                thumbnail(ui, image, shape);
            }
            ui.small(format!(
                "lane {}: distance {:.2},\nnearer than {:.0} % of held-out images",
                lane + 1,
                nearest.distance,
                100.0 * (1.0 - share)
            ));
        });
    }
    ui.small(format!(
        "Images that were not trained on have theirs at {median:.2} (median). A network that makes new images is as far at t = 1; \
         before, this is its prediction, a mean of images."
    ));
}

fn thumbnail(ui: &mut Ui, x: &[f32], shape: [usize; 3]) {
    let (_, image) = sheet(x, shape, Some(1), Scale::Image);
    let (rect, _) = ui.allocate_exact_size(vec2(SIDE, SIDE), Sense::hover());
    let [width, height] = image.size;
    let cell = vec2(SIDE / width as f32, SIDE / height as f32);
    for (i, color) in image.pixels.iter().enumerate() {
        let at = vec2((i % width) as f32 * cell.x, (i / width) as f32 * cell.y);
        let pixel = Rect::from_min_size(pos2(rect.left() + at.x, rect.top() + at.y), cell);
        ui.painter().rect_filled(
            pixel,
            0.0,
            Color32::from_rgb(color.r(), color.g(), color.b()),
        );
    }
}
