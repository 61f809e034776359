//! Measures the peak memory of a piece of work in the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator with a count for each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// The bytes that this thread holds, and its peak.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(change: isize) {
    // A thread that ends frees memory after its thread-locals are gone.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + change, most.max(now + change)));
    });
}

#[expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one only adds numbers and hands on to the system's"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs `work` and returns its result and this thread's peak memory in bytes.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let done = work();
    let most = HELD.with(Cell::get).1;
    (done, usize::try_from(most - before).unwrap_or(0))
}

#[test]
fn the_largest_sum_is_found() {
    let ((), most) = peak(|| {
        drop(vec![1_u8; 1000]);
        let small = vec![1_u8; 10_000];
        drop((small, vec![1_u8; 5000]));
        drop(vec![1_u8; 12_000]);
    });
    assert_eq!(most, 15_000);
}
