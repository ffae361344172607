//! Spec files: a `BatchSpec` in canonical protobuf JSON, written as YAML or JSON.
//!
//! Everything that is wrong with a file is said at once, each with its place and with what would be right. What the
//! file leaves out is left out of the request, so the server's defaults hold.
//!
//! ```
//! let spec = haul_client::cli::spec::parse(
//!     "jpxListing: {segments: [PRIME]}\nyahooChart: {}\n",
//!     "prime.yaml",
//! )?;
//! assert!(spec.fetch.is_none());
//! # Ok::<(), haul_client::cli::spec::SpecError>(())
//! ```

mod file;
mod problem;
mod scalar;
mod walk;

use std::{io, path::Path};

use haul_proto::v1;
use serde_norway::Value;

use self::walk::Walk;
pub use self::{file::SpecFile, problem::Problem};
use crate::cli::json;

/// Why a file is no spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("cannot read {origin}")]
    Unreadable {
        /// The file.
        origin: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is too large.
    #[error("{origin} is larger than 4 MiB; keys that many belong into a file source")]
    TooLarge {
        /// The file.
        origin: String,
    },
    /// It is neither YAML nor JSON; the message has line and column.
    #[error("{origin}: {problem}")]
    Syntax {
        /// The file.
        origin: String,
        /// What the reader says.
        problem: String,
    },
    /// It is YAML or JSON, and not a spec.
    #[error("{}", problem::list(origin, problems))]
    Invalid {
        /// The file.
        origin: String,
        /// Everything that is wrong, in the file's order; never empty.
        problems: Vec<Problem>,
    },
}

/// Reads a spec from a file, or from standard input where the path is `-`.
pub fn read(path: &Path) -> Result<v1::BatchSpec, SpecError> {
    SpecFile::read(path).map(|file| file.spec)
}

/// Reads a spec from text. `origin` names it in errors.
pub fn parse(text: &str, origin: &str) -> Result<v1::BatchSpec, SpecError> {
    let invalid = |problems| SpecError::Invalid { origin: origin.to_owned(), problems };
    let whole = |problem: String| invalid(vec![Problem::whole(problem)]);

    let document =
        document(text, origin).map_err(|problem| SpecError::Syntax { origin: origin.to_owned(), problem })?;
    let descriptor = json::descriptor("haul.v1.BatchSpec").map_err(|error| whole(error.to_string()))?;
    let mut walk = Walk::new(text);
    let json = walk.root(&descriptor, &document);
    if !walk.problems.is_empty() {
        return Err(invalid(walk.problems));
    }
    json::from_json("haul.v1.BatchSpec", json).map_err(|error| whole(error.to_string()))
}

/// JSON is read as JSON, since YAML knows no surrogate pairs; the rest as YAML. Both refuse a name given twice.
fn document(text: &str, origin: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    // YAML may begin with a brace too: what is no JSON is tried as YAML before it is refused.
    if text.trim_start().starts_with('{') {
        match serde_json::from_str(text) {
            Ok(value) => return Ok(value),
            Err(error) if is_json_file(origin) => return Err(error.to_string()),
            Err(_) => {}
        }
    }
    let mut value: Value = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    value.apply_merge().map_err(|error| error.to_string())?;
    Ok(value)
}

fn is_json_file(origin: &str) -> bool {
    Path::new(origin).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}
