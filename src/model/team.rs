//! A few threads that share the pieces of one training's work.
//!
//! [`with`] keeps helper threads beside the calling one while a closure runs; [`share`], called
//! anywhere within it, has all of them take pieces in order until none is left. A step of a small
//! network hands over a piece each 100 microseconds or so, which is less than it takes to start a
//! thread; so a helper that runs out of pieces spins for a while, and only then sleeps. Whoever
//! shares works himself and does not wait for a helper that has not come, so that a busy machine
//! costs nothing but the help.
//!
//! Knows nothing of what the pieces are. Which thread takes which piece is left to chance, so a
//! piece must write what is its own and read what nobody writes.

use std::cell::RefCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper without work spins before it sleeps: longer than what a step does between two
/// shared pieces of work.
const SPIN: Duration = Duration::from_micros(200);

thread_local! {
    /// The team of the closure that runs on this thread.
    static CURRENT: RefCell<Option<Arc<Team>>> = const { RefCell::new(None) };
}

/// Work that any number of threads may join until it is done.
type Job<'a> = &'a (dyn Fn() + Sync);

/// What the threads of a team have in common.
struct Team {
    /// The threads that there are, the calling one among them; final before any work begins.
    size: AtomicUsize,
    desk: Mutex<Desk>,
    wake: Condvar,
    /// Raised with each job and at the end, so that a spinning helper need not lock.
    calls: AtomicUsize,
    /// Helpers at work on the job; raised under the lock.
    working: AtomicUsize,
    panicked: AtomicBool,
}

/// What is changed under the lock alone.
struct Desk {
    job: Option<Job<'static>>,
    asleep: usize,
    over: bool,
}

/// Runs `work` with `threads` threads, the calling one among them, for all that it [`share`]s.
///
/// Where the system has not so many to give, with those that it gives.
pub fn with<R>(threads: usize, work: impl FnOnce() -> R) -> R {
    if threads <= 1 {
        return work();
    }
    with_helpers((1..threads).map(|_| thread::Builder::new()), work)
}

/// Does what [`with`] does, with those helpers that can be started before the first that cannot.
fn with_helpers<R>(helpers: impl Iterator<Item = thread::Builder>, work: impl FnOnce() -> R) -> R {
    let team = Arc::new(Team {
        size: AtomicUsize::new(1),
        desk: Mutex::new(Desk { job: None, asleep: 0, over: false }),
        wake: Condvar::new(),
        calls: AtomicUsize::new(0),
        working: AtomicUsize::new(0),
        panicked: AtomicBool::new(false),
    });
    thread::scope(|scope| {
        let start = |helper: thread::Builder| helper.spawn_scoped(scope, || team.help()).ok();
        let started = helpers.map_while(start).count();
        team.size.fetch_add(started, Ordering::Relaxed);
        let outer = CURRENT.replace(Some(team.clone()));
        let result = catch_unwind(AssertUnwindSafe(work));
        CURRENT.set(outer);
        team.end();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Gives how many threads [`share`] has here.
pub fn size() -> usize {
    CURRENT.with_borrow(|team| team.as_ref().map_or(1, |team| team.size.load(Ordering::Relaxed)))
}

/// Runs `work` on each of the pieces, on all threads of the team, and waits for the last.
///
/// Within a piece there is no team: what it shares, it does itself.
///
/// # Panics
///
/// Where `work` does.
pub fn share<T: Send>(pieces: Vec<T>, work: impl Fn(T) + Sync) {
    let team = if pieces.len() > 1 { CURRENT.take() } else { None };
    let Some(team) = team else {
        pieces.into_iter().for_each(work);
        return;
    };
    let pieces = Mutex::new(pieces.into_iter());
    let next = || lock(&pieces).next();
    let job = || {
        while let Some(piece) = next() {
            work(piece);
        }
    };
    let result = team.run(&job);
    CURRENT.set(Some(team));
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl Team {
    /// Has the helpers join `job`, works at it, and waits until nobody does.
    fn run(&self, job: Job<'_>) -> thread::Result<()> {
        // SAFETY: only the lifetime is changed. `job` leaves this function by `desk.job` alone; a
        // helper takes it from there under the lock, raising `working`. Below, before returning
        // and whether or not the job panics, it is taken back under the lock, so that no helper
        // can come any more, and `working` is awaited to be 0, so that none is still there.
        let lent: Job<'static> = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        let mut desk = lock(&self.desk);
        desk.job = Some(lent);
        self.call(&mut desk);
        drop(desk);
        let result = catch_unwind(AssertUnwindSafe(job));
        lock(&self.desk).job = None;
        let mut turn = 0_u32;
        while self.working.load(Ordering::Acquire) != 0 {
            turn = turn.wrapping_add(1);
            // A helper may have been put off the processor, and this thread stands in its way.
            if turn.is_multiple_of(1024) { thread::yield_now() } else { spin_loop() }
        }
        if self.panicked.swap(false, Ordering::Relaxed) && result.is_ok() {
            return Err(Box::new("a piece of shared work panicked"));
        }
        result
    }

    /// Tells the helpers that the desk has changed.
    fn call(&self, desk: &mut MutexGuard<'_, Desk>) {
        self.calls.fetch_add(1, Ordering::Release);
        if desk.asleep > 0 {
            self.wake.notify_all();
        }
    }

    /// A helper's life: joins each job until the team's end.
    fn help(&self) {
        let mut seen = 0;
        loop {
            let desk = self.await_call(seen);
            seen = self.calls.load(Ordering::Acquire);
            if desk.over {
                return;
            }
            let Some(job) = desk.job else { continue };
            self.working.fetch_add(1, Ordering::Relaxed);
            drop(desk);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.working.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until there were other than `seen` calls: spinning, then asleep.
    fn await_call(&self, seen: usize) -> MutexGuard<'_, Desk> {
        let started = Instant::now();
        while self.calls.load(Ordering::Acquire) == seen {
            if started.elapsed() > SPIN {
                break;
            }
            (0..32).for_each(|_| spin_loop());
        }
        let mut desk = lock(&self.desk);
        while self.calls.load(Ordering::Acquire) == seen {
            desk.asleep += 1;
            desk = self.wake.wait(desk).unwrap_or_else(PoisonError::into_inner);
            desk.asleep -= 1;
        }
        desk
    }

    fn end(&self) {
        let mut desk = lock(&self.desk);
        desk.over = true;
        self.call(&mut desk);
    }
}

/// Locks what no panic leaves half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let sums = with(threads, || {
                assert_eq!(size(), threads);
                let mut sums = vec![0; 500];
                for round in 0..200 {
                    let pieces = sums.chunks_mut(1 + round % 90).collect();
                    share(pieces, |piece: &mut [usize]| {
                        assert_eq!(size(), 1);
                        piece.iter_mut().for_each(|sum| *sum += round);
                    });
                    if round % 50 == 49 {
                        thread::sleep(2 * SPIN);
                    }
                }
                sums
            });
            assert_eq!(sums, vec![199 * 100; 500]);
        }
        assert_eq!(size(), 1);
    }

    #[test]
    fn work_goes_on_with_the_threads_that_the_system_gives() {
        // No machine has memory for the stack of the third.
        let stacks = [1 << 20, 1 << 20, usize::MAX / 4, 1 << 20];
        for (first, size_then) in [(0, 3), (2, 1)] {
            let helpers = stacks[first..].iter();
            let helpers = helpers.map(|stack| thread::Builder::new().stack_size(*stack));
            let mut done = vec![0; 100];
            with_helpers(helpers, || {
                assert_eq!(size(), size_then);
                share(done.iter_mut().collect(), |piece: &mut usize| *piece += 1);
            });
            assert_eq!(done, vec![1; 100]);
        }
    }

    #[test]
    fn a_panic_in_a_piece_comes_to_whoever_shared_it() {
        for bad in 0..4 {
            let result = catch_unwind(|| {
                with(2, || share(vec![0, 1, 2, 3], |piece| assert_ne!(piece, bad)));
            });
            assert!(result.is_err(), "{bad}");
        }
    }
}
