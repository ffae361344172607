//! How other services find out what there is: reflection and health.

use tokio_stream::{StreamExt, iter};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb;

use crate::world::Server;

const SERVICE: &str = "haul.v1.HaulService";

/// Asks both of reflection's questions that a client like grpcurl begins with.
macro_rules! reflected {
    ($version:ident, $server:expr) => {{
        use pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let ask = |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let questions = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
        ];
        let mut client = ServerReflectionClient::new($server.channel());
        let mut answers = client.server_reflection_info(iter(questions)).await.unwrap().into_inner();
        let mut answer = async || answers.next().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(listed) = answer().await else {
            panic!("services are listed")
        };
        let MessageResponse::FileDescriptorResponse(found) = answer().await else {
            panic!("the file is found")
        };
        assert!(!found.file_descriptor_proto.is_empty());
        listed.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_service_in_both_versions() {
    let server = Server::start([]).await;
    for services in [reflected!(v1, server), reflected!(v1alpha, server)] {
        assert!(services.iter().any(|name| name == SERVICE), "{services:?}");
        assert!(services.iter().any(|name| name == "grpc.health.v1.Health"), "{services:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_serving_as_a_whole_and_by_service() {
    let server = Server::start([]).await;
    let mut client = HealthClient::new(server.channel());
    for service in ["", SERVICE, "haul.engine"] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = client.check(HealthCheckRequest { service: "no.Such".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

/// Without them a client shows the details of an error as bytes.
#[tokio::test(flavor = "multi_thread")]
async fn reflection_knows_the_types_of_error_details() {
    use pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = Server::start([]).await;
    let types =
        ["ErrorInfo", "BadRequest", "ResourceInfo", "PreconditionFailure", "QuotaFailure", "RetryInfo"];
    let questions = types.map(|name| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(format!("google.rpc.{name}"))),
    });
    let mut client = ServerReflectionClient::new(server.channel());
    let mut answers = client.server_reflection_info(iter(questions)).await.unwrap().into_inner();
    for name in types {
        let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::FileDescriptorResponse(found) = answer else { panic!("{name}: {answer:?}") };
        assert!(!found.file_descriptor_proto.is_empty(), "{name}");
    }
}
