//! Pages of which origins may call.
//!
//! A page of another origin gets neither an answer nor a header that would let it read one: with no credentials asked
//! for, a browser on this machine must not be a way in, not even under a name that was made to point here.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::other;

/// What a page may see beside the usual.
const EXPOSED: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];
/// How long a browser need not ask again.
const PREFLIGHT_AGE: Duration = Duration::from_hours(2);

/// Origins that may call.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<HeaderValue>);

/// An origin that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin: one looks like https://example.org or http://localhost:8080, without a path")]
pub struct BadOrigin(String);

impl Origins {
    /// Reads them as browsers send them.
    pub fn parse(texts: &[String]) -> Result<Self, BadOrigin> {
        let origin = |text: &String| {
            let bad = || BadOrigin(text.clone());
            let url = url::Url::parse(text).map_err(|_| bad())?;
            let same =
                url.origin().ascii_serialization() == *text && matches!(url.scheme(), "http" | "https");
            if same { HeaderValue::from_str(text).map_err(|_| bad()) } else { Err(bad()) }
        };
        texts.iter().map(origin).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn cors(&self) -> CorsLayer {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.0.iter().cloned()))
            .allow_methods([Method::POST])
            // Metadata is a caller's own choice.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED)
            .max_age(PREFLIGHT_AGE)
    }
}

/// Lets no page of another origin through.
pub(super) async fn only_allowed(
    State(origins): State<Arc<Origins>>,
    request: Request,
    next: Next,
) -> Response {
    match request.headers().get(header::ORIGIN) {
        Some(origin) if !origins.0.contains(origin) => {
            let said = format!(
                "Pages of {origin:?} may not call this server. Its operator can allow it: allowed_origins.\n"
            );
            other::text(StatusCode::FORBIDDEN, said)
        }
        // Without one there is nobody whom a header could tell anything.
        None if request.method() == Method::OPTIONS => other::nothing_here(request).await,
        _ => {
            let with_origin = request.headers().contains_key(header::ORIGIN);
            let mut response = next.run(request).await;
            if !with_origin {
                response.headers_mut().remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
                response.headers_mut().remove(header::VARY);
            }
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        let parse = |text: &str| Origins::parse(&[text.to_owned()]);
        for good in ["http://localhost:8080", "https://example.org", "http://[::1]:3000"] {
            assert_eq!(parse(good).unwrap().0, [good], "{good}");
        }
        for bad in
            ["", "*", "null", "example.org", "https://example.org/", "https://example.org:443", "ftp://a.b"]
        {
            assert!(parse(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
