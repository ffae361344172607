//! `haul upload` and `haul start --upload`: what they say, and what they leave behind.

use std::path::{Path, PathBuf};

use haul_proto::v1::{BatchSpec, FileSource, batch::State, batch_spec::Source};

use super::{ONE, begin, open};
use crate::world::{
    Server, Upstream, program,
    spec::{batch, codes, fast},
};

/// A spec file for items to be uploaded, under an overlap key.
fn keyed_spec(folder: &Path, base_url: &str) -> String {
    let path = folder.join("spec.yaml");
    let yahoo = format!("yahooChart: {{range: 1mo, baseUrl: \"{base_url}\"}}");
    std::fs::write(&path, format!("overlapKey: night\n{yahoo}\nfetch: {{requestsPerSecond: 1000}}\n"))
        .unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_uploads_from_files_and_from_standard_input() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(open(&upstream.url(), fast())).await;
    let codes = codes(30);
    let path = |name: &str| server.folder().join(name).to_str().unwrap().to_owned();
    let (lines, rows) = (path("codes.txt"), path("rows.csv"));
    std::fs::write(&lines, format!("# the first\n{}\n", codes[..10].join("\n"))).unwrap();
    let row = |code: &String| format!("\"a, b\",{code}");
    std::fs::write(
        &rows,
        format!("note,code\n{}\n", codes[5..20].iter().map(row).collect::<Vec<_>>().join("\n")),
    )
    .unwrap();

    let said = server.haul(&["upload", &name, &lines, "--no-seal", "--upload-id", ONE]).await;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert_eq!(said.out, format!("{name}  OPEN; 10 items added; it has 10\n"));
    let again = server.haul(&["upload", &name, &lines, "--no-seal", "--upload-id", ONE]).await;
    assert_eq!(again.out, format!("{name}  OPEN; 0 items added, 10 sent before; it has 10\n"));

    let wrong = server.haul(&["upload", &name, &rows]).await;
    assert_eq!(wrong.status, 2);
    assert!(wrong.err.contains("rows.csv:1:") && wrong.err.contains("--key-column"), "{}", wrong.err);
    let said = server.haul(&["upload", &name, &rows, "--key-column", "code", "--no-seal"]).await;
    let counts = "10 items added, 5 repeats left out as their keys were there; it has 20";
    assert_eq!(said.out, format!("{name}  OPEN; {counts}\n"));
    let again =
        format!("haul: if it breaks off, go on with: haul upload {name} {rows} --key-column code --no-seal ");
    assert!(said.err.starts_with(&again), "{}", said.err);

    let all = path("all.ndjson");
    let object = |code: &String| format!("{{\"key\":{code:?}}}");
    std::fs::write(&all, codes.iter().map(object).collect::<Vec<_>>().join("\n")).unwrap();
    let mut piped = program::command("haul");
    piped.args(["--server", &server.address(), "upload", &name, "-", "--format", "ndjson", "-o", "json"]);
    let said = program::said(piped.stdin(std::fs::File::open(&all).unwrap())).await;
    assert_eq!(said.status, 0, "{}", said.err);
    let printed: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(printed["progress"]["totalItems"], "30", "{printed}");
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 30));
    let late = server.haul(&["upload", &name, &lines]).await;
    assert_eq!(late.status, 1);
    assert!(late.err.contains("is COMPLETED"), "{}", late.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_starts_uploads_and_watches() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let path = |name: &str| server.folder().join(name).to_str().unwrap().to_owned();
    let (spec, lines) = (path("spec.yaml"), path("codes.txt"));
    let yahoo = format!("yahooChart: {{range: 1mo, baseUrl: \"{}\"}}", upstream.url());
    std::fs::write(&spec, format!("{yahoo}\nfetch: {{requestsPerSecond: 1000}}\n")).unwrap();
    std::fs::write(&lines, codes(20).join("\n")).unwrap();
    let start =
        ["start", "-f", &spec, "--id", "uploaded", "--upload", &lines, "--watch", "--request-id", ONE];
    let said = server.haul(&start).await;
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    assert!(said.out.starts_with("batches/uploaded\n"), "{}", said.out);
    let ended = server.batch_ended("batches/uploaded").await;
    assert_eq!(ended.progress.unwrap().succeeded_items, 20);
    // The same command once more finds everything done.
    let again = server.haul(&start).await;
    assert_eq!(again.status, 0, "{}{}", again.out, again.err);
    assert_eq!(upstream.charts().len(), 20);

    std::fs::write(&spec, format!("uploadedItems: {{}}\n{yahoo}\n")).unwrap();
    let alone = program::run("hauld", ["run", &spec, "--data-dir", &path("alone")]).await;
    assert_eq!(alone.status, 2);
    assert!(alone.err.contains("haul start --upload"), "{}", alone.err);

    std::fs::write(&spec, format!("inlineItems: {{items: [{{key: \"1301\"}}]}}\n{yahoo}\n")).unwrap();
    let wrong = server.haul(&["start", "-f", &spec, "--upload", &lines]).await;
    assert_eq!(wrong.status, 2);
    assert!(wrong.err.contains("uploadedItems"), "{}", wrong.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_nothing_seals_nothing_unless_that_is_meant() {
    let server = Server::start([]).await;
    let name = begin(&server).await;
    let nothing = server.folder().join("nothing.csv").to_str().unwrap().to_owned();
    std::fs::write(&nothing, "key,name\n").unwrap();
    // As at the end of a pipe whose program died.
    for file in ["-", nothing.as_str()] {
        let said = server.haul(&["upload", &name, file]).await;
        assert_eq!((said.status, said.out.as_str()), (2, ""));
        assert!(said.err.contains("holds no item") && said.err.contains("--allow-empty"), "{}", said.err);
    }
    let said = server.haul(&["upload", &name, "-", "--no-seal"]).await;
    assert_eq!((said.status, said.out), (0, format!("{name}  OPEN; 0 items added; it has 0\n")));
    let said = server.haul(&["upload", &name, "-", "--allow-empty"]).await;
    assert_eq!((said.status, said.out), (0, format!("{name}  COMPLETED; 0 items added; it has 0\n")));

    let spec = keyed_spec(server.folder(), "http://127.0.0.1:9");
    let said = server.haul(&["start", "-f", &spec, "--upload", "-"]).await;
    assert_eq!((said.status, said.out.as_str()), (2, ""));
    assert!(said.err.contains("standard input holds no item: nothing was done"), "{}", said.err);
    assert_eq!(server.client().await.list_batches(10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_file_is_wrong_leaves_no_batch_behind() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = keyed_spec(server.folder(), &upstream.url());
    let rows = server.folder().join("rows.csv").to_str().unwrap().to_owned();
    let start = ["start", "-f", &spec, "--id", "night", "--upload", &rows, "--watch"];
    let listed = async || server.client().await.list_batches(10).await.unwrap().len();
    for (text, expected) in [
        (None, "rows.csv: No such file"),
        (Some("code,n\n1301,1\n"), "rows.csv:1: the header row has no column \"key\", only code, n"),
        (Some("key,n\n,1\n1302,2\n"), "rows.csv:2: column \"key\": the key is empty: correct or delete it"),
    ] {
        if let Some(text) = text {
            std::fs::write(&rows, text).unwrap();
        }
        let said = server.haul(&start).await;
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{}", said.err);
        assert!(said.err.contains(expected), "{}", said.err);
        assert_eq!(listed().await, 0, "none was made");
    }
    // Found when it was made already, and before anything was sent.
    std::fs::write(&rows, "key,n\n1301,1\n1302\n").unwrap();
    let said = server.haul(&start).await;
    assert_eq!((said.status, said.out.as_str()), (2, "batches/night\n"), "{}", said.err);
    let fault =
        "rows.csv:3: it has 1 fields where the header row has 2: add or remove fields, quote commas\n";
    assert!(said.err.contains(fault), "{}", said.err);
    let left = "nothing of it was sent, and batches/night is deleted again: correct the file and start anew";
    assert!(said.err.contains(left), "{}", said.err);
    assert_eq!(listed().await, 0);
    // Neither its name nor its key is held.
    std::fs::write(&rows, "key,n\n1301,1\n1302,2\n").unwrap();
    let said = server.haul(&start).await;
    assert_eq!(said.status, 0, "{}{}", said.out, said.err);
    assert_eq!(server.batch_ended("batches/night").await.progress.unwrap().succeeded_items, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_later_says_what_is_there_and_how_to_go_on() {
    const SENT: usize = 80_000;
    let server = Server::start([]).await;
    let spec = keyed_spec(server.folder(), "http://127.0.0.1:9");
    let keys = server.folder().join("the keys.txt").to_str().unwrap().to_owned();
    let good: Vec<String> = (0..SENT).map(|n| format!("{n:05}")).collect();
    let good = good.join("\n") + "\n";
    std::fs::write(&keys, format!("{good}a\tb\n")).unwrap();
    let said = server.haul(&["start", "-f", &spec, "--id", "night", "--upload", &keys]).await;
    assert_eq!((said.status, said.out.as_str()), (2, "batches/night\n"), "{}", said.err);
    assert!(
        said.err.contains(r#"the keys.txt:80001: the key "a\tb" has a control character"#),
        "{}",
        said.err
    );
    assert!(said.err.contains("batches/night is open and has 80,000 items of this file"), "{}", said.err);
    assert!(said.err.contains("or end it with: haul stop batches/night"), "{}", said.err);

    let again =
        said.err.lines().find_map(|line| line.split_once("correct what follows, then: haul ")).unwrap().1;
    std::fs::write(&keys, format!("{good}a b\n")).unwrap();
    let mut shell = program::command("haul");
    shell.args(["--server", &server.address()]);
    let words = again.replace(&format!("'{keys}'"), "FILE");
    shell.args(words.split(' ').map(|word| if word == "FILE" { keys.as_str() } else { word }));
    let said = program::said(&mut shell).await;
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.ends_with("; 1 item added, 80,000 sent before; it has 80,001\n"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_start_says_that_the_file_was_not_sent() {
    let server = Server::start([]).await;
    let spec = keyed_spec(server.folder(), "http://127.0.0.1:9");
    let keys = server.folder().join("keys.txt").to_str().unwrap().to_owned();
    std::fs::write(&keys, "1301\n").unwrap();
    let open = server.folder().join("open.yaml").to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&spec).unwrap();
    std::fs::write(&open, format!("uploadedItems: {{}}\n{text}")).unwrap();
    let said = server.haul(&["start", "-f", &open, "--id", "live"]).await;
    assert_eq!((said.status, said.out.as_str()), (0, "batches/live\n"), "{}", said.err);
    let said = server.haul(&["start", "-f", &spec, "--upload", &keys]).await;
    assert_eq!((said.status, said.out.as_str()), (0, "batches/live\n"));
    let expected = "nothing was started: live (OPEN) has the overlap key \"night\"\nhaul: ";
    assert!(said.err.contains(expected), "{}", said.err);
    assert!(said.err.ends_with("keys.txt was not sent\n"), "{}", said.err);
    let live = server.client().await.get_batch("live").await.unwrap();
    assert_eq!((live.state(), live.progress.unwrap().total_items), (State::Open, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_means_the_same_to_a_server_that_reads_it_and_to_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let (server, upstream) = tokio::join!(Server::start(["--file-root", &root]), Upstream::healthy());
    let lines = "\u{feff}1301\r\n\n  \n# a comment\n 1302\n1305 \n # no comment\n1301\n日本";
    let csv = "\u{feff}n,key\r\n\"a, \"\"b\"\"\",1301\n\n x ,\" 1302\"\n\"two\nlines\",1305 \n,1306";
    let ndjson = "{\"key\":1301,\"n\":[1,{\"m\":null}]}\n\n{\"key\":\" 1302 \",\"n\":\" x \"}\r\n";
    for (file, text, items) in [("a.txt", lines, 5), ("b.csv", csv, 4), ("c.ndjson", ndjson, 2)] {
        let path: PathBuf = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        let source = FileSource { uri: format!("file://{}", path.display()), ..FileSource::default() };
        let spec: BatchSpec = batch(Source::File(source), &upstream.url(), fast());
        let (read, sent) =
            (server.start_batch(spec).await, server.start_batch(open(&upstream.url(), fast())).await);
        let said = server.haul(&["upload", &sent, path.to_str().unwrap()]).await;
        assert_eq!(said.status, 0, "{}", said.err);
        let mut seen = Vec::new();
        for name in [&read, &sent] {
            server.batch_ended(name).await;
            let items = server.items(name).await;
            seen.push(items.into_iter().map(|item| item.spec.unwrap()).collect::<Vec<_>>());
        }
        assert_eq!(seen[0], seen[1], "{file}");
        assert_eq!(seen[0].len(), items, "{file}: {:?}", seen[0]);
        assert!(seen[0].iter().any(|item| item.key.starts_with(' ')), "{file}: blanks stay");
    }
}
