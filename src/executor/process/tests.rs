use std::ffi::OsString;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::executor::limits::Limits;

/// Hears what a program says; stops it at a step, cancels it at another.
struct Ear {
    heard: Mutex<Vec<String>>,
    stop_at: u64,
    cancel: watch::Sender<Cancel>,
    cancel_at: u64,
    level: Cancel,
}

impl Progress for Ear {
    fn count(&self, _: &'static str, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn step(&self, step: u64, metrics: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
        self.heard.lock().unwrap().push(format!("{step} {metrics:?}"));
        if step == self.cancel_at {
            self.cancel.send_replace(self.level);
        }
        if step == self.stop_at {
            ControlFlow::Break(Stop::Pruned)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn warn(&self, message: String) {
        self.heard.lock().unwrap().push(message);
    }
}

struct Scene {
    folder: TempDir,
    ear: Ear,
    limits: Limits,
}

impl Scene {
    fn new() -> Scene {
        let (cancel, _) = watch::channel(Cancel::None);
        let heard = Mutex::default();
        let ear = Ear { heard, stop_at: 0, cancel, cancel_at: 0, level: Cancel::Stop };
        Scene { folder: tempfile::tempdir().unwrap(), ear, limits: Limits::default() }
    }

    fn stopped_at(step: u64) -> Scene {
        let Scene { ear, .. } = Scene::new();
        Scene { ear: Ear { stop_at: step, ..ear }, ..Scene::new() }
    }

    fn cancelled_at(step: u64, level: Cancel) -> Scene {
        let Scene { ear, .. } = Scene::new();
        Scene { ear: Ear { cancel_at: step, level, ..ear }, ..Scene::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn launch(&self, program: &str, arguments: &[&str]) -> Launch {
        Launch {
            title: program.to_owned(),
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            env: BTreeMap::from([("RUNNER_METRICS".to_owned(), self.path("steps").into())]),
            dir: self.folder.path().to_owned(),
            metrics: self.path("steps"),
        }
    }

    fn run(&self, launch: &Launch) -> Result<(), Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = self.path("logs/log");
        let secrets = Secrets::default();
        let clock = self.limits.start();
        let terms = Terms { log: &log, clock, hidden: &[], secrets: &secrets };
        runtime.block_on(run(launch, &terms, &self.ear, self.ear.cancel.subscribe()))
    }

    fn shell(&self, line: &str) -> Result<(), Stop> {
        self.run(&self.launch("sh", &["-c", line]))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("logs/log")).unwrap()
    }

    /// Tells whether the process whose id is in a file is gone, or dead and not yet reaped.
    fn dead(&self, file: &str) -> bool {
        let id = fs::read_to_string(self.path(file)).unwrap();
        match fs::read_to_string(format!("/proc/{}/stat", id.trim())) {
            Ok(stat) => stat.rsplit(") ").next().unwrap().starts_with('Z'),
            Err(_) => true,
        }
    }
}

fn failed(result: Result<(), Stop>) -> Failure {
    match result {
        Err(Stop::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn output_and_errors_are_logged_in_their_order() {
    let scene = Scene::new();
    assert_eq!(scene.shell("echo a; echo b >&2; echo c; cat"), Ok(()));
    assert_eq!(scene.log(), "a\nb\nc\n");
}

#[test]
fn metrics_are_told_while_the_program_runs() {
    let scene = Scene::cancelled_at(1, Cancel::Stop);
    let line = "echo '{\"loss\": 2}' >> $RUNNER_METRICS
        trap 'echo \"{\\\"loss\\\": 1}\" >> $RUNNER_METRICS; exit' TERM
        while :; do sleep 0.01; done";
    assert_eq!(scene.shell(line), Err(Stop::Cancelled));
    assert_eq!(*scene.ear.heard.lock().unwrap(), [r#"1 {"loss": 2.0}"#]);
    let steps = fs::read_to_string(scene.path("steps")).unwrap();
    assert_eq!(steps.lines().count(), 2, "SIGTERM left it the time to write its last line");
}

#[test]
fn the_last_metrics_are_told_at_the_end() {
    let scene = Scene::new();
    assert_eq!(scene.shell("printf '{\"loss\": 2}\n{\"loss\": 1}' >> $RUNNER_METRICS"), Ok(()));
    let heard = scene.ear.heard.lock().unwrap();
    assert_eq!(*heard, [r#"1 {"loss": 2.0}"#, r#"2 {"loss": 1.0}"#]);
}

#[test]
fn a_pruned_program_is_killed_with_all_that_it_started() {
    let scene = Scene::stopped_at(1);
    let line = "sh -c 'sleep 60 & echo $! > grandchild; wait' & echo $! > child
        while [ ! -s grandchild ]; do sleep 0.01; done
        echo '{\"loss\": 2}' >> $RUNNER_METRICS; wait";
    assert_eq!(scene.shell(line), Err(Stop::Pruned));
    assert!(scene.dead("child"));
    assert!(scene.dead("grandchild"));
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_the_grace_time() {
    let scene = Scene::cancelled_at(1, Cancel::Stop);
    let line = "trap 'echo asked' TERM; echo $$ > self
        echo '{\"loss\": 2}' >> $RUNNER_METRICS; while :; do sleep 0.05; done";
    assert_eq!(scene.shell(line), Err(Stop::Cancelled));
    assert!(scene.log().contains("asked"));
    assert!(scene.dead("self"));
}

#[test]
fn a_program_that_is_to_end_now_is_not_asked() {
    let scene = Scene::cancelled_at(1, Cancel::Kill);
    let line = "trap 'echo asked' TERM; echo $$ > self
        echo '{\"loss\": 2}' >> $RUNNER_METRICS; while :; do sleep 0.05; done";
    assert_eq!(scene.shell(line), Err(Stop::Cancelled));
    assert_eq!(scene.log(), "");
    assert!(scene.dead("self"));
}

#[test]
fn what_a_program_leaves_in_the_background_is_killed() {
    let scene = Scene::new();
    assert_eq!(scene.shell("sleep 60 & echo $! > left"), Ok(()));
    assert!(scene.dead("left"));
}

#[test]
fn a_future_that_is_dropped_kills_its_program() {
    let scene = Scene::new();
    let launch = scene.launch("sh", &["-c", "echo $$ > self; sleep 60; :"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = scene.path("log");
        let secrets = Secrets::default();
        let clock = Clock::default();
        let terms = Terms { log: &log, clock, hidden: &[], secrets: &secrets };
        let running = run(&launch, &terms, &scene.ear, scene.ear.cancel.subscribe());
        let written = async {
            while fs::read_to_string(scene.path("self")).map_or(0, |id| id.len()) == 0 {
                time::sleep(POLL).await;
            }
        };
        tokio::select! {
            result = running => panic!("{result:?}"),
            () = written => {}
        }
        while !scene.dead("self") {
            time::sleep(POLL).await;
        }
    });
}

#[test]
fn a_failure_says_how_it_ended_and_shows_the_log() {
    let scene = Scene::new();
    let failure = failed(scene.shell("echo reading; echo 'no such column' >&2; exit 3"));
    assert_eq!(failure.message, "`sh` ended with exit code 3");
    assert_eq!(failure.log_tail, ["reading", "no such column"]);
    assert_eq!(failure.log, Some(scene.path("logs/log")));
    assert!(!failure.deterministic);
    let failure = failed(scene.shell("kill -SEGV $$"));
    assert_eq!(failure.message, "`sh` was killed by SIGSEGV (11)");
    let failure = failed(scene.shell("no-such-program-anywhere"));
    assert_eq!(
        failure.help.as_deref(),
        Some("127 means that a program was not found: is it in `PATH`?")
    );
}

#[test]
fn a_program_that_cannot_be_started_says_why() {
    let scene = Scene::new();
    let mut launch = scene.launch("no-such-program-anywhere", &[]);
    let failure = failed(scene.run(&launch));
    assert_eq!(failure.message, "the program `no-such-program-anywhere` was not found");
    launch.program = "./data".into();
    fs::write(scene.path("data"), "text").unwrap();
    assert_eq!(failed(scene.run(&launch)).message, "the program `./data` may not be run");
    launch.dir = scene.path("nowhere");
    assert!(failed(scene.run(&launch)).message.starts_with("there is no folder `"));
}

#[test]
fn each_missing_output_is_named() {
    let scene = Scene::new();
    let outputs = ["a", "b", "c", "d"]
        .map(|name| OutputSpec { name: name.to_owned(), file: format!("{name}.csv") });
    scene.shell("echo 1 > a.csv; mkdir b.csv; ln -s a.csv c.csv").unwrap();
    let failure = collect(scene.folder.path(), &outputs).unwrap_err();
    assert_eq!(
        failure.message,
        "output `b` is a folder, output `c` is a symbolic link, output `d` was not written"
    );
    let found = collect(scene.folder.path(), &outputs[..1]).unwrap();
    assert_eq!(found, BTreeMap::from([("a".to_owned(), scene.path("a.csv"))]));
}

#[test]
fn a_program_that_runs_too_long_is_ended_with_all_that_it_started() {
    let timeout = Some(std::time::Duration::from_secs(1));
    let scene = Scene { limits: Limits { timeout, deadline: None }, ..Scene::new() };
    let line = "trap 'echo asked' TERM; sleep 60 & echo $! > child; echo begun
        while :; do sleep 0.02; done";
    let failure = failed(scene.shell(line));
    assert_eq!(failure.message, "it ran longer than its timeout of 1s");
    assert!(!failure.deterministic);
    assert!(failure.log_tail.contains(&"asked".to_owned()), "it was asked before it was killed");
    assert!(scene.dead("child"));
}

#[test]
fn what_a_program_says_is_masked_and_what_is_not_its_own_hidden() {
    let scene = Scene::new();
    let mut secrets = Secrets::default();
    secrets.add("TOKEN", b"hunter2-hunter2");
    let log = scene.path("logs/log");
    let hidden = ["RUNNER_TEST_OTHER".to_owned()];
    let mut launch = scene.launch(
        "sh",
        &[
            "-c",
            "printf 'a hunter2-'; sleep 0.1; echo 'hunter2 b' >&2; echo \"[$RUNNER_TEST_OTHER]\"
            echo '{\"hunter2-hunter2\": 1}' >> $RUNNER_METRICS; exit 3",
        ],
    );
    launch.env.insert("TOKEN".to_owned(), "hunter2-hunter2".into());
    let terms = Terms { log: &log, clock: Clock::default(), hidden: &hidden, secrets: &secrets };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(run(&launch, &terms, &scene.ear, scene.ear.cancel.subscribe()));
    let failure = failed(result);
    assert_eq!(scene.log(), "a *** b\n[]\n");
    assert_eq!(failure.log_tail, ["a *** b", "[]"]);
    let heard = scene.ear.heard.lock().unwrap();
    assert_eq!(*heard, ["line 1 of the metrics holds the secret `TOKEN`, and was left out"]);
}
