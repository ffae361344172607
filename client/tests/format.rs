//! Every command prints what every `-o` asks for, or says that it does not.

use haul_proto::v1::{
    Attempt, Batch, Item, MissingKey, Plan, Report, StreamResultsResponse, Upstream, batch::State,
    watch_progress_response::Event,
};
use serde::Deserialize;
use serde_json::Value;
use tonic::Status;

use crate::{
    program::{commands, haul},
    scripted::{Scripted, Step},
};

/// What comes with `-o json` and with `-o yaml`.
enum Kind {
    /// One document.
    Document,
    /// So many, one after the other.
    Stream(usize),
    /// A word about `-o`, and nothing else.
    Refusal,
}

use Kind::{Document, Refusal, Stream};

const CASES: [(&str, Kind); 32] = [
    ("plan -f -", Document),
    ("start -f -", Document),
    ("start -f - --watch", Document),
    ("upload nightly -", Document),
    ("retry weekly", Document),
    ("retry weekly --plan", Document),
    ("retry weekly --watch", Document),
    ("redecode weekly", Document),
    ("redecode weekly --plan", Document),
    ("redecode weekly --watch", Document),
    ("pause nightly", Document),
    ("resume nightly", Document),
    ("stop nightly", Document),
    ("stop nightly --wait", Document),
    ("delete nightly", Document),
    ("list", Document),
    ("get nightly", Document),
    ("watch nightly", Document),
    ("watch --filter state=RUNNING", Stream(2)),
    ("report nightly", Document),
    ("items nightly", Document),
    ("attempts nightly", Document),
    ("results nightly", Stream(2)),
    ("upstreams", Document),
    ("upstreams get api.example", Document),
    ("upstreams set api.example --rate 1", Document),
    ("upstreams hold api.example", Document),
    ("upstreams release api.example", Document),
    ("missing list stock_prices", Document),
    ("missing clear stock_prices --all", Document),
    ("explain BATCH_OPEN", Document),
    ("completions bash", Refusal),
];

fn batch() -> Batch {
    Batch { name: "batches/nightly".to_owned(), state: State::Completed.into(), ..Batch::default() }
}

/// A server that has an answer for each of them.
async fn server(line: &str) -> Scripted {
    let server = Scripted::start().await;
    server.batches([Ok(batch())]);
    server.plan(Plan { total_items: 3, ..Plan::default() });
    server.report(Report { name: "batches/nightly".to_owned(), ..Report::default() });
    server.item_pages([vec![Item { index: 7, ..Item::default() }]]);
    server.list_pages([vec![batch()]]);
    server.attempts(vec![Attempt { number: 2, ..Attempt::default() }]);
    server.upstream(Upstream { name: "upstreams/api.example".to_owned(), ..Upstream::default() });
    server.missing_pages([vec![MissingKey { key: "1301".to_owned(), ..MissingKey::default() }]]);
    let chunk = |cursor: &str, complete| {
        let items = vec![Item { index: 7, ..Item::default() }, Item { index: 8, ..Item::default() }];
        Ok(StreamResultsResponse { items, cursor: cursor.to_owned(), complete })
    };
    server.results([chunk("a", false), chunk("b", true)]);
    let snapshot = Step::Send(Event::Snapshot(Batch { revision: 1, ..batch() }));
    let end = Step::Send(Event::Terminal(Batch { revision: 2, ..batch() }));
    if line.contains("--filter") {
        server.stream([snapshot, end, Step::Fail(Status::invalid_argument("an end, for this test"))]);
    } else {
        server.stream([end]);
    }
    server
}

async fn printed(line: &str, format: &str) -> (i32, String, String) {
    let server = server(line).await;
    let arguments: Vec<&str> = line.split(' ').chain(["-o", format]).collect();
    let input = if line.starts_with("upload") { "7203\n" } else { "jpxListing: {}\nyahooChart: {}\n" };
    haul(&server.url(), &arguments, input).await
}

fn json(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().unwrap()
}

fn yaml(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap()).collect()
}

#[tokio::test]
async fn every_command_obeys_every_format_or_says_that_it_does_not() {
    for name in commands().await {
        assert!(CASES.iter().any(|(line, _)| line.split(' ').next() == Some(&name)), "no case of {name}");
    }
    for (line, kind) in &CASES {
        let (status, table, err) = printed(line, "table").await;
        assert!(!table.is_empty(), "{line}: {err}");
        let (json_status, json_text, json_err) = printed(line, "json").await;
        let (yaml_status, yaml_text, yaml_err) = printed(line, "yaml").await;
        let documents = match kind {
            Document => 1,
            Stream(documents) => *documents,
            Refusal => {
                for (status, out, err) in
                    [(json_status, json_text, json_err), (yaml_status, yaml_text, yaml_err)]
                {
                    assert_eq!((status, out.as_str()), (2, ""), "{line}");
                    assert!(err.contains("-o"), "{line}: {err}");
                }
                continue;
            }
        };
        assert_eq!((json_status, yaml_status), (status, status), "{line}: {json_err}{yaml_err}");
        let (json, yaml) = (json(&json_text), yaml(&yaml_text));
        assert_eq!(json.len(), documents, "{line}: {json_text}");
        assert!(json.iter().all(Value::is_object), "{line}: {json_text}");
        assert_eq!(json, yaml, "{line}: {yaml_text}");
        assert!(!yaml_text.starts_with('{'), "{line}: {yaml_text}");
        assert!(table != json_text && table != yaml_text, "{line}: {table}");
        if documents > 1 {
            assert_eq!(json_text.lines().count(), documents, "{line}: a line each: {json_text}");
        }
    }
}
