//! `hauld serve` as a process of its own, on a data folder of its own.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use haul_client::Client;
use haul_proto::v1::{
    Batch, BatchSpec, Item, StartBatchRequest, batch::State, haul_service_client::HaulServiceClient,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};

use super::{LONG, eventually, program};

/// A server. Killed when dropped.
pub(crate) struct Server {
    folder: TempDir,
    args: Vec<String>,
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one on a fresh data folder.
    pub(crate) async fn start<const N: usize>(args: [&str; N]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args).await
    }

    /// Starts one in a folder that the test has made.
    pub(crate) async fn start_in<const N: usize>(folder: TempDir, args: [&str; N]) -> Self {
        let args: Vec<String> = args.map(str::to_owned).into();
        let (process, address) = launch(folder.path(), "127.0.0.1:0", &args).await;
        Self { folder, args, process, address }
    }

    /// Starts it again where it was, as an operator would after it ended.
    pub(crate) async fn start_again(&mut self) {
        let (process, _) = launch(self.folder.path(), &self.address.to_string(), &self.args).await;
        self.process = process;
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await.unwrap();
        assert!(sent.success(), "signal {name}");
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self, within: Duration) -> ExitStatus {
        tokio::time::timeout(within, self.process.wait()).await.expect("the server ends").unwrap()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The client that others use.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.address()).await.unwrap()
    }

    /// The generated client, which repeats nothing and hides nothing.
    pub(crate) fn stub(&self) -> HaulServiceClient<Channel> {
        HaulServiceClient::new(self.channel())
    }

    /// A connection of its own.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    /// The most memory that it has had so far.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let pid = self.process.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> usize {
        let pid = self.process.id().expect("it runs");
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    /// What it logged so far, a JSON object a line.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = log_text(self.folder.path());
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// Waits until it has logged a message.
    pub(crate) async fn logged(&self, message: &str) {
        eventually(&format!("the server logs {message:?}"), || async {
            self.log().iter().any(|line| line.to_string().contains(message)).then_some(())
        })
        .await;
    }

    /// Runs `haul` against it.
    pub(crate) async fn haul(&self, args: &[&str]) -> program::Said {
        program::run("haul", ["--server", &self.address()].iter().chain(args)).await
    }

    /// Starts a batch and answers with its name.
    pub(crate) async fn start_batch(&self, spec: BatchSpec) -> String {
        let request = StartBatchRequest { spec: Some(spec), ..StartBatchRequest::default() };
        let client = self.client().await;
        Box::pin(client.start_batch(request)).await.unwrap().batch.unwrap().name
    }

    /// Waits until a batch is as wished.
    pub(crate) async fn batch_when(&self, name: &str, what: &str, is: impl Fn(&Batch) -> bool) -> Batch {
        let client = self.client().await;
        let (client, is) = (&client, &is);
        eventually(&format!("{name} {what}"), || async move {
            Some(client.get_batch(name).await.unwrap()).filter(is)
        })
        .await
    }

    /// Waits until a batch is in a state.
    pub(crate) async fn batch_in(&self, name: &str, state: State) -> Batch {
        self.batch_when(name, state.as_str_name(), |batch| batch.state() == state).await
    }

    /// Waits until so many of a batch's items are final.
    pub(crate) async fn batch_processed(&self, name: &str, items: i64) -> Batch {
        let what = format!("has {items} items processed");
        self.batch_when(name, &what, |batch| batch.progress.as_ref().unwrap().processed_items >= items).await
    }

    /// Waits for a batch's end.
    pub(crate) async fn batch_ended(&self, name: &str) -> Batch {
        self.batch_when(name, "has ended", |batch| batch.end_time.is_some()).await
    }

    /// All items of a batch.
    pub(crate) async fn items(&self, name: &str) -> Vec<Item> {
        self.client().await.items(name).collect::<Result<_, _>>().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = log_text(self.folder.path());
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n  ");
            #[allow(clippy::print_stderr, reason = "the runner shows it beside the failure")]
            {
                eprintln!("the server's last words:\n  {last}");
            }
        }
    }
}

async fn launch(folder: &Path, listen: &str, args: &[String]) -> (Child, SocketAddr) {
    let port_file = folder.join("port");
    let _ = std::fs::remove_file(&port_file);
    let log = File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let mut process = program::command("hauld")
        .args(["serve", "--listen", listen, "--port-file"])
        .arg(&port_file)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        if let Ok(port) = std::fs::read_to_string(&port_file) {
            return (process, SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap())));
        }
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "the server ended with {ended:?}: {}", log_text(folder));
        assert!(tokio::time::Instant::now() < deadline, "the server does not listen: {}", log_text(folder));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn log_text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
