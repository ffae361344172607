//! A call without a gRPC client, whose own limit would be as quick as the server's.

use prost::Message;
use tonic::Status;

use super::Server;

/// Sends one message to a unary method of the service, and answers with what the server alone says.
pub(crate) async fn call(
    server: &Server,
    method: &str,
    timeout: &str,
    message: &impl Message,
) -> Option<Status> {
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let bytes = message.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    body.extend_from_slice(&bytes);
    let response = client
        .post(format!("http://{}/haul.v1.HaulService/{method}", server.address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(body)
        .send()
        .await
        .unwrap();
    Status::from_header_map(response.headers())
}
