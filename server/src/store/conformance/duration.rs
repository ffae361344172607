//! Time spent in states, with a clock that cases move.

use std::time::Duration;

use super::{
    fixture::{batch::inline, outcome, recording::Group},
    harness::Harness,
};
use crate::domain::batch::State;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) async fn time_is_counted_where_it_was_spent(mut h: Harness) {
    h.bound(1, 10).await;
    let blocker = h.start(inline("batch-a", &["a"])).await;
    let batch = h.start(inline("batch-b", &["a", "b"])).await;
    h.pass(1_000);
    h.stop(&blocker).await;
    let admitted = h.read(&batch).await;
    assert_eq!((admitted.started_at, admitted.active, admitted.paused), (Some(h.now), s(0), s(0)));
    let started_at = h.now;
    h.pass(10);
    let slice = h.claim(&batch).await;
    let pausing = h.pause(&batch).await;
    assert_eq!((pausing.state, pausing.active, pausing.state_since), (State::Pausing, s(10), h.now));
    h.pass(20);
    let paused = h.record(&batch, Group::new().release(&slice)).await.batch;
    assert_eq!((paused.state, paused.active, paused.paused), (State::Paused, s(10), s(20)));
    h.pass(40);
    assert_eq!(paused.paused_until(h.now), s(60));
    let resumed = h.resume(&batch).await;
    assert_eq!((resumed.active, resumed.paused), (s(10), s(60)));
    h.pass(80);
    assert_eq!(resumed.active_until(h.now), s(90));
    let slice = h.claim(&batch).await;
    let group =
        Group::new().keep(&slice).add(&slice, 0, outcome::success()).add(&slice, 1, outcome::success());
    let ended = h.record(&batch, group).await.batch;
    assert_eq!((ended.active, ended.paused, ended.started_at), (s(90), s(60), Some(started_at)));
    h.pass(500);
    assert_eq!((ended.active_until(h.now), ended.paused_until(h.now)), (s(90), s(60)));
}

pub(super) async fn a_clock_that_goes_back_takes_nothing_away(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    h.pass(10);
    h.pause(&batch).await;
    h.pass(10);
    h.resume(&batch).await;
    h.pass(-3_600);
    let paused = h.pause(&batch).await;
    assert_eq!((paused.active, paused.paused), (s(10), s(10)));
    h.pass(-3_600);
    let resumed = h.resume(&batch).await;
    assert_eq!((resumed.active, resumed.paused), (s(10), s(10)));
    assert_eq!(resumed.active_until(h.after(-60)), s(10));
    h.pass(5);
    let stopped = h.stop(&batch).await;
    assert_eq!((stopped.active, stopped.paused), (s(15), s(10)));
}
