//! Parallel loops over rows: rayon natively, one after another on wasm32, which has no threads.
//!
//! How the work is cut never changes a result: every row has one writer, and [`reduce`] combines in a tree that
//! depends on the length alone.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::Cell;
use std::ops::{Range, RangeInclusive};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs both closures, in parallel where there are threads.
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

/// Whether the threads of rayon's pool are kept awake while a program runs on the CPU; they are unless this says otherwise. A thread
/// that is kept awake takes its core from others for up to ten milliseconds when it has nothing to do: an embedder whose own work
/// shares the pool or the cores may switch it off, and small networks then take longer. In a browser it does nothing.
pub fn keep_threads_awake(keep: bool) {
    #[cfg(not(target_arch = "wasm32"))]
    KEEPS_AWAKE.store(keep, Ordering::Relaxed);
    #[cfg(target_arch = "wasm32")]
    let _ = keep;
}

/// Runs `work` on a thread of the pool, so that the parallel loops in it start without a hand-over, and keeps the others awake
/// meanwhile ([`keep_threads_awake`]): those that wait for work fall asleep after some microseconds, and to wake one takes longer
/// than many a loop.
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

/// Keeps as many threads awake until it is `over`.
#[cfg(not(target_arch = "wasm32"))]
fn keep_awake(threads: usize, over: &Flag) {
    /// Some ten milliseconds. The loop must end by itself: a thread that waits for another task may have taken this one up
    /// meanwhile, and `over` may then be set only after it has gone back to that task.
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

/// Waits a moment, the longer the more turns it has been, and returns the next turn.
#[cfg(not(target_arch = "wasm32"))]
fn wait(turn: u32) -> u32 {
    /// Some microseconds; after that whoever else has work gets the core.
    const SPINS: u32 = 256;
    if turn < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
    turn.saturating_add(1)
}

/// Set once.
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

    /// Sets it when what is returned goes, after a panic too.
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
    /// Whether this thread shares nothing.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, which must not wait for other threads, on this one: the loops in it are cut for one thread.
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

/// Slices cut into rows that can be handed out in blocks; tuples hand out the same rows of each member.
pub trait Rows: Sized + Send {
    /// What a task receives: the slice of its rows, or a tuple of slices.
    type Block;

    /// The number of rows.
    fn n_rows(&self) -> usize;

    /// The rows before `row` and the rest.
    fn split_at(self, row: usize) -> (Self, Self);

    /// The slices themselves.
    fn into_block(self) -> Self::Block;
}

/// A mutable slice cut into rows of `row_len` elements, the last of them possibly shorter; see [`rows_mut`].
pub struct RowsMut<'a, T> {
    data: &'a mut [T],
    row_len: usize,
}

/// Cuts `data` into rows of `row_len` elements; a shorter last row counts as one.
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

    /// Those of the first; others may be empty.
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

/// [`for_rows`] with blocks of between `grain.start()` and `grain.end()` rows, in multiples of the former: long ones first,
/// and short ones when the end is near, so that no thread waits long for the last.
///
/// Half of the threads take blocks from the front and half from the back. Loops over the same rows, one after another,
/// thus find them where they left them, in the cache of their core.
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

/// Calls `work` with every number of `threads`, in parallel where there are as many.
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
                    // Awake, where rayon would soon sleep. What has not begun is done here as soon as this ends.
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

/// Calls `work` with every number of `threads`.
#[cfg(target_arch = "wasm32")]
fn on_threads(threads: Range<usize>, work: &(impl Fn(usize) + Sync)) {
    threads.for_each(work);
}

/// Rows of `row_len` elements that make a task worth handing to another thread.
pub fn grain(row_len: usize) -> usize {
    const TASK_LEN: usize = 1 << 14;
    (TASK_LEN / row_len.max(1)).max(1)
}

/// Maps fixed ranges of `0..n` of `grain` items in parallel and combines the values in a fixed tree.
///
/// The order depends on `n` and `grain` alone, never on the threads. `None` when `n` is 0.
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
