//! Looking at the files of many stages ahead of the loop, on a thread of its own.
//!
//! Most of a run that finds nothing to do is `stat`: three calls a stage. One thread makes them in the
//! order of the plan while the loop works out fingerprints behind it. What it finds is believed only
//! until the run begins its first action, since files may change from then on; where the loop comes
//! first, or finds otherwise, it looks by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::place;
use super::stage_ref::StageRef;
use crate::store::Store;
use crate::store::seen::SeenStages;

/// Stages from which on a thread is worth its start.
const FEWEST: usize = 200;

/// What was found of a stage.
const UNKNOWN: u8 = 0;
const AS_SEEN: u8 = 1;
const CHANGED: u8 = 2;

/// Stages between the loop and the next that the thread looks at, where the loop has caught up.
const LEAD: usize = 16;

/// The loop's end of the thread.
#[derive(Debug)]
pub struct Forerun(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// What the thread has found so far, by the number of the stage's task.
    found: Vec<AtomicU8>,
    /// Which task the loop is at.
    loop_at: AtomicUsize,
}

impl Forerun {
    /// Starts the thread; for few stages it finds nothing, and all is left to the loop.
    pub fn start(
        stages: impl ExactSizeIterator<Item = StageRef>,
        seen: &Arc<SeenStages>,
        store: &Arc<Store>,
        folder: std::path::PathBuf,
    ) -> Forerun {
        let is_worth_it = stages.len() >= FEWEST && !seen.is_empty();
        let stages: Vec<StageRef> = if is_worth_it { stages.collect() } else { Vec::new() };
        let found = stages.iter().map(|_| AtomicU8::new(UNKNOWN)).collect();
        let shared = Arc::new(Shared { found, ..Shared::default() });
        if !stages.is_empty() {
            let (seen, store, telling) = (Arc::clone(seen), Arc::clone(store), Arc::clone(&shared));
            let look = move |stage: &StageRef| {
                let Some(seen) = seen.get(&stage.name) else { return CHANGED };
                let artifacts = place::plain_artifacts(stage, &seen.outputs);
                let is_there = store.is_as_seen(seen)
                    && artifacts.is_some_and(|all| store.lie_in_place(&folder, &all));
                if is_there { AS_SEEN } else { CHANGED }
            };
            let work = move || {
                for (index, (stage, found)) in stages.iter().zip(telling.found.iter()).enumerate() {
                    let loop_at = telling.loop_at.load(Ordering::Relaxed);
                    // The run has ended where nobody holds the other end.
                    if Arc::strong_count(&telling) == 1 {
                        return;
                    }
                    // Beside the loop, both would look at the same.
                    if index >= loop_at + usize::from(loop_at > 0) * LEAD {
                        found.store(look(stage), Ordering::Release);
                    }
                }
            };
            // Without the thread, the loop looks by itself.
            let _ = std::thread::Builder::new().name("forerun".to_owned()).spawn(work);
        }
        Forerun(shared)
    }

    /// Says whether a stage's entry, its outputs' bytes and its artifacts were found as they were
    /// seen.
    pub fn is_as_seen(&self, task: usize) -> bool {
        self.0.loop_at.store(task, Ordering::Relaxed);
        self.0.found.get(task).is_some_and(|found| found.load(Ordering::Acquire) == AS_SEEN)
    }
}
