//! Attempts as a table.

use std::io::{self, Write};

use haul_proto::v1::Attempt;

use super::{Align, Table};
use crate::cli::{label, number};

/// Attempts, a line each: what fits a narrow terminal with some of the message.
pub(super) fn table(attempts: &[Attempt], width: Option<u16>, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        ("INDEX", Align::Right),
        ("KEY", Align::Left),
        ("NO", Align::Right),
        ("OUTCOME", Align::Left),
        ("CHARGED", Align::Left),
        ("TOOK", Align::Right),
        ("RESULT", Align::Left),
        ("MESSAGE", Align::Left),
    ]);
    for attempt in attempts {
        let error = attempt.error.as_ref();
        let result = match (error, attempt.http_status) {
            (None, 0) => String::new(),
            (None, status) => status.to_string(),
            (Some(error), 0) => error.reason.clone(),
            (Some(error), status) => format!("{} {status}", error.reason),
        };
        table.row([
            number::count(attempt.item_index),
            attempt.item_key.clone(),
            attempt.number.to_string(),
            label::attempt_outcome(attempt.outcome),
            if attempt.charged { "yes" } else { "no" }.to_owned(),
            took(attempt),
            result,
            error.map(|error| error.message.clone()).unwrap_or_default(),
        ]);
    }
    table.cut_last(width);
    table.write(0, width, out)
}

/// Milliseconds from its start to its end.
fn took(attempt: &Attempt) -> String {
    let (Some(start), Some(end)) = (&attempt.start_time, &attempt.end_time) else { return String::new() };
    let ms = (end.seconds - start.seconds) * 1_000 + i64::from(end.nanos - start.nanos) / 1_000_000;
    format!("{} ms", number::count(ms.max(0)))
}
