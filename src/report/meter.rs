//! One bar on a terminal, for work outside a run that may take long.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::{Clock, bars, lines};

/// Work that is done sooner is not worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how much is done, on standard error where that is a terminal; cleared when dropped.
pub struct Meter {
    bar: ProgressBar,
    unit: &'static str,
    total: u64,
    clock: Clock,
    terminal: bool,
}

impl Meter {
    /// Begins with nothing of `total` units done; never shows anything where `quiet`.
    pub fn new(unit: &'static str, total: u64, quiet: bool) -> Meter {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let terminal = !quiet && io::stderr().is_terminal() && !super::dumb();
        Meter {
            bar: bar.with_style(bars::counting()),
            unit,
            total,
            clock: Clock::start(),
            terminal,
        }
    }

    /// Shows that so many are done.
    pub fn tell(&mut self, done: u64) {
        if !self.terminal || self.clock.now() < PATIENCE {
            return;
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done);
        self.bar.set_message(lines::progress(self.unit, done, self.total, &Default::default()));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
