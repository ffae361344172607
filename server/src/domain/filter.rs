//! Filters: the part of AIP-160 that the contract takes, read once, typed, and then asked of values in memory or, by a
//! store, of rows.
//!
//! ```text
//! expression  = factor {"AND" factor}
//! factor      = term {"OR" term}                      OR binds tighter than AND
//! term        = ["NOT" | "-"] (restriction | "(" expression ")")
//! restriction = field ("=" | "!=" | "<" | "<=" | ">" | ">=" | ":") value
//! field       = word {"." (word | quoted)}
//! ```
//!
//! A value is a run of characters without blanks, or stands between quotes. What is absent counts as the empty text or
//! 0, as on the wire; an absent instant is neither before, nor after, nor at another one. `!=` holds exactly where `=`
//! does not. Texts are compared byte by byte, instants by the millisecond.

use std::{borrow::Cow, fmt};

use chrono::{DateTime, Utc};

use super::{id::BatchId, item::State};

mod field;
#[cfg(test)]
mod fuzz;
mod grammar;
#[cfg(test)]
mod tests;

pub use field::{BatchField, ItemField, UpstreamField};
use grammar::{Expression, Operator, Restriction, Word};

/// Longest filter.
pub const FILTER_BYTES_MAX: usize = 2_048;
/// Deepest parentheses.
pub const FILTER_DEPTH_MAX: usize = 8;

/// A filter over the fields `F`. An empty one takes everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter<F> {
    condition: Option<Condition<F>>,
}

/// What a filter asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition<F> {
    /// All of them hold.
    All(Vec<Self>),
    /// One of them holds at least.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// The field's value is so.
    Compare {
        /// Which field.
        field: F,
        /// How it compares to `value`.
        order: Order,
        /// Of the field's type.
        value: Value,
    },
    /// There is such a label.
    Label {
        /// Its key.
        key: String,
        /// Its value; nothing for any.
        value: Option<String>,
    },
}

/// How a field compares to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same.
    Equal,
    /// Below it.
    Less,
    /// Not above it.
    LessOrEqual,
    /// Above it.
    Greater,
    /// Not below it.
    GreaterOrEqual,
}

/// What a field is compared to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, or the word of a closed set.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// An instant, in milliseconds since the epoch.
    Instant(i64),
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum<'a> {
    /// Text, or a word of a closed set; empty where there is none.
    Text(Cow<'a, str>),
    /// A whole number; 0 where there is none.
    Whole(i64),
    /// An instant.
    Instant(Option<DateTime<Utc>>),
    /// Labels: asked for one by one.
    Labels,
}

/// What a field may be compared to.
#[derive(Clone, Copy)]
pub enum Type {
    /// Any text.
    Text,
    /// A batch's name, in full.
    Name,
    /// One of these words, and only whether it is that one.
    Words(fn() -> Vec<&'static str>),
    /// A whole number.
    Whole,
    /// An instant.
    Instant,
    /// Texts by key.
    Labels,
}

/// The fields that a kind of thing may be filtered by.
pub trait Field: Copy + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Name as callers write it, field, type.
    const TABLE: &'static [(&'static str, Self, Type)];
}

/// What a filter over the fields `F` may be asked of.
pub trait Subject<F> {
    /// The value of a field.
    fn datum(&self, field: F) -> Datum<'_>;
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct FilterError {
    /// Where it is, counted in characters from 1.
    pub column: usize,
    /// For people.
    pub problem: String,
}

impl<F: Field> Filter<F> {
    /// Takes everything.
    pub const ALL: Self = Self { condition: None };

    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_over(text, |_| true)
    }

    /// Reads a filter that may name only some fields.
    pub fn parse_over(text: &str, may_name: impl Fn(F) -> bool) -> Result<Self, FilterError> {
        let fault = |(at, problem): (usize, String)| FilterError {
            column: text.get(..at).map_or(0, |before| before.chars().count()) + 1,
            problem,
        };
        if text.len() > FILTER_BYTES_MAX {
            let at = text.floor_char_boundary(FILTER_BYTES_MAX);
            return Err(fault((at, format!("the filter is longer than {FILTER_BYTES_MAX} bytes"))));
        }
        let Some(expression) = grammar::read(text).map_err(fault)? else { return Ok(Self::ALL) };
        let condition = typed(expression, &may_name).map_err(fault)?;
        Ok(Self { condition: Some(condition) })
    }

    /// What both take.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both: Vec<Condition<F>> = self.condition.into_iter().chain(other.condition).collect();
        Self { condition: (!both.is_empty()).then_some(Condition::All(both)) }
    }

    /// What it asks; nothing where it takes everything.
    pub fn condition(&self) -> Option<&Condition<F>> {
        self.condition.as_ref()
    }

    /// Whether it takes this one.
    pub fn matches(&self, subject: &impl Subject<F>) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds(subject))
    }
}

/// What a retry takes that is not told.
pub const RETRIED: &str = "state = CANCELED OR (state = FAILED AND error.failure_class != PERMANENT)";

impl Filter<ItemField> {
    /// Of the items that a filter takes those that a retry does: none that succeeded.
    pub fn retried(text: &str) -> Result<Self, FilterError> {
        let value = Value::Text(State::Succeeded.as_str().to_owned());
        let succeeded = Condition::Compare { field: ItemField::State, order: Order::Equal, value };
        Ok(Self::parse(text)?.and(Self { condition: Some(Condition::Not(Box::new(succeeded))) }))
    }
}

impl<F: Field> Condition<F> {
    fn holds(&self, subject: &impl Subject<F>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|condition| condition.holds(subject)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(subject)),
            Self::Not(condition) => !condition.holds(subject),
            Self::Compare { field, order, value } => {
                let found = match (subject.datum(*field), value) {
                    (Datum::Text(datum), Value::Text(value)) => Some(datum.as_ref().cmp(value)),
                    (Datum::Whole(datum), Value::Whole(value)) => Some(datum.cmp(value)),
                    (Datum::Instant(datum), Value::Instant(value)) => {
                        datum.map(|datum| datum.timestamp_millis().cmp(value))
                    }
                    _ => None,
                };
                found.is_some_and(|found| order.takes(found))
            }
            Self::Label { key, value } => {
                subject.label(key).is_some_and(|found| value.as_ref().is_none_or(|value| found == value))
            }
        }
    }
}

impl Order {
    fn takes(self, found: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }
}

/// Byte offset and what is wrong there.
type Fault = (usize, String);

fn typed<F: Field>(expression: Expression, may_name: &impl Fn(F) -> bool) -> Result<Condition<F>, Fault> {
    let each = |expressions: Vec<Expression>| {
        expressions.into_iter().map(|expression| typed(expression, may_name)).collect::<Result<_, _>>()
    };
    Ok(match expression {
        Expression::All(all) => Condition::All(each(all)?),
        Expression::Any(any) => Condition::Any(each(any)?),
        Expression::Not(inner) => Condition::Not(Box::new(typed(*inner, may_name)?)),
        Expression::Is(restriction) => restricted(restriction, may_name)?,
    })
}

fn restricted<F: Field>(asked: Restriction, may_name: &impl Fn(F) -> bool) -> Result<Condition<F>, Fault> {
    let known = || F::TABLE.iter().filter(|(_, field, _)| may_name(*field));
    let Restriction { path, operator, operator_at, value } = asked;
    let at = path[0].at;
    let name = path.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(".");
    let found = known().find(|(known, _, shape)| {
        *known == name || (matches!(shape, Type::Labels) && path.len() > 1 && *known == path[0].text)
    });
    let Some((known_as, field, shape)) = found else {
        let names: Vec<&str> = known().map(|(name, ..)| *name).collect();
        return Err((at, format!("there is no field {name:?} here; there are {}", names.join(", "))));
    };
    if let Type::Labels = shape {
        let key = name.strip_prefix(known_as).and_then(|rest| rest.strip_prefix('.'));
        return label(key, operator, operator_at, value);
    }
    let (order, negated) = match operator {
        Operator::Equal => (Order::Equal, false),
        Operator::NotEqual => (Order::Equal, true),
        Operator::Less => (Order::Less, false),
        Operator::LessOrEqual => (Order::LessOrEqual, false),
        Operator::Greater => (Order::Greater, false),
        Operator::GreaterOrEqual => (Order::GreaterOrEqual, false),
        Operator::Has => return Err((operator_at, format!(": is for labels only; compare {name} by ="))),
    };
    if matches!(shape, Type::Words(_)) && order != Order::Equal {
        return Err((operator_at, format!("{name} has no order; compare it by = or !=")));
    }
    let condition = Condition::Compare { field: *field, order, value: shape.value(&name, value)? };
    Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
}

fn label<F>(key: Option<&str>, operator: Operator, at: usize, value: Word) -> Result<Condition<F>, Fault> {
    let is_any = value.text == "*" && !value.quoted;
    let (key, value) = match (key, operator) {
        (None, Operator::Has) => (value.text, None),
        (Some(key), Operator::Has) if is_any => (key.to_owned(), None),
        (Some(key), Operator::Has | Operator::Equal | Operator::NotEqual) => {
            (key.to_owned(), Some(value.text))
        }
        _ => {
            let problem = "labels are asked for as labels.key:value, labels.key = value, labels.key != value, \
                           labels.key:* or labels:key";
            return Err((at, problem.to_owned()));
        }
    };
    let condition = Condition::Label { key, value };
    Ok(if operator == Operator::NotEqual { Condition::Not(Box::new(condition)) } else { condition })
}

impl Type {
    fn value(self, name: &str, given: Word) -> Result<Value, Fault> {
        let Word { text, at, quoted } = given;
        match self {
            Self::Text | Self::Labels => Ok(Value::Text(text)),
            // Absent, or a name or its beginning. A bare id would be compared to names, and never match.
            Self::Name if text.is_empty() || text.starts_with(BatchId::COLLECTION) => Ok(Value::Text(text)),
            Self::Name => {
                let full = BatchId::chosen(&text).map_or("batches/nightly".to_owned(), |id| id.name());
                Err((at, format!("{name} is compared to a full name, {full}, not to {text:?}")))
            }
            Self::Words(words) => {
                let words = words();
                if words.contains(&text.as_str()) {
                    return Ok(Value::Text(text));
                }
                Err((at, format!("{text:?} is no value of {name}; there are {}", words.join(", "))))
            }
            Self::Whole => {
                let number = text.parse().ok().filter(|_| !quoted).map(Value::Whole);
                number.ok_or_else(|| (at, format!("{name} is compared to a whole number, not to {text:?}")))
            }
            Self::Instant => {
                let instant = DateTime::parse_from_rfc3339(&text).ok();
                instant.map(|instant| Value::Instant(instant.timestamp_millis())).ok_or_else(|| {
                    let problem = "is compared to an instant such as 2026-02-28T15:00:00Z";
                    (at, format!("{name} {problem}, not to {text:?}"))
                })
            }
        }
    }
}
