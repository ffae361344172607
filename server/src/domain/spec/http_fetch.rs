//! Settings of requests to any HTTP API.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::domain::request::Method;

/// One request per item, made of templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpFetch {
    /// Request method.
    pub method: Method,
    /// Template of the URL.
    pub url_template: String,
    /// Templates of headers, by name in lower case.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Statuses of a success.
    pub accept_statuses: Vec<Statuses>,
    /// Where bodies go.
    pub placement: Placement,
}

/// Where bodies go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Placement {
    /// Into the dataset.
    Store,
    /// Nowhere: they are counted and hashed.
    Discard,
}

/// HTTP statuses, from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// What `parse` takes, in words.
    pub const PATTERN: &str =
        "a status such as \"200\", a class such as \"2xx\" or a range such as \"200-204\", of 200 to 599";
    /// 200 to 299.
    pub const SUCCESS: Self = Self { first: 200, last: 299 };

    /// The statuses of a text such as `200`, `2xx` or `200-204`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) => (status(&format!("{class}00"))?, status(&format!("{class}99"))?),
            (None, Some((first, last))) => (status(first)?, status(last)?),
            (None, None) => (status(text)?, status(text)?),
        };
        (first <= last).then_some(Self { first, last })
    }

    /// The status is one of them.
    pub fn has(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|status| digits && (200..=599).contains(status))
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = *self;
        match (first % 100, last - first) {
            (_, 0) => write!(f, "{first}"),
            (0, 99) => write!(f, "{}xx", first / 100),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Statuses;

    #[test]
    fn statuses_are_one_a_class_or_a_range_and_are_shown_as_they_were_written() {
        for (text, has, has_not) in [
            ("200", &[200][..], &[199, 201][..]),
            ("2xx", &[200, 204, 299], &[199, 300]),
            ("5xx", &[500, 599], &[499]),
            ("200-204", &[200, 203, 204], &[199, 205]),
            ("200-399", &[200, 302, 399], &[400]),
            ("404-404", &[404], &[403, 405]),
        ] {
            let statuses = Statuses::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert!(has.iter().all(|status| statuses.has(*status)), "{text}");
            assert!(!has_not.iter().any(|status| statuses.has(*status)), "{text}");
            let shown = statuses.to_string();
            assert_eq!(Statuses::parse(&shown), Some(statuses), "{shown}");
        }
        assert_eq!(Statuses::SUCCESS.to_string(), "2xx");
    }

    #[test]
    fn anything_else_is_no_status() {
        for text in [
            "",
            "20",
            "2000",
            "2x",
            "xx",
            "20x",
            "2XX",
            "x00",
            "+20",
            " 200",
            "204-200",
            "200-",
            "-204",
            "200-204-206",
            "1xx",
            "100",
            "600",
            "6xx",
            "99-200",
            "二百",
        ] {
            assert_eq!(Statuses::parse(text), None, "{text:?}");
        }
    }
}
