//! What a run comes to: the tables of stages and metrics, and one line.
//!
//! Collects events; prints nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use indexmap::IndexSet;

use super::{lines, text};
use crate::event::{Event, Outcome, RunOutcome, TrialOutcome};

/// Stages that are shown at most, so that a run of thousands stays legible.
const ROWS: usize = 40;

/// Characters of a stage's details.
const DETAILS: usize = 72;

/// Metrics that stand side by side; more stand one below the other.
const COLUMNS: usize = 8;

/// What has happened in a run so far.
#[derive(Debug)]
pub struct Summary {
    /// The folder to which paths are shown relative.
    base: PathBuf,
    /// The stages in the order of the plan.
    stages: IndexSet<String>,
    finished: BTreeMap<String, Finished>,
    trials: BTreeMap<String, BTreeMap<&'static str, u64>>,
    best: BTreeMap<String, f64>,
    placed: BTreeSet<PathBuf>,
    /// What an audit and a verification found, as it was told, and what they come to.
    inspected: Vec<String>,
}

#[derive(Debug)]
struct Finished {
    outcome: Outcome,
    seconds: f64,
    details: String,
    metrics: BTreeMap<String, f64>,
}

impl Summary {
    /// Makes the summary of a run that has not begun; paths are shown relative to `base`.
    pub fn new(base: PathBuf) -> Summary {
        Summary {
            base,
            stages: IndexSet::new(),
            finished: BTreeMap::new(),
            trials: BTreeMap::new(),
            best: BTreeMap::new(),
            placed: BTreeSet::new(),
            inspected: Vec::new(),
        }
    }

    /// Gives the folder to which paths are shown relative.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Takes note of an event; on the last one, gives the closing lines.
    pub fn event(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::RunStarted { stages, .. } => self.stages = stages.iter().cloned().collect(),
            Event::TrialFinished { stage, outcome, best, .. } => {
                self.trial(stage, *outcome);
                if let Some(best) = best {
                    self.best.insert(stage.clone(), *best);
                }
            }
            Event::StageFinished {
                stage,
                outcome,
                seconds,
                reasons,
                metrics,
                failure,
                because,
            } => {
                let details = match (failure, because) {
                    (Some(failure), _) => failure.message.clone(),
                    (None, Some(because)) => format!("because {because} failed"),
                    (None, None) => text::reasons(reasons),
                };
                let finished = Finished {
                    outcome: *outcome,
                    seconds: *seconds,
                    details,
                    metrics: metrics.clone(),
                };
                if !self.stages.contains(stage) {
                    self.stages.insert(stage.clone());
                }
                self.finished.insert(stage.clone(), finished);
            }
            Event::ArtifactPlaced { path, .. } => {
                self.placed.insert(path.clone());
            }
            Event::StageAudited { .. } => self.inspected.extend(lines::stage_audited(event)),
            Event::StageVerified { .. } => self.inspected.extend(lines::stage_verified(event)),
            Event::AuditFinished { .. } | Event::VerifyFinished { .. } => {
                self.inspected.extend(lines::inspected(event));
            }
            Event::RunFinished { .. } => return self.close(event),
            Event::StageStarted { .. }
            | Event::StageWaiting { .. }
            | Event::StageRetrying { .. }
            | Event::StageProgress { .. }
            | Event::Warning { .. }
            | Event::TrialStarted { .. } => {}
        }
        Vec::new()
    }

    fn trial(&mut self, stage: &str, outcome: TrialOutcome) {
        let counts = self.trials.entry(stage.to_owned()).or_default();
        *counts.entry(outcome.name()).or_default() += 1;
    }

    fn close(&self, run_finished: &Event) -> Vec<String> {
        let mut closing = Vec::new();
        if self.finished.values().all(|stage| stage.outcome == Outcome::Cached) {
            closing.extend(self.cached());
        } else {
            closing.push(String::new());
            closing.extend(self.stages_table());
            closing.extend(self.metrics_tables());
            closing.push(String::new());
        }
        closing.extend(self.inspected.iter().cloned());
        closing.extend(self.placed());
        closing.extend(one_line(run_finished));
        closing
    }

    fn in_order(&self) -> impl Iterator<Item = (&String, &Finished)> {
        self.stages.iter().filter_map(|name| self.finished.get_key_value(name))
    }

    /// Gives a short line a stage where all were cached.
    fn cached(&self) -> Vec<String> {
        if self.finished.len() > ROWS {
            return Vec::new();
        }
        let width = self.stages.iter().map(|stage| stage.chars().count()).max().unwrap_or(0);
        let line = |(stage, finished): (&String, &Finished)| {
            let scores = lines::scores(&finished.metrics, 4).map(|scores| format!("  {scores}"));
            format!("  {stage:width$}  cached{}", scores.unwrap_or_default())
        };
        self.in_order().map(line).collect()
    }

    fn stages_table(&self) -> Vec<String> {
        let mut table = table(&["stage", "outcome", "time", "details"]);
        let shown = self.most_telling();
        for (stage, finished) in self.in_order().filter(|(stage, _)| shown.contains(stage)) {
            let time = match finished.outcome {
                Outcome::Ran | Outcome::Failed => text::duration(finished.seconds),
                Outcome::Cancelled if finished.seconds > 0.0 => text::duration(finished.seconds),
                Outcome::Cached | Outcome::Skipped | Outcome::Cancelled => String::new(),
            };
            let details = [self.trials_phrase(stage), Some(finished.details.clone())];
            let details: Vec<_> =
                details.into_iter().flatten().filter(|phrase| !phrase.is_empty()).collect();
            table.add_row([
                stage.as_str(),
                finished.outcome.name(),
                &time,
                &text::clip(&details.join("; "), DETAILS),
            ]);
        }
        align_right(&mut table, [2]);
        let mut lines = rendered(&table);
        if let Some(more) = self.finished.len().checked_sub(shown.len()).filter(|more| *more > 0) {
            lines.push(format!(" … and {} more", text::count(more as u64)));
        }
        lines
    }

    /// Gives the stages to show: all, or of very many those that a person asks about first.
    fn most_telling(&self) -> BTreeSet<&String> {
        let rank = |finished: &Finished| match finished.outcome {
            Outcome::Failed => 0,
            Outcome::Cancelled => 1,
            Outcome::Ran => 2,
            Outcome::Skipped => 3,
            Outcome::Cached => 4,
        };
        let mut stages: Vec<_> = self.in_order().collect();
        stages.sort_by_key(|(_, finished)| rank(finished));
        stages.into_iter().take(ROWS).map(|(stage, _)| stage).collect()
    }

    /// Says what became of a stage's trials: `20 trials: 12 ran, 8 pruned; best 0.0123`.
    fn trials_phrase(&self, stage: &str) -> Option<String> {
        let counts = self.trials.get(stage)?;
        let total = counts.values().sum();
        let order = TrialOutcome::ALL.map(TrialOutcome::name);
        let part = |word| counts.get(word).map(|count| format!("{} {word}", text::count(*count)));
        let parts: Vec<_> = order.into_iter().filter_map(part).collect();
        let mut phrase = format!("{}: {}", text::counted(total, "trial"), parts.join(", "));
        if let Some(best) = self.best.get(stage) {
            phrase += &format!(", best {}", text::number(*best));
        }
        Some(phrase)
    }

    /// Gives the metrics of stages: a row for a stage, and for each group within it (the metrics
    /// `ridge.rmse` and `ridge.mae` are the group `ridge`). Stages with the same metrics share a
    /// table.
    fn metrics_tables(&self) -> Vec<String> {
        let mut blocks: Vec<Block> = Vec::new();
        for (stage, finished) in self.in_order().filter(|(_, stage)| !stage.metrics.is_empty()) {
            let block = Block::of(stage, &finished.metrics);
            match blocks.iter_mut().find(|other| other.columns == block.columns) {
                Some(other) => other.rows.extend(block.rows),
                None => blocks.push(block),
            }
        }
        blocks.iter().flat_map(|block| [vec![String::new()], block.lines()].concat()).collect()
    }

    fn placed(&self) -> Option<String> {
        let count = self.placed.len() as u64;
        let folder = self.placed.iter().filter_map(|path| path.parent()).reduce(common_folder)?;
        let artifacts = text::counted(count, "artifact");
        Some(format!("placed {artifacts} in {}", text::path(folder, &self.base)))
    }
}

fn common_folder<'a>(a: &'a Path, b: &'a Path) -> &'a Path {
    a.ancestors().find(|folder| b.starts_with(folder)).unwrap_or(Path::new(""))
}

/// Metrics that share a table.
struct Block {
    columns: BTreeSet<String>,
    rows: Vec<(String, BTreeMap<String, f64>)>,
}

impl Block {
    fn of(stage: &str, metrics: &BTreeMap<String, f64>) -> Block {
        let mut rows: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
        for (name, value) in metrics {
            let (group, name) = name.rsplit_once('.').unwrap_or(("", name));
            rows.entry(group).or_default().insert(name.to_owned(), *value);
        }
        let columns = rows.values().flat_map(|row| row.keys().cloned()).collect();
        let label = |group: &str| match group {
            "" => stage.to_owned(),
            group => format!("{stage} {group}"),
        };
        let rows = rows.into_iter().map(|(group, row)| (label(group), row)).collect();
        Block { columns, rows }
    }

    fn lines(&self) -> Vec<String> {
        if self.columns.len() > COLUMNS { self.long() } else { self.wide() }
    }

    fn wide(&self) -> Vec<String> {
        let mut table = table(&[]);
        let names = self.columns.iter().map(String::as_str);
        table.set_header([""].into_iter().chain(names));
        for (label, row) in &self.rows {
            let cell = |name| row.get(name).map_or(String::new(), |value| text::number(*value));
            table.add_row([label.clone()].into_iter().chain(self.columns.iter().map(cell)));
        }
        align_right(&mut table, 1..=self.columns.len());
        rendered(&table)
    }

    fn long(&self) -> Vec<String> {
        let mut table = table(&["", "metric", "value"]);
        for (label, row) in &self.rows {
            for (at, (name, value)) in row.iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                table.add_row([label, name, &text::number(*value)]);
            }
        }
        align_right(&mut table, [2]);
        rendered(&table)
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    // No line but the one below the header.
    table.load_preset(presets::NOTHING);
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─');
    table.set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    table
}

fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn rendered(table: &Table) -> Vec<String> {
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Says in one line what the run came to: `done: 5 ran, 0 cached in 1 m 02 s`.
fn one_line(run_finished: &Event) -> Option<String> {
    let Event::RunFinished { outcome, ran, cached, failed, skipped, cancelled, seconds } =
        run_finished
    else {
        return None;
    };
    let count = |count: usize, word: &str| format!("{} {word}", text::count(count as u64));
    let some = |number: usize, word| (number > 0).then(|| count(number, word));
    let (head, parts) = match outcome {
        RunOutcome::Done if *ran == 0 => ("nothing to do", vec![count(*cached, "cached")]),
        RunOutcome::Done => (outcome.name(), vec![count(*ran, "ran"), count(*cached, "cached")]),
        RunOutcome::Failed | RunOutcome::Interrupted => {
            let rest = [some(*skipped, "skipped"), some(*cancelled, "cancelled")];
            let first = [some(*failed, "failed"), some(*ran, "ran"), some(*cached, "cached")];
            (outcome.name(), first.into_iter().chain(rest).flatten().collect())
        }
    };
    let took = text::duration(*seconds);
    let parts = parts.join(", ");
    let next = match outcome {
        RunOutcome::Interrupted => "; what is finished is kept: run again to go on",
        RunOutcome::Done | RunOutcome::Failed => "",
    };
    Some(format!("{head}: {parts} in {took}{next}"))
}
