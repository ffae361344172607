//! Filters as conditions on rows. What a caller wrote is bound, never part of the statement.

use sqlx::{QueryBuilder, Sqlite};

use crate::domain::filter::{BatchField, Condition, Field, Filter, ItemField, Order, Value};

/// A field as an expression over the row, absent text and numbers being empty and 0.
pub(super) trait Column: Field {
    fn column(self) -> &'static str;
}

impl Column for BatchField {
    /// Over `batch_executions`.
    fn column(self) -> &'static str {
        match self {
            Self::Name => "'batches/' || name",
            Self::Kind => "kind",
            Self::State => "status",
            Self::PauseCause => "coalesce(pause_cause, '')",
            Self::EndReason => "coalesce(end_reason, '')",
            Self::DisplayName => "display_name",
            Self::BatchType => "batch_type",
            Self::Labels => LABELS,
            Self::AsOf => "as_of_at",
            Self::ParentBatch => {
                "CASE WHEN parent_seq IS NULL THEN '' ELSE 'batches/' || json_extract(spec, '$.source.batch_items.batch') END"
            }
            Self::OverlapKey => "coalesce(overlap_key, '')",
            Self::Priority => "priority",
            Self::CreateTime => "created_at",
            Self::StartTime => "started_at",
            Self::EndTime => "ended_at",
        }
    }
}

const LABELS: &str = "json_extract(spec, '$.labels')";

impl Column for ItemField {
    /// Over [`super::query::ITEMS`].
    fn column(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Key => "item_key",
            Self::AttemptCount => "attempts",
            Self::RecordsWritten => "records_inserted",
            Self::SkipReason => "CASE WHEN state = 'SKIPPED' THEN coalesce(error_reason, '') ELSE '' END",
            Self::FailureClass => "coalesce(error_class, '')",
            Self::ErrorReason => "CASE WHEN error_class IS NULL THEN '' ELSE coalesce(error_reason, '') END",
            Self::HttpStatus => "CASE WHEN error_class IS NULL THEN 0 ELSE coalesce(http_status, 0) END",
            Self::UpdateTime => "state_at",
        }
    }
}

/// Adds ` AND …` for a filter that does not take everything.
pub(super) fn push_and<F: Column>(query: &mut QueryBuilder<Sqlite>, filter: &Filter<F>) {
    if let Some(condition) = filter.condition() {
        query.push(" AND ");
        push(query, condition);
    }
}

/// Every condition is true or false, never NULL, so that NOT turns one into the other.
fn push<F: Column>(query: &mut QueryBuilder<Sqlite>, condition: &Condition<F>) {
    match condition {
        Condition::All(all) => join(query, all, " AND "),
        Condition::Any(any) => join(query, any, " OR "),
        Condition::Not(inner) => {
            query.push("(NOT ");
            push(query, inner);
            query.push(")");
        }
        Condition::Compare { field, order, value } => {
            query.push("coalesce((").push(field.column()).push(match order {
                Order::Equal => ") = ",
                Order::Less => ") < ",
                Order::LessOrEqual => ") <= ",
                Order::Greater => ") > ",
                Order::GreaterOrEqual => ") >= ",
            });
            match value {
                Value::Text(text) => query.push_bind(text.clone()),
                Value::Whole(number) | Value::Instant(number) => query.push_bind(*number),
            };
            query.push(", 0)");
        }
        Condition::Label { key, value } => {
            query.push("EXISTS (SELECT 1 FROM json_each(").push(LABELS).push(") l WHERE l.key = ");
            query.push_bind(key.clone());
            if let Some(value) = value {
                query.push(" AND l.value = ").push_bind(value.clone());
            }
            query.push(")");
        }
    }
}

fn join<F: Column>(query: &mut QueryBuilder<Sqlite>, conditions: &[Condition<F>], by: &str) {
    for (n, condition) in conditions.iter().enumerate() {
        query.push(if n == 0 { "(" } else { by });
        push(query, condition);
    }
    query.push(")");
}
