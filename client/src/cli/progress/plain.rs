//! Progress where there is no terminal: a line now and then, and one on each change of state.

use std::{io::Write, time::Duration};

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Batch, FailureGroup};

use super::line;

const INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Plain<W> {
    out: W,
    state: Option<i32>,
    written: Option<DateTime<FixedOffset>>,
    /// What the next line is about, should nothing new come.
    last: Option<Batch>,
    failures: Option<String>,
    waits_for: Option<String>,
    is_lost: bool,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, state: None, written: None, last: None, failures: None, waits_for: None, is_lost: false }
    }

    pub(super) fn batch(&mut self, batch: &Batch, now: DateTime<FixedOffset>) {
        self.last = Some(batch.clone());
        self.line(batch, now);
    }

    /// Time goes by: a batch that stands still is said to.
    pub(super) fn tick(&mut self, now: DateTime<FixedOffset>) {
        if self.is_lost {
            return;
        }
        if let Some(batch) = self.last.take() {
            self.line(&batch, now);
            self.last = Some(batch);
        }
    }

    /// The last line. The report that follows has the failures.
    pub(super) fn end(&mut self, batch: &Batch, now: DateTime<FixedOffset>) {
        self.failures = None;
        self.line(batch, now);
    }

    fn line(&mut self, batch: &Batch, now: DateTime<FixedOffset>) {
        let changed = self.state.replace(batch.state) != Some(batch.state);
        let due =
            self.written.is_none_or(|written| (now - written).to_std().is_ok_and(|age| age >= INTERVAL));
        if !changed && !due {
            return;
        }
        self.written = Some(now);
        self.write(&line::plain(batch, now));
        if let Some(waiting) = line::waiting(batch, self.waits_for.as_deref(), now) {
            self.write(&stamped(now, &waiting));
        }
        if let Some(failures) = self.failures.take() {
            self.write(&stamped(now, &failures));
        }
    }

    /// What it waits for while it is QUEUED is told at once where it is news, and then with each line.
    pub(super) fn waits_for(&mut self, waits_for: Option<String>, now: DateTime<FixedOffset>) {
        if std::mem::replace(&mut self.waits_for, waits_for) == self.waits_for {
            return;
        }
        let said = self.last.as_ref().and_then(|batch| line::waiting(batch, self.waits_for.as_deref(), now));
        if let Some(waiting) = said {
            self.write(&stamped(now, &waiting));
        }
    }

    /// Told with the next line: failures alone are no reason for one.
    pub(super) fn failures(&mut self, groups: &[FailureGroup]) {
        self.failures = line::failed(groups);
    }

    pub(super) fn lost(&mut self, text: &str, now: DateTime<FixedOffset>) {
        self.is_lost = true;
        self.write(&stamped(now, text));
    }

    pub(super) fn back(&mut self, text: &str, now: DateTime<FixedOffset>) {
        self.is_lost = false;
        self.write(&stamped(now, text));
    }

    fn write(&mut self, line: &str) {
        // Whoever closed standard error does not want to read this; the batch is none the worse.
        let _ = writeln!(self.out, "{line}");
    }
}

fn stamped(now: DateTime<FixedOffset>, text: &str) -> String {
    format!("{} {text}", now.format("%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::batch::State;

    use super::*;

    #[test]
    fn what_a_queued_batch_waits_for_is_told_as_soon_as_it_is_known() {
        let start = DateTime::parse_from_rfc3339("2026-02-28T12:00:00Z").unwrap();
        let at = |seconds| start + Duration::from_secs(seconds);
        let batch = |state: State| Batch { state: state.into(), ..Batch::default() };
        let behind = || Some("behind nightly-1 (RUNNING)".to_owned());
        let mut plain = Plain::new(Vec::new());
        plain.batch(&batch(State::Queued), at(0));
        plain.waits_for(behind(), at(1));
        plain.waits_for(behind(), at(2));
        plain.tick(at(5));
        plain.batch(&batch(State::Running), at(6));
        assert_eq!(
            String::from_utf8(plain.out).unwrap(),
            "\
12:00:00 QUEUED 0/0 0.00%
12:00:01 waiting: behind nightly-1 (RUNNING)
12:00:05 QUEUED 0/0 0.00%
12:00:05 waiting: behind nightly-1 (RUNNING)
12:00:06 RUNNING 0/0 0.00% 0 items/min
"
        );
    }

    #[test]
    fn lines_come_every_five_seconds_and_on_changes_of_state() {
        let start = DateTime::parse_from_rfc3339("2026-02-28T12:00:00Z").unwrap();
        let at = |seconds| start + Duration::from_secs(seconds);
        let batch = |state: State| Batch { state: state.into(), ..Batch::default() };
        let mut plain = Plain::new(Vec::new());
        plain.batch(&batch(State::Queued), at(0));
        plain.batch(&batch(State::Queued), at(4));
        plain.batch(&batch(State::Running), at(4));
        plain.batch(&batch(State::Running), at(8));
        plain.lost("lost", at(8));
        plain.tick(at(60));
        plain.back("back", at(61));
        plain.tick(at(61));
        plain.tick(at(65));
        plain.tick(at(66));
        plain.end(&batch(State::Completed), at(67));
        assert_eq!(
            String::from_utf8(plain.out).unwrap(),
            "\
12:00:00 QUEUED 0/0 0.00%
12:00:04 RUNNING 0/0 0.00% 0 items/min
12:00:08 lost
12:01:01 back
12:01:01 RUNNING 0/0 0.00% 0 items/min
12:01:06 RUNNING 0/0 0.00% 0 items/min
12:01:07 COMPLETED 0/0 0.00%
"
        );
    }
}
