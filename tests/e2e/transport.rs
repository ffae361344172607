//! The port: browsers, compression, sizes, and what is no call at all. Whatever comes, the server serves on.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use haul_proto::v1::{
    GetBatchRequest, ListBatchesRequest, ListBatchesResponse, StartBatchRequest, WatchProgressResponse,
    watch_progress_response::Event,
};
use prost::Message;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tonic::{Code, Request, codec::CompressionEncoding, transport::Endpoint};

use crate::world::{
    LONG, Server, Upstream, Watching, eventually,
    raw::{self, PREFACE, frame},
    spec::{at_once, fast, paced, prices, starting},
    status::refused,
    watching::watch,
};

const LIST: &str = "/haul.v1.HaulService/ListBatches";
const WATCH: &str = "/haul.v1.HaulService/WatchProgress";
const ORIGIN: &str = "http://localhost:3000";

async fn configured(toml: &str) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haul.toml");
    std::fs::write(&path, toml).unwrap();
    (Server::start(["--config", path.to_str().unwrap()]).await, folder)
}

async fn serves_on(server: &Server) {
    tokio::time::timeout(LONG, server.stub().list_batches(ListBatchesRequest::default()))
        .await
        .expect("it answers")
        .unwrap();
}

fn message(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0], &(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_calls_and_watches_by_grpc_web() {
    let (server, _folder) =
        configured(&format!("allowed_origins = [\"{ORIGIN}\", \"https://b.example\"]\n")).await;
    let upstream = Upstream::healthy().await;
    let name = server.start_batch(prices(3, &upstream, fast())).await;
    server.batch_ended(&name).await;

    let preflight = format!(
        "OPTIONS {LIST} HTTP/1.1\r\norigin: {ORIGIN}\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: content-type,x-grpc-web"
    );
    let reply = raw::request(&server, &preflight, b"").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ORIGIN), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-methods"), "POST");
    assert_eq!(reply.header("access-control-allow-headers"), "content-type,x-grpc-web");

    let post = |path| {
        format!(
            "POST {path} HTTP/1.1\r\norigin: {ORIGIN}\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1"
        )
    };
    let reply = raw::request(&server, &post(LIST), &message(&ListBatchesRequest::default())).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ORIGIN), "{reply:?}");
    let exposed = reply.header("access-control-expose-headers");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name} in {exposed:?}");
    }
    let (messages, trailers) = reply.frames();
    let listed = ListBatchesResponse::decode(&*messages[0]).unwrap();
    assert_eq!(listed.batches[0].name, name);
    assert!(trailers.contains("grpc-status:0"), "{trailers:?}");

    let reply = raw::request(&server, &post(WATCH), &message(&watch(&name))).await;
    let (messages, trailers) = reply.frames();
    let told = WatchProgressResponse::decode(&*messages[0]).unwrap();
    assert!(matches!(told.event, Some(Event::Terminal(batch)) if batch.name == name));
    assert!(messages.len() == 1 && trailers.contains("grpc-status:0"), "{trailers:?}");

    let missing = GetBatchRequest { name: "batches/nothing".to_owned(), ..GetBatchRequest::default() };
    let reply = raw::request(&server, &post("/haul.v1.HaulService/GetBatch"), &message(&missing)).await;
    // Of a call without an answer the status is in the head.
    assert_eq!((reply.status, reply.header("grpc-status")), (200, "5"), "{reply:?}");
    assert!(!reply.header("grpc-status-details-bin").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_gets_no_answer_and_no_header_that_lets_it_read_one() {
    let (allowing, _folder) = configured(&format!("allowed_origins = [\"{ORIGIN}\"]\n")).await;
    let by_default = Server::start([]).await;
    for server in [&allowing, &by_default] {
        for origin in
            ["http://evil.example", "http://localhost:3001", "null", &format!("http://{}", server.address())]
        {
            let preflight = format!(
                "OPTIONS {LIST} HTTP/1.1\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
                 access-control-request-headers: content-type"
            );
            let post = format!(
                "POST {LIST} HTTP/1.1\r\norigin: {origin}\r\ncontent-type: application/grpc-web+proto"
            );
            for (head, body) in [(preflight, Vec::new()), (post, message(&ListBatchesRequest::default()))] {
                let reply = raw::request(server, &head, &body).await;
                assert_eq!(reply.status, 403, "{origin}: {reply:?}");
                assert_eq!(reply.cors_headers(), Vec::<&String>::new(), "{origin}");
                assert!(reply.text().contains(origin) && reply.text().contains("allowed_origins"));
            }
        }
        serves_on(server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_gets_a_short_answer_that_says_what_this_is() {
    let server = Server::start([]).await;
    let grpc = "content-type: application/grpc";
    let cases = [
        ("GET / HTTP/1.1".to_owned(), 404),
        ("GET /favicon.ico HTTP/1.1".to_owned(), 404),
        ("OPTIONS * HTTP/1.1".to_owned(), 404),
        (format!("OPTIONS {LIST} HTTP/1.1"), 404),
        (format!("GET {LIST} HTTP/1.1"), 405),
        (format!("POST {LIST} HTTP/1.1\r\ncontent-type: application/json"), 415),
        (format!("POST {LIST} HTTP/1.1"), 415),
        (format!("POST {LIST} HTTP/1.1\r\n{grpc}"), 415),
    ];
    for (head, status) in cases {
        let reply = raw::request(&server, &head, b"{}").await;
        assert_eq!(reply.status, status, "{head}: {reply:?}");
        assert!(reply.text().contains("hauld") && reply.body.len() < 400, "{head}: {reply:?}");
        assert_eq!(reply.cors_headers(), Vec::<&String>::new());
    }
    let reply = raw::request(&server, &format!("POST /no.Service/Method HTTP/1.1\r\n{grpc}-web"), b"").await;
    assert_eq!((reply.status, reply.header("grpc-status")), (200, "12"), "{reply:?}");
    serves_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_the_server_serves_on() {
    let server = Server::start([]).await;
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut noise = |count: usize| -> Vec<u8> {
        let byte = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..count).map(byte).collect()
    };
    let long_line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20)).into_bytes();
    let mut many_headers = "GET / HTTP/1.1\r\nhost: x\r\n".to_owned();
    for n in 0..10_000 {
        write!(many_headers, "x-{n}: {n}\r\n").unwrap();
    }
    let bad_frame = [PREFACE, &frame(1, 0x4, 1, &noise(200))].concat();
    let too_long_frame = [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let noisy_frames = [PREFACE, &noise(10_000)].concat();
    let cases = [noise(64), noise(100_000), vec![0; 1_000], long_line, many_headers.into_bytes()];
    let frames = [bad_frame, too_long_frame, noisy_frames, b"\x16\x03\x01\x02\x00\x01".repeat(20)];
    let mut refused = tokio::task::JoinSet::new();
    for bytes in cases.into_iter().chain(frames) {
        let mut socket = raw::say(&server, &bytes).await;
        serves_on(&server).await;
        refused.spawn(async move {
            let asked = Instant::now();
            raw::hear(&mut socket).await;
            asked.elapsed()
        });
    }
    // What may still become a head is waited for.
    for took in refused.join_all().await {
        assert!(took < Duration::from_secs(40), "{took:?}");
    }
    serves_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_huge_headers_is_refused() {
    let server = Server::start([]).await;
    for kib in [32, 200] {
        let mut request = Request::new(ListBatchesRequest::default());
        request.metadata_mut().insert("x-huge", "x".repeat(kib << 10).parse().unwrap());
        server.stub().list_batches(request).await.expect_err("it is refused");
    }
    let mut request = Request::new(ListBatchesRequest::default());
    request.metadata_mut().insert("x-large", "x".repeat(8 << 10).parse().unwrap());
    server.stub().list_batches(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_and_resets_streams_without_end_is_sent_away() {
    let server = Server::start([]).await;
    let mut flood = PREFACE.to_vec();
    for n in 0..20_000_u32 {
        let stream = 2 * n + 1;
        flood.extend(raw::call(stream, WATCH));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let socket = TcpStream::connect(server.address()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let writing = async {
        let _ = writer.write_all(&flood).await;
    };
    let reading = async {
        let mut heard = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut heard).await;
        heard
    };
    let ((), heard) =
        tokio::time::timeout(LONG, async { tokio::join!(writing, reading) }).await.expect("it is cut off");
    // GOAWAY, ENHANCE_YOUR_CALM.
    let calmed =
        raw::frames(&heard).iter().any(|(kind, payload)| *kind == 7 && payload[4..8] == [0, 0, 0, 11]);
    // Where the reset of the socket overtakes it, the end of the connection is the answer.
    assert!(calmed || heard.len() < 1 << 20, "{} bytes", heard.len());
    serves_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_are_in_nobodys_way_and_do_not_stay() {
    let server = Server::start([]).await;
    let mut idle = Vec::new();
    for n in 0..1_000 {
        // Half of them have begun to speak.
        idle.push(raw::say(&server, if n % 2 == 0 { b"" } else { b"PRI * " }).await);
    }
    serves_on(&server).await;
    let asked = Instant::now();
    for socket in &mut idle {
        raw::hear(socket).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    serves_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_be_compressed_and_has_at_most_4_mib_either_way() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut stub = server.stub().send_compressed(encoding).accept_compressed(encoding);
        let answer = stub.start_batch(starting(prices(3, &upstream, at_once()))).await.unwrap();
        assert!(answer.metadata().get("grpc-encoding").is_none(), "answers are sent as they are");
    }
    let large = |mib: usize| {
        let mut request =
            StartBatchRequest { spec: Some(prices(1, &upstream, fast())), ..StartBatchRequest::default() };
        request.spec.as_mut().unwrap().display_name = "x".repeat(mib << 20);
        request
    };
    let plain = server.stub().start_batch(large(5)).await.expect_err("it is too large");
    assert_eq!(plain.code(), Code::OutOfRange, "{plain}");
    let before_kib = server.peak_memory_kib();
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let bomb = server
            .stub()
            .send_compressed(encoding)
            .start_batch(large(256))
            .await
            .expect_err("so is it unpacked");
        assert_eq!(bomb.code(), Code::ResourceExhausted, "{bomb}");
    }
    let grown_kib = server.peak_memory_kib() - before_kib;
    assert!(grown_kib < 64 << 10, "{grown_kib} KiB for a message of 4 MiB at most");
    serves_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_stuck_is_given_up_and_told_when_it_reads_on() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(3_000, &upstream, paced(50.0, 5))).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    let channel = endpoint.initial_stream_window_size(1_024).connect_lazy();
    let mut stub = haul_proto::v1::haul_service_client::HaulServiceClient::new(channel);
    let mut stuck = stub.watch_progress(watch(&name)).await.unwrap().into_inner();
    // Nobody else is in its way, nor it in theirs.
    let mut other = Watching::open(&server, watch(&name)).await.unwrap();
    let begun = Instant::now();
    let mut shown = 0;
    while begun.elapsed() < Duration::from_secs(35) {
        other.event().await;
        shown += 1;
    }
    assert!(shown > 100, "{shown} events");
    let mut told = 0;
    let status = loop {
        match stuck.message().await {
            Ok(Some(_)) => told += 1,
            Ok(None) => panic!("OK without an end"),
            Err(status) => break status,
        }
    };
    let details = refused::<()>(Err(status), Code::Unavailable, "SLOW_CONSUMER");
    assert!(details.retry_info().is_some());
    assert!(told < 20, "{told} events were on their way");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_within_15_s_though_clients_neither_read_nor_answer() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(500, &upstream, paced(5.0, 1))).await;
    // A watch whose client never reads, a call that is never finished, a request of which a part never comes.
    let watching = [PREFACE, &raw::call(1, WATCH), &frame(0, 1, 1, &message(&watch(&name)))].concat();
    let unfinished = [PREFACE, &raw::call(1, LIST)].concat();
    let half = format!(
        "POST {LIST} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web\r\ncontent-length: 9\r\n\r\n"
    );
    let mut mute = Vec::new();
    for bytes in [&watching[..], &unfinished, half.as_bytes(), b"", PREFACE] {
        mute.push(raw::say(&server, bytes).await);
    }
    let mut good = Watching::open(&server, watch(&name)).await.unwrap();
    good.event().await;
    let asked = Instant::now();
    server.signal("TERM").await;
    let draining = loop {
        if let Event::Draining(draining) = good.event().await {
            break draining;
        }
    };
    assert!(draining.reconnect_after.is_some());
    refused(good.next().await, Code::Unavailable, "SERVER_DRAINING");
    assert!(asked.elapsed() < Duration::from_secs(5), "streams end at once: {:?}", asked.elapsed());
    eventually("nothing listens any more", || async {
        TcpStream::connect(server.address()).await.is_err().then_some(())
    })
    .await;
    assert!(server.exit(Duration::from_secs(15)).await.success());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_http2_is_told_the_limits_and_cut_off_when_it_does_not_answer_a_ping() {
    let server = Server::start([]).await;
    let mut socket = raw::say(&server, PREFACE).await;
    let asked = Instant::now();
    let heard = raw::hear(&mut socket).await;
    let took = asked.elapsed();
    assert!(
        took > Duration::from_secs(35) && took < Duration::from_secs(55),
        "30 s to the ping, 10 s for an answer: {took:?}"
    );
    let frames = raw::frames(&heard);
    let settings = &frames.iter().find(|(kind, _)| *kind == 4).expect("settings come first").1;
    let setting = |wanted: u16| {
        let mut settings = settings.chunks(6).map(|one| {
            (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
        });
        settings.find(|(id, _)| *id == wanted).map(|(_, value)| value)
    };
    assert_eq!((setting(3), setting(6)), (Some(256), Some(16 << 10)), "streams at a time, bytes of headers");
    assert!(frames.iter().any(|(kind, _)| *kind == 6), "it was asked whether it lives");
}
