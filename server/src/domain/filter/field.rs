//! The fields, one table each. A new field is a row here, an arm of `datum` and an arm of each store's columns.

use super::{Datum, Field, Subject, Type};
use crate::domain::{
    batch::{self, Batch, Kind, PauseCause},
    failure::FailureClass,
    id::BatchId,
    item::{self, Item},
    upstream::{BreakerState, HoldCause, Upstream},
};

/// What batches may be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the contract")]
pub enum BatchField {
    Name,
    Kind,
    State,
    PauseCause,
    EndReason,
    DisplayName,
    BatchType,
    Labels,
    AsOf,
    ParentBatch,
    OverlapKey,
    Priority,
    CreateTime,
    StartTime,
    EndTime,
}

impl Field for BatchField {
    const TABLE: &'static [(&'static str, Self, Type)] = &[
        ("name", Self::Name, Type::Name),
        ("kind", Self::Kind, Type::Words(|| Kind::WORDS.to_vec())),
        ("state", Self::State, Type::Words(|| batch::State::ALL.map(batch::State::as_str).to_vec())),
        ("pause_cause", Self::PauseCause, Type::Words(|| PauseCause::ALL.map(PauseCause::as_str).to_vec())),
        ("end_reason", Self::EndReason, Type::Text),
        ("display_name", Self::DisplayName, Type::Text),
        ("batch_type", Self::BatchType, Type::Text),
        ("labels", Self::Labels, Type::Labels),
        ("as_of", Self::AsOf, Type::Instant),
        ("parent_batch", Self::ParentBatch, Type::Name),
        ("overlap_key", Self::OverlapKey, Type::Text),
        ("priority", Self::Priority, Type::Whole),
        ("create_time", Self::CreateTime, Type::Instant),
        ("start_time", Self::StartTime, Type::Instant),
        ("end_time", Self::EndTime, Type::Instant),
    ];
}

impl Subject<BatchField> for Batch {
    fn datum(&self, field: BatchField) -> Datum<'_> {
        let word = |word: Option<&'static str>| Datum::Text(word.unwrap_or_default().into());
        match field {
            BatchField::Name => Datum::Text(self.id.name().into()),
            BatchField::Kind => word(Some(self.kind.as_str())),
            BatchField::State => word(Some(self.state.as_str())),
            BatchField::PauseCause => word(self.pause.as_ref().map(|pause| pause.cause.as_str())),
            BatchField::EndReason => word(self.end.as_ref().map(|end| end.reason.as_str())),
            BatchField::DisplayName => Datum::Text(self.spec.display_name.as_str().into()),
            BatchField::BatchType => Datum::Text(self.spec.batch_type.as_str().into()),
            BatchField::Labels => Datum::Labels,
            BatchField::AsOf => Datum::Instant(Some(self.spec.as_of.time)),
            BatchField::ParentBatch => {
                Datum::Text(self.parent().map(BatchId::name).unwrap_or_default().into())
            }
            BatchField::OverlapKey => {
                let overlap = self.spec.overlap.as_ref();
                Datum::Text(overlap.map(|overlap| overlap.key.as_str()).unwrap_or_default().into())
            }
            BatchField::Priority => Datum::Whole(self.spec.priority.into()),
            BatchField::CreateTime => Datum::Instant(Some(self.created_at)),
            BatchField::StartTime => Datum::Instant(self.started_at),
            BatchField::EndTime => Datum::Instant(self.ended_at),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.spec.labels.get(key).map(String::as_str)
    }
}

/// What items may be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the contract")]
pub enum ItemField {
    State,
    Key,
    AttemptCount,
    RecordsWritten,
    SkipReason,
    FailureClass,
    ErrorReason,
    HttpStatus,
    UpdateTime,
}

impl Field for ItemField {
    const TABLE: &'static [(&'static str, Self, Type)] = &[
        ("state", Self::State, Type::Words(|| item::State::ALL.map(item::State::as_str).to_vec())),
        ("key", Self::Key, Type::Text),
        ("attempt_count", Self::AttemptCount, Type::Whole),
        ("records_written", Self::RecordsWritten, Type::Whole),
        ("skip_reason", Self::SkipReason, Type::Text),
        (
            "error.failure_class",
            Self::FailureClass,
            Type::Words(|| FailureClass::ALL.map(FailureClass::as_str).to_vec()),
        ),
        ("error.reason", Self::ErrorReason, Type::Text),
        ("error.http_status", Self::HttpStatus, Type::Whole),
        ("update_time", Self::UpdateTime, Type::Instant),
    ];
}

impl Subject<ItemField> for Item {
    fn datum(&self, field: ItemField) -> Datum<'_> {
        let failure = self.failure.as_ref();
        match field {
            ItemField::State => Datum::Text(self.state.as_str().into()),
            ItemField::Key => Datum::Text(self.key.as_str().into()),
            ItemField::AttemptCount => Datum::Whole(self.attempts.into()),
            ItemField::RecordsWritten => Datum::Whole(self.records_written),
            ItemField::SkipReason => Datum::Text(self.skip_reason.as_deref().unwrap_or_default().into()),
            ItemField::FailureClass => {
                Datum::Text(failure.map(|failure| failure.class.as_str()).unwrap_or_default().into())
            }
            ItemField::ErrorReason => {
                Datum::Text(failure.map(|failure| failure.reason.as_str()).unwrap_or_default().into())
            }
            ItemField::HttpStatus => {
                Datum::Whole(failure.and_then(|failure| failure.http_status).unwrap_or(0).into())
            }
            ItemField::UpdateTime => Datum::Instant(self.updated_at),
        }
    }

    fn label(&self, _: &str) -> Option<&str> {
        None
    }
}

/// What upstreams may be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the contract")]
pub enum UpstreamField {
    Origin,
    Credential,
    BreakerState,
    HoldCause,
    LiveBatches,
}

impl Field for UpstreamField {
    const TABLE: &'static [(&'static str, Self, Type)] = &[
        ("origin", Self::Origin, Type::Text),
        ("credential", Self::Credential, Type::Text),
        (
            "breaker.state",
            Self::BreakerState,
            Type::Words(|| BreakerState::ALL.map(BreakerState::as_str).to_vec()),
        ),
        ("hold_cause", Self::HoldCause, Type::Words(|| HoldCause::ALL.map(HoldCause::as_str).to_vec())),
        ("live_batches", Self::LiveBatches, Type::Whole),
    ];
}

impl Subject<UpstreamField> for Upstream {
    fn datum(&self, field: UpstreamField) -> Datum<'_> {
        match field {
            UpstreamField::Origin => Datum::Text(self.id.url().into()),
            UpstreamField::Credential => Datum::Text("".into()),
            UpstreamField::BreakerState => Datum::Text(self.breaker.as_str().into()),
            UpstreamField::HoldCause => {
                Datum::Text(self.held.as_ref().map(|held| held.cause.as_str()).unwrap_or_default().into())
            }
            UpstreamField::LiveBatches => Datum::Whole(self.live_batches.into()),
        }
    }

    fn label(&self, _: &str) -> Option<&str> {
        None
    }
}
