//! Looking at the files of many stages ahead of the loop, on a thread of its own.
//!
//! Most of a run that finds nothing to do is `stat`: three calls a stage. One thread makes them in the
//! order of the plan while the loop works out fingerprints behind it. What it finds is believed only
//! until the run begins its first action, since files may change from then on; where the loop comes
//! first, or finds otherwise, it looks by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

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

/// What the thread has found so far, by the number of the stage's task.
#[derive(Debug)]
pub struct Forerun(Arc<Vec<AtomicU8>>);

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
        let found: Arc<Vec<AtomicU8>> =
            Arc::new(stages.iter().map(|_| AtomicU8::new(UNKNOWN)).collect());
        if !stages.is_empty() {
            let (seen, store, telling) = (Arc::clone(seen), Arc::clone(store), Arc::clone(&found));
            let look = move |stage: &StageRef| {
                let Some(seen) = seen.get(&stage.name) else { return CHANGED };
                let artifacts = place::plain_artifacts(stage, &seen.outputs);
                let is_there = store.is_as_seen(seen)
                    && artifacts.is_some_and(|all| store.lie_in_place(&folder, &all));
                if is_there { AS_SEEN } else { CHANGED }
            };
            let work = move || {
                for (stage, found) in stages.iter().zip(telling.iter()) {
                    // Whoever holds the other end may have ended.
                    if Arc::strong_count(&telling) == 1 {
                        return;
                    }
                    found.store(look(stage), Ordering::Release);
                }
            };
            // Without the thread, the loop looks by itself.
            let _ = std::thread::Builder::new().name("forerun".to_owned()).spawn(work);
        }
        Forerun(found)
    }

    /// Says whether a stage's entry, its outputs' bytes and its artifacts were found as they were
    /// seen.
    pub fn is_as_seen(&self, task: usize) -> bool {
        self.0.get(task).is_some_and(|found| found.load(Ordering::Acquire) == AS_SEEN)
    }
}
