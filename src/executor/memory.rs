//! Gives memory back to the operating system that this process has freed.

/// Gives back what is free.
///
/// The system's allocator keeps what was freed for whoever asks next, in the heap of the thread that
/// had it. After something large that does not come again soon, such as the outputs of a study or a
/// whole run of a watch, that is memory which nobody uses.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and the allocator's own locks guard what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
