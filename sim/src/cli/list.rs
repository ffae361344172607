//! `haul-sim list`.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::Args;

use super::Unusable;

/// Make a list of issues as the exchange's .xls file.
///
/// The same seed, date and count give the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  The list that `serve` serves:
    haul-sim list --out data_j.xls --seed 1 --date 2026-10-31

  A short one of the month before, for a test of what changed:
    haul-sim list --out september.xls --seed 2 --date 2026-09-30 --issues 200")]
pub(super) struct List {
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Decides codes, names and classes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The day the list is of, written in every row
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: NaiveDate,
    /// Rows, spread over the segments [default: about 4,400]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5000))]
    issues: Option<u32>,
}

impl List {
    pub(super) fn run(self) -> Result<(), Unusable> {
        let bytes =
            haul_sim::list_xls(self.seed, self.date.into(), self.issues.map(|issues| issues as usize));
        bytes.and_then(|bytes| std::fs::write(&self.out, bytes)).map_err(|error| Unusable {
            flag: "--out",
            value: self.out.display().to_string(),
            problem: format!(
                "cannot be written ({error}): choose a file in a folder that exists and can be written"
            ),
        })
    }
}
