//! Progress fan-out floor: a tokio watch channel behind a tonic server stream.
//!   fanout serve addr=127.0.0.1:18090 hz=10
//!   fanout watch addr=127.0.0.1:18090 subs=1000 conns=4 secs=10 pid=SERVER_PID
//! The same clients on haul's WatchProgress, of a batch whose groups have one item: an update's time is that of its commit in
//! the store, milliseconds from the transaction's begin, so that the commit is in the latency.
//!   fanout watch addr=127.0.0.1:50051 subs=1000 conns=4 secs=10 pid=SERVER_PID haul=batches/ID db=STORE
//! secs=0: until the batch ends, and no latencies.
use std::{collections::HashMap, pin::Pin, time::{Duration, SystemTime, UNIX_EPOCH}};
use floor::haul;
use tokio_stream::{wrappers::WatchStream, Stream, StreamExt};

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRequest {
    #[prost(string, tag = "1")]
    pub batch: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct Progress {
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    #[prost(uint64, tag = "2")]
    pub sent_ns: u64,
    #[prost(uint64, tag = "3")]
    pub total: u64,
    #[prost(uint64, tag = "4")]
    pub done: u64,
    #[prost(uint64, tag = "5")]
    pub failed: u64,
    #[prost(uint64, tag = "6")]
    pub retried: u64,
    #[prost(uint64, tag = "7")]
    pub bytes: u64,
    #[prost(string, tag = "8")]
    pub batch: String,
}
mod pb {
    include!(concat!(env!("OUT_DIR"), "/floor.Fanout.rs"));
}
use pb::{fanout_client::FanoutClient, fanout_server::{Fanout, FanoutServer}};

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

struct Svc(tokio::sync::watch::Receiver<Progress>);
type Out = std::pin::Pin<Box<dyn Stream<Item = Result<Progress, tonic::Status>> + Send>>;
#[tonic::async_trait]
impl Fanout for Svc {
    type WatchStream = Out;
    async fn watch(&self, _r: tonic::Request<WatchRequest>) -> Result<tonic::Response<Out>, tonic::Status> {
        Ok(tonic::Response::new(Box::pin(WatchStream::from_changes(self.0.clone()).map(Ok))))
    }
}

/// (user+sys seconds, resident MiB) of a process, from /proc.
fn proc_use(pid: &str) -> (f64, f64) {
    let s = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let f: Vec<&str> = s.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let t: f64 = f.get(11).map_or(0., |x| x.parse().unwrap()) + f.get(12).map_or(0., |x| x.parse::<f64>().unwrap());
    let st = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = st.lines().find(|l| l.starts_with("VmRSS")).and_then(|l| l.split_whitespace().nth(1)).map_or(0., |x| x.parse().unwrap());
    (t / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64, rss / 1024.)
}

/// When each item of the store's only batch was committed, in the order in which they ended: milliseconds.
fn committed(db: &str) -> Vec<u64> {
    let conn = rusqlite::Connection::open_with_flags(db, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut times = conn
        .prepare("select d.updated_at from item_results r, json_each(r.items) i join batch_execution_details d on d.batch_seq = r.batch_seq and d.item_index = i.value order by r.first_no, i.key")
        .unwrap();
    times.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|ms| ms.unwrap() as u64).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut av = std::env::args().skip(1);
    let cmd = av.next().unwrap_or_default();
    let a: HashMap<String, String> = av.filter_map(|s| s.split_once('=').map(|(k, v)| (k.into(), v.into()))).collect();
    let get = |k: &str, d: &str| a.get(k).cloned().unwrap_or_else(|| d.into());
    let addr = get("addr", "127.0.0.1:18090");
    if cmd == "serve" {
        let hz: u64 = get("hz", "10").parse()?;
        let (tx, rx) = tokio::sync::watch::channel(Progress::default());
        tokio::spawn(async move {
            let mut t = tokio::time::interval(Duration::from_micros(1_000_000 / hz));
            let mut seq = 0;
            loop {
                t.tick().await;
                seq += 1;
                tx.send_replace(Progress { seq, sent_ns: now_ns(), total: 1_000_000, done: seq * 97, failed: seq, retried: seq, bytes: seq * 18_000, batch: "01J8Z0Q3T6N5R7W9XK2M4C8V1B".into() });
            }
        });
        tonic::transport::Server::builder()
            .max_concurrent_streams(Some(20_000))
            .initial_connection_window_size(Some(16 << 20))
            .add_service(FanoutServer::new(Svc(rx)))
            .serve(addr.parse()?)
            .await?;
        return Ok(());
    }
    let subs: usize = get("subs", "1000").parse()?;
    let conns: usize = get("conns", "4").parse()?;
    let secs: u64 = get("secs", "10").parse()?;
    let pid = get("pid", "self");
    let base = proc_use(&pid);
    let batch = a.get("haul").cloned();
    let (go_tx, go) = tokio::sync::watch::channel(0u8); // 0 warm, 1 measure, 2 stop
    let mut chans = vec![];
    for _ in 0..conns {
        chans.push(
            tonic::transport::Endpoint::from_shared(format!("http://{addr}"))?
                .initial_connection_window_size(16 << 20)
                .connect().await?,
        );
    }
    let mut hs = vec![];
    let (up_tx, mut up) = tokio::sync::mpsc::channel::<()>(subs);
    for i in 0..subs {
        let ch = chans[i % conns].clone();
        let mut go = go.clone();
        let up_tx = up_tx.clone();
        let batch = batch.clone();
        hs.push(tokio::spawn(async move {
            let mut lat: Vec<u32> = Vec::with_capacity(256);
            // Updates of haul: how many items had ended, and when it came.
            let mut came: Vec<(i64, u64)> = Vec::new();
            let mut st: Pin<Box<dyn Stream<Item = Result<Progress, tonic::Status>> + Send>> = match batch {
                None => Box::pin(FanoutClient::new(ch).watch(WatchRequest { batch: "b".into() }).await.unwrap().into_inner()),
                Some(name) => {
                    let request = haul::WatchProgressRequest { name, min_interval: Some(haul::Interval { seconds: 0, nanos: 100_000_000 }) };
                    let events = haul::haul_service_client::HaulServiceClient::new(ch).watch_progress(request).await.unwrap().into_inner();
                    Box::pin(events.map(|event| {
                        event.map(|event| {
                            let counts = event.update.and_then(|batch| batch.progress);
                            Progress { seq: counts.map_or(0, |counts| counts.succeeded_items) as u64, ..Progress::default() }
                        })
                    }))
                }
            };
            up_tx.send(()).await.unwrap();
            let (mut last, mut gaps) = (0u64, 0u64);
            loop {
                tokio::select! {
                    m = st.next() => {
                        let Some(Ok(m)) = m else { break };
                        let n = now_ns();
                        if *go.borrow() == 1 {
                            if m.sent_ns == 0 {
                                if m.seq > 0 { came.push((m.seq as i64, n)); }
                                continue;
                            }
                            lat.push((n.saturating_sub(m.sent_ns) / 1000) as u32);
                            if last != 0 && m.seq > last + 1 { gaps += m.seq - last - 1; }
                            last = m.seq;
                        }
                    }
                    _ = go.changed() => if *go.borrow() == 2 { break },
                }
            }
            (lat, gaps, came)
        }));
    }
    for _ in 0..subs { up.recv().await; }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let s0 = proc_use(&pid);
    let c0 = proc_use("self");
    go_tx.send_replace(1);
    if secs == 0 {
        for h in hs { h.await?; }
        let c1 = proc_use("self");
        println!("{{\"subs\":{subs},\"cli_cpu_s\":{:.3}}}", c1.0 - c0.0);
        return Ok(());
    }
    tokio::time::sleep(Duration::from_secs(secs)).await;
    let s1 = proc_use(&pid);
    let c1 = proc_use("self");
    go_tx.send_replace(2);
    let (mut lat, mut gaps) = (vec![], 0);
    let committed = a.get("db").map(|db| committed(db)).unwrap_or_default();
    for h in hs {
        let (l, g, came) = h.await?;
        lat.extend(l);
        gaps += g;
        for (ended, at_ns) in came {
            let Some(ms) = committed.get(ended as usize - 1) else { continue };
            lat.push((at_ns.saturating_sub(ms * 1_000_000) / 1000) as u32);
        }
    }
    lat.sort_unstable();
    let q = |p: f64| if lat.is_empty() { 0. } else { lat[((lat.len() - 1) as f64 * p) as usize] as f64 / 1000. };
    println!("{{\"subs\":{subs},\"conns\":{conns},\"msgs\":{},\"skipped\":{gaps},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3},\"srv_cpu_s_per_s\":{:.4},\"cli_cpu_s_per_s\":{:.4},\"srv_rss_mb\":{:.1},\"srv_kb_per_sub\":{:.2}}}",
        lat.len(), q(0.5), q(0.99), q(1.0), (s1.0 - s0.0) / secs as f64, (c1.0 - c0.0) / secs as f64, s1.1, (s1.1 - base.1) * 1024. / subs as f64);
    Ok(())
}
