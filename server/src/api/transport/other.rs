//! Answers to what is no gRPC call.

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use http::{HeaderValue, Method, StatusCode, Version, header};

use crate::api::status;

const WHAT_THIS_IS: &str = "\
This is hauld. It speaks gRPC (package haul.v1, reflection is on) and grpc-web on this port.
From a terminal: haul --help
";

/// Answers a path that nothing is behind.
pub(super) async fn nothing_here(request: Request) -> Response {
    if speaks_grpc(&request) {
        return status::no_such_method(request.uri().path()).into_http();
    }
    text(StatusCode::NOT_FOUND, WHAT_THIS_IS)
}

/// Lets only calls through to the services.
pub(super) async fn only_grpc(request: Request, next: Next) -> Response {
    let web = content_type(&request).starts_with(b"application/grpc-web");
    if request.method() != Method::POST {
        text(StatusCode::METHOD_NOT_ALLOWED, format!("A call is a POST.\n{WHAT_THIS_IS}"))
    } else if web || (speaks_grpc(&request) && request.version() == Version::HTTP_2) {
        next.run(request).await
    } else {
        let said = "A call has content type application/grpc over HTTP/2, or application/grpc-web.\n";
        text(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{said}{WHAT_THIS_IS}"))
    }
}

fn speaks_grpc(request: &Request) -> bool {
    content_type(request).starts_with(b"application/grpc")
}

fn content_type(request: &Request) -> &[u8] {
    request.headers().get(header::CONTENT_TYPE).map_or(b"", HeaderValue::as_bytes)
}

pub(super) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
