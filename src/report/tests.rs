use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::event::{Outcome, RunOutcome, TrialOutcome};
use crate::fingerprint::DirtyReason;
use crate::stage::{Failure, StageKind};

fn started(stage: &str, kind: StageKind, reasons: Vec<DirtyReason>) -> Event {
    Event::StageStarted { stage: stage.to_owned(), kind, reasons }
}

fn finished(stage: &str, outcome: Outcome, seconds: f64, metrics: &[(&str, f64)]) -> Event {
    let reasons = match outcome {
        Outcome::Ran => vec![DirtyReason::NeverRan],
        _ => Vec::new(),
    };
    Event::StageFinished {
        stage: stage.to_owned(),
        outcome,
        seconds,
        reasons,
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        failure: None,
        because: None,
    }
}

fn trial(number: u64, outcome: TrialOutcome, value: Option<f64>, best: f64) -> Event {
    Event::TrialFinished {
        stage: "tune".to_owned(),
        number,
        params: [
            ("network.units".to_owned(), json!([64, 64])),
            ("optimizer.learning_rate".to_owned(), json!(0.001_234_567_8)),
        ]
        .into(),
        value,
        outcome,
        best: Some(best),
        done: number + 1,
        total: 4,
        seconds: 2.5,
    }
}

fn progress(done: u64, loss: f64) -> Event {
    Event::StageProgress {
        stage: "train".to_owned(),
        unit: "epochs",
        done,
        total: 12,
        metrics: [("validation_loss".to_owned(), loss)].into(),
    }
}

fn warning(message: &str) -> Event {
    Event::Warning { stage: Some("preprocess".to_owned()), message: message.to_owned() }
}

fn placed(path: &str) -> Event {
    Event::ArtifactPlaced { stage: "train".to_owned(), path: PathBuf::from(path) }
}

fn run_started(stages: &[&str]) -> Event {
    let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
    Event::RunStarted { pipeline: "lambda".to_owned(), stages, jobs: 2 }
}

fn run_finished(outcome: RunOutcome, counts: [usize; 5], seconds: f64) -> Event {
    let [ran, cached, failed, skipped, cancelled] = counts;
    Event::RunFinished { outcome, ran, cached, failed, skipped, cancelled, seconds }
}

/// Gives what plain lines come to, each after its line break, where the events are a second apart.
fn plain(events: &[Event]) -> String {
    let mut lines = plain::Lines::new(PathBuf::from("/root"));
    let at = |second| Duration::from_secs(second);
    let all: Vec<String> =
        (0..).zip(events).flat_map(|(second, event)| lines.event(event, at(second))).collect();
    all.iter().map(|line| format!("\n{line}")).collect()
}

#[test]
fn a_run_is_told_from_its_reasons_to_its_scores() {
    let changed = DirtyReason::ParamChanged {
        path: "epochs".to_owned(),
        old: json!(6),
        new: json!(12),
        variables: vec!["epochs".to_owned()],
    };
    let events = [
        run_started(&["preprocess", "train", "tune", "evaluate"]),
        finished("preprocess", Outcome::Cached, 0.0, &[]),
        started("train", StageKind::Train, vec![changed]),
        progress(1, 0.5),
        progress(2, 0.25),
        progress(3, 0.125),
        warning("column `x` is constant"),
        placed("/root/artifacts/lambda/train/model.safetensors"),
        placed("/root/artifacts/lambda/lstm.safetensors"),
        finished("train", Outcome::Ran, 31.2, &[("train_loss", 0.01), ("validation_loss", 0.0123)]),
        started("tune", StageKind::Tune, vec![DirtyReason::NeverRan, DirtyReason::Forced]),
        trial(0, TrialOutcome::Cached, Some(0.0123), 0.0123),
        trial(1, TrialOutcome::Ran, Some(0.0111), 0.0111),
        trial(2, TrialOutcome::Pruned, Some(0.5), 0.0111),
        trial(3, TrialOutcome::Cached, Some(0.02), 0.0111),
        finished("tune", Outcome::Ran, 75.0, &[("train_loss", 0.02), ("validation_loss", 0.0111)]),
        finished(
            "evaluate",
            Outcome::Ran,
            0.5,
            &[("r2", 0.8123), ("rmse", 0.25), ("ridge.rmse", 0.5), ("mean.rmse", 1.0)],
        ),
        run_finished(RunOutcome::Done, [3, 1, 0, 0, 0], 107.0),
    ];
    assert_eq!(
        plain(&events),
        "
lambda: 4 stages, 2 jobs at a time
train: started (param epochs changed: 6 -> 12 (variable epochs))
train: 3 of 12 epochs, validation_loss 0.125
warning: preprocess: column `x` is constant
train: ran in 31.2 s, train_loss 0.01, validation_loss 0.0123
tune: started (never ran before, and 1 more)
tune: 1 trial cached
tune: trial 1 ran with 0.0111 in 2.50 s at network.units [64, 64], optimizer.learning_rate \
0.0012346; 2 of 4 done, best 0.0111
tune: trial 2 pruned with 0.5 in 2.50 s at network.units [64, 64], optimizer.learning_rate \
0.0012346; 3 of 4 done, best 0.0111
tune: 1 trial cached
tune: ran in 1 m 15 s, train_loss 0.02, validation_loss 0.0111
evaluate: ran in 0.50 s, r2 0.8123, rmse 0.25

 stage        outcome       time   details
──────────────────────────────────────────────────────────────────────────────────────────────────────
 preprocess   cached
 train        ran         31.2 s   never ran before
 tune         ran       1 m 15 s   4 trials: 1 ran, 2 cached, 1 pruned, best 0.0111; never ran before
 evaluate     ran         0.50 s   never ran before

         train_loss   validation_loss
──────────────────────────────────────
 train         0.01            0.0123
 tune          0.02            0.0111

                      r2   rmse
────────────────────────────────
 evaluate         0.8123   0.25
 evaluate mean                1
 evaluate ridge             0.5

placed 2 artifacts in artifacts/lambda
done: 3 ran, 1 cached in 1 m 47 s"
    );
}

#[test]
fn a_failure_shows_its_log_and_what_was_skipped() {
    let mut failure = Failure::new("`python3` ended with exit code 1").help("install numpy");
    failure.log = Some(PathBuf::from("/root/.runner/logs/fit.log"));
    failure.log_tail = vec!["Traceback:".to_owned(), "  No module named 'numpy'".to_owned()];
    let fit = Event::StageFinished {
        stage: "fit".to_owned(),
        outcome: Outcome::Failed,
        seconds: 1.5,
        reasons: vec![DirtyReason::NeverRan],
        metrics: [].into(),
        failure: Some(failure),
        because: None,
    };
    let report = Event::StageFinished {
        stage: "report".to_owned(),
        outcome: Outcome::Skipped,
        seconds: 0.0,
        reasons: Vec::new(),
        metrics: [].into(),
        failure: None,
        because: Some("fit".to_owned()),
    };
    let events = [
        run_started(&["generate", "fit", "report"]),
        started("generate", StageKind::Generate, vec![DirtyReason::NeverRan]),
        finished("generate", Outcome::Ran, 0.4, &[]),
        started("fit", StageKind::Command, vec![DirtyReason::NeverRan]),
        fit,
        report,
        run_finished(RunOutcome::Failed, [1, 0, 1, 1, 0], 2.0),
    ];
    assert_eq!(
        plain(&events),
        "
lambda: 3 stages, 2 jobs at a time
generate: started (never ran before)
generate: ran in 0.40 s
fit: started (never ran before)
error: stage `fit` failed after 1.50 s: `python3` ended with exit code 1
  help: install numpy
  the last lines of its log (all of it: .runner/logs/fit.log):
  │ Traceback:
  │   No module named 'numpy'
report: skipped because fit failed

 stage      outcome     time   details
────────────────────────────────────────────────────────────────
 generate   ran       0.40 s   never ran before
 fit        failed    1.50 s   `python3` ended with exit code 1
 report     skipped            because fit failed

failed: 1 failed, 1 ran, 1 skipped in 2.00 s"
    );
}

#[test]
fn a_stage_that_waits_for_another_run_says_so() {
    let waiting = Event::StageWaiting { stage: "train".to_owned() };
    let events = [
        run_started(&["train"]),
        started("train", StageKind::Train, vec![DirtyReason::NeverRan]),
        waiting.clone(),
        finished("train", Outcome::Cached, 0.0, &[]),
        run_finished(RunOutcome::Done, [0, 1, 0, 0, 0], 3.0),
    ];
    assert_eq!(
        plain(&events),
        "
lambda: 1 stage, 2 jobs at a time
train: started (never ran before)
train: waiting for another run that does the same
  train  cached
nothing to do: 1 cached in 3.00 s"
    );
    assert_eq!(json::line(&waiting), r#"{"event":"stage_waiting","stage":"train"}"#);
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let events = [
        run_started(&["generate", "train", "evaluate"]),
        finished("generate", Outcome::Cached, 0.0, &[]),
        started("train", StageKind::Train, vec![DirtyReason::Forced]),
        finished("train", Outcome::Cancelled, 3.0, &[]),
        finished("evaluate", Outcome::Cancelled, 0.0, &[]),
        run_finished(RunOutcome::Interrupted, [0, 1, 0, 0, 2], 3.1),
    ];
    assert_eq!(
        plain(&events),
        "
lambda: 3 stages, 2 jobs at a time
train: started (forced by --force)
train: cancelled after 3.00 s
evaluate: cancelled

 stage      outcome       time   details
─────────────────────────────────────────
 generate   cached
 train      cancelled   3.00 s
 evaluate   cancelled

interrupted: 1 cached, 2 cancelled in 3.10 s; what is finished is kept: run again to go on"
    );
}

#[test]
fn a_run_with_nothing_to_do_is_quiet() {
    let events = [
        run_started(&["generate", "evaluate"]),
        finished("generate", Outcome::Cached, 0.0, &[]),
        finished("evaluate", Outcome::Cached, 0.0, &[("rmse", 0.25), ("ridge.rmse", 0.5)]),
        run_finished(RunOutcome::Done, [0, 2, 0, 0, 0], 0.02),
    ];
    assert_eq!(
        plain(&events),
        "
  generate  cached
  evaluate  cached  rmse 0.25
nothing to do: 2 cached in 0.02 s"
    );
}

#[test]
fn a_run_of_thousands_shows_what_failed_and_not_all() {
    let names: Vec<String> = (0..1000).map(|stage| format!("s{stage}")).collect();
    let mut events = vec![run_started(&names.iter().map(String::as_str).collect::<Vec<_>>())];
    events.extend(names.iter().map(|name| match name.as_str() {
        "s777" => finished(name, Outcome::Failed, 1.0, &[]),
        name => finished(name, Outcome::Cached, 0.0, &[]),
    }));
    events.push(run_finished(RunOutcome::Failed, [0, 999, 1, 0, 0], 1.0));
    let text = plain(&events);
    assert!(text.contains("\n s777"), "{text}");
    assert!(text.contains("\n … and 960 more\n"), "{text}");
    assert!(text.lines().count() < 60, "{text}");
}

#[test]
fn json_is_one_object_a_line() {
    let mut printed = Vec::new();
    let mut json = json::Json::new(&mut printed);
    for event in [
        run_started(&["tune"]),
        trial(0, TrialOutcome::Ran, None, 0.5),
        finished("tune", Outcome::Ran, 1.5, &[("rmse", 0.25)]),
        run_finished(RunOutcome::Done, [1, 0, 0, 0, 0], 2.0),
    ] {
        json.event(&event);
    }
    assert_eq!(
        String::from_utf8(printed).unwrap(),
        r#"{"event":"run_started","pipeline":"lambda","stages":["tune"],"jobs":2}
{"event":"trial_finished","stage":"tune","number":0,"params":{"network.units":[64,64],"optimizer.learning_rate":0.0012345678},"value":null,"outcome":"ran","best":0.5,"done":1,"total":4,"seconds":2.5}
{"event":"stage_finished","stage":"tune","outcome":"ran","seconds":1.5,"reasons":[{"kind":"never_ran"}],"metrics":{"rmse":0.25}}
{"event":"run_finished","outcome":"done","ran":1,"cached":0,"failed":0,"skipped":0,"cancelled":0,"seconds":2.0}
"#
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_printing() {
    struct Gone(usize);
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut printer = Printer::new(Gone(0));
    printer.print(["a", "b"]);
    printer.print(["c"]);
    assert_eq!(printer.out.0, 1);
}
