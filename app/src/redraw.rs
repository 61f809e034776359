//! When the window is drawn again.

use egui::Context;
use std::sync::{Arc, Mutex};
use web_time::{Duration, Instant};

/// Least time between two frames that only show how far the processor's work has come. What a person does is drawn at once all the
/// same, and so is what plays at its speed.
const BETWEEN_NEWS: Duration = Duration::from_millis(100);

/// That time where the processor draws, too: a frame takes 40 ms of two cores, of which the work shall lose less than a tenth.
const BETWEEN_NEWS_BY_SOFTWARE: Duration = Duration::from_millis(500);

/// At once, but not zero: for that egui draws two frames.
const SOON: Duration = Duration::from_nanos(1);

/// Asks for frames.
#[derive(Clone)]
pub struct Redraw {
    ctx: Context,
    between: Duration,
    /// When news may be drawn.
    next: Arc<Mutex<Instant>>,
}

impl Redraw {
    /// Of a window that the processor draws (`by_software`) or something else.
    pub fn new(ctx: Context, by_software: bool) -> Self {
        let between = if by_software {
            BETWEEN_NEWS_BY_SOFTWARE
        } else {
            BETWEEN_NEWS
        };
        let next = Arc::new(Mutex::new(Instant::now()));
        Redraw { ctx, between, next }
    }

    /// There is something new to draw. Any thread may say so.
    pub fn news(&self) {
        let next = *self.next.lock().expect("nothing panics with it");
        let wait = next.saturating_duration_since(Instant::now());
        self.ctx.request_repaint_after(wait.max(SOON));
    }

    /// A frame is drawn, and the processor is `busy` with what the person waits for.
    pub fn frame(&self, busy: bool) {
        let wait = if busy { self.between } else { Duration::ZERO };
        *self.next.lock().expect("nothing panics with it") = Instant::now() + wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_wait_while_the_processor_is_busy() {
        let redraw = Redraw::new(Context::default(), true);
        let delays = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&delays);
        redraw
            .ctx
            .set_request_repaint_callback(move |info| seen.lock().unwrap().push(info.delay));
        for busy in [true, false] {
            redraw.frame(busy);
            redraw.news();
        }
        let delays = delays.lock().unwrap();
        assert_eq!(delays.len(), 2);
        assert!(delays[0] > SOON && delays[0] <= BETWEEN_NEWS_BY_SOFTWARE);
        assert_eq!(delays[1], SOON);
    }
}
