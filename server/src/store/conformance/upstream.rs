//! What is durable of upstreams.

use std::time::Duration;

use super::harness::Harness;
use crate::domain::upstream::{
    AskedHold, Configured, OperatorHold, Slowed, Tripped, UpstreamId, UpstreamRecord,
};

fn record(h: &Harness, port: u16) -> UpstreamRecord {
    UpstreamRecord {
        id: UpstreamId::of("http", "127.0.0.1", port),
        host: "127.0.0.1".to_owned(),
        configured: Configured { rate_per_s: Some(0.3), burst: Some(7), in_flight_max: Some(10_000) },
        rate_per_s: 0.1 + 0.2,
        burst: 20,
        held: Some(AskedHold { since: Some(h.after(30)), until: h.after(90) }),
        push_backs: 3,
        tripped: Some(Tripped { since: h.now, probe_at: h.after(5), wait: Duration::from_millis(2_500) }),
        slowed: Some(Slowed { share: 1.0 / 3.0, from: h.after(90) }),
        operator: Some(OperatorHold {
            since: h.now, until: Some(h.after(600)), reason: "昼休み".to_owned()
        }),
    }
}

/// One of which nothing but its use is known.
fn plain(h: &Harness, port: u16) -> UpstreamRecord {
    UpstreamRecord {
        configured: Configured::default(),
        held: None,
        push_backs: 0,
        tripped: None,
        slowed: None,
        operator: None,
        ..record(h, port)
    }
}

pub(super) async fn a_record_comes_back(mut h: Harness) {
    assert!(h.upstreams().await.unwrap().is_empty());
    let (a, b) = (record(&h, 8080), plain(&h, 8081));
    h.put_upstream(&b).await.unwrap();
    h.put_upstream(&a).await.unwrap();
    h.reopen().await;
    for record in [&a, &b] {
        assert_eq!(h.upstream(&record.id).await.unwrap().as_ref(), Some(record));
    }
    assert_eq!(h.upstream(&plain(&h, 8082).id).await.unwrap(), None);
    assert_eq!(h.upstreams().await.unwrap(), [a, b]);
}

pub(super) async fn the_last_write_wins(h: Harness) {
    let first = record(&h, 8080);
    h.put_upstream(&first).await.unwrap();
    let last = UpstreamRecord { rate_per_s: 2.0, ..plain(&h, 8080) };
    h.put_upstream(&last).await.unwrap();
    assert_eq!(h.upstreams().await.unwrap(), std::slice::from_ref(&last));
    h.put_upstream(&first).await.unwrap();
    assert_eq!(h.upstreams().await.unwrap(), [first]);
}

pub(super) async fn a_hold_by_an_operator_may_be_without_end(mut h: Harness) {
    for until in [None, Some(h.after(30 * 86_400))] {
        let operator = Some(OperatorHold { since: h.now, until, reason: String::new() });
        let held = UpstreamRecord { operator, ..plain(&h, 8080) };
        h.put_upstream(&held).await.unwrap();
        h.reopen().await;
        assert_eq!(h.upstreams().await.unwrap(), [held]);
    }
}

pub(super) async fn each_limit_is_set_and_unset_by_itself(h: Harness) {
    let all = record(&h, 8080).configured;
    for configured in [
        Configured { rate_per_s: all.rate_per_s, ..Configured::default() },
        Configured { burst: all.burst, ..Configured::default() },
        Configured { in_flight_max: all.in_flight_max, ..Configured::default() },
        Configured::default(),
    ] {
        let set = UpstreamRecord { configured, ..plain(&h, 8080) };
        h.put_upstream(&set).await.unwrap();
        assert_eq!(h.upstreams().await.unwrap(), [set]);
    }
}
