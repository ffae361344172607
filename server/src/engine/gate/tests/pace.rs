//! Adaptive pace, against an upstream that bears less than it is asked for.

use futures::poll;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// An upstream that answers so many requests of each second, and pushes the others back.
struct Strict {
    per_s: u32,
    second: u64,
    seen: u32,
}

impl Strict {
    fn verdict(&mut self, since: Instant) -> Verdict {
        let second = since.elapsed().as_secs();
        if second != self.second {
            (self.second, self.seen) = (second, 0);
        }
        self.seen += 1;
        if self.seen > self.per_s { Verdict::PushBack { retry_after: Some(SECOND) } } else { Verdict::Alive }
    }
}

/// Sends as fast as the gate lets it. Answers with requests that were taken, and pushed back.
async fn sent(lane: &Lane, upstream: &mut Strict, span: Duration) -> (u32, u32) {
    let began = Instant::now();
    let (mut taken, mut refused) = (0, 0);
    tokio::time::pause();
    while began.elapsed() < span {
        match tokio::time::timeout(span.saturating_sub(began.elapsed()), lane.acquire()).await {
            Ok(Ok(_)) => match upstream.verdict(lane.gate.epoch) {
                Verdict::Alive => {
                    taken += 1;
                    // Nothing to be stored comes of it but after a push-back.
                    if lane.is_pushed_back() {
                        tokio::time::resume();
                        lane.observe(Verdict::Alive).await;
                        tokio::time::pause();
                    }
                }
                verdict => {
                    refused += 1;
                    tokio::time::resume();
                    lane.observe(verdict).await;
                    tokio::time::pause();
                }
            },
            Ok(Err(_)) => {
                let opens = lane.opens().unwrap_or_else(Instant::now);
                tokio::time::sleep_until(opens + Duration::from_millis(1)).await;
            }
            Err(_) => break,
        }
    }
    tokio::time::resume();
    (taken, refused)
}

#[tokio::test]
async fn a_storm_of_429_settles_at_what_the_upstream_bears_and_is_forgotten_when_it_is_over() {
    let world = World::new().await;
    let lane = world.lane(1, 40.0, 4).await;
    let mut upstream = Strict { per_s: 10, second: 0, seen: 0 };
    let minute = 60 * SECOND;
    sent(&lane, &mut upstream, 10 * minute).await;
    let (taken, refused) = sent(&lane, &mut upstream, 10 * minute).await;
    // Of 6,000 that it bears; without a pace it would be pushed back every second or two.
    assert!(taken >= 3_000, "{taken} taken, {refused} refused");
    assert!(refused <= 30, "{taken} taken, {refused} refused");
    assert!(lane.permitted_per_s() < 15.0, "{}", lane.permitted_per_s());

    upstream.per_s = u32::MAX;
    sent(&lane, &mut upstream, 10 * minute).await;
    assert!((lane.permitted_per_s() - 40.0).abs() < 1e-6, "{}", lane.permitted_per_s());
    let (taken, refused) = sent(&lane, &mut upstream, minute).await;
    assert!((2_395..=2_405).contains(&taken) && refused == 0, "{taken}");
}

#[tokio::test]
async fn one_hold_halves_once_and_is_told_and_outlives_the_process() {
    let world = World::new().await;
    let lane = world.lane(1, 8.0, 20).await;
    for _ in 0..5 {
        lane.observe(Verdict::PushBack { retry_after: Some(2 * SECOND) }).await;
    }
    let seen = lane.gate.upstream();
    assert_eq!((seen.rate_per_s, seen.burst, seen.push_backs), (0.0, 10, 1));
    opened(&lane).await;
    let seen = lane.gate.upstream();
    assert!((4.0..4.1).contains(&seen.rate_per_s), "{seen:?}");
    assert!((4.0..4.1).contains(&lane.permitted_per_s()));
    drop(lane);
    let world = world.restarted().await;
    let lane = world.lane(1, 8.0, 20).await;
    opened(&lane).await;
    assert!((4.0..4.2).contains(&lane.permitted_per_s()), "{}", lane.permitted_per_s());
    tokio::time::pause();
    let lanes = [&*lane];
    let mut waiting = Box::pin(permits(&lanes, 5 * SECOND));
    assert!(poll!(&mut waiting).is_pending());
    let pressure = lane.pressure().unwrap();
    assert_eq!((pressure.cause, pressure.held_until), (PressureCause::PushedBack, None));
    assert!((4.0..4.2).contains(&pressure.permitted_per_s), "{pressure:?}");
    let taken = waiting.await[0];
    assert!((18..=23).contains(&taken), "{taken}");
}

#[tokio::test]
async fn it_is_off_only_where_every_batch_has_turned_it_off() {
    let world = World::new().await;
    let off = Terms { adaptive_pace: false, ..terms(8.0, 20) };
    let a = world.lane_with(1, off).await;
    a.observe(Verdict::PushBack { retry_after: Some(SECOND) }).await;
    opened(&a).await;
    assert!((a.permitted_per_s() - 8.0).abs() < 1e-9);
    let b = world.lane(2, 8.0, 20).await;
    assert!((a.permitted_per_s() - 8.0).abs() < 1e-9, "what came before halves nothing");
    a.observe(Verdict::PushBack { retry_after: Some(SECOND) }).await;
    opened(&a).await;
    assert!((a.permitted_per_s() - 4.0).abs() < 0.1);
    drop(b);
    assert!((a.permitted_per_s() - 8.0).abs() < 1e-9);
}
