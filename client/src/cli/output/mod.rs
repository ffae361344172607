//! What commands print: tables for people, canonical JSON and YAML for programs.

mod attempt;
mod missing;
mod plan;
mod table;
mod upstream;
mod view;

use std::io::{self, Write};

use chrono::{DateTime, FixedOffset};
use clap::ValueEnum;
use haul_proto::v1::{self, start_batch_response::Outcome};
use prost::Message;
use serde_json::{Value, json};

pub(crate) use self::table::{Align, Table};
use crate::cli::{
    clock,
    json::{self as canonical, JsonError},
    number, report,
};

/// How to print.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people; may change between releases.
    #[default]
    Table,
    /// Canonical protobuf JSON, one document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Prints resources in one format.
#[derive(Clone, Debug)]
pub struct Output {
    format: Format,
    width: Option<u16>,
    now: DateTime<FixedOffset>,
}

impl Output {
    /// Output as wide as the terminal; in full where there is none.
    pub fn new(format: Format) -> Self {
        Self { format, width: None, now: clock::now() }
    }

    /// Output of a fixed width, at a fixed time.
    #[must_use]
    pub fn fixed(format: Format, width: u16, now: DateTime<FixedOffset>) -> Self {
        Self { format, width: Some(width), now }
    }

    /// The format asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// One batch, its spec included.
    pub fn batch(&self, batch: &v1::Batch, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Table => view::batch(batch, None, self.now, self.width, out),
            _ => self.document(&resource(canonical::batch(batch))?, out),
        }
    }

    /// One batch, and what it waits for as long as it is QUEUED. A document has the batch alone.
    pub fn batch_that_waits(
        &self,
        batch: &v1::Batch,
        waits_for: Option<String>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match self.format {
            Format::Table => view::batch(batch, waits_for, self.now, self.width, out),
            _ => self.batch(batch, out),
        }
    }

    /// What a call that makes a batch came to: its name, or its report once it has ended. A document has the answer,
    /// `batch` and `outcome`, and with it the `report`.
    pub fn started(
        &self,
        outcome: Outcome,
        batch: &v1::Batch,
        report: Option<&v1::Report>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut started = match (self.format, report) {
            (Format::Table, Some(report)) => return self.end(batch, report, out),
            (Format::Table, None) => return writeln!(out, "{}", batch.name),
            _ => json!({"batch": resource(canonical::batch(batch))?, "outcome": outcome.as_str_name()}),
        };
        if let Some(report) = report {
            started["report"] = resource(canonical::report(report))?;
        }
        self.document(&started, out)
    }

    /// Batches in the order given; a document has them as `batches`.
    pub fn batches(&self, batches: &[v1::Batch], out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Table => view::batches(batches, self.now, self.width, out),
            _ => self.document(&json!({"batches": resources(batches, canonical::batch)?}), out),
        }
    }

    /// Items in the order given; a document has them as `items`.
    pub fn items(&self, items: &[v1::Item], out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Table => view::items(items, self.width, out),
            _ => self.document(&json!({"items": resources(items, canonical::item)?}), out),
        }
    }

    /// Attempts in the order given; a document has them as `attempts`.
    pub fn attempts(&self, attempts: &[v1::Attempt], out: &mut impl Write) -> io::Result<()> {
        let document = |attempt: &v1::Attempt| canonical::to_json("haul.v1.Attempt", attempt);
        match self.format {
            Format::Table => attempt::table(attempts, self.width, out),
            _ => self.document(&json!({"attempts": resources(attempts, document)?}), out),
        }
    }

    /// The report of a batch.
    pub fn report(&self, batch: &v1::Batch, report: &v1::Report, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Table => report::render(batch, report, self.now, out),
            _ => self.document(&resource(canonical::report(report))?, out),
        }
    }

    /// How a batch ended: the report; a document has both, as `batch` and `report`.
    pub fn end(&self, batch: &v1::Batch, report: &v1::Report, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Table {
            return report::render(batch, report, self.now, out);
        }
        let end = json!({
            "batch": resource(canonical::batch(batch))?,
            "report": resource(canonical::report(report))?,
        });
        self.document(&end, out)
    }

    /// What a batch would do; a document has its spec with the defaults too, as `batch` and `plan`.
    pub fn plan(&self, batch: &v1::Batch, plan: &v1::Plan, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Table {
            return plan::render(batch, plan, self.now, self.width, out);
        }
        let planned = json!({
            "batch": resource(canonical::batch(batch))?,
            "plan": resource(canonical::to_json("haul.v1.Plan", plan))?,
        });
        self.document(&planned, out)
    }

    /// One message of a stream as a document of its own, such as `haul.v1.WatchProgressResponse`: a line of JSON, or YAML
    /// behind a line of `---`. A table has no such thing.
    pub fn message<M: Message>(&self, full_name: &str, message: &M, out: &mut impl Write) -> io::Result<()> {
        let json = resource(canonical::to_json(full_name, message))?;
        if self.format == Format::Yaml {
            out.write_all(b"---\n")?;
            return self.document(&json, out);
        }
        serde_json::to_writer(&mut *out, &json)?;
        writeln!(out)
    }

    /// One upstream.
    pub fn upstream(&self, upstream: &v1::Upstream, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Table => upstream::lines(upstream, self.now, self.width, out),
            _ => self.document(&resource(canonical::to_json("haul.v1.Upstream", upstream))?, out),
        }
    }

    /// Upstreams in the order given; a document has them as `upstreams`.
    pub fn upstreams(&self, upstreams: &[v1::Upstream], out: &mut impl Write) -> io::Result<()> {
        let document = |upstream: &v1::Upstream| canonical::to_json("haul.v1.Upstream", upstream);
        match self.format {
            Format::Table => upstream::table(upstreams, self.now, self.width, out),
            _ => self.document(&json!({"upstreams": resources(upstreams, document)?}), out),
        }
    }

    /// Missing keys in the order given; a document has them as `missingKeys`.
    pub fn missing_keys(&self, keys: &[v1::MissingKey], out: &mut impl Write) -> io::Result<()> {
        let document = |key: &v1::MissingKey| canonical::to_json("haul.v1.MissingKey", key);
        match self.format {
            Format::Table => missing::table(keys, self.now, self.width, out),
            _ => self.document(&json!({"missingKeys": resources(keys, document)?}), out),
        }
    }

    /// How many missing keys were forgotten.
    pub fn cleared(&self, count: i64, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Table {
            return writeln!(out, "{} forgotten", number::plural(count, "key", "keys"));
        }
        self.document(&json!({ "clearedCount": count.to_string() }), out)
    }

    /// A batch that was deleted.
    pub fn deleted(&self, name: &str, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Table {
            return writeln!(out, "{name}  deleted");
        }
        self.document(&json!({ "name": name, "deleted": true }), out)
    }

    /// A batch that was to be deleted and was not there; since when, where that is known.
    pub fn not_deleted(&self, name: &str, purge_time: Option<&str>, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Table {
            let since = purge_time.map(|at| format!(": it was deleted at {at}")).unwrap_or_default();
            return writeln!(out, "{name}  was not there{since}");
        }
        self.document(&json!({ "name": name, "deleted": false }), out)
    }

    /// A document that is no resource of the contract's.
    pub(crate) fn document(&self, document: &Value, out: &mut impl Write) -> io::Result<()> {
        if self.format == Format::Yaml {
            let text = serde_norway::to_string(document).map_err(io::Error::other)?;
            out.write_all(text.as_bytes())
        } else {
            serde_json::to_writer_pretty(&mut *out, document)?;
            writeln!(out)
        }
    }
}

fn resource(json: Result<Value, JsonError>) -> io::Result<Value> {
    json.map_err(io::Error::other)
}

fn resources<T>(list: &[T], to_json: fn(&T) -> Result<Value, JsonError>) -> io::Result<Vec<Value>> {
    list.iter().map(|item| resource(to_json(item))).collect()
}
