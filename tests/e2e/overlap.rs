//! Batches of one overlap key, priorities and times, as callers and the upstream see them.

use std::time::{Duration, SystemTime};

use haul_proto::v1::{
    Batch, BatchSpec, OverlapPolicy, Plan, StartBatchRequest, StartBatchResponse, batch::State,
    conflict::Kind, start_batch_response::Outcome,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::world::{
    Server, Upstream, Watching, program,
    spec::{batch, codes, fast, inline, paced, prices, starting},
    status::refused,
    watching::watch,
};

fn keyed(spec: BatchSpec, policy: OverlapPolicy) -> BatchSpec {
    BatchSpec { overlap_key: "nightly".to_owned(), overlap_policy: policy.into(), ..spec }
}

fn named(id: &str, spec: BatchSpec) -> StartBatchRequest {
    StartBatchRequest { batch_id: id.to_owned(), ..starting(spec) }
}

async fn start(server: &Server, request: StartBatchRequest) -> StartBatchResponse {
    server.stub().start_batch(request).await.unwrap().into_inner()
}

fn time(stamp: Option<prost_types::Timestamp>) -> SystemTime {
    stamp.expect("it is set").try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_of_one_key_at_once_one_starts_and_answers_for_all() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = keyed(prices(20, &upstream, paced(5.0, 1)), OverlapPolicy::Unspecified);
    let calls: JoinSet<_> = (0..100)
        .map(|n| {
            let (mut stub, request) = (server.stub(), named(&format!("batch-{n}"), spec.clone()));
            async move { stub.start_batch(request).await.unwrap().into_inner() }
        })
        .collect();
    let answers = calls.join_all().await;
    let count = |outcome| answers.iter().filter(|answer| answer.outcome() == outcome).count();
    assert_eq!((count(Outcome::Started), count(Outcome::Skipped)), (1, 99));
    let [live] = server.client().await.list_batches(200).await.unwrap().try_into().unwrap();
    let live: Batch = live;
    assert!(answers.iter().all(|answer| answer.batch.as_ref().unwrap().name == live.name));
    // Nothing was made of the others: once it is over each name is free.
    server.client().await.stop(&live.name, "").await.unwrap();
    server.batch_ended(&live.name).await;
    let free = (0..100).map(|n| format!("batch-{n}")).find(|id| !live.name.ends_with(id.as_str())).unwrap();
    assert_eq!(start(&server, named(&free, spec)).await.outcome(), Outcome::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_buffered_runs_when_the_one_before_has_ended_through_a_crash_too() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let keys = codes(40);
    let (of_first, of_second) = keys.split_at(20);
    let spec = |keys: &[String]| {
        let spec = batch(inline(keys.to_vec()), &upstream.url(), paced(8.0, 1));
        keyed(spec, OverlapPolicy::BufferOne)
    };
    assert_eq!(start(&server, named("first", spec(of_first))).await.outcome(), Outcome::Started);
    let second = start(&server, named("second", spec(of_second))).await;
    assert_eq!((second.outcome(), second.batch.unwrap().state()), (Outcome::Buffered, State::Queued));
    let third = start(&server, named("third", spec(of_second))).await;
    assert_eq!((third.outcome(), third.batch.unwrap().name.as_str()), (Outcome::Skipped, "batches/first"));

    server.batch_processed("first", 3).await;
    server.kill().await;
    server.start_again().await;
    let second = server.client().await.get_batch("second").await.unwrap();
    assert_eq!((second.state(), second.start_time), (State::Queued, None));
    // A pause keeps the key.
    let client = server.client().await;
    client.pause("first", "").await.unwrap();
    server.batch_in("first", State::Paused).await;
    assert_eq!(client.get_batch("second").await.unwrap().state(), State::Queued);
    assert_eq!(client.resume("first", "").await.unwrap().batch.unwrap().state(), State::Running);

    let second = server.batch_ended("second").await;
    let first = client.get_batch("first").await.unwrap();
    assert_eq!((first.state(), second.state()), (State::Completed, State::Completed));
    assert!(time(second.start_time) >= time(first.end_time));
    let charts = upstream.charts();
    let last_of_first =
        charts.iter().rposition(|chart| of_first.iter().any(|key| key == chart.key())).unwrap();
    let first_of_second =
        charts.iter().position(|chart| of_second.iter().any(|key| key == chart.key())).unwrap();
    assert!(last_of_first < first_of_second, "they never ran beside each other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_batch_takes_the_place_of_those_before_it() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(1_500));
    let spec = |count| keyed(prices(count, &upstream, paced(20.0, 5)), OverlapPolicy::CancelOther);
    start(&server, named("first", spec(300))).await;
    server.batch_processed("first", 5).await;
    let mut watching = Watching::open(&server, watch("batches/first")).await.unwrap();
    let second = start(&server, named("second", spec(300))).await;
    assert_eq!((second.outcome(), second.batch.unwrap().state()), (Outcome::Buffered, State::Queued));
    let third = start(&server, named("third", spec(5))).await;
    assert_eq!(third.outcome(), Outcome::Buffered);

    let first = watching.rest().await.pop().unwrap();
    assert_eq!((first.state(), first.end_reason.as_str()), (State::Stopped, "OVERLAP_CANCEL"));
    assert_eq!(first.end_message, "replaced by batches/second");
    let progress = first.progress.unwrap();
    assert!(progress.succeeded_items >= 5 && progress.canceled_items > 0, "in good order: {progress:?}");
    let second = server.batch_ended("second").await;
    assert_eq!((second.end_reason.as_str(), second.start_time), ("OVERLAP_CANCEL", None));
    let third = server.batch_ended("third").await;
    assert_eq!(third.state(), State::Completed);
    assert!(time(third.start_time) >= time(first.end_time), "the rate has no moment with two");

    // Nothing of a paused one is under way: it is over in the same transaction.
    start(&server, named("fourth", spec(50))).await;
    server.client().await.pause("fourth", "").await.unwrap();
    server.batch_in("fourth", State::Paused).await;
    let fifth = start(&server, named("fifth", spec(1))).await;
    assert_eq!((fifth.outcome(), fifth.batch.unwrap().state()), (Outcome::Started, State::Running));
    assert_eq!(server.client().await.get_batch("fourth").await.unwrap().state(), State::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_begins_within_a_second_of_its_time() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let not_before = SystemTime::now() + Duration::from_secs(2);
    let spec = BatchSpec { not_before: Some(not_before.into()), ..prices(2, &upstream, fast()) };
    let made = start(&server, named("later", spec)).await;
    let waits = made.batch.unwrap();
    assert_eq!((made.outcome, waits.state()), (Outcome::Started.into(), State::Queued));
    let mut watching = Watching::open(&server, watch("batches/later")).await.unwrap();
    let ended = watching.rest().await.pop().unwrap();
    assert_eq!(ended.state(), State::Completed);
    let late = time(ended.start_time).duration_since(not_before).expect("not before its time");
    assert!(late < Duration::from_secs(3), "{late:?} late");
    let began = upstream.charts()[0].at_us;
    assert!(began >= not_before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_slot_goes_to_the_highest_priority() {
    let (server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    start(&server, named("first", prices(200, &upstream, paced(2.0, 1)))).await;
    for (id, priority) in [("lowest", -1), ("middle", 0), ("highest", 5)] {
        let spec = BatchSpec { priority, ..prices(2, &upstream, fast()) };
        assert_eq!(start(&server, named(id, spec)).await.batch.unwrap().state(), State::Queued);
    }
    server.client().await.stop("first", "").await.unwrap();
    let mut started = Vec::new();
    for id in ["highest", "middle", "lowest"] {
        started.push(time(server.batch_ended(id).await.start_time));
    }
    assert!(started.is_sorted(), "{started:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_who_came_first_however_urgent_the_others_are() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    start(&server, named("first", keyed(prices(200, &upstream, paced(2.0, 1)), OverlapPolicy::BufferAll)))
        .await;
    for (id, priority) in [("second", 0), ("urgent", 100), ("fourth", 7)] {
        let spec = BatchSpec { priority, ..keyed(prices(2, &upstream, fast()), OverlapPolicy::BufferAll) };
        assert_eq!(start(&server, named(id, spec)).await.outcome(), Outcome::Buffered);
    }
    server.client().await.stop("first", "").await.unwrap();
    let mut times = Vec::new();
    for id in ["first", "second", "urgent", "fourth"] {
        let batch = server.batch_ended(id).await;
        times.extend([time(batch.start_time), time(batch.end_time)]);
    }
    assert!(times.is_sorted(), "one after the other, in the order of their starts: {times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_is_in_the_way_and_what_it_would_do() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = |policy| keyed(prices(3, &upstream, paced(0.5, 1)), policy);
    start(&server, named("first", spec(OverlapPolicy::BufferOne))).await;
    server.client().await.pause("first", "").await.unwrap();
    server.batch_in("first", State::Paused).await;
    let other = BatchSpec { overlap_key: "hourly".to_owned(), ..spec(OverlapPolicy::Skip) };
    start(&server, named("other", other)).await;
    // What is in the way is known to a process that has not seen it at work.
    server.kill().await;
    server.start_again().await;

    let plan = async |policy| {
        let request = StartBatchRequest { validate_only: true, ..starting(spec(policy)) };
        let plan: Plan = start(&server, request).await.plan.unwrap();
        let told: Vec<_> = plan.conflicts.iter().map(|told| (told.batch.clone(), told.kind())).collect();
        assert_eq!(told.last(), Some(&("batches/other".to_owned(), Kind::SharedUpstream)));
        told[..told.len() - 1].to_vec()
    };
    let first = |kind| vec![("batches/first".to_owned(), kind)];
    assert_eq!(plan(OverlapPolicy::Skip).await, first(Kind::Skipped));
    assert_eq!(plan(OverlapPolicy::BufferOne).await, first(Kind::QueuedBehind));
    assert_eq!(plan(OverlapPolicy::BufferAll).await, first(Kind::QueuedBehind));
    assert_eq!(plan(OverlapPolicy::CancelOther).await, first(Kind::Canceled));
    assert_eq!(plan(OverlapPolicy::AllowAll).await, first(Kind::SharedUpstream), "they share the rate");
    start(&server, named("second", spec(OverlapPolicy::BufferOne))).await;
    let both = |kind| vec![("batches/first".to_owned(), kind), ("batches/second".to_owned(), kind)];
    assert_eq!(plan(OverlapPolicy::BufferOne).await, both(Kind::Skipped));
    assert_eq!(plan(OverlapPolicy::BufferAll).await, both(Kind::QueuedBehind));
    assert_eq!(server.client().await.list_batches(10).await.unwrap().len(), 3, "nothing was made");

    let said = server.haul(&["plan", "-f", write(&server, "nightly").as_str()]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    let told = "Live batches of its overlap key: it would not be made\n  first second\n";
    assert!(said.out.contains(told), "{}", said.out);

    for n in 0..99 {
        start(&server, named(&format!("buffered-{n}"), spec(OverlapPolicy::BufferAll))).await;
    }
    for validate_only in [true, false] {
        let request = StartBatchRequest { validate_only, ..starting(spec(OverlapPolicy::BufferAll)) };
        let answer = server.stub().start_batch(request).await;
        let details = refused(answer, Code::ResourceExhausted, "OVERLAP_BUFFER_FULL");
        assert_eq!(details.error_info().unwrap().metadata["limit"], "100");
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "overlap_key");
    }
}

/// A spec file with an overlap key, whose batch would run for hours.
fn write(server: &Server, key: &str) -> String {
    let path = server.folder().join("spec.yaml");
    let spec = format!(
        "overlapKey: {key}\ninlineItems: {{items: [{{key: \"1301\"}}, {{key: \"1332\"}}]}}\n\
         yahooChart: {{baseUrl: \"http://127.0.0.1:9\"}}\nfetch: {{requestsPerSecond: 0.001, burst: 1}}\n"
    );
    std::fs::write(&path, spec).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_names_whom_a_start_met_and_a_skip_is_no_failure() {
    let server = Server::start([]).await;
    let file = write(&server, "'the \"nightly\"'");
    let said = server.haul(&["start", "-f", &file, "--id", "first"]).await;
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (0, "batches/first\n", ""));
    server.haul(&["pause", "first", "--wait"]).await;
    let key = r#"overlap key "the \"nightly\"""#;
    // Even with --watch: there is nothing to follow.
    let said = server.haul(&["start", "-f", &file, "--id", "second", "--watch"]).await;
    assert_eq!((said.status, said.out.as_str()), (0, "batches/first\n"));
    let nothing = "haul: nothing was started: first (PAUSED)";
    assert_eq!(said.err, format!("{nothing} has the {key}; follow it with: haul watch first\n"));

    let text = std::fs::read_to_string(&file).unwrap();
    let policy = |policy: &str| std::fs::write(&file, format!("{text}overlapPolicy: {policy}\n")).unwrap();
    policy("BUFFER_ONE");
    let said = server.haul(&["start", "-f", &file, "--id", "second"]).await;
    assert_eq!((said.status, said.out.as_str()), (0, "batches/second\n"));
    let behind = format!("behind first (PAUSED), {key}");
    assert_eq!(said.err, format!("haul: second: QUEUED {behind}\n"));
    let said = server.haul(&["get", "second"]).await;
    for line in ["State     QUEUED", "Overlap   the \"nightly\", BUFFER_ONE", &format!("Waiting   {behind}")]
    {
        assert!(said.out.lines().any(|told| told == line), "{line} in\n{}", said.out);
    }
    let said = server.haul(&["start", "-f", &file, "--id", "third", "-o", "json"]).await;
    assert_eq!(said.err, format!("{nothing} and second (QUEUED) have the {key}\n"));
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["outcome"], &answer["batch"]["name"]),
        (&"OUTCOME_SKIPPED".into(), &"batches/first".into())
    );

    policy("CANCEL_OTHER");
    let said = server.haul(&["start", "-f", &file, "--id", "third", "-o", "json"]).await;
    assert_eq!(said.err, "haul: third takes the place of first (STOPPED) and second (STOPPED)\n");
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["outcome"], &answer["batch"]["name"]),
        (&"OUTCOME_STARTED".into(), &"batches/third".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_off_run_that_is_skipped_waits_for_the_one_that_is_live() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    start(&server, named("first", keyed(prices(20, &upstream, paced(10.0, 1)), OverlapPolicy::Skip))).await;
    let file = write(&server, "nightly");
    let data = server.data_dir();
    let said =
        program::run("hauld", ["run", &file, "--id", "second", "--data-dir", data.to_str().unwrap()]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.err.contains("nothing was started: batches/first has the same overlap key"), "{}", said.err);
    assert!(said.out.starts_with("batches/first  COMPLETED"), "{}", said.out);
}
