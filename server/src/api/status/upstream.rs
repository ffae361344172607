//! What goes wrong with upstreams.

use tonic::{Code, Status};

use super::{Answer, store};
use crate::{control::UpstreamError, domain::upstream::UpstreamId};

pub(super) fn upstream(error: UpstreamError) -> Status {
    match error {
        UpstreamError::NotFound(id) => {
            let message = format!(
                "there is no {}: no batch has used it, and nothing is set of it (UpdateUpstream with allow_missing)",
                id.name()
            );
            answer(Code::NotFound, "UPSTREAM_NOT_FOUND", message, &id).status()
        }
        UpstreamError::EtagMismatch(id, configured) => {
            let etag = configured.etag(&id);
            let message = format!(
                "the limits of {} are others by now: read it again, and decide with etag {etag}",
                id.name()
            );
            answer(Code::Aborted, "ETAG_MISMATCH", message, &id).with("current_etag", etag).status()
        }
        UpstreamError::Store(error) => store(&error),
    }
}

fn answer(code: Code, reason: &'static str, message: String, id: &UpstreamId) -> Answer {
    let mut answer = Answer::new(code, reason, message).with("name", id.name());
    answer.details.set_resource_info("haul.v1.Upstream", id.name(), "", "");
    answer
}
