//! `runner watch`: runs a pipeline, and again whenever its file or a file that it reads changes.
//!
//! Folders are watched and not files, since editors write aside and rename, or delete and create.
//! What changes during a run is met by another run after it. Our own writes below `.runner` and
//! `artifacts` never count.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Args;

use super::{Error, Exit, Session, run};
use crate::executor::{memory, signals};
use crate::pipeline::{Pipeline, Source};
use crate::report::text;

mod folders;

use folders::{Folders, Paths, Watched};

/// Wakes that are kept at most: one would do, and changes come by the thousand.
const WAKES: usize = 64;

/// How many times the quiet that ends a burst of changes a burst may last.
const LONGEST_BURST: u32 = 25;

/// The arguments of `runner watch`.
#[derive(Args, Debug)]
pub struct Watch {
    /// What to run, and how.
    #[command(flatten)]
    pub run: run::Run,
    /// How long nothing must have changed before it runs again: `200ms`, `2s`.
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub debounce: Duration,
}

/// Reads `200ms`, `1.5s` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
    let read = units.into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    read.ok_or_else(|| "a time is a number and a unit: `200ms`, `2s`, `1m`".to_owned())
}

/// What wakes a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// Something that is watched changed.
    Changed,
    /// So did a folder, or something was missed: what lies there is to be watched anew.
    Folder,
    /// Ctrl-C, or another signal to end.
    Signal,
}

/// Runs the pipeline, and again whenever what it depends on changes, until it is interrupted.
///
/// # Errors
///
/// What keeps the first run from beginning, but for mistakes of the file, which may be mended; and
/// where nothing can be watched.
pub fn run(arguments: &Watch, session: &mut Session<'_>) -> Result<Exit, Error> {
    let (sender, wakes) = mpsc::sync_channel(WAKES);
    let signal = sender.clone();
    signals::on_each(move || {
        // Once nobody listens, the program is at its end.
        let _ = signal.send(Wake::Signal);
    })
    .map_err(|error| Error::internal(format!("cannot listen for signals: {error}")))?;
    let file = &arguments.run.pipeline.file;
    if !file.exists() {
        // Says which files there are.
        session.load(&arguments.run.pipeline)?;
    }
    let mut folders = Folders::new(sender)?;
    let mut watched = Watched::of_file(file, &session.root);
    let mut is_first = true;
    loop {
        if let Some(exit) = run_once(arguments, &mut watched, &mut folders, is_first, session)? {
            return Ok(exit);
        }
        is_first = false;
        memory::give_back();
        let files = text::counted(watched.count() as u64, "file");
        writeln!(session.err, "watching {files}")?;
        if !wait(&wakes, &mut folders, &watched, arguments.debounce)? {
            return Ok(Exit::Interrupted);
        }
    }
}

/// Runs the pipeline as it is now; gives an exit where there is nothing to wait for.
fn run_once(
    arguments: &Watch,
    watched: &mut Watched,
    folders: &mut Folders,
    is_first: bool,
    session: &mut Session<'_>,
) -> Result<Option<Exit>, Error> {
    // Watched before it is read: what changes from now on is met by another run.
    folders.watch(watched)?;
    let loaded = session.load(&arguments.run.pipeline);
    let exit = match loaded {
        Ok(pipeline) => {
            *watched = Watched::of_pipeline(&pipeline, &session.root);
            folders.watch(watched)?;
            run::execute(&pipeline, &arguments.run, is_first, session)
        }
        Err(error) => Err(error),
    };
    session.out.flush()?;
    match exit {
        Ok(Exit::Interrupted) => Ok(Some(Exit::Interrupted)),
        Ok(_) => Ok(None),
        // The file may be mended, and with it whatever the command line asks of it.
        Err(error @ Error::Pipeline(_)) => {
            session.report(&error);
            Ok(None)
        }
        Err(error) if is_first => Err(error),
        Err(error) => {
            session.report(&error);
            Ok(None)
        }
    }
}

/// Waits until something that is watched has changed and then nothing for a while; `false` where a
/// signal came first.
fn wait(
    wakes: &Receiver<Wake>,
    folders: &mut Folders,
    watched: &Watched,
    debounce: Duration,
) -> Result<bool, Error> {
    let mut burst: Option<(Instant, Instant)> = None;
    loop {
        let wake = match burst {
            None => wakes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((first, last)) => {
                let until = (last + debounce).min(first + debounce * LONGEST_BURST);
                wakes.recv_timeout(until.saturating_duration_since(Instant::now()))
            }
        };
        let now = Instant::now();
        match wake {
            Err(RecvTimeoutError::Timeout) => return Ok(true),
            Ok(Wake::Signal) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::internal("nothing can wake the watch any more"));
            }
            Ok(wake) => {
                if wake == Wake::Folder {
                    folders.renew(watched)?;
                }
                burst = Some((burst.map_or(now, |(first, _)| first), now));
            }
        }
    }
}

/// Gives the absolute path of a file, without following links.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Gives the folder below which all lies that a pattern may fit: its parts before the first that is
/// no plain name.
fn base_of(pattern: &str) -> PathBuf {
    let path = Path::new(pattern);
    let is_plain = |part: &std::path::Component<'_>| {
        !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{'])
    };
    let plain: PathBuf = path.components().take_while(is_plain).collect();
    if plain == path { plain.parent().unwrap_or(&plain).to_owned() } else { plain }
}

/// Gives the paths that a pipeline depends on: its own file, and the files that its stages read.
fn paths_of(pipeline: &Pipeline, root: &Path) -> Paths {
    let mut paths = Paths::default();
    // Beside files, the words of the command line are sources too.
    let files = pipeline.sources.iter().map(|source| absolute(&source.path));
    paths.files.extend(files.filter(|file| file.is_file()));
    for input in pipeline.stages.values().flat_map(|stage| stage.inputs.values()) {
        match &input.from {
            Source::File(file) => {
                paths.files.insert(absolute(&root.join(file)));
            }
            Source::Folder(folder) => {
                paths.trees.insert(absolute(&root.join(folder)));
            }
            Source::Glob(pattern) => {
                paths.trees.insert(absolute(&root.join(base_of(pattern))));
            }
            Source::Output { .. } | Source::Table(_) => {}
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_watched_by_its_folder() {
        assert_eq!(base_of("data/*/x?.csv"), Path::new("data"));
        assert_eq!(base_of("*.csv"), Path::new(""));
        assert_eq!(base_of("data/a.csv"), Path::new("data"));
    }

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "200", "-1s", "fast", "1h", "nan s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
