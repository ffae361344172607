//! The request log: one JSON object a line, appended, each line in one write.
//!
//! ```text
//! {"seq":1,"at_us":1795296163000000,"peer":"127.0.0.1","method":"GET","path":"/v8/finance/chart/1301.T",
//!  "query":"range=1d","key":"1301","endpoint":"chart","status":200,"fault":null,"permanent":false,"user_agent":"…"}
//! ```

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::error::SimError;
use crate::fault::Fault;

/// One request. `seq` counts from 1 without gaps; `at_us` never falls.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    /// Arrival, microseconds since the epoch.
    pub(crate) at_us: u64,
    pub(crate) peer: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The symbol without its `.T`; charts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<&'a str>,
    pub(crate) endpoint: Endpoint,
    /// 0 where the connection got no answer.
    pub(crate) status: u16,
    pub(crate) fault: Option<Fault>,
    /// Whether the symbol fails for good, which is no fault in passing.
    pub(crate) permanent: bool,
    pub(crate) user_agent: &'a str,
}

/// Which part of the simulator was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Endpoint {
    Chart,
    Api,
    List,
    Cookie,
    Crumb,
    Other,
}

impl Endpoint {
    /// Whether it lies behind the edge that refuses: all of the quote host does; list and cookie are of other hosts.
    pub(crate) fn is_behind_edge(self) -> bool {
        !matches!(self, Self::List | Self::Cookie)
    }
}

/// Where lines go, if anywhere.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    line: Vec<u8>,
}

impl Log {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, SimError> {
        let file = path
            .map(|path| {
                let opened = File::options().append(true).create(true).open(path);
                opened.map_err(|source| SimError::Log { path: path.to_owned(), source })
            })
            .transpose()?;
        Ok(Self { file, line: Vec::with_capacity(512) })
    }

    /// Writes a line. A log that cannot be written is given up with an error in the program's own log.
    pub(crate) fn write(&mut self, line: &Line<'_>) {
        let Some(file) = &mut self.file else { return };
        self.line.clear();
        let written =
            serde_json::to_writer(&mut self.line, line).map_err(std::io::Error::from).and_then(|()| {
                self.line.push(b'\n');
                file.write_all(&self.line)
            });
        if let Err(error) = written {
            tracing::error!(%error, seq = line.seq, "request log cannot be written: it ends here");
            self.file = None;
        }
    }
}
