//! The gate with time that stands still unless it is waited for, over a real store.

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock,
    domain::{
        request::Request,
        upstream::{AskedHold, Breaker, OperatorHold, PressureCause, Slowed, Tripped},
    },
    fetch::{Call, Denied, FetchError, Fetcher, Outbound, Permits, Verdict},
    store::sqlite::{Limits, SqliteStore},
};

mod pace;
mod steer;

struct World {
    folder: tempfile::TempDir,
    gates: Gates,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gates = Self::gates(&folder).await;
        Self { folder, gates }
    }

    async fn gates(folder: &tempfile::TempDir) -> Gates {
        let store = SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
        Gates::load(Arc::new(store)).await.unwrap()
    }

    /// The process died and another one came.
    async fn restarted(mut self) -> Self {
        self.gates = Self::gates(&self.folder).await;
        self
    }

    async fn lane(&self, batch: i64, rate_per_s: f64, burst: u32) -> Arc<Lane> {
        self.lane_with(batch, terms(rate_per_s, burst)).await
    }

    async fn lane_with(&self, batch: i64, terms: Terms) -> Arc<Lane> {
        self.gates.join(&id(), "api.example", BatchSeq(batch), terms).await.unwrap()
    }
}

fn id() -> UpstreamId {
    UpstreamId::of("https", "api.example", 443)
}

fn terms(rate_per_s: f64, burst: u32) -> Terms {
    let second = Duration::from_secs(1);
    Terms {
        rate_per_s,
        burst,
        weight: 1.0,
        adaptive_pace: true,
        attempt_timeout: 30 * second,
        probe_interval: 60 * second,
    }
}

/// Until when the lane's gate is held, by both clocks.
fn held(lane: &Lane) -> Option<(DateTime<Utc>, Instant)> {
    lane.gate.shut().map(|shut| (shut.until, shut.opens))
}

/// Moves time to where the gate opens.
async fn opened(lane: &Lane) {
    tokio::time::pause();
    while let Some(opens) = lane.opens() {
        tokio::time::sleep_until(opens + Duration::from_millis(1)).await;
    }
    tokio::time::resume();
}

/// Permits that come within `span`.
async fn permits(lanes: &[&Lane], span: Duration) -> Vec<usize> {
    let end = Instant::now() + span;
    let counts = lanes.iter().map(|lane| async move {
        let mut taken = 0;
        while let Ok(Ok(_)) = tokio::time::timeout_at(end, lane.acquire()).await {
            taken += 1;
        }
        taken
    });
    futures::future::join_all(counts).await
}

#[tokio::test]
async fn batches_share_one_limit_by_turns() {
    let world = World::new().await;
    let (a, b) = (world.lane(1, 10.0, 4).await, world.lane(2, 10.0, 4).await);
    tokio::time::pause();
    let taken = permits(&[&a, &b], Duration::from_secs(20)).await;
    let total: usize = taken.iter().sum();
    assert!((200..=204).contains(&total), "{taken:?}");
    assert!(taken[0].abs_diff(taken[1]) <= 4, "{taken:?}");
}

#[tokio::test]
async fn the_largest_rate_binds_and_a_lower_one_its_own_batch() {
    let world = World::new().await;
    let (fast, slow) = (world.lane(1, 20.0, 2).await, world.lane(2, 2.0, 1).await);
    tokio::time::pause();
    let taken = permits(&[&fast, &slow], Duration::from_secs(10)).await;
    // A burst of one leaves nothing to hold back, so what a waiter wakes late is lost.
    assert!((18..=21).contains(&taken[1]), "{taken:?}");
    assert!((199..=202).contains(&(taken[0] + taken[1])), "{taken:?}");
    drop(fast);
    assert!((slow.permitted_per_s() - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_visitor_keeps_to_the_limit_that_it_finds_and_leaves_it_as_it_was() {
    let world = World::new().await;
    let upstream = id();
    let visit = || world.gates.visit(&upstream, "api.example", terms(1_000.0, 100));
    let lane = world.lane(7, 1.0, 2).await;
    let visitor = visit().await.unwrap();
    tokio::time::pause();
    let taken = permits(&[&lane, &visitor], Duration::from_secs(10)).await;
    assert!((10..=12).contains(&taken.iter().sum::<usize>()), "{taken:?}");
    drop(visitor);
    assert!((lane.permitted_per_s() - 1.0).abs() < f64::EPSILON);
    drop(lane);
    tokio::time::resume();
    // Alone it goes at its own pace.
    let visitor = visit().await.unwrap();
    assert!((visitor.permitted_per_s() - 1_000.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_push_back_turns_everybody_away_until_its_time() {
    let world = World::new().await;
    let (a, b) = (world.lane(1, 1.0, 1).await, world.lane(2, 1.0, 1).await);
    a.acquire().await.map(drop).unwrap();
    let waiting = {
        let b = Arc::clone(&b);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { b.acquire().await.map(drop) });
        tasks
    };
    tokio::task::yield_now().await;
    a.observe(Verdict::PushBack { retry_after: Some(Duration::from_secs(30)) }).await;
    let denied = waiting.join_all().await;
    assert!(denied[0].is_err(), "who waited was turned away");
    let (until, opens) = held(&b).unwrap();
    assert_eq!(a.acquire().await.map(drop), Err(Denied { until }));
    assert_eq!(b.pressure().unwrap().cause, PressureCause::PushedBack);

    // A shorter one does not shorten it.
    b.observe(Verdict::PushBack { retry_after: Some(Duration::from_secs(1)) }).await;
    assert_eq!(held(&b), Some((until, opens)));
    tokio::time::pause();
    tokio::time::sleep_until(opens).await;
    assert_eq!(held(&b), None);
    assert_eq!(b.acquire().await.map(drop), Ok(()));
}

#[tokio::test]
async fn push_backs_that_name_no_time_hold_longer_each_time_until_a_success() {
    let world = World::new().await;
    let lane = world.lane(1, 1_000.0, 100).await;
    // To ten seconds: what is stored meanwhile takes its time on a busy machine.
    let left = || (held(&lane).unwrap().1 - Instant::now()).as_secs().div_ceil(10) * 10;
    let mut holds = Vec::new();
    for _ in 0..6 {
        lane.observe(Verdict::PushBack { retry_after: None }).await;
        // The second of two that were under way together changes nothing.
        lane.observe(Verdict::PushBack { retry_after: None }).await;
        let (_, opens) = held(&lane).unwrap();
        holds.push(left());
        tokio::time::pause();
        tokio::time::sleep_until(opens).await;
        tokio::time::resume();
    }
    assert_eq!(holds, [60, 120, 240, 480, 900, 900]);
    lane.observe(Verdict::Alive).await;
    lane.observe(Verdict::PushBack { retry_after: None }).await;
    assert_eq!(left(), 60);
}

#[tokio::test]
async fn whoever_gives_up_has_taken_nothing() {
    let world = World::new().await;
    let lane = world.lane(1, 10.0, 1).await;
    tokio::time::pause();
    lane.acquire().await.map(drop).unwrap();
    for _ in 0..5 {
        let given_up = tokio::time::timeout(Duration::from_millis(10), lane.acquire()).await;
        assert!(given_up.is_err());
    }
    let before = Instant::now();
    lane.acquire().await.map(drop).unwrap();
    assert!(before.elapsed() <= Duration::from_millis(52), "{:?}", before.elapsed());
    assert_eq!(lane.pressure(), None, "nobody waits any more");
}

#[tokio::test]
async fn a_restart_begins_with_an_empty_bucket_and_keeps_a_hold() {
    let world = World::new().await;
    let lane = world.lane(1, 1.0, 20).await;
    drop(lane);
    let before = Instant::now();
    let world = world.restarted().await;
    let lane = world.lane(1, 1.0, 20).await;
    tokio::time::pause();
    lane.acquire().await.map(drop).unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1), "the burst may just have been used");
    tokio::time::resume();

    lane.observe(Verdict::PushBack { retry_after: Some(Duration::from_secs(3_600)) }).await;
    let until = held(&lane).unwrap().0;
    drop(lane);
    let world = world.restarted().await;
    let lane = world.lane(1, 1.0, 20).await;
    assert_eq!(lane.acquire().await.map(drop), Err(Denied { until }));
}

#[tokio::test]
async fn after_a_restart_a_burst_is_withheld_until_it_has_been_refilled_and_no_longer() {
    let world = World::new().await;
    drop(world.lane(1, 1_000.0, 100).await);
    let world = world.restarted().await;
    // The upstream's own bucket is full in a moment, a batch's fills at the batch's rate.
    let _wide = world.lane(1, 1_000.0, 100).await;
    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    for (batch, after, at_once) in [(2, 30, 3), (3, 60, 6), (4, 1_000, 19), (5, 3_600, 19)] {
        let passed = world.gates.epoch.elapsed().as_secs();
        pass(after - passed).await;
        // A permit each ten seconds.
        let lane = world.lane(batch, 0.1, 20).await;
        tokio::time::pause();
        assert_eq!(permits(&[&lane], Duration::from_secs(5)).await, [at_once], "{after} s after the start");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_upstream_that_is_used_late_after_a_restart_has_its_burst_at_once() {
    let world = World::new().await;
    drop(world.lane(1, 1.0, 20).await);
    let world = world.restarted().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(100)).await;
    tokio::time::resume();
    let lane = world.lane(2, 1.0, 20).await;
    tokio::time::pause();
    assert_eq!(permits(&[&lane], Duration::from_millis(500)).await, [19]);
}

#[tokio::test]
async fn a_tripped_breaker_lets_one_request_through_to_see_and_an_answer_opens_it() {
    let world = World::new().await;
    let (a, b) = (world.lane(1, 1_000.0, 100).await, world.lane(2, 1_000.0, 100).await);
    for _ in 0..10 {
        assert!(b.tripped_since().is_none());
        a.acquire().await.map(drop).unwrap();
        a.observe(Verdict::Failing).await;
    }
    assert!(b.tripped_since().is_some(), "one upstream, one breaker");
    assert!(b.acquire().await.is_err());
    let pressure = b.pressure().unwrap();
    assert_eq!((pressure.cause, pressure.permitted_per_s), (PressureCause::Outage, 0.0));

    opened(&b).await;
    b.acquire().await.map(drop).expect("the probe");
    assert!(a.acquire().await.is_err(), "one at a time");
    b.observe(Verdict::Failing).await;
    assert!(a.acquire().await.is_err());
    let wait = held(&a).unwrap().1 - Instant::now();
    assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&wait), "twice as long: {wait:?}");

    opened(&a).await;
    a.acquire().await.map(drop).expect("the next probe");
    a.observe(Verdict::Alive).await;
    assert!(b.tripped_since().is_none());
    b.acquire().await.map(drop).unwrap();
}

#[tokio::test]
async fn a_probe_that_nobody_hears_of_again_is_given_up() {
    let world = World::new().await;
    let lane = world.lane(1, 1_000.0, 100).await;
    lane.refused().await;
    opened(&lane).await;
    lane.acquire().await.map(drop).expect("the probe, which is then dropped");
    let before = Instant::now();
    opened(&lane).await;
    let waited = before.elapsed().as_secs();
    assert!((60..=64).contains(&waited), "twice an attempt and a moment: {waited} s");
    lane.acquire().await.map(drop).expect("another probe");
}

#[tokio::test]
async fn the_turn_of_a_probe_that_is_cut_off_is_the_others_at_once() {
    let world = World::new().await;
    let upstream = id();
    let canary = || world.gates.canary(&upstream, "api.example", BatchSeq(2), terms(1_000.0, 100));
    let lane = world.lane(1, 1_000.0, 100).await;
    lane.refused().await;
    let wait = |lane: &Lane| match lane.gate.state().breaker {
        Breaker::Tripped { wait, .. } => wait,
        other => panic!("{other:?}"),
    };
    let before = wait(&lane);
    opened(&lane).await;
    let other = canary().await.unwrap();
    other.acquire().await.map(drop).expect("the probe");
    assert!(lane.acquire().await.is_err(), "one at a time");
    drop(other);
    assert_eq!((wait(&lane), lane.gate.failed_probes()), (before, 0), "it has not failed");
    lane.acquire().await.map(drop).expect("another probe");

    // One that was heard of, and one that is not the last, leave nothing behind.
    lane.observe(Verdict::Failing).await;
    let due = held(&lane).unwrap().1;
    drop(lane);
    let lane = world.lane(1, 1_000.0, 100).await;
    assert_eq!(held(&lane).unwrap().1, due);
}

#[tokio::test]
async fn a_tripped_breaker_outlives_the_process() {
    let world = World::new().await;
    let lane = world.lane(1, 1_000.0, 100).await;
    lane.refused().await;
    let until = held(&lane).unwrap().0;
    drop(lane);
    let world = world.restarted().await;
    let lane = world.lane(1, 1_000.0, 100).await;
    let again = held(&lane).expect("still tripped").0;
    assert!((again - until).abs() < TimeDelta::seconds(1), "{until} {again}");
    opened(&lane).await;
    lane.acquire().await.map(drop).unwrap();
    lane.observe(Verdict::Alive).await;
    drop(lane);
    let world = world.restarted().await;
    assert!(world.lane(1, 1_000.0, 100).await.tripped_since().is_none());
}

#[tokio::test]
async fn five_push_backs_in_a_row_trip_the_breaker_however_short_they_are() {
    let world = World::new().await;
    let lane = world.lane(1, 1_000.0, 100).await;
    for _ in 0..5 {
        assert!(lane.tripped_since().is_none());
        lane.observe(Verdict::PushBack { retry_after: Some(Duration::from_secs(1)) }).await;
        if lane.tripped_since().is_none() {
            opened(&lane).await;
        }
    }
    assert!(lane.tripped_since().is_some() && lane.is_pushed_back());
}

/// A lane whose gate's breaker has tripped, with one probe that failed: the next one is the canary's turn, and due.
async fn in_the_canarys_turn(world: &World) -> Arc<Lane> {
    let lane = world.lane(1, 1.0, 1).await;
    lane.refused().await;
    opened(&lane).await;
    lane.acquire().await.map(drop).unwrap();
    lane.observe(Verdict::Failing).await;
    tokio::time::pause();
    let Breaker::Tripped { probe_at, .. } = lane.gate.state().breaker else { panic!("a probe has failed") };
    tokio::time::sleep_until(lane.gate.epoch + probe_at).await;
    lane
}

#[tokio::test]
async fn items_leave_every_second_probe_to_others_for_a_while() {
    let world = World::new().await;
    let lane = in_the_canarys_turn(&world).await;
    assert!(lane.gate.wants_probe());
    assert!(lane.acquire().await.is_err(), "it is not an item's turn");
    // Time stands still but for this.
    tokio::time::advance(Duration::from_secs(3)).await;
    lane.acquire().await.map(drop).unwrap();
}

#[tokio::test]
async fn a_turn_that_nobody_takes_is_the_items_at_once_and_only_this_one() {
    let world = World::new().await;
    let lane = in_the_canarys_turn(&world).await;
    lane.gate.pass_turn();
    assert!(!lane.gate.wants_probe());
    for _ in 0..2 {
        assert_eq!(lane.opens(), None);
        lane.acquire().await.map(drop).unwrap();
        tokio::time::resume();
        lane.observe(Verdict::Failing).await;
        tokio::time::pause();
        let Breaker::Tripped { probe_at, .. } = lane.gate.state().breaker else { panic!("it has failed") };
        tokio::time::sleep_until(lane.gate.epoch + probe_at).await;
    }
    assert!(lane.opens().is_some() && lane.gate.wants_probe(), "the next turn but one is the canary's again");
}

#[tokio::test]
async fn a_probe_is_wanted_as_soon_as_it_is_due_or_where_a_batch_runs_a_while_later() {
    let world = World::new().await;
    let lane = world.lane(1, 1.0, 1).await;
    let gate = Arc::clone(&lane.gate);
    lane.refused().await;
    assert!(!gate.wants_probe());
    opened(&lane).await;
    tokio::time::pause();
    assert!(!gate.wants_probe(), "an item of the batch may be the probe");
    drop(lane);
    assert!(gate.wants_probe());
    tokio::time::resume();
    let _lane = world.lane(1, 1.0, 1).await;
    tokio::time::pause();
    tokio::time::advance(PROBE_POLL).await;
    assert!(gate.wants_probe(), "none of its items was");
}

#[tokio::test]
async fn what_turns_out_not_to_be_sent_costs_no_permit() {
    let world = World::new().await;
    let lane = world.lane(1, 0.01, 2).await;
    let fetcher = Fetcher::new(Outbound::default()).unwrap();
    for url in ["http://127.0.0.1:1/", "http://[::1]:1/"].repeat(5) {
        let call = Call {
            request: Request::get(url.to_owned(), "*/*"),
            user_agent: "test".into(),
            timeout: Duration::from_secs(5),
            body_bytes_max: 1,
            permits: Arc::clone(&lane) as _,
            withdrawn: CancellationToken::new(),
            meter: Arc::default(),
        };
        let reply = tokio::time::timeout(Duration::from_secs(5), fetcher.fetch(call)).await;
        assert!(matches!(reply, Ok(Err(FetchError::Forbidden(_)))), "{url}: {reply:?}");
    }
    lane.acquire().await.unwrap();
    assert!(!lane.has_permit(), "one that is used is gone");
}

#[tokio::test]
async fn a_hold_that_was_stored_before_the_clock_was_set_back_lasts_no_longer_than_it_was_to() {
    let world = World::new().await;
    let (hour, minute) = (TimeDelta::hours(1), Duration::from_secs(60));
    // As it is stored by a process whose clock is an hour ahead.
    let since = clock::now() + hour;
    let ahead = |hold: Duration| since + span(hold);
    let record = UpstreamRecord {
        held: Some(AskedHold { since: Some(since), until: ahead(minute) }),
        tripped: Some(Tripped { since, probe_at: ahead(5 * minute), wait: 5 * minute }),
        slowed: Some(Slowed { share: 0.5, from: ahead(minute) }),
        operator: Some(OperatorHold { since, until: Some(ahead(2 * minute)), reason: String::new() }),
        ..world.lane(1, 10.0, 2).await.gate.record()
    };
    world.gates.store.put_upstream(&record).await.unwrap();
    let world = world.restarted().await;
    let lane = world.lane(1, 10.0, 2).await;
    let wait = lane.gate_wait().unwrap();
    assert!((4 * minute..=5 * minute).contains(&wait), "{wait:?}");
    let state = lane.gate.state();
    let held = state.held.unwrap();
    assert!(held.opens <= Instant::now() + minute && held.until <= clock::now() + span(minute));
    assert!(state.pace.grows_from() <= lane.gate.epoch.elapsed() + minute, "it grows from the hold's end");
}
