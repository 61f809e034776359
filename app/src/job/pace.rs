//! How long the work may go on before the window has its turn.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use web_time::{Duration, Instant};

/// Time that a piece of work should take, and in a browser all work of a frame.
///
/// 8 ms leave half of a frame at 60 a second to the window.
pub const FRAME_BUDGET: Duration = Duration::from_millis(8);

/// On a thread of its own a piece may take longer; it delays only the answer to a change of mind.
const THREAD_BUDGET: Duration = Duration::from_millis(50);

/// The clock of the work.
#[derive(Debug, Clone)]
pub struct Pace {
    /// `None` on a thread of its own, which never rests.
    turn: Option<Rc<RefCell<Turn>>>,
    budget: Duration,
}

#[derive(Debug)]
struct Turn {
    /// Until when the work may go on.
    until: Instant,
    waker: Option<Waker>,
}

impl Pace {
    /// For a thread of its own. On a GPU that also draws the window a piece of work is cut as in a browser.
    pub fn thread(shares_gpu: bool) -> Self {
        Pace {
            turn: None,
            budget: if shares_gpu {
                FRAME_BUDGET
            } else {
                THREAD_BUDGET
            },
        }
    }

    /// For the window's thread: [`Pace::frame`] gives each turn.
    pub fn window() -> Self {
        let turn = Turn {
            until: Instant::now(),
            waker: None,
        };
        Pace {
            turn: Some(Rc::new(RefCell::new(turn))),
            budget: FRAME_BUDGET,
        }
    }

    /// How many of `n` samples to take at a time, when `chunk` of them took this long: pieces as equal as can be that are in
    /// the budget.
    pub fn chunk(&self, n: usize, chunk: usize, took: Duration) -> usize {
        let per_sample = took.as_secs_f64() / chunk as f64;
        let fits = (self.budget.as_secs_f64() / per_sample.max(1e-9)) as usize;
        let pieces = n.div_ceil(fits.clamp(1, n));
        n.div_ceil(pieces)
    }

    /// A frame begins: the work goes on after it for its budget.
    pub fn frame(&self) {
        let Some(turn) = &self.turn else {
            return;
        };
        let mut turn = turn.borrow_mut();
        turn.until = Instant::now() + self.budget;
        if let Some(waker) = turn.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the next turn if this one is over.
    pub async fn rest(&self) {
        let Some(turn) = &self.turn else {
            return;
        };
        poll_fn(|context| {
            let mut turn = turn.borrow_mut();
            if Instant::now() < turn.until {
                return Poll::Ready(());
            }
            turn.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_equal_and_in_the_budget() {
        let pace = Pace::thread(true);
        let ms = Duration::from_millis;
        // Half a millisecond each: 16 at a time, or less to make them equal.
        assert_eq!(pace.chunk(64, 4, ms(2)), 16);
        assert_eq!(pace.chunk(50, 4, ms(2)), 13);
        assert_eq!(pace.chunk(10, 4, ms(2)), 10);
        // One alone is over it.
        assert_eq!(pace.chunk(64, 4, ms(100)), 1);
        assert_eq!(pace.chunk(64, 4, Duration::ZERO), 64);
    }
}
