//! Reads the metrics that a program writes: JSON lines while it runs, a JSON object at its end.
//!
//! Knows the files' form alone; who wants the metrics is behind [`Progress`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::executor::secrets::Secrets;
use crate::stage::{Failure, Progress, Stop};

/// The most that one look at the file reads, so that a flood of lines does not hold up the loop.
const CHUNK: u64 = 1 << 20;

/// Warnings about a file's lines after which no more are given.
const WARNINGS: usize = 5;

/// Reads the file of metrics that `metrics:` names: its numbers by name, those of nested objects
/// by dotted name. All else in it is left out.
///
/// # Errors
///
/// A failure where the file cannot be read or holds no JSON object.
pub fn read_metrics(path: &Path) -> Result<BTreeMap<String, f64>, Failure> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read the metrics in `{name}`: {error}")))?;
    let Some(value) = parse(&text) else {
        return Err(Failure::new(format!("the metrics in `{name}` are no JSON object"))
            .help("write one object of numbers, such as {\"rmse\": 0.25}"));
    };
    Ok(numbers(&value).0)
}

/// Follows a growing file of JSON lines: `{"step": 1, "loss": 0.5}`.
///
/// A line without `step` is the step after the last. The file may be appended to, or written anew.
pub struct Tail {
    path: PathBuf,
    offset: u64,
    /// The start of a line whose end is not written yet.
    pending: Vec<u8>,
    lines: u64,
    step: u64,
    warnings: usize,
    secrets: Secrets,
}

impl Tail {
    /// Follows a file that the program may make.
    pub fn new(path: &Path, secrets: &Secrets) -> Tail {
        Tail {
            path: path.to_owned(),
            offset: 0,
            pending: Vec::new(),
            lines: 0,
            step: 0,
            warnings: 0,
            secrets: secrets.clone(),
        }
    }

    /// Reports the lines that were finished since the last look, at most about a mebibyte of them.
    ///
    /// Breaks with the listener's reason to stop; the lines after that one are never reported, so
    /// what a study sees does not depend on how fast it looks.
    pub fn look(&mut self, progress: &dyn Progress) -> ControlFlow<Stop> {
        if let Err(error) = self.read() {
            self.warn(progress, format!("cannot read `{}`: {error}", self.path.display()));
        }
        let pending = std::mem::take(&mut self.pending);
        let end = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (whole, rest) = pending.split_at(end);
        self.pending = rest.to_vec();
        whole.split(|byte| *byte == b'\n').try_for_each(|line| self.line(line, progress))
    }

    /// Reports all that is left, a last line without its end included.
    ///
    /// Breaks as [`Tail::look`] does.
    pub fn finish(&mut self, progress: &dyn Progress) -> ControlFlow<Stop> {
        loop {
            let before = self.offset;
            self.look(progress)?;
            if self.offset == before {
                let last = std::mem::take(&mut self.pending);
                return self.line(&last, progress);
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let length = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            // The program may never make it, or replace it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if length < self.offset {
            self.offset = 0;
            self.pending.clear();
        }
        if length > self.offset {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            self.offset += file.take(CHUNK).read_to_end(&mut self.pending)? as u64;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], progress: &dyn Progress) -> ControlFlow<Stop> {
        if let Some(name) = self.secrets.found_in(line).map(str::to_owned) {
            self.lines += 1;
            let place = format!("line {} of the metrics", self.lines);
            self.warn(progress, format!("{place} holds the secret `{name}`, and was left out"));
            return ControlFlow::Continue(());
        }
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            return ControlFlow::Continue(());
        }
        self.lines += 1;
        let place = format!("line {} of the metrics", self.lines);
        let Some(mut value) = parse(&line) else {
            self.warn(progress, format!("{place} is no JSON object, and was left out"));
            return ControlFlow::Continue(());
        };
        let step = match value.as_object_mut().and_then(|object| object.remove("step")) {
            Some(step) => whole(&step),
            None => Some(self.step + 1),
        };
        let Some(step) = step.filter(|step| *step > self.step) else {
            let last = self.step;
            let message = format!("{place} was left out: its step is no whole number above {last}");
            self.warn(progress, message);
            return ControlFlow::Continue(());
        };
        self.step = step;
        let (metrics, odd) = numbers(&value);
        if let Some(name) = odd.first() {
            self.warn(progress, format!("{place}: `{name}` is no number, and was left out"));
        }
        if metrics.is_empty() {
            return ControlFlow::Continue(());
        }
        progress.step(step, &metrics)
    }

    fn warn(&mut self, progress: &dyn Progress, message: String) {
        self.warnings += 1;
        if self.warnings <= WARNINGS {
            progress.warn(message);
        }
    }
}

fn whole(step: &Value) -> Option<u64> {
    let float = || step.as_f64().filter(|step| step.fract() == 0.0 && (0.0..9e15).contains(step));
    step.as_u64().or_else(|| float().map(|step| step as u64))
}

/// Reads a JSON object. Python writes `NaN` and `Infinity`, which JSON does not know: they are read
/// as null.
fn parse(text: &str) -> Option<Value> {
    let value = serde_json::from_str(text).or_else(|_| serde_json::from_str(&tame(text)));
    value.ok().filter(Value::is_object)
}

fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    // Every second part is between quotes, if an escaped quote does not end one.
    let mut inside = false;
    for part in text.split_inclusive('"') {
        let escapes = part.trim_end_matches('"').chars().rev().take_while(|c| *c == '\\').count();
        if inside {
            tamed.push_str(part);
        } else {
            let part = part.replace("-Infinity", "null").replace("Infinity", "null");
            tamed.push_str(&part.replace("NaN", "null"));
        }
        if part.ends_with('"') && (!inside || escapes % 2 == 0) {
            inside = !inside;
        }
    }
    tamed
}

/// Gives the finite numbers of an object by dotted name, and the names of its nulls, which stand
/// for numbers that are not finite.
fn numbers(object: &Value) -> (BTreeMap<String, f64>, Vec<String>) {
    let mut found = BTreeMap::new();
    let mut odd = Vec::new();
    let mut waiting = vec![(String::new(), object)];
    while let Some((name, value)) = waiting.pop() {
        match value {
            Value::Object(fields) => waiting.extend(fields.iter().map(|(field, value)| {
                (if name.is_empty() { field.clone() } else { format!("{name}.{field}") }, value)
            })),
            Value::Number(number) => match number.as_f64().filter(|number| number.is_finite()) {
                Some(number) => drop(found.insert(name, number)),
                None => odd.push(name),
            },
            Value::Null => odd.push(name),
            Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
        }
    }
    (found, odd)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    /// Writes down what it hears, and stops at a step.
    struct Ear {
        heard: Mutex<Vec<String>>,
        stop_at: u64,
    }

    impl Ear {
        fn new(stop_at: u64) -> Ear {
            Ear { heard: Mutex::default(), stop_at }
        }

        fn heard(&self) -> Vec<String> {
            std::mem::take(&mut *self.heard.lock().unwrap())
        }
    }

    impl Progress for Ear {
        fn count(&self, _: &'static str, _: u64, _: u64) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }

        fn step(&self, step: u64, metrics: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
            self.heard.lock().unwrap().push(format!("{step} {metrics:?}"));
            if step == self.stop_at {
                return ControlFlow::Break(Stop::Pruned);
            }
            ControlFlow::Continue(())
        }

        fn warn(&self, message: String) {
            self.heard.lock().unwrap().push(message);
        }
    }

    #[test]
    fn lines_are_reported_once_whole_and_odd_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        let mut tail = Tail::new(&path, &Secrets::default());
        let ear = Ear::new(0);
        let write = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        write("{\"loss\": 0.5}\n\n{\"step\": 3, \"loss\": 0.25, \"split\": {\"a\": 1}}\n{\"lo");
        assert!(tail.look(&ear).is_continue());
        assert_eq!(ear.heard(), [r#"1 {"loss": 0.5}"#, r#"3 {"loss": 0.25, "split.a": 1.0}"#]);
        write(
            "ss\": NaN, \"name\": \"a \\\" NaN\", \"acc\": 1}\nhello\n{\"step\": 2, \"loss\": 1}\n",
        );
        assert!(tail.look(&ear).is_continue());
        assert_eq!(
            ear.heard(),
            [
                "line 3 of the metrics: `loss` is no number, and was left out",
                r#"4 {"acc": 1.0}"#,
                "line 4 of the metrics is no JSON object, and was left out",
                "line 5 of the metrics was left out: its step is no whole number above 4",
            ]
        );
        write("{\"step\": 9.0, \"loss\": 0.1}");
        assert!(tail.look(&ear).is_continue());
        assert_eq!(ear.heard(), [] as [&str; 0]);
        assert!(tail.finish(&ear).is_continue());
        assert_eq!(ear.heard(), [r#"9 {"loss": 0.1}"#]);
    }

    #[test]
    fn nothing_is_reported_after_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("steps");
        let mut tail = Tail::new(&path, &Secrets::default());
        fs::write(&path, "{\"loss\": 3}\n{\"loss\": 2}\n{\"loss\": 1}\n").unwrap();
        let ear = Ear::new(2);
        assert_eq!(tail.finish(&ear), ControlFlow::Break(Stop::Pruned));
        assert_eq!(ear.heard(), [r#"1 {"loss": 3.0}"#, r#"2 {"loss": 2.0}"#]);
    }

    #[test]
    fn metrics_are_the_numbers_of_an_object() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.json");
        fs::write(&path, r#"{"rmse": 0.5, "by": {"f1": 1}, "n": "x", "bad": NaN, "l": [1]}"#)
            .unwrap();
        let expected = BTreeMap::from([("by.f1".to_owned(), 1.0), ("rmse".to_owned(), 0.5)]);
        assert_eq!(read_metrics(&path).unwrap(), expected);
        fs::write(&path, "[1]").unwrap();
        assert!(read_metrics(&path).unwrap_err().message.ends_with("are no JSON object"));
    }
}
