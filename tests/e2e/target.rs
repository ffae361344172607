//! Where requests go and where they never go.

use std::net::SocketAddr;

use haul_proto::v1::{BatchSpec, FailureClass, JpxListing, batch::State, batch_spec::Source, item};
use tonic::Code;

use crate::world::{
    Server, Upstream,
    canned::Canned,
    program,
    spec::{at_once, batch, fast, inline, starting},
    status::{fields, refused},
};

/// A name that this machine resolves to itself, and that no rule knows by heart: its own.
fn own_name() -> Option<String> {
    use std::net::ToSocketAddrs;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let resolves = (name.as_str(), 80).to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
    (resolves && !name.ends_with("localhost")).then_some(name)
}

fn from(base_url: &str) -> BatchSpec {
    batch(inline(["1301".to_owned()]), base_url, at_once())
}

fn listed(uri: &str) -> BatchSpec {
    let list = JpxListing { uri: uri.to_owned(), ..JpxListing::default() };
    batch(Source::JpxListing(list), "https://query1.finance.yahoo.com", fast())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_leads_inside_is_refused_however_it_is_written() {
    let server = Server::start([]).await;
    for (spec, field) in [
        (from("http://10.0.0.7"), "spec.yahoo_chart.base_url"),
        (from("http://0xa9fea9fe"), "spec.yahoo_chart.base_url"),
        (from("http://[::ffff:10.0.0.7]:8080/"), "spec.yahoo_chart.base_url"),
        (from("http://3232235777"), "spec.yahoo_chart.base_url"),
        (from("http://METADATA.google.internal"), "spec.yahoo_chart.base_url"),
        (from("http://127.0.0.2"), "spec.yahoo_chart.base_url"),
        (listed("https://192.168.0.1/data_j.xls"), "spec.jpx_listing.uri"),
        (listed("http://[fd00:ec2::254]/data_j.xls"), "spec.jpx_listing.uri"),
    ] {
        let details = refused(
            server.stub().start_batch(starting(spec)).await,
            Code::InvalidArgument,
            "TARGET_FORBIDDEN",
        );
        assert_eq!(fields(&details), [field]);
        let said = &details.bad_request().unwrap().field_violations[0].description;
        assert!(said.contains("--allow-target"), "{said}");
    }
}

/// The name is this machine's own, the address behind it a private one or loopback, and its port is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_resolves_inside_is_not_connected_to_unless_it_is_allowed() {
    let Some(name) = own_name() else {
        #[allow(clippy::print_stderr, reason = "a test that did not happen must not look like one that did")]
        {
            eprintln!("SKIPPED: this machine's name does not resolve");
        }
        return;
    };
    let upstream = Upstream::at(SocketAddr::from(([0, 0, 0, 0], 0))).await;
    let port = upstream.url().rsplit_once(':').unwrap().1.to_owned();
    let base_url = format!("http://{name}:{port}");

    // In place of what these tests allow.
    let server = Server::start(["--allow-target", "192.0.2.1"]).await;
    let ended = server.batch_ended(&server.start_batch(from(&base_url)).await).await;
    assert_eq!(ended.state(), State::Completed);
    let items = server.items(&ended.name).await;
    let error = items[0].error.as_ref().unwrap();
    assert_eq!((items[0].state(), error.failure_class()), (item::State::Failed, FailureClass::Permanent));
    assert_eq!(error.reason, "TARGET_FORBIDDEN", "{error:?}");
    assert!(error.message.contains(&name), "{error:?}");
    let report = server.client().await.get_report(&ended.name).await.unwrap();
    assert_eq!(report.requests_sent, 0);
    let unread = server.start_batch(listed(&format!("{base_url}/data_j.xls"))).await;
    let ended = server.batch_ended(&unread).await;
    assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
    assert!(ended.end_message.contains("--allow-target"), "{}", ended.end_message);
    assert_eq!(upstream.arrivals().len(), 0, "nobody was asked");

    let allowing = Server::start(["--allow-target", &name]).await;
    let ended = allowing.batch_ended(&allowing.start_batch(from(&base_url)).await).await;
    assert_eq!(ended.progress.unwrap().succeeded_items, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_nowhere() {
    let inside = Canned::saying("200 OK").await;
    let head = format!("302 Found\r\nlocation: {}/secret", inside.url());
    let upstream = Canned::saying(&head).await;
    let server = Server::start([]).await;
    let name = server.start_batch(from(&upstream.url())).await;
    server.batch_ended(&name).await;
    let error = server.items(&name).await.remove(0).error.unwrap();
    assert_eq!((error.reason.as_str(), error.http_status), ("HTTP_STATUS", 302));
    assert_eq!((upstream.requests(), inside.requests()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_no_target_keeps_the_server_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let args = ["serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--allow-target", "10.0.0.0/33"];
    let said = program::run("hauld", args).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("allow_targets") && said.err.contains("10.0.0.0/33"), "{}", said.err);
}
