//! Why a simulator did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A setting outside its bounds.
    #[error("{name} is {value}: {way_out}")]
    Setting {
        /// Field of the configuration.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What to set instead.
        way_out: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr} ({source}): choose another address, or port 0 for any free one")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The request log cannot be written.
    #[error("cannot write the log {} ({source}): choose a file in a folder that exists and can be written", path.display())]
    Log {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The list could not be made.
    #[error("cannot make the list: {0}")]
    List(#[from] io::Error),
}
