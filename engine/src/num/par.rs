//! Parallel loops over rows: on rayon natively, sequential on wasm32, which has no threads.
//!
//! The partition of the work never affects a result: every row has a single writer, and [`reduce`] combines in a tree that depends
//! on the length alone.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::Cell;
use std::ops::{Range, RangeInclusive};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs both closures, in parallel if there are threads.
#[cfg(not(target_arch = "wasm32"))]
pub fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    if ALONE.get() {
        return (a(), b());
    }
    rayon::join(a, b)
}

/// Runs both closures, one after the other.
#[cfg(target_arch = "wasm32")]
pub fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    (a(), b())
}

/// Whether [`enter`] keeps the pool's threads awake.
#[cfg(not(target_arch = "wasm32"))]
static KEEPS_AWAKE: AtomicBool = AtomicBool::new(true);

/// Sets whether the threads of rayon's pool are kept awake while a program runs on the CPU, which is the default. A thread that is
/// kept awake without work occupies its core for up to ten milliseconds. An embedder whose own work shares the pool or the cores
/// may switch it off; small networks then run slower. No effect in a browser.
pub fn keep_threads_awake(keep: bool) {
    #[cfg(not(target_arch = "wasm32"))]
    KEEPS_AWAKE.store(keep, Ordering::Relaxed);
    #[cfg(target_arch = "wasm32")]
    let _ = keep;
}

/// Runs `work` on a thread of the pool, so that its parallel loops start without a hand-over, and keeps the other threads awake
/// meanwhile ([`keep_threads_awake`]): idle threads soon fall asleep, and waking one takes longer than many of the loops.
#[cfg(not(target_arch = "wasm32"))]
pub fn enter<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let over = Flag::default();
    let others = match KEEPS_AWAKE.load(Ordering::Relaxed) {
        true => threads() - 1,
        false => 0,
    };
    let (result, ()) = rayon::join(
        || {
            let _end = over.set_later();
            work()
        },
        || keep_awake(others, &over),
    );
    result
}

/// Keeps `threads` threads of the pool awake until `over` is set.
#[cfg(not(target_arch = "wasm32"))]
fn keep_awake(threads: usize, over: &Flag) {
    /// About ten milliseconds. The loop needs its own bound: a thread may have picked up this task while waiting inside another
    /// one, and `over` may be set only after it returns to that task.
    const TURNS: u32 = 1 << 16;
    if threads > 1 {
        rayon::join(
            || keep_awake(threads / 2, over),
            || keep_awake(threads - threads / 2, over),
        );
        return;
    }
    let mut turn = 0;
    while threads > 0 && turn < TURNS && !over.is_set() {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => turn = 0,
            _ => turn = wait(turn),
        }
    }
}

/// Waits briefly, at first by spinning, then by yielding; returns the next turn.
#[cfg(not(target_arch = "wasm32"))]
fn wait(turn: u32) -> u32 {
    /// Some microseconds; later turns yield the core to others.
    const SPINS: u32 = 256;
    if turn < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
    turn.saturating_add(1)
}

/// A flag that is set once.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Default)]
struct Flag(AtomicBool);

#[cfg(not(target_arch = "wasm32"))]
impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the flag when the returned guard drops, also after a panic.
    fn set_later(&self) -> impl Drop {
        struct Later<'a>(&'a Flag);
        impl Drop for Later<'_> {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        Later(self)
    }
}

/// Runs `work`.
#[cfg(target_arch = "wasm32")]
pub fn enter<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    work()
}

/// The number of threads that share the work.
#[cfg(not(target_arch = "wasm32"))]
pub fn threads() -> usize {
    if ALONE.get() {
        1
    } else {
        rayon::current_num_threads()
    }
}

/// The number of threads that share the work.
#[cfg(target_arch = "wasm32")]
pub fn threads() -> usize {
    1
}

#[cfg(not(target_arch = "wasm32"))]
thread_local! {
    /// Whether this thread runs its loops alone.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, which must not wait for other threads, on this thread only: its loops are not split.
#[cfg(not(target_arch = "wasm32"))]
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    work()
}

/// Runs `work`.
#[cfg(target_arch = "wasm32")]
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Slices divided into rows that can be handed out in blocks; a tuple hands out the same rows of each member.
pub trait Rows: Sized + Send {
    /// What a task receives: a slice of rows, or a tuple of such slices.
    type Block;

    /// The number of rows.
    fn n_rows(&self) -> usize;

    /// The rows before `row` and the rest.
    fn split_at(self, row: usize) -> (Self, Self);

    /// The slices themselves.
    fn into_block(self) -> Self::Block;
}

/// A mutable slice divided into rows of `row_len` elements, the last possibly shorter; see [`rows_mut`].
pub struct RowsMut<'a, T> {
    data: &'a mut [T],
    row_len: usize,
}

/// Divides `data` into rows of `row_len` elements; a shorter last row counts as one.
pub fn rows_mut<T>(data: &mut [T], row_len: usize) -> RowsMut<'_, T> {
    RowsMut {
        data,
        row_len: row_len.max(1),
    }
}

impl<'a, T: Send> Rows for RowsMut<'a, T> {
    type Block = &'a mut [T];

    fn n_rows(&self) -> usize {
        self.data.len().div_ceil(self.row_len)
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let row_len = self.row_len;
        let at = (row * row_len).min(self.data.len());
        let (head, tail) = self.data.split_at_mut(at);
        (
            Self {
                data: head,
                row_len,
            },
            Self {
                data: tail,
                row_len,
            },
        )
    }

    fn into_block(self) -> &'a mut [T] {
        self.data
    }
}

impl<A: Rows, B: Rows> Rows for (A, B) {
    type Block = (A::Block, B::Block);

    fn n_rows(&self) -> usize {
        debug_assert_eq!(self.0.n_rows(), self.1.n_rows());
        self.0.n_rows()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b) = (self.0.split_at(row), self.1.split_at(row));
        ((a.0, b.0), (a.1, b.1))
    }

    fn into_block(self) -> Self::Block {
        (self.0.into_block(), self.1.into_block())
    }
}

impl<A: Rows, B: Rows, C: Rows> Rows for (A, B, C) {
    type Block = (A::Block, B::Block, C::Block);

    fn n_rows(&self) -> usize {
        debug_assert_eq!(self.0.n_rows(), self.1.n_rows());
        debug_assert_eq!(self.0.n_rows(), self.2.n_rows());
        self.0.n_rows()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b, c) = (
            self.0.split_at(row),
            self.1.split_at(row),
            self.2.split_at(row),
        );
        ((a.0, b.0, c.0), (a.1, b.1, c.1))
    }

    fn into_block(self) -> Self::Block {
        (
            self.0.into_block(),
            self.1.into_block(),
            self.2.into_block(),
        )
    }
}

impl<'a, T: Send, const N: usize> Rows for [RowsMut<'a, T>; N] {
    type Block = [&'a mut [T]; N];

    /// The rows of the first member; other members may be empty.
    fn n_rows(&self) -> usize {
        self.first().map_or(0, Rows::n_rows)
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let mut tails = [(); N].map(|()| rows_mut(&mut [][..], 1));
        let mut to = tails.iter_mut();
        let heads = self.map(|rows| {
            let (head, tail) = rows.split_at(row);
            if let Some(to) = to.next() {
                *to = tail;
            }
            head
        });
        (heads, tails)
    }

    fn into_block(self) -> Self::Block {
        self.map(Rows::into_block)
    }
}

/// Calls `work(first_row, block)` on blocks of `grain` rows (the last shorter) in parallel.
pub fn for_rows<R: Rows>(rows: R, grain: usize, work: impl Fn(usize, R::Block) + Sync) {
    for_rows_within(rows, grain..=grain, work);
}

/// [`for_rows`] with blocks of `grain.start()` to `grain.end()` rows, in multiples of the former: long blocks first, short ones
/// near the end, so that no thread waits long for the last.
///
/// Half of the threads take blocks from the front and half from the back. In successive loops over the same rows, a thread thus
/// mostly gets rows that are still in the cache of its core.
pub fn for_rows_within<R: Rows>(
    rows: R,
    grain: RangeInclusive<usize>,
    work: impl Fn(usize, R::Block) + Sync,
) {
    let least = (*grain.start()).max(1);
    let most = (*grain.end()).max(least) / least;
    let threads = threads().min(rows.n_rows().div_ceil(least));
    let left = Mutex::new((0, Some(rows)));
    let take = |from_back: bool| {
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, rows) = (left.0, left.1.take()?);
        let n_rows = rows.n_rows();
        let units = n_rows.div_ceil(least);
        let take = (units / (2 * threads)).clamp(1, most);
        if take >= units {
            return (n_rows > 0).then(|| (first, rows.into_block()));
        }
        let at = least * if from_back { units - take } else { take };
        let (head, tail) = rows.split_at(at);
        let (block, rest) = if from_back {
            ((first + at, tail), (first, head))
        } else {
            ((first, head), (first + at, tail))
        };
        *left = (rest.0, Some(rest.1));
        Some((block.0, block.1.into_block()))
    };
    on_threads(0..threads, &|thread| {
        while let Some((first, block)) = take(thread % 2 == 1) {
            work(first, block);
        }
    });
}

/// Calls `work` with every index in `threads`, in parallel if there are as many threads.
#[cfg(not(target_arch = "wasm32"))]
fn on_threads(threads: Range<usize>, work: &(impl Fn(usize) + Sync)) {
    let mid = threads.start + threads.len() / 2;
    match threads.len() {
        0 => (),
        1 => work(threads.start),
        _ => {
            let (begun, ended) = (Flag::default(), Flag::default());
            rayon::join(
                || {
                    on_threads(threads.start..mid, work);
                    // Spin, so that rayon does not put this thread to sleep. If the other half has not begun, `join` runs it here.
                    let mut turn = 0;
                    while begun.is_set() && !ended.is_set() {
                        turn = wait(turn);
                    }
                },
                || {
                    let _end = ended.set_later();
                    begun.set();
                    on_threads(mid..threads.end, work);
                },
            );
        }
    }
}

/// Calls `work` with every index in `threads`.
#[cfg(target_arch = "wasm32")]
fn on_threads(threads: Range<usize>, work: &(impl Fn(usize) + Sync)) {
    threads.for_each(work);
}

/// Minimum rows of `row_len` elements that are worth a task of their own.
pub fn grain(row_len: usize) -> usize {
    const TASK_LEN: usize = 1 << 14;
    (TASK_LEN / row_len.max(1)).max(1)
}

/// Maps ranges of `grain` items of `0..n` in parallel and combines the values in a fixed tree.
///
/// The order depends on `n` and `grain` only, never on the threads. `None` when `n` is 0.
pub fn reduce<T: Send>(
    n: usize,
    grain: usize,
    map: impl Fn(Range<usize>) -> T + Sync,
    combine: impl Fn(T, T) -> T + Sync,
) -> Option<T> {
    fn halve<T: Send>(
        range: Range<usize>,
        grain: usize,
        map: &(impl Fn(Range<usize>) -> T + Sync),
        combine: &(impl Fn(T, T) -> T + Sync),
    ) -> T {
        let n_blocks = range.len().div_ceil(grain);
        if n_blocks <= 1 {
            return map(range);
        }
        let mid = range.start + n_blocks / 2 * grain;
        let (a, b) = join(
            || halve(range.start..mid, grain, map, combine),
            || halve(mid..range.end, grain, map, combine),
        );
        combine(a, b)
    }
    (n > 0).then(|| halve(0..n, grain.max(1), &map, &combine))
}

#[cfg(test)]
mod tests;
