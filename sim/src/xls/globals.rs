//! The workbook's first part: fonts and formats that a reader expects, the sheet's name and place, the texts.

use super::record::{
    BOF, BOUNDSHEET, CODEPAGE, DATEMODE, EOF, FONT, STYLE, WINDOW1, XF, characters, put, put_words,
};
use super::strings::SharedStrings;

/// UTF-16.
const CODE_PAGE: u16 = 1200;
const FONT_NAME: &str = "ＭＳ Ｐゴシック";
/// Shift JIS, as a font's character set.
const FONT_CHARSET: u8 = 128;
const PATTERN_COLOURS: u16 = 0x20c0;

/// The whole part. The sheet's stream is to follow at once.
pub(super) fn stream(sheet_name: &str, strings: &SharedStrings) -> Vec<u8> {
    let mut out = Vec::new();
    put_words(&mut out, BOF, &[0x0600, 0x0005, 0x18af, 0x07cd, 0x00c1, 0, 0x0006, 0]);
    put_words(&mut out, CODEPAGE, &[CODE_PAGE]);
    put_words(&mut out, WINDOW1, &[0, 0, 0x4000, 0x2000, 0x0038, 0, 0, 1, 600]);
    put_words(&mut out, DATEMODE, &[0]);
    for _ in 0..4 {
        put(&mut out, FONT, &font());
    }
    for kind in 0..16 {
        put(&mut out, XF, &cell_format(kind));
    }
    put(&mut out, STYLE, &[0x00, 0x80, 0x00, 0xff]);
    let place_at = put_bound_sheet(&mut out, sheet_name);
    strings.put(&mut out);
    put(&mut out, EOF, &[]);
    let place = (out.len() as u32).to_le_bytes();
    out[place_at..place_at + 4].copy_from_slice(&place);
    out
}

/// Appends the sheet's name and returns where its place is to be filled in.
fn put_bound_sheet(out: &mut Vec<u8>, name: &str) -> usize {
    let (flag, bytes) = characters(name);
    let length = bytes.len() / (1 + usize::from(flag));
    let body: Vec<u8> = [0; 6].into_iter().chain([length as u8, flag]).chain(bytes).collect();
    let place_at = out.len() + 4;
    put(out, BOUNDSHEET, &body);
    place_at
}

/// Eleven points, regular, black.
fn font() -> Vec<u8> {
    let (flag, name) = characters(FONT_NAME);
    let length = name.len() / (1 + usize::from(flag));
    let mut body: Vec<u8> = [220u16, 0, 0x7fff, 400, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend_from_slice(&[0, 3, FONT_CHARSET, 0, length as u8, flag]);
    body.extend_from_slice(&name);
    body
}

/// Fifteen style formats, which the file format asks for, then that of the cells.
fn cell_format(number: u16) -> Vec<u8> {
    let is_style = number < 15;
    let parent_and_kind: u16 = if is_style { 0xfff5 } else { 0x0001 };
    let unused: u16 = if number == 0 || !is_style { 0x0000 } else { 0xf400 };
    [0, 0, parent_and_kind, 0x0020, unused, 0, 0, 0, 0, PATTERN_COLOURS]
        .iter()
        .flat_map(|word: &u16| word.to_le_bytes())
        .collect()
}
