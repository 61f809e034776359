//! How long background work may run before the window gets its turn.

use web_time::Duration;
#[cfg(target_arch = "wasm32")]
use {
    futures_channel::mpsc::{UnboundedReceiver, unbounded},
    wasm_bindgen::{JsCast as _, JsValue, closure::Closure},
    web_time::Instant,
};

/// Time that a piece of work should take; in a browser, time for all work between two turns of the window.
///
/// 8 ms leave half of a frame at 60 a second to the window.
pub const FRAME_BUDGET: Duration = Duration::from_millis(8);

/// The same in a browser whose frames the processor draws. A frame takes about 50 ms, so the window would gain nothing from shorter
/// turns.
#[cfg(target_arch = "wasm32")]
const BUDGET_BY_SOFTWARE: Duration = Duration::from_millis(32);

/// On its own thread a piece may take longer; it only delays the response to a new request.
#[cfg(not(target_arch = "wasm32"))]
const THREAD_BUDGET: Duration = Duration::from_millis(50);

/// Limits the time of background work.
pub struct Pace {
    budget: Duration,
    #[cfg(target_arch = "wasm32")]
    window: Window,
}

/// The window that shares its thread with the work in a browser.
#[cfg(target_arch = "wasm32")]
struct Window {
    /// When the window gets its next turn.
    next: Instant,
    /// Messages from this thread to itself: the event loop handles them after due frames and keys. A timer would wait 4 ms.
    to: web_sys::MessagePort,
    from: web_sys::MessagePort,
    arrived: UnboundedReceiver<()>,
    /// Forwards the messages from `from`.
    _on_message: Closure<dyn FnMut()>,
}

impl Pace {
    /// For work on its own thread. If the GPU also draws the window (`shares_gpu`), pieces are as short as in a browser.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn thread(shares_gpu: bool) -> Self {
        let budget = if shares_gpu {
            FRAME_BUDGET
        } else {
            THREAD_BUDGET
        };
        Pace { budget }
    }

    /// For work on the window's thread. `by_software`: the processor draws the window.
    ///
    /// # Errors
    /// In a browser without message channels.
    #[cfg(target_arch = "wasm32")]
    pub fn window(by_software: bool) -> std::io::Result<Self> {
        let channel = web_sys::MessageChannel::new()
            .map_err(|why| std::io::Error::other(format!("{why:?}")))?;
        let (send, arrived) = unbounded();
        let on_message = Closure::new(move || {
            send.unbounded_send(()).ok();
        });
        let (to, from) = (channel.port1(), channel.port2());
        from.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        let window = Window {
            next: Instant::now(),
            to,
            from,
            arrived,
            _on_message: on_message,
        };
        let budget = if by_software {
            BUDGET_BY_SOFTWARE
        } else {
            FRAME_BUDGET
        };
        Ok(Pace { budget, window })
    }

    /// Time that one piece of work should take.
    pub fn piece(&self) -> Duration {
        self.budget
    }

    /// Yields to the window if it is time.
    pub async fn rest(&mut self) {
        #[cfg(target_arch = "wasm32")]
        if Instant::now() >= self.window.next {
            self.window.turn().await;
            self.window.next = Instant::now() + self.budget;
        }
    }
}

#[cfg(target_arch = "wasm32")]
impl Window {
    async fn turn(&mut self) {
        // If the message cannot be sent, none will arrive.
        if self.to.post_message(&JsValue::NULL).is_ok() {
            self.arrived.recv().await.ok();
        }
    }
}

#[cfg(target_arch = "wasm32")]
impl Drop for Window {
    fn drop(&mut self) {
        self.from.set_onmessage(None);
    }
}
