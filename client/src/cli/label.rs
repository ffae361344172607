//! Words for enum values: their names without the prefix that the contract needs. One that this client does not know
//! is shown by number.

use haul_proto::v1::{
    Batch, FailureClass, FailureGroup, OverlapPolicy, Progress, attempt, batch, breaker, item,
};

use super::number;

/// `RUNNING`, `COMPLETED`, ...
pub fn batch_state(state: i32) -> String {
    batch::State::try_from(state)
        .map_or_else(|_| state.to_string(), |known| short(known.as_str_name(), "STATE_"))
}

/// `SUCCEEDED`, `FAILED`, ...
pub fn item_state(state: i32) -> String {
    item::State::try_from(state)
        .map_or_else(|_| state.to_string(), |known| short(known.as_str_name(), "STATE_"))
}

/// `SUCCEEDED`, `FAILED`, ...
pub fn attempt_outcome(outcome: i32) -> String {
    attempt::Outcome::try_from(outcome)
        .map_or_else(|_| outcome.to_string(), |known| short(known.as_str_name(), "OUTCOME_"))
}

/// `TEMPORARY`, `PERMANENT`, `SYSTEM`.
pub fn failure_class(class: i32) -> String {
    FailureClass::try_from(class)
        .map_or_else(|_| class.to_string(), |known| short(known.as_str_name(), "FAILURE_CLASS_"))
}

/// `SKIP`, `BUFFER_ONE`, ...
pub fn overlap_policy(policy: i32) -> String {
    OverlapPolicy::try_from(policy)
        .map_or_else(|_| policy.to_string(), |known| short(known.as_str_name(), "OVERLAP_POLICY_"))
}

/// `CLOSED`, `TRIPPED`, `PROBING`.
pub fn breaker_state(state: i32) -> String {
    breaker::State::try_from(state)
        .map_or_else(|_| state.to_string(), |known| short(known.as_str_name(), "STATE_"))
}

/// The state and, where there is one, its cause: `PAUSED, USER_PAUSE (lunch)`, `STOPPED, USER_STOP`.
pub fn batch_state_with_cause(batch: &Batch) -> String {
    let (reason, message) = if batch.pause_reason.is_empty() {
        (&batch.end_reason, &batch.end_message)
    } else {
        (&batch.pause_reason, &batch.pause_message)
    };
    let mut text = batch_state(batch.state);
    if !reason.is_empty() {
        text.push_str(", ");
        text.push_str(reason);
    }
    if !message.is_empty() {
        text.push_str(" (");
        text.push_str(message);
        text.push(')');
    }
    text
}

/// Failures by reason, in the order given: `9 NOT_FOUND 404, 1 CODE_NOT_LISTED`.
pub fn failures(groups: &[FailureGroup]) -> String {
    let group = |group: &FailureGroup| match group.http_status {
        0 => format!("{} {}", number::count(group.items), group.reason),
        status => format!("{} {} {status}", number::count(group.items), group.reason),
    };
    groups.iter().map(group).collect::<Vec<_>>().join(", ")
}

/// Items in flight, which may be more than there are workers: those that a worker is at, and those whose attempt is over
/// and not committed yet.
pub(crate) fn in_flight(progress: &Progress) -> [(i64, &'static str); 2] {
    let at_work = progress.in_flight_items.min(progress.active_workers.into());
    [(at_work, "in flight"), (progress.in_flight_items - at_work, "to be recorded")]
}

/// A batch's id: its name without the collection.
pub fn batch_id(name: &str) -> &str {
    name.strip_prefix("batches/").unwrap_or(name)
}

fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}
