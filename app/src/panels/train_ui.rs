//! Training: what to learn, how it goes, and what to do with what was learned.

use super::{Scene, canvas_ui, data_ui, plane_ui};
use crate::job::Request;
use crate::state::{Status, TrainingView};
use crate::train::Data;
use crate::view::{Scale, sheet};
use egui::{ComboBox, DragValue, ProgressBar, TextureOptions, Ui};
use egui_plot::{Line, Plot, PlotPoints};

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    form(ui, scene);
    let training = &scene.state.training;
    if training.status == Status::Idle {
        ui.label(
            "A SiT learns the velocity v(x_t, t) of the straight way x_t = t x₁ + (1 − t) x₀ from noise x₀ to data x₁: \
             it minimizes E|v − (x₁ − x₀)|².",
        );
        return;
    }
    progress(ui, scene);
    curves(ui, &scene.state.training);
    preview(ui, scene);
}

fn form(ui: &mut Ui, scene: &mut Scene<'_>) {
    let form = &mut *scene.form;
    ui.horizontal(|ui| {
        let label = ui.label("Data").id;
        let combo = ComboBox::from_id_salt("data").selected_text(form.data.name());
        let inner = combo.show_ui(ui, |ui| {
            for data in Data::all() {
                let name = data.name();
                ui.selectable_value(&mut form.data, data, name);
            }
        });
        inner.response.labelled_by(label);
    });
    ui.small(form.data.about());
    if let Data::Drawn(strokes) = &mut form.data {
        canvas_ui::show(ui, strokes);
    }
    if form.data == Data::Files {
        data_ui::show(ui, scene.state, scene.actions);
    }
    ui.horizontal(|ui| {
        let label = ui.label("Training steps").id;
        let drag = DragValue::new(&mut form.steps)
            .range(10..=100_000)
            .speed(10);
        ui.add(drag).labelled_by(label);
        let label = ui.label("Training seed").id;
        ui.add(DragValue::new(&mut form.seed)).labelled_by(label);
    });
    let plan = form.plan(&scene.state.files);
    if let Ok(plan) = &plan {
        ui.small(form.estimate.text(plan));
    }
    ui.horizontal_wrapped(|ui| {
        let status = scene.state.training.status;
        let word = if status == Status::Idle {
            "Start training"
        } else {
            "Start again"
        };
        let start = ui.add_enabled(plan.is_ok(), egui::Button::new(word));
        match plan {
            Ok(plan) => {
                if start.clicked() {
                    scene.requests.push(Request::Train(Box::new(plan)));
                }
            }
            Err(message) => {
                start.on_disabled_hover_text(&message);
                ui.small(message);
            }
        }
        let paused = status == Status::Paused;
        if paused || status == Status::Running {
            let word = if paused { "Go on" } else { "Pause training" };
            if ui.button(word).clicked() {
                scene.requests.push(Request::PauseTraining(!paused));
            }
        }
        if status != Status::Idle {
            let lanes = ui.button("Step it in the lanes");
            if lanes
                .on_hover_text("The averaged weights as they are now")
                .clicked()
            {
                scene.requests.push(Request::UseTrained);
            }
            let keep = ui.button("Keep the checkpoint");
            if keep
                .on_hover_text("A .safetensors file that `sit sample` and this window read")
                .clicked()
            {
                scene.requests.push(Request::Keep);
            }
        }
    });
}

fn progress(ui: &mut Ui, scene: &Scene<'_>) {
    let training = &scene.state.training;
    let part = training.step as f32 / training.total.max(1) as f32;
    let rate = if training.ms > 0.0 {
        1e3 / training.ms
    } else {
        0.0
    };
    let left = (training.total - training.step) as f64 / rate.max(1e-9);
    let mut text = format!("step {} of {}", training.step, training.total);
    if training.status == Status::Running && training.step > 0 {
        text += &format!(", {rate:.1} steps/s, {left:.0} s left");
    }
    if training.skipped > 0 {
        text += &format!(", {} skipped", training.skipped);
    }
    ui.add(ProgressBar::new(part).text(text));
}

fn curves(ui: &mut Ui, training: &TrainingView) {
    let plot = |id: &str, x: &str, y: &str| {
        Plot::new(id.to_owned())
            .height(130.0)
            .x_axis_label(x.to_owned())
            .y_axis_label(y.to_owned())
            .allow_drag(false)
            .allow_scroll(false)
            .allow_zoom(false)
            .include_y(0.0)
    };
    let curve: PlotPoints<'_> = training.curve.iter().copied().collect();
    plot("loss", "training step", "loss").show(ui, |plot| plot.line(Line::new("loss", curve)));
    let by_t: PlotPoints<'_> = training.by_t().into_iter().collect();
    let plot = plot("loss by time", "t", "loss")
        .include_x(0.0)
        .include_x(1.0);
    plot.show(ui, |plot| plot.line(Line::new("loss by time", by_t)));
}

fn preview(ui: &mut Ui, scene: &Scene<'_>) {
    let training = &scene.state.training;
    let Some((step, x)) = &training.preview else {
        return;
    };
    ui.label(format!("Samples at training step {step} (ODE, 20 steps)"));
    match training.shape {
        [2, 1, _] => plane_ui::scatter(ui, "preview", x),
        shape => {
            // As long as the step is the same, so is the picture.
            let id = ui.scope_id().with("preview");
            let cached = ui.data(|data| data.get_temp::<(u64, egui::TextureHandle)>(id));
            let texture = match cached {
                Some((of, texture)) if of == *step => texture,
                _ => {
                    let (_, image) = sheet(x, shape, None, Scale::Image);
                    let texture = ui
                        .ctx()
                        .load_texture("preview", image, TextureOptions::NEAREST);
                    ui.data_mut(|data| data.insert_temp(id, (*step, texture.clone())));
                    texture
                }
            };
            let side = ui.available_width();
            ui.add(egui::Image::new((texture.id(), egui::vec2(side, side))));
        }
    }
}
