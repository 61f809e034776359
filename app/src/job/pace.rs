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

    /// Time that one piece of work should take.
    pub fn piece(&self) -> Duration {
        self.budget
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

    /// Waits for the next turn if this one is over: `wake` asks for the frame that begins it.
    pub async fn rest(&self, wake: impl Fn()) {
        let Some(turn) = &self.turn else {
            return;
        };
        poll_fn(|context| {
            let mut turn = turn.borrow_mut();
            if Instant::now() < turn.until {
                return Poll::Ready(());
            }
            turn.waker = Some(context.waker().clone());
            wake();
            Poll::Pending
        })
        .await;
    }
}
