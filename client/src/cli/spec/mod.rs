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

use std::{fs, io, io::Read, path::Path};

use haul_proto::v1;
use serde_norway::Value;

pub use self::{file::SpecFile, problem::Problem};
use self::{problem::names, walk::Walk};
use crate::cli::json;

/// Largest file, bytes: what one request may carry.
const FILE_MAX_BYTES: u64 = 4 << 20;

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

/// What a file is called in errors.
fn origin(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn text_of(path: &Path) -> Result<String, SpecError> {
    let origin = origin(path);
    if is_standard_input(path) {
        return text(io::stdin().lock(), &origin);
    }
    let file =
        fs::File::open(path).map_err(|source| SpecError::Unreadable { origin: origin.clone(), source })?;
    text(file, &origin)
}

/// A field's name as a file spells it: as the contract does where it says so, and else as JSON does.
fn spelled(text: &str, name: &str) -> String {
    let plain = name.split('[').next().unwrap_or(name);
    if text.lines().any(|line| names(line, plain)) {
        return name.to_owned();
    }
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        name + &initial.to_uppercase() + rest
    })
}

fn text(reader: impl Read, origin: &str) -> Result<String, SpecError> {
    let mut bytes = Vec::new();
    reader
        .take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| SpecError::Unreadable { origin: origin.to_owned(), source })?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(SpecError::TooLarge { origin: origin.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| SpecError::Syntax {
        origin: origin.to_owned(),
        problem: format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()),
    })
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
