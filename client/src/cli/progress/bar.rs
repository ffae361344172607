//! Progress on a terminal: a bar, and below it what goes on, each line no longer than the terminal is wide.

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Batch, FailureGroup};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::line;
use crate::cli::number;

/// Drawn at most so often a second: a terminal over a slow line is one too.
const DRAWS_PER_SECOND: u8 = 10;
/// Hundredths of a percent, as exact as the percentage is.
const BAR_LENGTH: u64 = 10_000;

pub(super) struct Bar {
    screen: MultiProgress,
    gauge: ProgressBar,
    below: Vec<ProgressBar>,
    batch: Option<Batch>,
    failures: Vec<FailureGroup>,
    waits_for: Option<String>,
    lost: Option<String>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let gauge = screen.add(ProgressBar::new(BAR_LENGTH).with_style(style("{bar:32.cyan/dim} {msg}")));
        Self {
            screen,
            gauge,
            below: Vec::new(),
            batch: None,
            failures: Vec::new(),
            waits_for: None,
            lost: None,
        }
    }

    pub(super) fn batch(&mut self, batch: Batch, now: DateTime<FixedOffset>) {
        self.batch = Some(batch);
        self.draw(now);
    }

    pub(super) fn failures(&mut self, groups: Vec<FailureGroup>, now: DateTime<FixedOffset>) {
        self.failures = groups;
        self.draw(now);
    }

    pub(super) fn waits_for(&mut self, waits_for: Option<String>, now: DateTime<FixedOffset>) {
        self.waits_for = waits_for;
        self.draw(now);
    }

    pub(super) fn lost(&mut self, text: String, now: DateTime<FixedOffset>) {
        self.lost = Some(text);
        self.draw(now);
    }

    pub(super) fn back(&mut self, now: DateTime<FixedOffset>) {
        self.lost = None;
        self.draw(now);
    }

    pub(super) fn draw(&mut self, now: DateTime<FixedOffset>) {
        let mut lines = Vec::new();
        if let Some(batch) = &self.batch {
            let progress = batch.progress.clone().unwrap_or_default();
            self.gauge.set_position((progress.percentage * 100.0) as u64);
            self.gauge.set_message(format!(
                "{} {}",
                line::counts(&progress),
                number::percentage(progress.percentage)
            ));
            lines.push(line::pace(batch, now));
            lines.extend(line::current(batch));
            lines.extend(line::waiting(batch, self.waits_for.as_deref(), now));
        }
        lines.extend(line::failed(&self.failures));
        lines.extend(self.lost.clone());
        self.below(lines);
    }

    /// Clears the display. What is drawn later begins below what was printed.
    pub(super) fn clear(&mut self) {
        // A terminal that is gone needs no clearing.
        let _ = self.screen.clear();
    }

    fn below(&mut self, lines: Vec<String>) {
        while self.below.len() > lines.len() {
            if let Some(line) = self.below.pop() {
                self.screen.remove(&line);
            }
        }
        while self.below.len() < lines.len() {
            let line = ProgressBar::new_spinner().with_style(style("{wide_msg}"));
            self.below.push(self.screen.add(line));
        }
        for (shown, line) in self.below.iter().zip(lines) {
            shown.set_message(line);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_and_go() {
        let now = DateTime::parse_from_rfc3339("2026-02-28T12:00:00Z").unwrap();
        let mut bar = Bar::new();
        bar.screen.set_draw_target(ProgressDrawTarget::hidden());
        bar.batch(Batch::default(), now);
        assert_eq!(bar.below.len(), 1);
        bar.failures(
            vec![FailureGroup { items: 1, reason: "NOT_FOUND".to_owned(), ..FailureGroup::default() }],
            now,
        );
        let shown: Vec<String> = bar.below.iter().map(ProgressBar::message).collect();
        assert_eq!(shown, ["UNSPECIFIED", "failed: 1 NOT_FOUND"]);
        bar.failures(Vec::new(), now);
        assert_eq!(bar.below.len(), 1);
    }
}
