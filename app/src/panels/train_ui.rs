//! Training: what to learn, how it goes, and what to do with what was learned.

use super::controls::{choose, number};
use super::{Scene, canvas_ui, data_ui, plane_ui};
use crate::job::Request;
use crate::state::{Status, TrainingView};
use crate::train::{Data, Form, MAX_BATCH, MAX_WIDTH, PATHS, PREDICTIONS};
use crate::view::{Scale, sheet};
use egui::{CollapsingHeader, ComboBox, DragValue, ProgressBar, TextureOptions, Ui};
use egui_plot::{Line, Plot, PlotPoints};
use sit_engine::transport::Prediction;

pub fn show(ui: &mut Ui, scene: &mut Scene<'_>) {
    form(ui, scene);
    let training = &scene.state.training;
    if training.status == Status::Idle {
        ui.label(
            "A SiT learns the velocity v(x_t, t) of a path from noise x₀ to data x₁. On the Linear one, x_t = t x₁ + (1 − t) x₀, \
             it minimizes E|v − (x₁ − x₀)|². The tab Paths has the others.",
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
    more(ui, form);
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
            ui.checkbox(&mut form.follow, "Follow in the lanes")
                .on_hover_text("The lanes show the network in training, again at each preview");
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

/// Settings that are rarely changed.
fn more(ui: &mut Ui, form: &mut Form) {
    CollapsingHeader::new("More")
        .id_salt("more training")
        .show(ui, |ui| {
            let rate = DragValue::new(&mut form.learning_rate)
                .range(1e-6..=0.1)
                .speed(1e-5)
                .custom_formatter(|x, _| format!("{x:.1e}"));
            number(ui, "Learning rate", rate)
                .on_hover_text("The largest one: it rises over 50 steps and falls by a cosine");
            optional(ui, "Batch", &mut form.batch, 64, MAX_BATCH);
            optional(ui, "Width", &mut form.width, 64, MAX_WIDTH);
            ui.horizontal(|ui| {
                let id = ui.label("Path").id;
                let combo = ComboBox::from_id_salt("path").selected_text(form.path.to_string());
                let inner = combo.show_ui(ui, |ui| {
                    for path in PATHS {
                        let name = path.to_string();
                        ui.selectable_value(&mut form.path, path, name);
                    }
                });
                inner.response.labelled_by(id);
            });
            choose(
                ui,
                "Predicts",
                &mut form.prediction,
                PREDICTIONS,
                Prediction::name,
            );
        });
}

/// A number that is chosen by itself unless a person sets it.
fn optional(ui: &mut Ui, label: &str, value: &mut Option<usize>, usual: usize, most: usize) {
    ui.horizontal(|ui| {
        let mut own = value.is_some();
        let check = ui.checkbox(&mut own, format!("Own {}", label.to_lowercase()));
        if check.changed() {
            *value = own.then_some(usual);
        }
        if let Some(value) = value {
            let id = ui.label(label).id;
            ui.add(DragValue::new(value).range(1..=most))
                .labelled_by(id);
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

/// Samples of the network in training, beside the data.
fn preview(ui: &mut Ui, scene: &Scene<'_>) {
    let training = &scene.state.training;
    let Some((step, x)) = &training.preview else {
        return;
    };
    let side = 0.5 * (ui.available_width() - ui.spacing().item_spacing.x);
    ui.horizontal_top(|ui| {
        for (name, number, values) in [
            (
                format!("Samples at step {step}"),
                (training.number, *step),
                x,
            ),
            (
                "Some of the data".to_owned(),
                (training.number, 0),
                &training.data,
            ),
        ] {
            ui.vertical(|ui| {
                ui.set_width(side);
                ui.label(&name).on_hover_text(
                    "Samples are made by an ODE of 20 steps; the data have the same classes",
                );
                ui.push_id(&name[..4], |ui| picture(ui, number, values, training.shape));
            });
        }
    });
}

/// Values as a picture, made again when `number`, of the training and of its step, changes.
fn picture(ui: &mut Ui, number: (u64, u64), x: &[f32], shape: [usize; 3]) {
    if let [2, 1, _] = shape {
        plane_ui::scatter(ui, "preview", x);
        return;
    }
    let id = ui.scope_id().with("preview");
    let cached = ui.data(|data| data.get_temp::<((u64, u64), egui::TextureHandle)>(id));
    let texture = match cached {
        Some((of, texture)) if of == number => texture,
        _ => {
            let (_, image) = sheet(x, shape, None, Scale::Image);
            let texture = ui
                .ctx()
                .load_texture("preview", image, TextureOptions::NEAREST);
            ui.data_mut(|data| data.insert_temp(id, (number, texture.clone())));
            texture
        }
    };
    let side = ui.available_width();
    ui.add(egui::Image::new((texture.id(), egui::vec2(side, side))));
}
