//! One command from its lock to its entry, on the loop's runtime: what a program needs before it, and
//! what is looked at after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::Instrument;

use super::listener::Listener;
use super::place;
use super::process;
use super::worker::{
    End, Given, InputFile, Job, Message, Placing, attempt_folder, begin, finish, outputs_folder,
    panicked_text, store_failure,
};
use super::{audit, verify};
use crate::event::Outcome;
use crate::pipeline::Source;
use crate::stage::command::{Launch, Paths};
use crate::stage::{Failure, Params, Stop};
use crate::store::{StoreError, work};
use crate::study::Curve;

mod inputs;

/// Runs a command to its end, places the artifacts of a stage that ends well, and tells it.
pub(super) async fn run_command(job: Job) -> Message {
    let task = job.task;
    let ended = |end| Message::Ended { task, end };
    let job = Arc::new(job);
    let beginning = Arc::clone(&job);
    let begin = move || {
        let lock = begin(&beginning)?;
        match prepare_command(&beginning) {
            Ok(launch) => Ok((lock, launch)),
            Err(stop) => Err(Box::new(End::Stopped(stop, Curve::default()))),
        }
    };
    let begun = match begins_soon(&job) {
        true => Ok(begin()),
        false => tokio::task::spawn_blocking(begin).await,
    };
    let (lock, launch) = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(end)) => return ended(*end),
        Err(error) => {
            let stop = panicked_text(error.to_string()).into();
            return ended(End::Stopped(stop, Curve::default()));
        }
    };
    let listener = Arc::new(Listener::new(&job));
    let log = verify::log_path(&job);
    let terms = process::Terms {
        log: &log,
        clock: listener.clock(),
        hidden: &job.terms.hidden,
        secrets: &job.terms.secrets,
    };
    let exit = process::run(&launch, &terms, &*listener, job.cancel.clone());
    let exit = exit.instrument(job.span()).await;
    if exit.is_ok() {
        // The loop listens as long as a worker lives; at a second Ctrl-C nobody does.
        let _ = job.sender.send(Message::Exited { task });
    }
    let ending = Arc::clone(&job);
    let finished = tokio::task::spawn_blocking(move || {
        audit::tell(&ending);
        let curve = listener.curve();
        let result = exit.and_then(|_| command_result(&ending));
        let end = told(&ending, finish(&ending, result, curve));
        drop(lock);
        match (end, &ending.placing) {
            (End::Ran(entry), Some(Placing { stage, pipeline })) => {
                let (store, root) = (&ending.store, &ending.root);
                place::message(task, Outcome::Ran, entry, store, stage, root, pipeline)
            }
            (end, _) => Message::Ended { task, end },
        }
    });
    match finished.await {
        Ok(message) => message,
        Err(error) => {
            let stop = panicked_text(error.to_string()).into();
            ended(End::Stopped(stop, Curve::default()))
        }
    }
}

/// Says whether a command needs a few file-system calls alone to begin, which take less than to wake
/// a thread: nothing to convert, to list, to remove or to hash.
fn begins_soon(job: &Job) -> bool {
    let is_plain = |input: &InputFile| {
        input.format.is_none() && matches!(input.from, Source::Output { .. } | Source::File(_))
    };
    job.inputs.values().all(is_plain) && !job.force && !job.store.has_entry(job.fingerprint)
}

/// Gives a command's inputs names with endings, and describes its process.
fn prepare_command(job: &Job) -> Result<Launch, Stop> {
    let Params::Command(params) = &job.params else {
        unreachable!("only a command is prepared as one")
    };
    let inputs = inputs::paths(job, &attempt_folder(job).join("inputs"))?;
    let log = verify::log_path(job);
    forget_logs(job, &log);
    let mut launch = params.describe(&Paths {
        root: &job.root,
        inputs: &inputs,
        outputs: &outputs_folder(job),
        metrics: &attempt_folder(job).join(work::METRICS),
    })?;
    if let Some(gpus) = &job.terms.gpus {
        launch.env.insert("CUDA_VISIBLE_DEVICES".to_owned(), gpus.into());
    }
    audit::wrap(job, &mut launch);
    Ok(launch)
}

/// Gives the log of an earlier attempt beside that of the last.
fn earlier_log(log: &Path, attempt: u32) -> PathBuf {
    log.with_extension(format!("{attempt}.log"))
}

/// Removes the logs of the attempts of another run, so that those of this one stand alone.
fn forget_logs(job: &Job, log: &Path) {
    if job.terms.attempt == 1 {
        let earlier = (1..).map(|attempt| earlier_log(log, attempt));
        // Asked for first: to remove what is not there costs more.
        earlier.take_while(|log| log.exists() && fs::remove_file(log).is_ok()).for_each(drop);
    }
}

/// Makes a failure fit to be told: without values that nobody may see, and with a log that the next
/// attempt does not write over.
fn told(job: &Job, end: End) -> End {
    let End::Stopped(Stop::Failed(mut failure), curve) = end else { return end };
    let secrets = &job.terms.secrets;
    if !secrets.is_empty() {
        failure.message = secrets.redact(&failure.message);
        failure.help = failure.help.map(|help| secrets.redact(&help));
        failure.log_tail = failure.log_tail.iter().map(|line| secrets.redact(line)).collect();
    }
    if job.terms.has_more && !failure.deterministic {
        let log = verify::log_path(job);
        let earlier = earlier_log(&log, job.terms.attempt);
        let is_moved = fs::rename(&log, &earlier).is_ok();
        failure.log = failure.log.map(|log| if is_moved { earlier } else { log });
    }
    End::Stopped(Stop::Failed(failure), curve)
}

fn command_result(job: &Job) -> Result<Given, Stop> {
    let Params::Command(params) = &job.params else { unreachable!("only a command ends as one") };
    // What the program said may tell why an output is missing.
    let with_log = |failure: Failure| process::with_log(failure, &verify::log_path(job));
    let files = process::collect(&outputs_folder(job), &job.outputs).map_err(with_log)?;
    refuse_secrets(job, &files)?;
    let metrics = match &params.metrics {
        Some(output) => process::read_metrics(&files[output]).map_err(with_log)?,
        None => BTreeMap::new(),
    };
    Ok(Given { metrics, files })
}

/// Refuses outputs that hold a value which nobody may see: the store would keep it, and `artifacts/`
/// show it.
fn refuse_secrets(job: &Job, files: &BTreeMap<String, PathBuf>) -> Result<(), Stop> {
    let secrets = &job.terms.secrets;
    if secrets.is_empty() {
        return Ok(());
    }
    for (output, file) in files {
        let found = secrets.found_in_file(file).map_err(StoreError::io("read", file));
        if let Some(name) = found.map_err(|error| store_failure(&error))? {
            let message = format!("its output `{output}` holds the value of the secret `{name}`");
            let help = "nothing of it was stored; have the program write it without that value";
            return Err(Failure::new(message).help(help).into());
        }
    }
    Ok(())
}
