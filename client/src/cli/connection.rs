//! What is said of a stream that breaks: once that it is lost, and once that it is back.

use std::io::{self, Write};

use crate::{Error, error::innermost_cause};

/// One stream, over however many connections.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    is_lost: bool,
}

impl Connection {
    /// What to say of a stream that was cut, unless it was said before.
    pub(crate) fn lost(&mut self, attempt: u32, error: &Error) -> Option<String> {
        // A server that leaves in good order is back, or another is there, by the first try.
        if attempt == 1 && error.reason() == Some("SERVER_DRAINING") {
            return None;
        }
        if std::mem::replace(&mut self.is_lost, true) {
            return None;
        }
        let why = innermost_cause(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Some(format!("connection lost ({error}{why}), reconnecting; what was started goes on"))
    }

    /// Says it on standard error. What cannot be said there is lost with it, and nothing else.
    pub(crate) fn tell_lost(&mut self, attempt: u32, error: &Error) {
        let _ = self.lost(attempt, error).map(|text| writeln!(io::stderr(), "haul: {text}"));
    }

    /// Says it on standard error.
    pub(crate) fn tell_back(&mut self) {
        let _ = self.back().map(|text| writeln!(io::stderr(), "haul: {text}"));
    }

    /// What to say of one that is open again, if its loss was said.
    pub(crate) fn back(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.is_lost).then_some("connected again")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use tonic::Code;

    use super::*;
    use crate::Refusal;

    #[test]
    fn a_loss_and_its_end_are_said_once_each() {
        let silent = || Error::NoAnswer { server: "http://here".to_owned(), after: Duration::from_secs(45) };
        let leaving = Error::Refused(Box::new(Refusal {
            code: Code::Unavailable,
            reason: "SERVER_DRAINING".to_owned(),
            message: "the server is leaving".to_owned(),
            violations: Vec::new(),
            metadata: HashMap::new(),
            retry_after: None,
        }));
        let mut connection = Connection::default();
        assert_eq!((connection.lost(1, &leaving), connection.back()), (None, None), "it is back at once");
        assert_eq!(connection.lost(1, &leaving), None);
        assert_eq!(
            connection.lost(2, &silent()).unwrap(),
            "connection lost (no answer from http://here within 45s), reconnecting; what was started goes on"
        );
        assert_eq!((connection.lost(3, &silent()), connection.lost(4, &leaving)), (None, None));
        assert_eq!((connection.back(), connection.back()), (Some("connected again"), None));
    }
}
