//! Starting and stopping.

use std::time::Duration;

use haul_sim::{RateLimit, SimConfig, SimError, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections of every state: idle, kept alive after an answer, stalled.
#[tokio::test]
async fn stopping_closes_every_connection_within_a_second() {
    let config = SimConfig { faults: 1.0, stall: Duration::from_mins(10), ..SimConfig::default() };
    let sim = start(config).await.unwrap();
    let mut open = Vec::new();
    for code in 1000..1060 {
        let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
        if code > 1000 {
            let request = format!("GET /v8/finance/chart/{code}.T HTTP/1.1\r\nhost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        open.push(stream);
    }
    // Every one that has been accepted is told to end; one answer proves that the loop runs.
    let health = reqwest::get(format!("{}/healthz", sim.base_url())).await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok");
    tokio::time::timeout(Duration::from_secs(1), sim.shutdown()).await.unwrap();
    for mut stream in open {
        let mut rest = Vec::new();
        // Ends, cleanly or reset; what matters is that it does not hang.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut rest)).await.unwrap();
    }
}

#[tokio::test]
async fn the_port_is_free_again_after_stopping() {
    let sim = start(SimConfig::default()).await.unwrap();
    let listen = sim.addr();
    let taken = start(SimConfig { listen, ..SimConfig::default() }).await.unwrap_err();
    assert!(matches!(taken, SimError::Bind { .. }) && taken.to_string().contains(&listen.to_string()));
    sim.shutdown().await;
    let again = start(SimConfig { listen, ..SimConfig::default() }).await.unwrap();
    assert_eq!(again.addr(), listen);
}

#[tokio::test]
async fn settings_without_meaning_are_refused_by_name() {
    let refused = async |config: SimConfig| start(config).await.unwrap_err().to_string();
    let of = SimConfig::default;
    assert!(refused(SimConfig { faults: 1.5, ..of() }).await.starts_with("faults is 1.5: "));
    assert!(refused(SimConfig { permanent: f64::NAN, ..of() }).await.starts_with("permanent is NaN: "));
    assert!(refused(SimConfig { items: Some(0), ..of() }).await.starts_with("items is 0: "));
    let limit = |rate_per_s, burst| SimConfig { limit: Some(RateLimit { rate_per_s, burst }), ..of() };
    assert!(refused(limit(0.0, 1)).await.starts_with("rate is 0: "));
    assert!(refused(limit(1.0, 0)).await.starts_with("burst is 0: "));
}
