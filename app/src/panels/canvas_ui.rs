//! A sheet to draw on with the pointer.

use egui::{Pos2, Rect, Sense, Stroke, Ui, pos2, vec2};

/// A sheet from -1 to 1 to draw lines on.
pub fn show(ui: &mut Ui, strokes: &mut Vec<Vec<[f32; 2]>>) {
    let side = ui.available_width().min(260.0);
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::drag());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Canvas, true, "Drawing"));
    ui.painter()
        .rect_filled(rect, 4.0, ui.visuals().extreme_bg_color);
    if response.drag_started() {
        strokes.push(Vec::new());
    }
    if let (Some(at), Some(stroke)) = (response.interact_pointer_pos(), strokes.last_mut()) {
        let point = from_sheet(rect, at);
        if stroke.last() != Some(&point) {
            stroke.push(point);
        }
    }
    let line = Stroke::new(3.0, ui.visuals().text_color());
    for stroke in strokes.iter() {
        let points: Vec<Pos2> = stroke.iter().map(|p| to_sheet(rect, *p)).collect();
        ui.painter().line(points, line);
    }
    if ui.button("Clear the drawing").clicked() {
        strokes.clear();
    }
}

fn from_sheet(rect: Rect, at: Pos2) -> [f32; 2] {
    let at = rect.clamp(at);
    [
        2.0 * (at.x - rect.left()) / rect.width() - 1.0,
        1.0 - 2.0 * (at.y - rect.top()) / rect.height(),
    ]
}

fn to_sheet(rect: Rect, [x, y]: [f32; 2]) -> Pos2 {
    pos2(
        rect.left() + 0.5 * (x + 1.0) * rect.width(),
        rect.top() + 0.5 * (1.0 - y) * rect.height(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_is_from_minus_one_to_one() {
        let rect = Rect::from_min_size(pos2(10.0, 20.0), vec2(200.0, 200.0));
        for point in [[-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]] {
            let [x, y] = from_sheet(rect, to_sheet(rect, point));
            assert!((x - point[0]).abs() < 1e-5 && (y - point[1]).abs() < 1e-5);
        }
        assert_eq!(from_sheet(rect, pos2(0.0, 1000.0)), [-1.0, -1.0]);
    }
}
