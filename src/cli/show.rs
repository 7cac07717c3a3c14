//! `runner show`: one run, its stages, why each ran and what they came to.

use clap::Args;
use serde_json::{Value, json};

use super::listing::{self, Output, RunName};
use super::{Error, Exit, Session, runs};
use crate::history::records::{Records, RunRecord, StageRecord, TrialRecord};
use crate::report::table::{Cell, Table};
use crate::report::text;

/// The arguments of `runner show`.
#[derive(Args, Debug)]
pub struct Show {
    /// The run: its number, `last`, or `last~2` for two before the last.
    #[arg(value_name = "RUN")]
    pub run: RunName,
    /// How to write it.
    #[command(flatten)]
    pub output: Output,
}

/// Shows the run.
///
/// # Errors
///
/// [`Error::Usage`] where there is no such run, and a history that cannot be read.
pub fn run(arguments: &Show, session: &mut Session<'_>) -> Result<Exit, Error> {
    let records = listing::open(session)?;
    let run = listing::find(records.as_ref(), None, arguments.run)?;
    // The run was found in it.
    let records = records.expect("a run was found in the history");
    let stages = records.stages(run.id)?;
    let studies = studies(&records, &run, &stages)?;
    let table = table(&stages);
    if arguments.output.is_for_people() {
        writeln!(session.out, "{}", headline(&run))?;
    }
    let document = |rows: &Table| document(&run, &stages, &studies, rows);
    listing::write(arguments.output, &table, document, session)?;
    if arguments.output.is_for_people() {
        write_more(&stages, &studies, session)?;
    }
    Ok(Exit::Done)
}

/// The trials of a stage in a run.
struct Studied<'a> {
    stage: &'a str,
    trials: Vec<TrialRecord>,
}

impl Studied<'_> {
    fn best(&self) -> Option<&TrialRecord> {
        let best = self.trials.iter().rev().find_map(|trial| trial.best)?;
        self.trials.iter().find(|trial| trial.value == Some(best))
    }

    /// Says how many trials there were, and how they ended: `20 trials: 12 ran, 8 pruned`.
    fn counts(&self) -> String {
        let mut words: Vec<(&str, u64)> = Vec::new();
        for trial in &self.trials {
            match words.iter_mut().find(|(word, _)| *word == trial.outcome) {
                Some((_, count)) => *count += 1,
                None => words.push((&trial.outcome, 1)),
            }
        }
        let parts: Vec<String> =
            words.iter().map(|(word, count)| format!("{} {word}", text::count(*count))).collect();
        format!("{}: {}", text::counted(self.trials.len() as u64, "trial"), parts.join(", "))
    }
}

fn studies<'a>(
    records: &Records,
    run: &RunRecord,
    stages: &'a [StageRecord],
) -> Result<Vec<Studied<'a>>, Error> {
    let mut studies = Vec::new();
    for StageRecord { stage, kind, .. } in stages {
        if kind.as_deref().is_some_and(|kind| kind != "tune") {
            continue;
        }
        let trials = records.trials(&run.pipeline, stage, run.id)?;
        if !trials.is_empty() {
            studies.push(Studied { stage, trials });
        }
    }
    Ok(studies)
}

fn headline(run: &RunRecord) -> String {
    let file = run.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
    let took = run.seconds.map(|seconds| format!(" in {}", text::duration(seconds)));
    let sets = run.sets.iter().flatten().map(|set| format!(", --set {set}")).collect::<String>();
    let started = run.started.split('.').next().unwrap_or_default();
    format!(
        "run {} of `{}`{file}: {}{}, started {started} UTC{sets}",
        run.id,
        run.pipeline,
        runs::outcome(run),
        took.unwrap_or_default(),
    )
}

fn table(stages: &[StageRecord]) -> Table {
    let mut table = Table::new([
        "stage",
        "kind",
        "outcome",
        "started",
        "seconds",
        "reasons",
        "failure",
        "fingerprint",
    ]);
    for stage in stages {
        let took = stage.seconds > 0.0;
        let reasons: Vec<String> = stage.reasons.iter().map(text::reason).collect();
        let fingerprint = stage.fingerprint.map(|fingerprint| fingerprint.to_string());
        table.push([
            Cell::Text(stage.stage.clone()),
            Cell::maybe(stage.kind.clone(), Cell::Text),
            Cell::Outcome(stage.outcome.clone()),
            Cell::maybe(stage.started.clone().filter(|_| took), |time| {
                Cell::Both(clock(&time), Cell::Time(time).to_value())
            }),
            if took { Cell::Seconds(stage.seconds) } else { Cell::Both(String::new(), 0.0.into()) },
            Cell::Both(reasons.join("; "), json!(stage.reasons)),
            Cell::maybe(stage.failure.clone(), Cell::Text),
            Cell::maybe(fingerprint, |text| Cell::Both(text[..12].to_owned(), text.into())),
        ]);
    }
    table
}

/// Gives the time of day of a moment.
fn clock(time: &str) -> String {
    time.split(' ').next_back().and_then(|time| time.split('.').next()).unwrap_or(time).to_owned()
}

fn document(
    run: &RunRecord,
    stages: &[StageRecord],
    studies: &[Studied<'_>],
    rows: &Table,
) -> Value {
    let mut run = runs::table(std::slice::from_ref(run)).to_values().remove(0);
    let mut rows = rows.to_values();
    for (row, stage) in rows.iter_mut().zip(stages) {
        row["metrics"] = json!(stage.metrics);
        row["params"] = json!(stage.params);
        if let Some(study) = studies.iter().find(|study| study.stage == stage.stage) {
            let best = study.best().map(
                |best| json!({ "number": best.number, "value": best.value, "params": best.params }),
            );
            row["trials"] = json!({ "count": study.trials.len(), "best": best });
        }
    }
    run["stages"] = rows.into();
    run
}

/// Writes the trials and the metrics below the stages.
fn write_more(
    stages: &[StageRecord],
    studies: &[Studied<'_>],
    session: &mut Session<'_>,
) -> Result<(), Error> {
    for study in studies {
        let best = study.best().map(|best| {
            let params = best.params.iter();
            let params: Vec<String> = params
                .map(|(path, value)| format!("{path} {}", text::value(value, text::Digits::Few)))
                .collect();
            let value = text::number(best.value.unwrap_or(f64::NAN));
            format!("; best {value} in trial {} at {}", best.number, params.join(", "))
        });
        let counts = study.counts();
        writeln!(session.out, "\n{}: {counts}{}", study.stage, best.unwrap_or_default())?;
    }
    let mut table = Table::new(["stage", "metric", "value"]);
    for stage in stages {
        for (name, value) in &stage.metrics {
            table.push([
                Cell::Text(stage.stage.clone()),
                Cell::Text(name.clone()),
                Cell::Number(*value),
            ]);
        }
    }
    if !table.is_empty() {
        writeln!(session.out)?;
        listing::write_lines(&table.lines(session.out_look.colour), session)?;
    }
    Ok(())
}
