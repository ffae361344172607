//! Who waits for whom: nobody but an item for its own time.

use super::*;
use crate::store::AttemptQuery;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_is_asked_again_when_it_is_due_and_meanwhile_keeps_no_worker() {
    let sim = SimConfig { items: Some(250), faults: 0.3, stall: Duration::ZERO, ..SimConfig::default() };
    let world = World::new(sim, Duration::from_secs(60)).await;
    // A worker that slept would do nothing else for 2 to 4 s.
    let entry = world
        .start(200.0, |spec| {
            spec.fetch.workers = 2;
            never_pushed_back(spec);
            spec.fetch.initial_backoff = Duration::from_secs(4);
            spec.fetch.backoff_multiplier = 1.0;
            spec.fetch.attempts_max = 4;
        })
        .await;
    let batch = until(&entry, |batch| batch.state.is_terminal()).await;
    assert_eq!((batch.state, batch.counts.succeeded), (State::Completed, 250));
    let query = AttemptQuery { after: (-1, 0), last_index: None, limit: 2_000, running: Vec::new() };
    let attempts = world.engine.store.attempts(batch.seq, &query).await.unwrap();
    let mut retries = 0;
    let mut latest = Duration::ZERO;
    for (failed, again) in attempts.iter().zip(&attempts[1..]) {
        if failed.index == again.index && failed.is_charged {
            let waited = (again.started_at.unwrap() - failed.ended_at.unwrap()).to_std().unwrap();
            assert!(waited >= Duration::from_millis(1_990), "not before its time: {waited:?}");
            latest = latest.max(waited);
            retries += 1;
        }
    }
    assert!(retries >= 30, "{retries} retries");
    // What is due takes its turn among at most a slice's fresh items.
    assert!(latest < Duration::from_millis(5_500), "the last one waited {latest:?}");
    let fresh = attempts.iter().filter(|attempt| attempt.number == 1).filter_map(|attempt| attempt.ended_at);
    let took = (fresh.max().unwrap() - batch.started_at.unwrap()).to_std().unwrap();
    assert!(took < Duration::from_secs(4), "first tries took {took:?}");
    // Nobody waits for company that does not come.
    let last = attempts.iter().filter_map(|attempt| attempt.ended_at).max().unwrap();
    let flushed = (batch.ended_at.unwrap() - last).to_std().unwrap();
    assert!(flushed < Duration::from_millis(200), "committed {flushed:?} after the last answer");
}
