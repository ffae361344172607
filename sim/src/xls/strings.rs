//! The shared string table, and how it is cut into records.

use std::collections::HashMap;

use super::record::{BODY_BYTES_MAX, CONTINUE, SST, characters, put};

/// Each distinct text once, in order of first use.
#[derive(Debug, Default)]
pub(super) struct SharedStrings {
    index: HashMap<String, u32>,
    texts: Vec<String>,
    uses: u32,
}

impl SharedStrings {
    /// The number of a text, which is entered if new.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        self.uses += 1;
        if let Some(number) = self.index.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.index.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    /// Appends the SST record and its CONTINUE records.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut cut = Cut { out, kind: SST, body: Vec::with_capacity(BODY_BYTES_MAX) };
        cut.body.extend_from_slice(&self.uses.to_le_bytes());
        cut.body.extend_from_slice(&(self.texts.len() as u32).to_le_bytes());
        for text in &self.texts {
            cut.text(text);
        }
        cut.end_record();
    }
}

/// Cuts the table into records. A text's head (length and flag) stays in one piece; its characters may go on in the
/// next record, which then begins with the flag once more ([MS-XLS] 2.5.293).
struct Cut<'a> {
    out: &'a mut Vec<u8>,
    kind: u16,
    body: Vec<u8>,
}

impl Cut<'_> {
    fn text(&mut self, text: &str) {
        let (flag, bytes) = characters(text);
        let width = 1 + usize::from(flag);
        // Head and first character together (of up to two units): a record never begins with the characters of a text
        // not yet begun.
        if self.room() < 3 + 2 * width {
            self.end_record();
        }
        self.body.extend_from_slice(&((bytes.len() / width) as u16).to_le_bytes());
        self.body.push(flag);
        let mut left = bytes.as_slice();
        loop {
            let mut fits = (self.room() / width * width).min(left.len());
            if width == 2 && fits < left.len() && ends_within_pair(&left[..fits]) {
                fits -= width;
            }
            let (here, later) = left.split_at(fits);
            self.body.extend_from_slice(here);
            left = later;
            if left.is_empty() {
                return;
            }
            self.end_record();
            self.body.push(flag);
        }
    }

    fn room(&self) -> usize {
        BODY_BYTES_MAX - self.body.len()
    }

    fn end_record(&mut self) {
        put(self.out, self.kind, &self.body);
        self.kind = CONTINUE;
        self.body.clear();
    }
}

/// Whether UTF-16 ends after the first half of a pair. Readers that decode record by record would lose the character.
fn ends_within_pair(utf16: &[u8]) -> bool {
    matches!(utf16, [.., _, 0xd8..=0xdb])
}
