//! When the window is drawn again.

use egui::Context;
use std::sync::{Arc, Mutex};
use web_time::{Duration, Instant};

/// Least time between two frames that only show progress of computations on the CPU. User actions and playback at its set speed are
/// always drawn at once.
const BETWEEN_NEWS: Duration = Duration::from_millis(100);

/// The same if the CPU also draws: a frame takes 40 ms on two cores, and drawing must cost less than a tenth of the time.
const BETWEEN_NEWS_BY_SOFTWARE: Duration = Duration::from_millis(500);

/// At once, but not zero: egui draws two frames for zero.
const SOON: Duration = Duration::from_nanos(1);

/// Asks for frames.
#[derive(Clone)]
pub struct Redraw {
    ctx: Context,
    between: Duration,
    /// The earliest time to draw progress.
    next: Arc<Mutex<Instant>>,
}

impl Redraw {
    /// For a window; `by_software`: the processor draws it.
    pub fn new(ctx: Context, by_software: bool) -> Self {
        let between = if by_software {
            BETWEEN_NEWS_BY_SOFTWARE
        } else {
            BETWEEN_NEWS
        };
        let next = Arc::new(Mutex::new(Instant::now()));
        Redraw { ctx, between, next }
    }

    /// Requests a frame because there is something new. Can be called on any thread.
    pub fn news(&self) {
        let next = *self.next.lock().expect("nothing panics with it");
        let wait = next.saturating_duration_since(Instant::now());
        self.ctx.request_repaint_after(wait.max(SOON));
    }

    /// Must be called for each frame. `busy`: the user is waiting for the processor.
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
