//! One trial, or one repeat of it, as a task, and what the store has of it.

use std::sync::Arc;

use super::check::Check;
use super::stage_ref::StageRef;
use super::worker::{self, Keep};
use crate::fingerprint::{Fingerprint, Manifest};
use crate::freshness;
use crate::schedule::TaskId;
use crate::stage::{OutputSpec, Params};
use crate::store::{Entry, Store, files};
use crate::study::{Curve, Point, StopRule};

/// One trial as a task, or where it has several repeats one of those.
pub(super) struct Trial {
    pub(super) tune: TaskId,
    pub(super) stage: StageRef,
    pub(super) number: u64,
    /// Which of its repeats it is, from 0.
    pub(super) repeat: u64,
    pub(super) fingerprint: Fingerprint,
    /// Whether it runs only to have the best trial's outputs again.
    pub(super) rebuild: bool,
    /// What is to be done; let go of at its end, since a study has thousands of trials.
    pub(super) work: Option<Box<Work>>,
}

/// What a trial is to do.
pub(super) struct Work {
    pub(super) point: Point,
    pub(super) params: Params,
    pub(super) manifest: Manifest,
    pub(super) outputs: Vec<OutputSpec>,
    /// It holds earlier curves.
    pub(super) stop_rule: StopRule,
    pub(super) keep: Option<Keep>,
}

/// What the store has of a trial.
#[derive(Debug)]
pub(super) enum TrialCheck {
    /// Its action ran to its end, or fails whenever it runs.
    Ended(Box<Entry>),
    /// As far as the action ran, this study stops it.
    Pruned(Curve),
    /// Too little: it must run.
    Run,
}

impl Trial {
    /// Looks on a blocking thread for what the store has.
    pub(super) fn check(
        &self,
        store: Arc<Store>,
        forced: bool,
    ) -> Box<dyn FnOnce() -> Check + Send> {
        // What is checked has not ended.
        let work = self.work.as_ref().expect("a trial that is checked has its work");
        let (manifest, rule) = (work.manifest.clone(), work.stop_rule.clone());
        let (rebuild, outputs) = (self.rebuild, work.outputs.clone());
        Box::new(move || {
            Check::Trial(match (forced, rebuild) {
                (true, _) => TrialCheck::Run,
                (false, true) => match freshness::look_up(&manifest, &outputs, &store) {
                    freshness::Found::Fresh(entry) => TrialCheck::Ended(entry),
                    _ => TrialCheck::Run,
                },
                (false, false) => look_up_trial(&manifest, &rule, &store),
            })
        })
    }
}

/// Looks for a trial's result: a whole entry, or the curve of an action that was pruned.
fn look_up_trial(manifest: &Manifest, rule: &StopRule, store: &Store) -> TrialCheck {
    let fingerprint = manifest.fingerprint();
    if let Some(entry) = store.trial_entry(fingerprint) {
        return match pruned_part(&entry.curve, rule) {
            Some(curve) => TrialCheck::Pruned(curve),
            None => TrialCheck::Ended(Box::new(entry)),
        };
    }
    let partial = files::read_sealed::<Curve>(&worker::partial_curve_path(store, fingerprint));
    match partial.and_then(|curve| pruned_part(&curve, rule)) {
        Some(curve) => TrialCheck::Pruned(curve),
        None => TrialCheck::Run,
    }
}

/// Gives the part of a stored curve after which a study stops the trial.
fn pruned_part(curve: &Curve, rule: &StopRule) -> Option<Curve> {
    let stops = rule.as_ref()?;
    let end = (1..=curve.points.len()).find(|end| stops(&curve.points[..*end]))?;
    Some(Curve { points: curve.points[..end].to_vec() })
}
