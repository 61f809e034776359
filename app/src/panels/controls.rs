//! Labelled controls that several panels have.

use crate::state::{Choice, MAX_STEPS};
use egui::{ComboBox, DragValue, Response, Ui};

/// A menu shows all methods without scrolling.
pub const MENU_HEIGHT: f32 = 320.0;

/// A menu of one of the engine's registries.
pub fn choose<T: Copy + PartialEq>(
    ui: &mut Ui,
    label: &str,
    value: &mut T,
    all: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'static str,
) {
    ui.horizontal(|ui| {
        let id = ui.label(label).id;
        let combo = ComboBox::from_id_salt(label)
            .selected_text(name(*value))
            .height(MENU_HEIGHT);
        let inner = combo.show_ui(ui, |ui| {
            for choice in all {
                ui.selectable_value(value, choice, name(choice));
            }
        });
        inner.response.labelled_by(id);
    });
}

/// A number after its label.
pub fn number(ui: &mut Ui, label: &str, drag: DragValue<'_>) -> Response {
    ui.horizontal(|ui| {
        let id = ui.label(label).id;
        ui.add(drag).labelled_by(id)
    })
    .inner
}

/// Two times between 0 and 1, the first not after the second.
pub fn interval(ui: &mut Ui, label: &str, interval: &mut [f64; 2]) {
    ui.horizontal(|ui| {
        let label = ui.label(label).id;
        let [mut lo, mut hi] = *interval;
        let drag = |x| {
            DragValue::new(x)
                .range(0.0..=1.0)
                .speed(0.005)
                .max_decimals(3)
        };
        ui.add(drag(&mut lo)).labelled_by(label);
        let label = ui.label("to").id;
        ui.add(drag(&mut hi)).labelled_by(label);
        *interval = [lo.min(hi), hi];
    });
}

/// The number of steps; `after` is said of a further one.
pub fn steps(ui: &mut Ui, n_steps: &mut u32, after: &str) {
    let drag = DragValue::new(n_steps)
        .range(1..=MAX_STEPS as u32)
        .speed(0.2)
        .suffix(after)
        .update_while_editing(false);
    number(ui, "Steps", drag);
}

/// Buttons that ask for a dialog of files or of a folder; a browser has one of files alone.
pub fn file_buttons(ui: &mut Ui) -> Option<Choice> {
    let mut chosen = None;
    for (choice, name) in [
        (Choice::Files, "Choose files"),
        (Choice::Folder, "Choose a folder"),
    ] {
        if choice == Choice::Folder && cfg!(target_arch = "wasm32") {
            continue;
        }
        if ui.button(name).clicked() {
            chosen = Some(choice);
        }
    }
    chosen
}
