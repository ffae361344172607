//! Over real connections, with a service in which every method does what the test is about.

use std::convert::Infallible;

use futures::{StreamExt, stream};
use haul_proto::v1::{
    GetBatchRequest, GetBatchResponse, WatchProgressRequest, WatchProgressResponse,
    haul_service_client::HaulServiceClient,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code,
    codec::Streaming,
    server::{Grpc, NamedService},
    transport::{Channel, Server},
};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};

use super::*;

/// What the handlers do, whichever is called.
#[derive(Clone, Copy)]
enum Does {
    Answer,
    Panic,
    PanicLater,
    Hang,
}

#[derive(Clone)]
struct Handlers(Does);

impl NamedService for Handlers {
    const NAME: &'static str = "haul.v1.HaulService";
}

impl Service<Request<Body>> for Handlers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let does = self.0;
        async move {
            match does {
                Does::Panic => panic!("secret of the handler"),
                Does::Hang => std::future::pending().await,
                Does::Answer | Does::PanicLater => {}
            }
            let codec = ProstCodec::<WatchProgressResponse, WatchProgressRequest>::default();
            let streams = tower::service_fn(move |_: tonic::Request<WatchProgressRequest>| async move {
                let events = stream::iter(0..3).then(move |n| async move {
                    // What was said before is on its way by then.
                    tokio::task::yield_now().await;
                    assert!(n == 0 || !matches!(does, Does::PanicLater), "secret of the stream");
                    Ok(WatchProgressResponse::default())
                });
                Ok::<_, Status>(tonic::Response::new(events))
            });
            Ok(Grpc::new(codec).server_streaming(streams, request).await)
        }
        .boxed()
    }
}

async fn serve(does: Does, calls_per_s: f64) -> (HaulServiceClient<Channel>, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(Edge::new(calls_per_s)).add_service(Handlers(does));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (HaulServiceClient::new(channel), tasks)
}

async fn drained(
    answer: Result<tonic::Response<Streaming<WatchProgressResponse>>, Status>,
) -> (usize, Status) {
    let mut events = answer.unwrap().into_inner();
    let mut count = 0;
    loop {
        match events.message().await {
            Ok(event) => count += usize::from(event.expect("it ends with a status").event.is_none()),
            Err(status) => return (count, status),
        }
    }
}

fn details(status: &Status, code: Code, reason: &str) -> ErrorDetails {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, "haul.v1"));
    details
}

#[tokio::test]
async fn a_handler_that_panics_is_an_internal_error_that_tells_nothing_but_its_incident() {
    let (mut stub, _server) = serve(Does::Panic, 0.0).await;
    for status in [
        stub.get_batch(GetBatchRequest::default()).await.unwrap_err(),
        stub.watch_progress(WatchProgressRequest::default()).await.unwrap_err(),
    ] {
        let details = details(&status, Code::Internal, "INTERNAL");
        let incident = &details.error_info().unwrap().metadata["incident"];
        assert!(
            status.message().contains(incident.as_str()) && !status.message().contains("secret"),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_panics_ends_with_the_same() {
    let (mut stub, _server) = serve(Does::PanicLater, 0.0).await;
    let (events, status) = drained(stub.watch_progress(WatchProgressRequest::default()).await).await;
    assert_eq!(events, 1, "what came before is there");
    details(&status, Code::Internal, "INTERNAL");
}

/// What the layer alone answers: over a connection the client's own limit would be as quick.
async fn answered(path: &str, timeout: Option<&str>) -> (Status, Duration) {
    let mut request = Request::new(Body::default());
    *request.uri_mut() = path.parse().unwrap();
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    let began = Instant::now();
    let response = Edge::new(0.0).layer(Handlers(Does::Hang)).call(request).await.unwrap();
    (Status::from_header_map(response.headers()).unwrap(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_the_callers_or_a_minute() {
    const UNARY: &str = "/haul.v1.HaulService/GetBatch";
    const STREAM: &str = "/haul.v1.HaulService/WatchProgress";
    for (path, timeout, after_ms) in [
        (UNARY, None, 60_000),
        (UNARY, Some("250m"), 250),
        (UNARY, Some("2M"), 120_000),
        (UNARY, Some("1H"), 3_600_000),
        (UNARY, Some("7S"), 7_000),
        (UNARY, Some("9000u"), 9),
        // No timeout by gRPC's grammar.
        (UNARY, Some("123456789S"), 60_000),
        (UNARY, Some("S"), 60_000),
        (UNARY, Some("-1S"), 60_000),
        (STREAM, Some("3S"), 3_000),
    ] {
        let (status, elapsed) = answered(path, timeout).await;
        let details = details(&status, Code::DeadlineExceeded, "DEADLINE");
        assert_eq!(details.error_info().unwrap().metadata["after_ms"], after_ms.to_string(), "{timeout:?}");
        assert_eq!((elapsed + AHEAD).as_millis(), after_ms, "{timeout:?}");
    }
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, answered(STREAM, None)).await.is_err(), "a stream has no deadline");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_begun_ends_at_its_deadline() {
    let mut rest =
        Rest { body: Some(Body::new(Silent)), deadline: Some(Deadline::after(Duration::from_secs(5))) };
    let began = Instant::now();
    let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut rest), cx)).await;
    let trailers = frame.unwrap().unwrap().into_trailers().unwrap();
    details(&Status::from_header_map(&trailers).unwrap(), Code::DeadlineExceeded, "DEADLINE");
    assert_eq!(began.elapsed() + AHEAD, Duration::from_secs(5));
    assert!(std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut rest), cx)).await.is_none());
}

/// Never says anything.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_caller_above_its_rate_is_told_how_long_to_wait_and_others_are_let_in() {
    let (mut stub, _server) = serve(Does::Answer, 2.0).await;
    let mut call = async || stub.get_batch(GetBatchRequest::default()).await;
    let answers: [Result<tonic::Response<GetBatchResponse>, Status>; 3] =
        [call().await, call().await, call().await];
    let [first, second, third] = answers;
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    let status = third.unwrap_err();
    let details = details(&status, Code::ResourceExhausted, "API_RATE_LIMIT");
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((metadata["limit"].as_str(), metadata["caller"].as_str()), ("2", "127.0.0.1"));
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
    let pushback_ms: u128 =
        status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(pushback_ms, wait.as_millis());
}

#[test]
fn callers_are_counted_each_for_itself_and_not_without_bound() {
    let mut callers = Callers::new(10.0);
    let now = Instant::now();
    let caller = |n: u32| IpAddr::V4(n.into());
    for n in 0..10 {
        assert_eq!(callers.admit(caller(1), now), Ok(()), "{n}");
    }
    assert_eq!(callers.admit(caller(1), now), Err(Duration::from_millis(100)));
    assert_eq!(callers.admit(caller(2), now), Ok(()));
    assert_eq!(callers.admit(caller(1), now + Duration::from_millis(100)), Ok(()));
    for n in 0..2 * CALLERS_MAX as u32 {
        assert_eq!(callers.admit(caller(n + 10), now), Ok(()));
    }
    assert_eq!(callers.due.len(), CALLERS_MAX);
    let later = now + Duration::from_secs(60);
    assert_eq!(callers.admit(caller(1), later), Ok(()));
    assert_eq!(callers.due.len(), 1, "who has been quiet is forgotten");
}
