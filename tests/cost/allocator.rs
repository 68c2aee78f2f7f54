//! A global allocator that counts what the server holds: the memory of every thread but those of the client.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

thread_local! {
    /// Whether this thread belongs to the client, which is not counted.
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that the server's threads hold.
static HELD: AtomicIsize = AtomicIsize::new(0);
/// The highest value of `HELD` since [`begin`].
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// Counts this thread no longer: it is one of the client.
pub fn exclude_this_thread() {
    IS_CLIENT.set(true);
}

/// Begins to watch the peak, and returns the bytes that are held now.
pub fn begin() -> isize {
    let held = HELD.load(Ordering::SeqCst);
    PEAK.store(held, Ordering::SeqCst);
    held
}

/// Returns the bytes held at most since [`begin`] returned `before`, more than then.
pub fn peak_above(before: isize) -> usize {
    usize::try_from(PEAK.load(Ordering::SeqCst) - before).unwrap_or(0)
}

fn note(bytes: isize) {
    // A thread that is ending may have no such variable any more.
    if IS_CLIENT.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

/// The allocator of the system, counted.
pub struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one only counts and passes on")]
// SAFETY: every call is passed on to the allocator of the system as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the allocator of the system.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the allocator of the system.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(-layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the allocator of the system.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the allocator of the system.
        unsafe { System.realloc(place, layout, size) }
    }
}
