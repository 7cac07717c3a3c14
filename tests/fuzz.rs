//! Random pipeline files and random bytes in every file that `runner` reads back: whatever they hold,
//! nothing panics, nothing hangs, and memory stays below 1 GB.
//!
//! The short form runs by default; the long one is ignored and ends after 10 minutes
//! (`RUNNER_FUZZ_SECONDS`) or 10 million inputs, whichever comes first. An input is a function of a
//! seed and a number alone: `RUNNER_FUZZ_SEED` and `RUNNER_FUZZ_FIRST` give one again. What was found
//! is kept beside the targets, and read each time.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

#[path = "fuzz/files.rs"]
mod files;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/pipelines.rs"]
mod pipelines;

use mutate::Draw;

/// The most time that one input may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most inputs of the long form.
const MOST: u64 = 10_000_000;

/// KiB that the process may have taken at its worst.
const MEMORY: u64 = 1_000_000;

/// What is thrown at a reader, and the reader.
type Target = fn(&mut Draw, &Path) -> Input;

/// One input, for whoever must find out what it did.
struct Input {
    /// What read it.
    reader: &'static str,
    bytes: Vec<u8>,
    /// Reads it; whether it was taken for whole.
    read: Box<dyn FnOnce() -> bool>,
}

/// What a thread says as it goes.
enum Told {
    Begun(u64, &'static str, Vec<u8>),
    Ended { is_whole: bool },
    Panicked(String),
    Over,
}

/// How a target is run.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    first: u64,
    inputs: u64,
    time: Duration,
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// Runs a target on a thread of its own, and watches it: fails where an input panics or hangs.
fn fuzz(name: &'static str, target: Target, plan: Plan) -> u64 {
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        // That of the main thread, on which the program reads all this.
        .stack_size(8 << 20)
        .spawn(move || feed(target, plan, &sender))
        .expect("a thread can be made");
    let (mut inputs, mut whole) = (0, 0_u64);
    let mut last = (0, "", Vec::new());
    loop {
        let what = |last: &(u64, &str, Vec<u8>)| {
            let text = String::from_utf8_lossy(&last.2).into_owned();
            format!("{name}, seed {}, input {} ({}):\n{text}", plan.seed, last.0, last.1)
        };
        match receiver.recv_timeout(PATIENCE) {
            Ok(Told::Begun(number, reader, bytes)) => last = (number, reader, bytes),
            Ok(Told::Ended { is_whole }) => {
                inputs += 1;
                whole += u64::from(is_whole);
            }
            Ok(Told::Panicked(message)) => panic!("{message}: {}", what(&last)),
            Ok(Told::Over) => break,
            Err(RecvTimeoutError::Timeout) => panic!("it hangs: {}", what(&last)),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended: {}", what(&last)),
        }
    }
    println!("{name}: {inputs} inputs, {whole} of them taken for whole");
    assert!(whole > 0, "{name}: no input gets past the first check");
    assert!(whole < inputs, "{name}: every input is taken for whole");
    inputs
}

fn feed(target: Target, plan: Plan, sender: &Sender<Told>) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let begun = Instant::now();
    // Whoever listens has failed already where nobody does.
    let tell = |told| drop(sender.send(told));
    for number in plan.first..plan.first + plan.inputs {
        if begun.elapsed() >= plan.time {
            break;
        }
        let mut draw = Draw::new(plan.seed, number);
        let Input { reader, bytes, read } = target(&mut draw, folder.path());
        tell(Told::Begun(number, reader, bytes));
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(is_whole) => tell(Told::Ended { is_whole }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
                return tell(Told::Panicked(text.unwrap_or_default()));
            }
        }
    }
    tell(Told::Over);
}

/// The most memory that the process has had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).expect("a number of KiB")
}

fn all(inputs: u64, time: Duration) -> u64 {
    let seed = environment("RUNNER_FUZZ_SEED").unwrap_or(1);
    let first = environment("RUNNER_FUZZ_FIRST").unwrap_or(0);
    let plan = Plan { seed, first, inputs, time };
    let targets: [(&str, Target); 2] = [("pipelines", pipelines::target), ("files", files::target)];
    let threads =
        targets.map(|(name, target)| std::thread::spawn(move || fuzz(name, target, plan)));
    let done = threads.map(std::thread::JoinHandle::join);
    let done: u64 = done.into_iter().map(|inputs| inputs.expect("the inputs do no harm")).sum();
    let peak = peak();
    println!("{done} inputs, {peak} KiB at most");
    assert!(peak < MEMORY, "{peak} KiB");
    done
}

#[test]
fn a_few_thousand_random_files_do_no_harm() {
    all(2_000, Duration::from_secs(60));
}

#[test]
#[ignore = "long: ten minutes"]
fn millions_of_random_files_do_no_harm() {
    let seconds = environment("RUNNER_FUZZ_SECONDS").unwrap_or(600);
    all(MOST / 2, Duration::from_secs(seconds));
}

#[test]
fn what_is_hard_to_take_in_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for text in pipelines::hard() {
        let is_whole = pipelines::read(folder.path(), text.as_bytes(), &BTreeMap::new(), &[]);
        assert!(!is_whole, "{}", &text[..text.len().min(200)]);
    }
    for (number, (reader, bytes)) in files::hard().into_iter().enumerate() {
        assert!(!files::read(reader, folder.path(), &bytes), "{number}: {reader:?}");
    }
}
