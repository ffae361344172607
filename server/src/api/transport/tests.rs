use std::{net::SocketAddr, time::Instant};

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;

const LONG: Duration = Duration::from_mins(1);

struct Served {
    address: SocketAddr,
    closing: CancellationToken,
    task: TaskTracker,
}

/// Serves health, whose watch is a stream without an end.
async fn serve(limits: Limits) -> Served {
    let (_, health) = tonic_health::server::health_reporter();
    let doors = Doors::new(services().add_service(health), Edge::new(0.0), Origins::default(), limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closing, task) = (CancellationToken::new(), TaskTracker::new());
    task.spawn(doors.serve(listener, CancellationToken::new(), closing.clone()));
    task.close();
    Served { address, closing, task }
}

fn limits() -> Limits {
    Limits { connections: 10, first_bytes: LONG, age: LONG, grace: LONG }
}

fn health(address: SocketAddr) -> HealthClient<tonic::transport::Channel> {
    HealthClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
}

fn check() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

/// How long until the other side closes.
async fn closed(socket: &mut TcpStream) -> Duration {
    let asked = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(LONG, socket.read_to_end(&mut rest)).await.expect("it is closed");
    asked.elapsed()
}

#[tokio::test]
async fn who_does_not_say_what_it_speaks_is_cut_off() {
    let first_bytes = Duration::from_millis(300);
    let served = serve(Limits { first_bytes, ..limits() }).await;
    // Who has said it may be silent as long as it answers pings: while the others come and are cut off, one by one.
    let mut client = health(served.address);
    let mut endless = client.watch(check()).await.unwrap().into_inner();
    assert!(endless.message().await.unwrap().is_some());
    for begun in ["", "PRI * HTTP/2.0\r\n", "G"] {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(begun.as_bytes()).await.unwrap();
        let took = closed(&mut socket).await;
        assert!(took + Duration::from_millis(50) >= first_bytes, "{begun:?} after {took:?}");
    }
    assert!(endless.message().now_or_never().is_none(), "its stream is still there");
    client.check(check()).await.unwrap();
    assert!(endless.message().now_or_never().is_none(), "and its connection");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_room_is_made_by_who_leaves() {
    let served = serve(Limits { connections: 2, ..limits() }).await;
    let mut first = health(served.address);
    first.check(check()).await.unwrap();
    let second = TcpStream::connect(served.address).await.unwrap();
    let mut third = TcpStream::connect(served.address).await.unwrap();
    closed(&mut third).await;
    first.check(check()).await.unwrap();
    drop(second);
    let mut fourth = health(served.address);
    let deadline = Instant::now() + LONG;
    while fourth.check(check()).await.is_err() {
        assert!(Instant::now() < deadline, "there is room again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_old_connection_takes_no_new_call_and_is_cut_off_after_its_grace() {
    let (age, grace) = (Duration::from_millis(500), Duration::from_millis(500));
    let served = serve(Limits { age, grace, ..limits() }).await;
    let mut client = health(served.address);
    let begun = Instant::now();
    let mut endless = client.watch(check()).await.unwrap().into_inner();
    assert!(endless.message().await.unwrap().is_some());
    assert!(endless.message().await.is_err(), "a stream that does not end is cut off");
    let took = begun.elapsed();
    assert!(took + age.mul_f64(2.0 * AGE_JITTER) >= age + grace, "{took:?}");
    client.check(check()).await.expect("the client connects anew");
}

#[tokio::test]
async fn the_end_waits_for_calls_and_lets_nobody_in() {
    let grace = Duration::from_millis(300);
    let served = serve(Limits { age: Duration::from_secs(1), grace, ..limits() }).await;
    let mut client = health(served.address);
    let mut endless = client.watch(check()).await.unwrap().into_inner();
    endless.message().await.unwrap();
    served.closing.cancel();
    let refused = async {
        while TcpStream::connect(served.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("nothing listens any more");
    assert!(!served.task.is_empty(), "a stream is still there");
    drop((endless, client));
    tokio::time::timeout(LONG, served.task.wait()).await.expect("it ends with its last connection");
}
