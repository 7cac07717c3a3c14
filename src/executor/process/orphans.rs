//! What programs leave running outside of their groups when they have ended, such as daemons.
//!
//! The system gives a process whose parent has ended to the nearest one above that adopts orphans. So
//! where this process does, what a program has left is among its children, and it knows all others.
//! They are let live, since a program may mean it so; but a folder in which one may be at work must
//! not be handed on.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

/// The programs that were started and not waited for.
static PROGRAMS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Whether this process adopts orphans.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Gives the programs that were started and not waited for. Whoever starts one holds them meanwhile, or
/// it would be taken for an orphan.
pub(super) fn programs() -> MutexGuard<'static, Vec<Pid>> {
    // A panic under this lock leaves a list of ids.
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note that a program was waited for.
pub(super) fn forget(program: Pid) {
    programs().retain(|id| *id != program);
}

/// Has this process adopt the orphans below it, for good; all its children are programs of runs then.
pub fn adopt() {
    // SAFETY: it takes numbers alone and changes who becomes the parent of an orphan.
    let adopts = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } == 0;
    ADOPTS.store(adopts, Ordering::Release);
}

/// Says whether an orphan lives, or cannot be ruled out; those that have ended are reaped.
pub fn any() -> bool {
    if !ADOPTS.load(Ordering::Acquire) {
        return true;
    }
    let programs = programs();
    // Orphans come to the first thread.
    let id = getpid().as_raw_nonzero();
    let Ok(children) = fs::read_to_string(format!("/proc/self/task/{id}/children")) else {
        return true;
    };
    let children = children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?));
    let lives = |id: Pid| matches!(waitpid(Some(id), WaitOptions::NOHANG), Ok(None));
    // Each is asked, so that each that has ended is reaped.
    children.filter(|id| !programs.contains(id)).filter(|id| lives(*id)).count() > 0
}
