//! What the system's allocator keeps of memory that this process has freed, and when it gives it back.

/// Has all threads allocate from one heap; to be called before the first is started.
///
/// Else each thread gets a heap of its own, of which no other uses what it freed, and whose end is not
/// given back by [`give_back`]. Threads here allocate little at a time that is not their own page or
/// buffer, so that none waits for the lock.
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and no other thread allocates yet.
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
