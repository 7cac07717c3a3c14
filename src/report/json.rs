//! JSON lines: for programs.

use std::io::Write;
use std::time::Duration;

use super::{Clock, Printer, Reporter, Throttle};
use crate::event::Event;

/// The time between two counts of a stage; a step with metrics always gets its line.
const GAP: Duration = Duration::from_millis(100);

/// Prints each event as a JSON object on a line of its own.
pub struct Json<W> {
    printer: Printer<W>,
    clock: Clock,
    counts: Throttle,
}

impl<W: Write> Json<W> {
    /// Makes a reporter that prints to `out`.
    pub fn new(out: W) -> Json<W> {
        Json { printer: Printer::new(out), clock: Clock::start(), counts: Throttle::new(GAP) }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, event: &Event) {
        if let Event::StageProgress { stage, done, total, metrics, .. } = event
            && metrics.is_empty()
            && done != total
            && !self.counts.pass(stage, self.clock.now())
        {
            return;
        }
        self.printer.print([line(event)]);
    }
}

/// Gives the line of an event. A path that is not Unicode, which JSON cannot hold, is written as
/// near as it can be.
pub fn line(event: &Event) -> String {
    let plain = serde_json::to_string(event);
    plain.unwrap_or_else(|error| match event {
        Event::ArtifactPlaced { stage, path } => {
            let path = path.to_string_lossy();
            serde_json::json!({ "event": "artifact_placed", "stage": stage, "path": path })
                .to_string()
        }
        _ => {
            let message = format!("an event could not be written: {error}");
            serde_json::json!({ "event": "warning", "stage": null, "message": message }).to_string()
        }
    })
}
