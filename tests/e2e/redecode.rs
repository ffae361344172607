//! Kept bodies decoded anew: datasets put right without a request.

use haul_proto::v1::{
    Batch, BatchItems, BatchSpec, PauseRequest, RedecodeRequest, RelativeWindow, ResumeRequest, StopRequest,
    batch,
    batch::State,
    batch_spec::{Connector, Source},
    item,
    start_batch_response::Outcome,
    yahoo_chart::Window,
};
use haul_sim::SimConfig;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    database::Database,
    intruder::Intruder,
    spec::{fast, millis, paced, prices, starting},
    status::{fields, refused},
};

const REQUEST_ID: &str = "0190b6f0-7c1e-7d3a-9d2f-2f6f0b3c9a11";

/// A year of prices, so that there are dividends.
fn year(count: usize, upstream: &Upstream) -> BatchSpec {
    let mut spec = prices(count, upstream, fast());
    if let Some(Connector::YahooChart(chart)) = &mut spec.connector {
        chart.window = Some(Window::Range("1y".to_owned()));
    }
    spec
}

/// One item after the other, each committed by itself: there is time to come in between.
fn step_by_step(count: usize, upstream: &Upstream) -> BatchSpec {
    let mut spec = prices(count, upstream, fast());
    let fetch = spec.fetch.as_mut().unwrap();
    (fetch.workers, fetch.commit_group_size) = (Some(1), Some(1));
    spec
}

fn of(name: &str) -> RedecodeRequest {
    RedecodeRequest { name: name.to_owned(), ..RedecodeRequest::default() }
}

/// Decodes a batch's bodies anew. Answers with the child.
async fn redecode(server: &Server, name: &str) -> Batch {
    let answer = server.stub().redecode(of(name)).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Started);
    answer.batch.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn datasets_that_a_decoder_spoilt_are_put_right_with_the_upstream_away() {
    const ITEMS: i64 = 120;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(year(ITEMS as usize, &upstream)).await;
    let parent = server.batch_ended(&name).await;
    upstream.leave().await;
    let database = Database::of(&server).await;
    let (clean, limits) = (database.datasets().await, database.upstreams().await);
    let dividends = "SELECT count(*) FROM stock_events WHERE kind = 'DIVIDEND'";
    assert!(database.number(dividends).await > 10, "there are events");
    let wrong = Intruder::at(&server).await.spoil_datasets().await;
    assert_ne!(database.datasets().await, clean);

    let child = redecode(&server, &name).await;
    assert_eq!((child.kind(), child.parent_batch.as_str()), (batch::Kind::Redecode, name.as_str()));
    let spec = child.spec.clone().unwrap();
    assert_eq!(
        spec.source,
        Some(Source::BatchItems(BatchItems { name: name.clone(), ..Default::default() }))
    );
    let asked = parent.spec.clone().unwrap();
    assert_eq!((&spec.as_of, &spec.connector, &spec.fetch), (&asked.as_of, &asked.connector, &asked.fetch));

    let ended = server.batch_ended(&child.name).await;
    assert_eq!(ended.state(), State::Completed);
    let progress = ended.progress.unwrap();
    assert_eq!((progress.total_items, progress.succeeded_items), (ITEMS, ITEMS));
    assert_eq!((progress.records_written, progress.bytes_received), (clean.len() as i64, 0));
    assert_eq!(database.datasets().await, clean, "equal to a clean run, times of fetching included");
    assert_eq!(database.upstreams().await, limits);
    database.assert_recount().await;

    let report = server.client().await.get_report(&child.name).await.unwrap();
    assert_eq!((report.requests_sent, report.records_changed as u64), (0, wrong));
    let decoded = server.items(&child.name).await;
    for (own, theirs) in decoded.iter().zip(server.items(&name).await) {
        assert_eq!((own.index, &own.spec), (theirs.index, &theirs.spec));
        let (own, theirs) = (own.result.as_ref().unwrap(), theirs.result.unwrap());
        assert_eq!((&own.sha256, own.size_bytes), (&theirs.sha256, theirs.size_bytes));
    }

    let client = server.client().await;
    assert_eq!(client.get_batch(&name).await.unwrap(), parent, "the parent stays as it is");
    assert_eq!(client.get_report(&name).await.unwrap().child_batches, [child.name.as_str()]);
    let listed = client.list_batches(10).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|batch| (batch.kind(), batch.parent_batch.as_str())).collect();
    assert_eq!(listed, [(batch::Kind::Redecode, name.as_str()), (batch::Kind::Fetch, "")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_later_fetch_are_left_alone() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    // More than a page of a source has.
    let first = server.start_batch(prices(1_001, &upstream, fast())).await;
    server.batch_ended(&first).await;
    let second = server.start_batch(prices(10, &upstream, fast())).await;
    server.batch_ended(&second).await;
    let requests = upstream.arrivals().len();
    let database = Database::of(&server).await;
    let (rows, written) = (
        database.datasets().await,
        database.number("SELECT count(*) FROM stock_prices WHERE batch_seq = 1").await,
    );
    let ended = server.batch_ended(&redecode(&server, &first).await.name).await;
    assert_eq!(ended.progress.unwrap().records_written, written, "what is left alone is not written");
    assert_eq!(database.datasets().await, rows);
    assert_eq!(database.number("SELECT count(*) FROM stock_prices WHERE batch_seq = 1").await, 0);
    let later = "SELECT count(*) FROM stock_prices WHERE batch_seq = 2";
    assert_eq!(database.number(later).await + written, rows.len() as i64);
    assert_eq!(upstream.arrivals().len(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_without_a_body_is_skipped_and_one_that_was_no_answer_fails_again() {
    let (server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig { permanent: 0.2, ..SimConfig::default() })
    );
    let name = server.start_batch(prices(150, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let requests = upstream.arrivals().len();
    let said = server.haul(&["redecode", &name, "--id", "mended", "--watch"]).await;
    assert_eq!(said.status, 3, "{}", said.err);
    assert!(said.out.starts_with("batches/mended\n"), "{}", said.out);
    let (mut skipped, mut failed) = (0, 0);
    for (own, theirs) in server.items("mended").await.iter().zip(server.items(&name).await) {
        match theirs.error {
            None => assert_eq!(own.state(), item::State::Succeeded),
            Some(theirs) if theirs.http_status == 200 => {
                let error = own.error.as_ref().unwrap();
                assert_eq!((own.state(), &error.reason), (item::State::Failed, &theirs.reason));
                failed += 1;
            }
            Some(_) => {
                assert_eq!((own.state(), own.skip_reason.as_str()), (item::State::Skipped, "NO_KEPT_BODY"));
                assert_eq!((&own.error, own.attempt_count), (&None, 0));
                skipped += 1;
            }
        }
    }
    assert!(skipped > 3 && failed > 3, "{skipped} skipped, {failed} failed");
    let progress = server.batch_ended("mended").await.progress.unwrap();
    assert_eq!((progress.skipped_items, progress.failed_items), (skipped, failed));
    Database::of(&server).await.assert_recount().await;
    assert_eq!(upstream.arrivals().len(), requests);

    assert!(server.haul(&["items", "mended"]).await.out.contains("NO_KEPT_BODY"));
    assert!(server.haul(&["get", "mended"]).await.out.contains(&format!("kept bodies of {name}")));
    assert!(server.haul(&["report", &name]).await.out.contains("batches/mended"));
    let json = server.haul(&["list", "-o", "json"]).await.out;
    assert!(json.contains("KIND_REDECODE") && json.contains("parentBatch"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_data_and_a_spoilt_body_are_judged_again_too() {
    let (server, upstream) =
        tokio::join!(Server::start([]), Upstream::start(SimConfig { faults: 0.4, ..SimConfig::default() }));
    let mut spec = prices(150, &upstream, fast());
    let fetch = spec.fetch.as_mut().unwrap();
    (fetch.max_attempts, fetch.attempt_timeout) = (Some(1), Some(millis(1_000)));
    let spoilt = server.start_batch(spec).await;
    server.batch_ended(&spoilt).await;
    let child = redecode(&server, &spoilt).await.name;
    server.batch_ended(&child).await;
    let mut again = 0;
    for (own, theirs) in server.items(&child).await.iter().zip(server.items(&spoilt).await) {
        let Some(theirs) = theirs.error else { continue };
        if ["GARBAGE_BODY", "HTML_PAGE"].contains(&theirs.reason.as_str()) && theirs.http_status == 200 {
            let error = own.error.as_ref().expect("it fails again");
            assert_eq!((own.state(), &error.reason), (item::State::Failed, &theirs.reason));
            assert_eq!(error.failure_class, theirs.failure_class);
            again += 1;
        } else {
            assert_eq!(own.state(), item::State::Skipped, "{theirs:?}");
        }
    }
    assert!(again > 3, "{again}");

    let quiet = Upstream::healthy().await;
    let mut spec = prices(5, &quiet, fast());
    if let Some(Connector::YahooChart(chart)) = &mut spec.connector {
        // Long before the first trade of any share: answered with 400.
        chart.window = Some(Window::RelativeWindow(RelativeWindow { days: 30, offset_days: 30_000 }));
    }
    let early = server.start_batch(spec).await;
    let fetched = server.batch_ended(&early).await.progress.unwrap();
    assert_eq!((fetched.succeeded_items, fetched.records_written), (5, 0));
    let refusals = "SELECT count(*) FROM kept_bodies WHERE http_status = 400";
    assert_eq!(Database::of(&server).await.number(refusals).await, 5);
    let decoded = server.batch_ended(&redecode(&server, &early).await.name).await.progress.unwrap();
    assert_eq!((decoded.succeeded_items, decoded.skipped_items), (5, 0));
}

/// A zstd frame of one raw block: no library of the server's is asked.
fn frame(body: &[u8]) -> Vec<u8> {
    let block = u32::try_from(body.len() << 3 | 1).unwrap().to_le_bytes();
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x20, u8::try_from(body.len()).unwrap()];
    [&head[..], &block[..3], body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_decoded_fails_at_once_with_its_reason() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(6, &upstream, fast())).await;
    server.batch_ended(&name).await;
    upstream.leave().await;
    let bodies: [(&str, Vec<u8>); 5] = [
        ("UNDECODABLE", frame(br#"{"chart":{"result":[],"error":null}}"#)),
        ("GARBAGE_BODY", frame(b"no json")),
        ("HTML_PAGE", frame(b"<html></html>")),
        ("KEPT_BODY_DAMAGED", b"no zstd".to_vec()),
        ("KEPT_BODY_DAMAGED", frame(b"cut short")[..12].to_vec()),
    ];
    let mut intruder = Intruder::at(&server).await;
    for (index, (_, body)) in (0..).zip(&bodies) {
        intruder.replace_body(index, body.clone()).await;
    }
    let database = Database::of(&server).await;
    let rows = "SELECT count(DISTINCT code) FROM stock_prices";
    assert_eq!(database.number(rows).await, 6);
    let ended = server.batch_ended(&redecode(&server, &name).await.name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().failed_items), (State::Completed, 5));
    let items = server.items(&ended.name).await;
    for (item, (reason, _)) in items.iter().zip(&bodies) {
        let error = item.error.as_ref().unwrap();
        assert_eq!((item.state(), error.reason.as_str()), (item::State::Failed, *reason));
        assert_eq!(item.attempt_count, 1, "{reason}: no attempt could help");
    }
    assert_eq!(items[5].state(), item::State::Succeeded);
    // A body that is no answer has no rows; of one that cannot be read nothing is known.
    assert_eq!(database.number(rows).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_in_the_middle_ends_by_itself_and_every_item_once() {
    const ITEMS: i64 = 500;
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(step_by_step(ITEMS as usize, &upstream)).await;
    server.batch_ended(&name).await;
    upstream.leave().await;
    let database = Database::of(&server).await;
    let clean = database.datasets().await;
    Intruder::at(&server).await.spoil_datasets().await;
    let child = redecode(&server, &name).await.name;
    for processed in [60, 180] {
        let seen = server.batch_processed(&child, processed).await;
        server.kill().await;
        assert!(seen.progress.unwrap().processed_items < ITEMS, "it was in the middle");
        server.start_again().await;
    }
    let ended = server.batch_ended(&child).await;
    let progress = ended.progress.clone().unwrap();
    assert_eq!((ended.state(), progress.succeeded_items), (State::Completed, ITEMS));
    assert_eq!(progress.retried_attempts, 0);
    assert_eq!(database.datasets().await, clean);
    database.assert_recount().await;
    let once = "SELECT count(*) FROM batch_execution_details WHERE batch_seq = 2 AND status = 'SUCCEEDED' AND attempts = 1";
    assert_eq!(database.number(once).await, ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_paused_resumed_and_stopped_as_any_batch() {
    const ITEMS: i64 = 400;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(step_by_step(ITEMS as usize, &upstream)).await;
    server.batch_ended(&name).await;
    upstream.leave().await;
    let child = redecode(&server, &name).await.name;
    server.batch_processed(&child, 20).await;
    let pause = PauseRequest { name: child.clone(), ..PauseRequest::default() };
    server.stub().pause(pause).await.unwrap();
    let paused = server.batch_in(&child, State::Paused).await;
    let processed = paused.progress.unwrap().processed_items;
    assert!(processed < ITEMS);
    let resume = ResumeRequest { name: child.clone(), reason: String::new(), ..Default::default() };
    server.stub().resume(resume).await.unwrap();
    server.batch_processed(&child, processed + 20).await;
    let stop = StopRequest { name: child.clone(), ..StopRequest::default() };
    server.stub().stop(stop).await.unwrap();
    let stopped = server.batch_ended(&child).await;
    assert_eq!(stopped.state(), State::Stopped);
    let progress = stopped.progress.unwrap();
    assert!(progress.canceled_items > 0, "{progress:?}");
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_anew_is_refused_and_the_way_out_named() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut stub = server.stub();
    refused(stub.redecode(of("batches/nobody")).await, Code::NotFound, "BATCH_NOT_FOUND");
    let wrong = RedecodeRequest { batch_id: "x".to_owned(), request_id: "y".to_owned(), ..of("nobody") };
    let details = refused(stub.redecode(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["name", "batch_id", "request_id"]);

    let live = server.start_batch(prices(50, &upstream, paced(1.0, 1))).await;
    let details = refused(stub.redecode(of(&live)).await, Code::FailedPrecondition, "BATCH_NOT_TERMINAL");
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!((violation.r#type.as_str(), violation.subject.as_str()), ("STATE", live.as_str()));
    assert_eq!(details.error_info().unwrap().metadata["state"], "RUNNING");

    let mut bare = prices(3, &upstream, fast());
    bare.fetch.as_mut().unwrap().keep_bodies = Some(millis(0));
    let bare = server.start_batch(bare).await;
    server.batch_ended(&bare).await;
    let details = refused(stub.redecode(of(&bare)).await, Code::FailedPrecondition, "NO_KEPT_BODIES");
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!((violation.r#type.as_str(), violation.subject.as_str()), ("ITEMS", bare.as_str()));

    let name = server.start_batch(prices(3, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let child = redecode(&server, &name).await.name;
    server.batch_ended(&child).await;
    let answer = stub.redecode(of(&child)).await;
    assert!(answer.as_ref().unwrap_err().message().contains(&format!("redecode {name}")), "{answer:?}");
    refused(answer, Code::FailedPrecondition, "NO_KEPT_BODIES");
    let taken = RedecodeRequest { batch_id: child.trim_start_matches("batches/").to_owned(), ..of(&bare) };
    refused(stub.redecode(taken).await, Code::AlreadyExists, "BATCH_EXISTS");

    let mut spec = prices(1, &upstream, fast());
    spec.source = Some(Source::BatchItems(BatchItems { name, ..Default::default() }));
    let details = refused(stub.start_batch(starting(spec)).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["spec.batch_items"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_answered_again_and_its_id_is_good_for_no_other_redecode() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(5, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let request = RedecodeRequest { request_id: REQUEST_ID.to_owned(), ..of(&name) };
    let first = server.stub().redecode(request.clone()).await.unwrap().into_inner().batch.unwrap();
    server.batch_ended(&first.name).await;
    server.kill().await;
    server.start_again().await;
    let mut stub = server.stub();
    let again = stub.redecode(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.outcome(), Outcome::Replayed);
    let again = again.batch.unwrap();
    assert_eq!((again.name.as_str(), again.state()), (first.name.as_str(), State::Completed));

    let live = server.start_batch(prices(50, &upstream, paced(1.0, 1))).await;
    let other = RedecodeRequest { name: live, ..request };
    refused(stub.redecode(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let mut start = starting(prices(1, &upstream, fast()));
    start.request_id = REQUEST_ID.to_owned();
    let started = stub.start_batch(start).await.unwrap().into_inner();
    assert_eq!(started.outcome(), Outcome::Started, "an id of another call is another");
    assert_eq!(server.client().await.get_report(&name).await.unwrap().child_batches.len(), 1);
}
