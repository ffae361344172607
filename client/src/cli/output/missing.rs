//! Keys that are known not to exist, as a table.

use std::io::{self, Write};

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::MissingKey;

use super::{Align, Table};
use crate::cli::{label, time};

/// Missing keys, a line each.
pub(super) fn table(
    keys: &[MissingKey],
    now: DateTime<FixedOffset>,
    width: Option<u16>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new(&[
        ("KEY", Align::Left),
        ("RESULT", Align::Left),
        ("AS OF", Align::Left),
        ("UNTIL", Align::Left),
        ("BATCH", Align::Left),
    ]);
    for missing in keys {
        let result = match missing.http_status {
            0 => missing.reason.clone(),
            status => format!("{} {status}", missing.reason),
        };
        table.row([
            missing.key.clone(),
            result,
            time::date_time(missing.as_of.as_ref(), now).unwrap_or_default(),
            time::date_time(missing.expire_time.as_ref(), now).unwrap_or_default(),
            label::batch_id(&missing.batch).to_owned(),
        ]);
    }
    table.cut_last(width);
    table.write(0, width, out)
}
