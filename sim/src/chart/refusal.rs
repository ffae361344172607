//! Answers that are no chart, in the provider's words where they are known.

use serde_json::Value;

/// Why there is no chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such symbol, or no longer.
    NoSuchSymbol,
    /// The window ends before the first trade.
    BeforeListing {
        from_s: i64,
        to_s: i64,
    },
    /// The window ends before it begins.
    Backwards {
        from_s: i64,
        to_s: i64,
    },
    BadInterval {
        asked: String,
        valid: String,
    },
    BadRange(String),
    BadTime {
        name: &'static str,
        value: String,
    },
    /// Bars within a session are not simulated: the answer is the one for a window too long ago.
    Intraday {
        interval: &'static str,
        window: (String, String),
    },
    /// Always, for a symbol that fails for good.
    Unprocessable,
}

impl Refusal {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NoSuchSymbol => 404,
            Self::BeforeListing { .. }
            | Self::Backwards { .. }
            | Self::BadInterval { .. }
            | Self::BadRange(_)
            | Self::BadTime { .. } => 400,
            Self::Intraday { .. } | Self::Unprocessable => 422,
        }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let code = match self.status() {
            404 => "Not Found",
            400 => "Bad Request",
            _ => "Unprocessable Entity",
        };
        error_body(code, &self.description())
    }

    fn description(&self) -> String {
        match self {
            Self::NoSuchSymbol => "No data found, symbol may be delisted".to_owned(),
            Self::BeforeListing { from_s, to_s } => {
                format!("Data doesn't exist for startDate = {from_s}, endDate = {to_s}")
            }
            Self::Backwards { from_s, to_s } => format!(
                "Invalid input - start date cannot be after end date. startDate = {from_s}, endDate = {to_s}"
            ),
            Self::BadInterval { asked, valid } => {
                format!("Invalid input - interval={asked} is not supported. Valid intervals: [{valid}]")
            }
            Self::BadRange(range) => format!("Invalid input - range={range} is not supported."),
            Self::BadTime { name, value } => format!("Invalid input - {name}={value} is not a time."),
            Self::Intraday { interval, window: (from, to) } => format!(
                "{interval} data not available for startTime={from} and endTime={to}. The requested range must be within the last 60 days."
            ),
            Self::Unprocessable => "Data not available for this symbol.".to_owned(),
        }
    }
}

/// The provider's error envelope.
pub(crate) fn error_body(code: &str, description: &str) -> Vec<u8> {
    let (code, description) = (Value::from(code), Value::from(description));
    format!(r#"{{"chart":{{"result":null,"error":{{"code":{code},"description":{description}}}}}}}"#)
        .into_bytes()
}
