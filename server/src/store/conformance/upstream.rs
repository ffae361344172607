//! What is durable of upstreams.

use super::harness::Harness;
use crate::domain::upstream::{Tripped, UpstreamId, UpstreamRecord};

fn record(h: &Harness, port: u16) -> UpstreamRecord {
    UpstreamRecord {
        id: UpstreamId::of("http", "127.0.0.1", port),
        host: "127.0.0.1".to_owned(),
        rate_per_s: 0.1 + 0.2,
        burst: 20,
        held_until: Some(h.after(90)),
        push_backs: 3,
        tripped: Some(Tripped {
            since: h.now,
            probe_at: h.after(5),
            wait: std::time::Duration::from_millis(2_500),
        }),
    }
}

pub(super) async fn a_record_comes_back(mut h: Harness) {
    assert!(h.upstreams().await.unwrap().is_empty());
    let (a, b) = (record(&h, 8080), record(&h, 8081));
    h.put_upstream(&b).await.unwrap();
    h.put_upstream(&a).await.unwrap();
    h.reopen().await;
    assert_eq!(h.upstreams().await.unwrap(), [a, b]);
}

pub(super) async fn the_last_write_wins(h: Harness) {
    let first = record(&h, 8080);
    h.put_upstream(&first).await.unwrap();
    let last = UpstreamRecord { rate_per_s: 2.0, held_until: None, push_backs: 0, tripped: None, ..first };
    h.put_upstream(&last).await.unwrap();
    assert_eq!(h.upstreams().await.unwrap(), [last]);
}
