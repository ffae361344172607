//! What was expected, held against what came.

use super::*;

/// A machine that does much else makes a second of it.
const SLACK_S: f64 = 1.0;

/// An end that was expected at some time.
#[derive(Debug)]
struct Expected {
    at: DateTime<chrono::Utc>,
    end: Option<DateTime<chrono::Utc>>,
}

impl Expected {
    fn of(snapshot: &Snapshot) -> Self {
        Self { at: clock::now(), end: snapshot.estimated_completion }
    }

    /// Off by this share of what was still to come, and seconds.
    #[track_caller]
    fn is_within(&self, share: f64, seconds: f64, ended: DateTime<chrono::Utc>, what: &str) {
        let end = self.end.unwrap_or_else(|| panic!("{what}: nothing is expected"));
        let off = (end - ended).as_seconds_f64();
        let left = (ended - self.at).as_seconds_f64();
        assert!(end >= self.at, "{what}: expected in the past");
        assert!(off.abs() <= share * left + seconds, "{what}: {off:+.2} s off with {left:.2} s to go");
    }
}

async fn done(entry: &Entry, share: f64) -> Expected {
    let done = |batch: &Batch| {
        batch.expanded && batch.counts.processed() as f64 >= share * batch.counts.total as f64
    };
    until(entry, done).await;
    Expected::of(&entry.snapshot(clock::now()))
}

async fn end(entry: &Entry) -> DateTime<chrono::Utc> {
    let ended = until(entry, |batch| batch.state.is_terminal()).await;
    assert_eq!(ended.state, State::Completed);
    ended.ended_at.unwrap()
}

/// Held against the end at a quarter, a half and three quarters of the way.
async fn holds(entry: Arc<Entry>, share: f64, seconds: f64) {
    let entry = &*entry;
    let (quarter, half, most) = (done(entry, 0.25).await, done(entry, 0.5).await, done(entry, 0.75).await);
    let ended = end(entry).await;
    quarter.is_within(share, seconds, ended, "at 25 %");
    half.is_within(share, seconds, ended, "at 50 %");
    most.is_within(share, seconds, ended, "at 75 %");
}

fn listed(items: usize) -> SimConfig {
    SimConfig { items: Some(items), ..SimConfig::default() }
}

async fn world(sim: SimConfig) -> World {
    World::new(sim, Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_expected_by_the_rate() {
    let world = world(listed(200)).await;
    holds(world.start(30.0, |_| {}).await, 0.1, SLACK_S).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_expected_by_what_workers_can_do_where_that_is_less() {
    let world = world(SimConfig { latency: Duration::from_millis(100), ..listed(200) }).await;
    holds(world.start(500.0, |spec| spec.fetch.workers = 3).await, 0.2, SLACK_S).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_expected_by_the_retries_that_come() {
    let stall = Duration::from_millis(300);
    let world = world(SimConfig { faults: 0.2, stall, ..listed(200) }).await;
    // A backoff of the last one or two is more than an expectation can say.
    let flaky = |spec: &mut BatchSpec| {
        never_pushed_back(spec);
        spec.fetch.attempts_max = 6;
        spec.fetch.initial_backoff = Duration::from_secs(1);
    };
    holds(world.start(30.0, flaky).await, 0.25, 2.0 + SLACK_S).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_share_a_gate_each_expect_their_share_of_it() {
    let world = world(listed(100)).await;
    let (a, b) = (world.start(30.0, |_| {}).await, world.start(30.0, |_| {}).await);
    tokio::join!(holds(a, 0.2, SLACK_S), holds(b, 0.2, SLACK_S));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_counts_as_soon_as_it_begins_and_no_more_when_it_is_over() {
    let world = world(listed(200)).await;
    let entry = world.start(30.0, |_| {}).await;
    done(&entry, 0.4).await;
    world.gate().await.hold_by_operator(Some(Duration::from_secs(3)), "").await.unwrap();
    let held = Expected::of(&entry.snapshot(clock::now()));
    let after = done(&entry, 0.6).await;
    let ended = end(&entry).await;
    held.is_within(0.1, SLACK_S, ended, "while it is held");
    after.is_within(0.1, SLACK_S, ended, "after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_that_is_set_counts_at_once() {
    let world = world(listed(200)).await;
    let entry = world.start(40.0, |_| {}).await;
    done(&entry, 0.3).await;
    let set =
        |rate_per_s| crate::domain::upstream::Change { rate_per_s: Some(rate_per_s), ..Default::default() };
    let gate = world.gate().await;
    gate.set_limits(set(Some(10.0)), None).await.unwrap();
    let slow = Expected::of(&entry.snapshot(clock::now()));
    let left = (slow.end.unwrap() - slow.at).as_seconds_f64();
    assert!((11.0..16.0).contains(&left), "some 140 items at 10 a second: {left}");
    done(&entry, 0.4).await;
    gate.set_limits(set(None), None).await.unwrap();
    let fast = Expected::of(&entry.snapshot(clock::now()));
    let ended = end(&entry).await;
    fast.is_within(0.1, SLACK_S, ended, "at its own rate again");
}
