//! What egui lacks on touch screens.

use egui::{Context, Event, Modifiers, Plugin, PointerButton, Pos2, RawInput, TouchDeviceId};
use egui::{TouchId, TouchPhase, vec2};
use std::time::Duration;

/// What a finger that stays may move, and further than a finger moves in a click, in points.
const NEAR: f32 = 5.0;
const FAR: f32 = 50.0;

/// A finger that stays for so long, in seconds, only wants to know what is below it. egui takes 0.8 s for a long touch, which would end
/// the tooltip.
const STAY: f64 = 0.7;

/// The fingers on the canvas.
#[derive(Default)]
pub struct Touch {
    /// Since when and where a finger stays.
    stays: Option<(f64, Pos2)>,
    /// What comes after the next frame's events.
    released: Vec<Event>,
}

impl Touch {
    /// Takes the finger `id`, which is at `at`, off the program, without a click and without a drag.
    pub fn release(&mut self, id: i32, at: Pos2) {
        self.released.extend(lift(at));
        self.released.extend([
            Event::PointerGone,
            Event::Touch {
                // eframe has one device on the web.
                device_id: TouchDeviceId(0),
                id: TouchId::from(id),
                phase: TouchPhase::Cancel,
                pos: at,
                force: None,
            },
        ]);
    }

    /// Sees where a finger stays.
    fn watch(&mut self, event: &Event, now: f64) {
        let Event::Touch { phase, pos, .. } = event else {
            return;
        };
        match (phase, self.stays) {
            (TouchPhase::Start, _) => self.stays = Some((now, *pos)),
            (TouchPhase::Move, Some((_, at))) if at.distance(*pos) < NEAR => {}
            _ => self.stays = None,
        }
    }
}

/// Lifts the pointer, which then is above what it pressed.
fn lift(at: Pos2) -> [Event; 3] {
    [
        // What has moved that far is no click any more, and what is back again has moved nothing.
        Event::PointerMoved(at + vec2(FAR, FAR)),
        Event::PointerMoved(at),
        Event::PointerButton {
            pos: at,
            button: PointerButton::Primary,
            pressed: false,
            modifiers: Modifiers::NONE,
        },
    ]
}

impl Plugin for Touch {
    fn debug_name(&self) -> &'static str {
        "touch"
    }

    fn input_hook(&mut self, ctx: &Context, input: &mut RawInput) {
        let Some(now) = input.time else {
            return;
        };
        for event in &input.events {
            self.watch(event, now);
        }
        // egui shows a tooltip only if the pointer has moved since the last click. A finger comes down without a move, so after the
        // first tap no finger would see a tooltip.
        if let Some((since, at)) = self.stays
            && since == now
        {
            input.events.insert(0, Event::PointerMoved(at));
            ctx.request_repaint_after(Duration::from_secs_f64(STAY));
        }
        // egui shows no tooltip below a finger that presses for long. One that drags something goes on.
        if self.stays.is_some_and(|(since, _)| now - since >= STAY)
            && let Some((_, at)) = self.stays.take()
            && ctx.dragged_id().is_none()
        {
            input.events.extend(lift(at));
        }
        input.events.append(&mut self.released);
    }
}
