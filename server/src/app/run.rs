//! `hauld run`: a batch as a one-off process.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use haul_client::{
    Client, StartBatch,
    cli::{
        exit,
        output::{Format, Output},
        progress::{ProgressMode, follow},
        spec::SpecFile,
    },
};
use haul_proto::v1::{batch_spec::Source, start_batch_response::Outcome};

use super::{
    Failure,
    folder::{self, Holder},
    node::{Node, NodeError},
};
use crate::{
    config::{Config, Flags, ServeFlags},
    shutdown, telemetry,
};

/// Run one batch to its end and say by the exit status what became of it
///
/// For a cron line or a container's task. Where a server holds the data folder this is that server's client; otherwise
/// it is its own server, on a free loopback port, as long as the batch runs.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit status: 0 all items succeeded or were skipped, 1 the call was refused, 2 usage, configuration, spec or data folder,
3 some items failed, 4 the batch failed or was stopped. Interrupted, it is 128 and the signal's number; the batch then
goes on as long as a hauld has the data folder, or when one next opens it. Where the spec's overlap key has a live batch
already and skips, it is that one which is waited for.

Examples:
  hauld run nightly.yaml --data-dir /var/lib/haul
  hauld run - --id nightly-2026-02-28 -o json < spec.json")]
pub(super) struct Run {
    /// Spec file, YAML or JSON; - is standard input
    spec: PathBuf,
    /// Id of the batch [default: made by the server]
    #[arg(long)]
    id: Option<String>,
    /// How the result is printed; progress goes to standard error
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    flags: Flags,
}

impl Run {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let quiet = Config { log: "warn".to_owned(), ..Config::default() };
        let config = Config::read(quiet, &self.flags, &ServeFlags::default()).map_err(Failure::usage)?;
        telemetry::begin(&config.log, config.log_format).map_err(Failure::usage)?;
        let file = SpecFile::read(&self.spec).map_err(Failure::usage)?;
        if matches!(file.spec.source, Some(Source::UploadedItems(_))) {
            let message = "uploadedItems: nobody uploads to a batch that runs alone: use a file, or a server and \
                           `haul start --upload`";
            return Err(Failure::usage(message));
        }
        let database = config.database().map_err(Failure::usage)?;
        match folder::take(database.clone()).map_err(Failure::usage)? {
            Holder::Us(folder) => {
                let config = Config { listen: ([127, 0, 0, 1], 0).into(), port_file: None, ..config };
                let node = Node::start(&config, folder).await?;
                let result = Box::pin(self.through(&node.address().to_string(), file)).await;
                node.shutdown().await;
                result
            }
            Holder::Other(Some(address)) => Box::pin(self.through(&address.to_string(), file)).await,
            Holder::Other(None) => Err(NodeError::Held { database, address: None }.into()),
        }
    }

    async fn through(&self, server: &str, file: SpecFile) -> Result<u8, Failure> {
        let client = Client::connect(server).await?;
        let start = StartBatch::from(file.spec.clone()).id(self.id.clone().unwrap_or_default());
        let started = client.start_batch(start.into()).await.map_err(|error| file.in_its_words(error))?;
        let skipped = started.outcome() == Outcome::Skipped;
        let name = started.batch.unwrap_or_default().name;
        if skipped {
            // Lost with standard error.
            let _ = writeln!(
                io::stderr(),
                "hauld: nothing was started: {name} has the same overlap key and is live; its end is waited for"
            );
        }
        let batch = tokio::select! {
            batch = follow(&client, &name, ProgressMode::Auto) => batch?,
            signal = shutdown::requested() => {
                let message = "interrupted; it goes on as long as a hauld has the data folder, or when one next opens it";
                let status = u8::try_from(128 + signal).unwrap_or(exit::INTERRUPTED);
                return Err(Failure { message: format!("{name}: {message}"), status });
            }
        };
        let report = client.get_report(&name).await?;
        let mut out = io::stdout().lock();
        Output::new(self.output).end(&batch, &report, &mut out)?;
        out.flush()?;
        Ok(exit::code(&batch))
    }
}
