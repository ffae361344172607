//! Never faster than allowed, as the upstream measures it.

use haul_proto::v1::batch::State;

use crate::world::{
    Server, Upstream, eventually,
    spec::{batch, codes, inline, paced},
    upstream::{Arrival, assert_never_faster},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_batches_at_one_upstream_keep_one_limit_together() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let codes = codes(120);
    let spec =
        |range: std::ops::Range<usize>| batch(inline(codes[range].to_vec()), &upstream.url(), paced(20.0, 5));
    let (first, second) = (server.start_batch(spec(0..60)).await, server.start_batch(spec(60..120)).await);
    for name in [&first, &second] {
        let ended = server.batch_ended(name).await;
        assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 60));
    }
    let charts = upstream.charts();
    assert_eq!(charts.len(), 120);
    assert_never_faster(&charts, 20.0, 5.0);
    let took_s = (charts[119].at_us - charts[0].at_us) as f64 / 1e6;
    assert!(took_s < 8.0, "120 requests at 20 a second take 6 s, not {took_s}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slower_batch_keeps_its_own_limit_beside_a_faster_one() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let codes = codes(110);
    let slow = batch(inline(codes[..10].to_vec()), &upstream.url(), paced(4.0, 2));
    let quick = batch(inline(codes[10..].to_vec()), &upstream.url(), paced(40.0, 10));
    let (slow, quick) = (server.start_batch(slow).await, server.start_batch(quick).await);
    for name in [&slow, &quick] {
        assert_eq!(server.batch_ended(name).await.state(), State::Completed);
    }
    let charts = upstream.charts();
    assert_eq!(charts.len(), 110);
    assert_never_faster(&charts, 40.0, 10.0);
    let own: Vec<Arrival> =
        charts.into_iter().filter(|chart| codes[..10].contains(&chart.key().to_owned())).collect();
    assert_never_faster(&own, 4.0, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_resume_earn_a_slower_batch_no_second_burst() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let codes = codes(1_200);
    let slow = batch(inline(codes[..200].to_vec()), &upstream.url(), paced(2.0, 10));
    let quick = batch(inline(codes[200..].to_vec()), &upstream.url(), paced(60.0, 30));
    let (quick, slow) = (server.start_batch(quick).await, server.start_batch(slow).await);
    let client = server.client().await;
    let own = || {
        let mut charts = upstream.charts();
        charts.retain(|chart| codes[..200].contains(&chart.key().to_owned()));
        charts
    };
    let sends_more = async |more: usize| {
        let before = own().len();
        eventually("it sends", || async { (own().len() >= before + more).then_some(()) }).await;
    };
    sends_more(11).await;
    for _ in 0..5 {
        client.pause(&slow, "").await.unwrap();
        server.batch_in(&slow, State::Paused).await;
        client.resume(&slow, "").await.unwrap();
        sends_more(3).await;
    }
    let beside = client.get_batch(&quick).await.unwrap();
    assert_eq!(beside.state(), State::Running, "the faster one was there all along");
    assert_never_faster(&own(), 2.0, 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_earns_no_second_burst() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = batch(inline(codes(80)), &upstream.url(), paced(10.0, 10));
    let name = server.start_batch(spec).await;
    for processed in [20, 40] {
        server.batch_processed(&name, processed).await;
        server.kill().await;
        server.start_again().await;
    }
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 80);
    assert_never_faster(&upstream.charts(), 10.0, 10.0);
}
