//! A batch's own rules, ready to be asked: patterns are compiled once, for all replies.

use std::{borrow::Cow, fmt, ops::RangeInclusive};

use regex::bytes::{Regex, RegexBuilder};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::{
    request::Response,
    rule::{FailureRule, statuses},
    text,
};

/// How much of a body, or of the value in it, a pattern is looked for in.
const SEARCHED_BYTES: usize = 64 * 1024;
/// Largest compiled pattern, and largest cache of one.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Longest piece of a body that a message quotes.
const QUOTE_BYTES_MAX: usize = 200;

/// A pattern as rules have it, or what is wrong with it, in words that follow it.
pub fn pattern(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            format!("takes more than {COMPILED_BYTES_MAX} bytes compiled: repeat less in it")
        }
        error => {
            // The last line says what is wrong, those before it show where.
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            format!("is no regular expression: {}", last.trim_start_matches("error: "))
        }
    })
}

/// The steps of a JSON pointer (RFC 6901); nothing where it is none.
pub fn pointer(text: &str) -> Option<Vec<String>> {
    let Some(steps) = text.strip_prefix('/') else { return text.is_empty().then(Vec::new) };
    let is_escaped = |step: &str| step.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    let plain = |step: &str| is_escaped(step).then(|| step.replace("~1", "/").replace("~0", "~"));
    steps.split('/').map(plain).collect()
}

/// The rules of a spec.
#[derive(Default)]
pub struct Rules(Vec<Compiled>);

struct Compiled {
    rule: FailureRule,
    statuses: Vec<RangeInclusive<u16>>,
    body: Option<Regex>,
    steps: Vec<String>,
}

/// The first rule that a reply meets.
pub(super) struct Match<'a> {
    pub(super) place: usize,
    pub(super) rule: &'a FailureRule,
    /// What its pattern was found to be in the body.
    pub(super) found: Option<String>,
}

impl Rules {
    /// Compiles them. Those of a stored spec were checked when it was made.
    pub fn new(rules: &[FailureRule]) -> Result<Self, String> {
        rules.iter().map(Compiled::new).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn first(&self, response: &Response) -> Option<Match<'_>> {
        self.0.iter().enumerate().find_map(|(place, compiled)| compiled.meets(response, place))
    }
}

impl Compiled {
    fn new(rule: &FailureRule) -> Result<Self, String> {
        let unread = |field: &str| format!("{field} of a rule cannot be read: {rule:?}");
        let ranges: Option<Vec<_>> = rule.statuses.iter().map(|text| statuses(text)).collect();
        let body = (!rule.body_regex.is_empty()).then(|| pattern(&rule.body_regex)).transpose();
        Ok(Self {
            rule: rule.clone(),
            statuses: ranges.ok_or_else(|| unread("statuses"))?,
            body: body.map_err(|problem| format!("{:?} {problem}", rule.body_regex))?,
            steps: pointer(&rule.json_pointer).ok_or_else(|| unread("json_pointer"))?,
        })
    }

    fn meets(&self, response: &Response, place: usize) -> Option<Match<'_>> {
        let of_status =
            self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&response.status));
        if !of_status {
            return None;
        }
        let found = match &self.body {
            None => None,
            Some(pattern) => Some(self.find(pattern, &response.body)?),
        };
        Some(Match { place, rule: &self.rule, found })
    }

    fn find(&self, pattern: &Regex, body: &[u8]) -> Option<String> {
        let text: Cow<'_, [u8]> =
            if self.steps.is_empty() { body.into() } else { value_at(body, &self.steps)?.into() };
        let found = pattern.find(&text[..text.len().min(SEARCHED_BYTES)])?;
        Some(text::cut(&String::from_utf8_lossy(found.as_bytes()), QUOTE_BYTES_MAX))
    }
}

/// A value in a JSON body: a string as it is, any other as JSON. What is not asked for is passed over, not built.
fn value_at(body: &[u8], steps: &[String]) -> Option<Vec<u8>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = At(steps).deserialize(&mut json).ok()??;
    json.end().ok()?;
    Some(match value {
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}

/// Reads the value that these steps lead to.
struct At<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Value>, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(json).map(Some);
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Value>;

    fn expecting(&self, words: &mut fmt::Formatter<'_>) -> fmt::Result {
        words.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut value = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.0[0] {
                value = map.next_value_seed(At(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<Value>, A::Error> {
        let place = self.0[0].parse::<usize>().ok().filter(|place| place.to_string() == self.0[0]);
        let mut value = None;
        for nth in 0.. {
            if Some(nth) == place {
                let Some(found) = list.next_element_seed(At(&self.0[1..]))? else { break };
                value = found;
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(value)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }
}
