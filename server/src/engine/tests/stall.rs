//! A stall that is made.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_dispatcher_is_stuck_is_told_of_and_so_is_its_end() {
    let world =
        World::new(SimConfig { items: Some(350), ..SimConfig::default() }, Duration::from_secs(1)).await;
    let mut stalled = world.engine.stalled();
    // What happened before is not counted.
    failpoint::set("slice.claimed=stall:6000@3").unwrap();
    let began = Instant::now();
    let entry = world.start(500.0, |_| {}).await;
    let batch = until(&entry, |batch| batch.stalled_since.is_some()).await;
    assert_eq!(batch.state, State::Running);
    assert!(batch.counts.processed() >= 190, "{:?}", batch.counts);
    assert!(*stalled.borrow_and_update());
    assert!(began.elapsed() < Duration::from_secs(6), "it is told while it lasts");
    let stored = world.engine.store.batch(&batch.id).await.unwrap().unwrap();
    assert_eq!(stored.stalled_since, batch.stalled_since);
    let over = until(&entry, |batch| batch.counts.processed() > 250 && batch.stalled_since.is_none()).await;
    assert!(over.revision > batch.revision);
    let ended = until(&entry, |batch| batch.state.is_terminal()).await;
    assert_eq!((ended.state, ended.counts.succeeded, ended.stalled_since), (State::Completed, 350, None));
    tokio::time::timeout(Duration::from_secs(5), stalled.wait_for(|stalled| !stalled))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_for_long_is_no_stall_of_a_batch_and_told_all_the_same() {
    let world =
        World::new(SimConfig { items: Some(100), ..SimConfig::default() }, Duration::from_secs(1)).await;
    let mut stalled = world.engine.stalled();
    failpoint::set("commit.written=busy@2+8").unwrap();
    let entry = world.start(500.0, |_| {}).await;
    tokio::time::timeout(Duration::from_secs(30), stalled.wait_for(|stalled| *stalled))
        .await
        .unwrap()
        .unwrap();
    let states = entry.subscribe();
    assert_eq!((states.borrow().state, states.borrow().stalled_since), (State::Running, None));
    tokio::time::timeout(Duration::from_secs(30), stalled.wait_for(|stalled| !stalled))
        .await
        .unwrap()
        .unwrap();
    let ended = until(&entry, |batch| batch.state.is_terminal()).await;
    assert_eq!((ended.state, ended.counts.succeeded), (State::Completed, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_rate_and_a_held_gate_are_no_stalls() {
    let world =
        World::new(SimConfig { items: Some(12), ..SimConfig::default() }, Duration::from_secs(1)).await;
    let mut stalled = world.engine.stalled();
    let slow = world.start(0.4, |spec| spec.fetch.burst = 8).await;
    until(&slow, |batch| batch.counts.succeeded >= 5).await;
    let told = tokio::time::timeout(Duration::from_secs(3), stalled.changed()).await;
    assert!(told.is_err(), "the rate is used up");
    let gate = world.gate().await;
    gate.hold_by_operator(Some(Duration::from_secs(4)), "").await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(5), stalled.changed()).await;
    assert!(told.is_err(), "the gate was held");
    assert_eq!(slow.subscribe().borrow().state, State::Running);
}
