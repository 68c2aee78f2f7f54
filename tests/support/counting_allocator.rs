//! A global allocator that counts the memory which a thread takes while it does something.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    /// Whether this thread is counted just now.
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
    /// Bytes allocated less bytes freed since the count began.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The highest value of `HELD`.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that a thread took while it was counted.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "each user reads one of them")]
pub struct Memory {
    /// Held at the end, more than at the beginning; negative if more was freed.
    pub held: isize,
    /// Held at most, more than at the beginning.
    pub peak: usize,
}

/// Runs `act` on this thread and returns its result with the memory it took. Other threads are not counted.
pub fn count<T>(act: impl FnOnce() -> T) -> (T, Memory) {
    HELD.set(0);
    PEAK.set(0);
    IS_COUNTED.set(true);
    let result = act();
    IS_COUNTED.set(false);
    let memory = Memory { held: HELD.get(), peak: usize::try_from(PEAK.get()).unwrap() };
    (result, memory)
}

fn note(bytes: isize) {
    // A thread that is ending may have no such variables any more, and is not counted.
    let _ = IS_COUNTED.try_with(|is_counted| {
        if is_counted.get() {
            let held = HELD.get() + bytes;
            HELD.set(held);
            PEAK.set(PEAK.get().max(held));
        }
    });
}

/// Passes every call on to the allocator inside, and counts it.
pub struct Counting<A>(pub A);

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one only counts and passes on")]
// SAFETY: every call is passed on to the inner allocator as it came.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the inner allocator.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the inner allocator.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(-layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the inner allocator.
        unsafe { self.0.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise holds for the inner allocator.
        unsafe { self.0.realloc(place, layout, size) }
    }
}
