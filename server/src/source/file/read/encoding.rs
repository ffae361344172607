//! The file's encoding: the spec's label, unless a byte-order mark says something else.

use std::io::BufRead;

use encoding_rs::{Encoding, UTF_8};

use super::line::Fault;

/// An encoding in which each line can be decoded by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charset(&'static Encoding);

impl Charset {
    /// The encoding of a stream that stands at its start, and how long its byte-order mark is.
    pub(super) fn detect(reader: &mut impl BufRead, label: &str) -> Result<(Self, u64), Fault> {
        let label = if label.is_empty() { "utf-8" } else { label };
        let named = Encoding::for_label(label.as_bytes())
            .ok_or_else(|| Fault::Unreadable(format!("{label:?} is no WHATWG encoding label: give one")))?;
        let (encoding, mark_bytes) = Encoding::for_bom(reader.fill_buf()?).unwrap_or((named, 0));
        if !encoding.is_ascii_compatible() {
            // A line feed may be part of a character here, or a shift may reach across lines.
            let name = encoding.name();
            return Err(Fault::Unreadable(format!(
                "{name} cannot be read line by line: convert the file to UTF-8"
            )));
        }
        Ok((Self(encoding), mark_bytes as u64))
    }

    /// The text of a line.
    pub(super) fn decode(self, bytes: &[u8]) -> Result<String, String> {
        let text = self.0.decode_without_bom_handling_and_without_replacement(bytes);
        text.map(std::borrow::Cow::into_owned).ok_or_else(|| {
            let way_out =
                if self.0 == UTF_8 { "name its encoding in the source" } else { "name another encoding" };
            format!("it is no {}: correct it, or {way_out}", self.0.name())
        })
    }
}
