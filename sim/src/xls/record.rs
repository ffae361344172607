//! Records: a type, a length, at most 8,224 bytes.

/// Most bytes of a record's body; longer ones go on in CONTINUE records.
pub(super) const BODY_BYTES_MAX: usize = 8_224;

pub(super) const BOF: u16 = 0x0809;
pub(super) const BOUNDSHEET: u16 = 0x0085;
pub(super) const CODEPAGE: u16 = 0x0042;
pub(super) const CONTINUE: u16 = 0x003c;
pub(super) const DATEMODE: u16 = 0x0022;
pub(super) const DIMENSIONS: u16 = 0x0200;
pub(super) const EOF: u16 = 0x000a;
pub(super) const FONT: u16 = 0x0031;
pub(super) const LABELSST: u16 = 0x00fd;
pub(super) const NUMBER: u16 = 0x0203;
pub(super) const ROW: u16 = 0x0208;
pub(super) const SST: u16 = 0x00fc;
pub(super) const STYLE: u16 = 0x0293;
pub(super) const WINDOW1: u16 = 0x003d;
pub(super) const WINDOW2: u16 = 0x023e;
pub(super) const XF: u16 = 0x00e0;

/// The format record of the one cell format; fifteen built-in ones come before it.
pub(super) const CELL_XF: u16 = 15;

/// Appends a record. `body` is at most [`BODY_BYTES_MAX`] long.
pub(super) fn put(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    debug_assert!(body.len() <= BODY_BYTES_MAX);
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(body.len() as u16).to_le_bytes());
    out.extend_from_slice(body);
}

/// Appends a record of 16-bit fields.
pub(super) fn put_words(out: &mut Vec<u8>, kind: u16, words: &[u16]) {
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    put(out, kind, &body);
}

/// The flag byte of a text and its characters: one byte each where all are below 256, else UTF-16.
pub(super) fn characters(text: &str) -> (u8, Vec<u8>) {
    if text.chars().all(|c| u32::from(c) < 256) {
        (0, text.chars().map(|c| c as u8).collect())
    } else {
        (1, text.encode_utf16().flat_map(u16::to_le_bytes).collect())
    }
}
