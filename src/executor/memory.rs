//! What the system's allocator keeps of memory that this process has freed, and when it gives it back.

/// Has the threads that are still to be started allocate from heaps that there are, mostly one alone.
///
/// Else each gets a heap of its own, of which no other uses what it freed, and whose end [`give_back`]
/// cannot give back: what a study's thousands of trials and its outputs took would stay. A run without
/// a study leaves little, and where it finds nothing to do, its two threads would wait for one another.
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer and sets a number under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back what is free.
///
/// The allocator keeps what was freed for whoever asks next. After something large that does not come
/// again soon, such as the outputs of a study or a whole run of a watch, that is memory which nobody
/// uses.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and the allocator's own locks guard what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
