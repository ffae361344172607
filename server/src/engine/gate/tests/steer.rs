//! What an operator wants of a gate.

use futures::poll;

use super::*;
use crate::domain::upstream::{BreakerState, Change, Configured, HoldCause};

const SECOND: Duration = Duration::from_secs(1);

fn rate(rate_per_s: f64) -> Change {
    Change { rate_per_s: Some(Some(rate_per_s)), ..Change::default() }
}

fn in_flight(max: Option<u32>) -> Change {
    Change { in_flight_max: Some(max), ..Change::default() }
}

#[tokio::test]
async fn a_configured_rate_binds_all_and_a_batchs_own_ceiling_stays() {
    let world = World::new().await;
    let (fast, slow) = (world.lane(1, 20.0, 2).await, world.lane(2, 2.0, 1).await);
    fast.gate.set_limits(rate(5.0), None).await.unwrap();
    tokio::time::pause();
    let taken = permits(&[&fast, &slow], Duration::from_secs(10)).await;
    assert!((49..=52).contains(&taken.iter().sum::<usize>()) && taken[1] <= 21, "{taken:?}");
    tokio::time::resume();
    fast.gate.set_limits(rate(100.0), None).await.unwrap();
    tokio::time::pause();
    let taken = permits(&[&fast, &slow], Duration::from_secs(10)).await;
    assert!((180..=202).contains(&taken[0]) && taken[1] <= 21, "above its ceiling no batch goes: {taken:?}");
}

#[tokio::test]
async fn whoever_sleeps_for_a_permit_is_told_of_a_higher_rate_and_a_lower_one_earns_no_second_burst() {
    let world = World::new().await;
    let lane = world.lane(1, 100.0, 20).await;
    lane.gate.set_limits(rate(0.001), None).await.unwrap();
    tokio::time::pause();
    assert!(permits(&[&lane], SECOND).await[0] >= 18);
    let mut waiting = lane.acquire();
    assert!(poll!(&mut waiting).is_pending());
    tokio::time::resume();
    let raised = Instant::now();
    lane.gate.set_limits(rate(50.0), None).await.unwrap();
    waiting.await.map(drop).unwrap();
    lane.gate.set_limits(rate(1.0), None).await.unwrap();
    // What came at the higher rate while the store was busy stays granted.
    let earned = (50.0 * raised.elapsed().as_secs_f64()).ceil() as usize;
    tokio::time::pause();
    let taken = permits(&[&lane], Duration::from_secs(10)).await[0];
    assert!(taken <= 12 + earned.min(20), "{taken} permits in ten seconds at one a second, {earned} before");
}

#[tokio::test]
async fn no_more_are_in_flight_than_may_be_and_what_is_over_or_dropped_is_given_back() {
    let world = World::new().await;
    let (a, b) = (world.lane(1, 1_000.0, 100).await, world.lane(2, 1_000.0, 100).await);
    a.gate.set_limits(in_flight(Some(2)), None).await.unwrap();
    let (first, second) = (a.acquire().await.ok().unwrap(), b.acquire().await.ok().unwrap());
    assert_eq!(a.gate.upstream().in_flight, 2);
    let mut third = b.acquire();
    assert!(poll!(&mut third).is_pending());
    let seen = a.gate.upstream();
    assert_eq!((seen.in_flight, seen.waiting), (2, 1));
    assert_eq!(b.pressure().unwrap().cause, PressureCause::RateLimited);
    drop(first);
    let third = third.await;
    assert!(third.is_ok());
    assert_eq!(a.gate.upstream().in_flight, 2);

    // One that gives up while it waits takes no place, nor does one that is turned away.
    let given_up = tokio::time::timeout(Duration::from_millis(20), a.acquire()).await;
    assert!(given_up.is_err());
    drop((second, third));
    assert_eq!((a.gate.upstream().in_flight, a.gate.upstream().waiting), (0, 0));

    // Fewer than are under way: nothing new until enough are over. Unset: as many as there are.
    let held: Vec<_> = futures::future::join_all([a.acquire(), b.acquire()]).await;
    a.gate.set_limits(in_flight(Some(1)), None).await.unwrap();
    let mut next = a.acquire();
    let mut held = held.into_iter();
    drop(held.next());
    assert!(poll!(&mut next).is_pending(), "one is under way still");
    a.gate.set_limits(in_flight(None), None).await.unwrap();
    next.await.map(drop).unwrap();
}

#[tokio::test]
async fn limits_outlive_the_process_and_a_stale_etag_changes_nothing() {
    let world = World::new().await;
    let gate = world.gates.found_or_made(&id()).await.unwrap();
    let before = gate.upstream();
    assert_eq!(before.configured, Configured::default());
    let etag = before.configured.etag(&id());
    gate.set_limits(rate(3.0), Some(&etag)).await.unwrap();
    let stale = gate.set_limits(rate(4.0), Some(&etag)).await;
    assert!(matches!(stale, Err(LimitsError::EtagMismatch(..))), "{stale:?}");
    // What is stored meanwhile for another reason takes nothing back.
    let lane = world.lane(1, 10.0, 20).await;
    lane.observe(Verdict::PushBack { retry_after: Some(SECOND) }).await;
    drop((lane, gate));
    let world = world.restarted().await;
    let gate = world.gates.get(&id()).expect("it is known");
    assert_eq!(gate.upstream().configured, Configured { rate_per_s: Some(3.0), ..Configured::default() });
    let _lane = world.lane(1, 10.0, 20).await;
    assert!(gate.upstream().rate_per_s <= 3.0);
}

#[tokio::test]
async fn a_hold_by_an_operator_turns_everybody_away_until_its_time_or_its_release() {
    let world = World::new().await;
    let lane = world.lane(1, 1.0, 1).await;
    lane.acquire().await.map(drop).unwrap();
    let mut waiting = lane.acquire();
    assert!(poll!(&mut waiting).is_pending());
    lane.gate.hold_by_operator(None, "lunch").await.unwrap();
    assert!(waiting.await.is_err(), "who waited was turned away");
    let pressure = lane.pressure().unwrap();
    assert_eq!(
        (pressure.cause, pressure.held_until, pressure.permitted_per_s),
        (PressureCause::Operator, None, 0.0)
    );
    assert_eq!(lane.gate_wait(), None, "nobody knows its end");
    let held = lane.gate.upstream().held.unwrap();
    assert_eq!((held.cause, held.until, held.message.as_str()), (HoldCause::Operator, None, "lunch"));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(400 * 86_400)).await;
    tokio::time::resume();
    assert!(lane.acquire().await.is_err(), "it has no end of its own");

    drop(lane);
    let world = world.restarted().await;
    let lane = world.lane(1, 1.0, 1).await;
    assert!(lane.acquire().await.is_err(), "nor does a restart end it");
    lane.gate.hold_by_operator(Some(10 * SECOND), "").await.unwrap();
    let again = lane.gate.upstream().held.unwrap();
    assert_eq!(again.since, held.since, "the newest one wins, and it was held all along");
    assert!(lane.gate_wait().unwrap() <= 10 * SECOND);
    opened(&lane).await;
    lane.acquire().await.map(drop).unwrap();

    lane.gate.hold_by_operator(None, "").await.unwrap();
    world.gates.release(&lane.gate).await.unwrap();
    assert_eq!((lane.gate.upstream().held, lane.opens()), (None, None));
    lane.acquire().await.map(drop).unwrap();
    let world = world.restarted().await;
    assert_eq!(world.gates.get(&id()).unwrap().upstream().held, None);
}

#[tokio::test]
async fn a_release_ends_every_cause_and_lets_a_tripped_breaker_probe_at_once() {
    let world = World::new().await;
    let lane = world.lane(1, 1_000.0, 100).await;
    lane.observe(Verdict::PushBack { retry_after: Some(3_600 * SECOND) }).await;
    lane.gate.hold_by_operator(None, "").await.unwrap();
    lane.refused().await;
    let seen = lane.gate.upstream();
    assert_eq!((seen.breaker, seen.push_backs), (BreakerState::Tripped, 1));
    assert_eq!(seen.held.unwrap().cause, HoldCause::Operator, "the one that lasts longest");
    assert!(seen.tripped_at.is_some() && seen.probe_at > Some(seen.at));

    world.gates.release(&lane.gate).await.unwrap();
    let seen = lane.gate.upstream();
    assert_eq!((seen.breaker, seen.held.unwrap().cause), (BreakerState::Tripped, HoldCause::Breaker));
    lane.acquire().await.map(drop).expect("the probe");
    assert_eq!(lane.gate.upstream().breaker, BreakerState::Probing);
    assert!(lane.acquire().await.is_err(), "one at a time");
    // It changes nothing of a probe under way.
    world.gates.release(&lane.gate).await.unwrap();
    assert!(lane.acquire().await.is_err());
    lane.observe(Verdict::Alive).await;
    let seen = lane.gate.upstream();
    assert_eq!((seen.breaker, seen.held, seen.tripped_at), (BreakerState::Closed, None, None));
    lane.acquire().await.map(drop).unwrap();
}

#[tokio::test]
async fn whoever_waits_elsewhere_for_a_gate_hears_of_its_release() {
    let world = World::new().await;
    let lane = world.lane(1, 1.0, 1).await;
    lane.gate.hold_by_operator(None, "").await.unwrap();
    let (heard, released) = tokio::join!(world.gates.released(), world.gates.release(&lane.gate));
    assert_eq!((heard, released.is_ok()), ((), true));
}

#[tokio::test]
async fn batches_that_wait_share_by_their_weights() {
    let world = World::new().await;
    let with = |weight| Terms { weight, ..terms(30.0, 2) };
    let (low, high) = (world.lane_with(1, with(1.0)).await, world.lane_with(2, with(2.0)).await);
    // Ten of each wait at a time, as workers do.
    let lanes: Vec<&Lane> = [vec![&*low; 10], vec![&*high; 10]].concat();
    tokio::time::pause();
    let taken = permits(&lanes, Duration::from_secs(20)).await;
    let (of_low, of_high): (usize, usize) = (taken[..10].iter().sum(), taken[10..].iter().sum());
    assert!((598..=603).contains(&(of_low + of_high)), "{of_low} {of_high}");
    assert!(of_high.abs_diff(2 * of_low) <= 4, "{of_low} {of_high}");
}

#[tokio::test]
async fn a_slow_lane_of_great_weight_keeps_nobody_waiting() {
    let world = World::new().await;
    let slow = world.lane_with(1, Terms { weight: 32.0, ..terms(1.0, 1) }).await;
    let fast = world.lane_with(2, Terms { weight: 0.03125, ..terms(50.0, 5) }).await;
    let lanes: Vec<&Lane> = [vec![&*slow; 5], vec![&*fast; 5]].concat();
    tokio::time::pause();
    let taken = permits(&lanes, Duration::from_secs(10)).await;
    let (of_slow, of_fast): (usize, usize) = (taken[..5].iter().sum(), taken[5..].iter().sum());
    assert!((9..=11).contains(&of_slow), "{of_slow} {of_fast}");
    assert!((495..=505).contains(&(of_slow + of_fast)), "{of_slow} {of_fast}");
}

#[tokio::test]
async fn whoever_gives_up_passes_the_turn_on() {
    let world = World::new().await;
    let lane = world.lane(1, 10.0, 1).await;
    tokio::time::pause();
    lane.acquire().await.map(drop).unwrap();
    let mut waiting: Vec<_> = (0..50).map(|_| lane.acquire()).collect();
    for request in &mut waiting {
        assert!(poll!(request).is_pending());
    }
    // All but the last, the first among them, which sleeps for all.
    waiting.drain(..49);
    let before = Instant::now();
    waiting.remove(0).await.map(drop).unwrap();
    assert!(before.elapsed() <= Duration::from_millis(102), "{:?}", before.elapsed());
}
