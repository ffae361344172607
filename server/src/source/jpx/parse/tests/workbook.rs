//! A minimal .xlsx, made up for tests: stored entries, numbers and shared texts.

use std::fmt::Write;

/// A cell's column letter and XML.
pub(super) fn number(column: char, row: usize, number: f64) -> String {
    format!("<c r=\"{column}{row}\"><v>{number}</v></c>")
}

/// A text inside its cell.
pub(super) fn text(column: char, row: usize, text: &str) -> String {
    format!("<c r=\"{column}{row}\" t=\"inlineStr\"><is><t>{text}</t></is></c>")
}

/// A row's number and cells.
pub(super) type Row = (usize, Vec<String>);

/// A workbook of one sheet with these rows.
pub(super) fn xlsx(rows: &[Row]) -> Vec<u8> {
    zip(&parts_of(&[rows]))
}

/// The files of a workbook of several sheets, by name.
pub(super) fn parts_of(sheets: &[&[Row]]) -> Vec<(String, Vec<u8>)> {
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const DOCUMENT: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
    let relation = |id: usize, part: &str, target: &str| {
        format!("<Relationship Id=\"rId{id}\" Type=\"{DOCUMENT}/{part}\" Target=\"{target}\"/>")
    };
    let relations =
        |relations: &str| format!("<Relationships xmlns=\"{PACKAGE}\">{relations}</Relationships>");
    let (mut names, mut links, mut parts) = (String::new(), String::new(), Vec::new());
    for (id, rows) in (1..).zip(sheets) {
        let _ = write!(names, "<sheet name=\"Sheet{id}\" sheetId=\"{id}\" r:id=\"rId{id}\"/>");
        links.push_str(&relation(id, "worksheet", &format!("worksheets/sheet{id}.xml")));
        let mut sheet = format!("<worksheet xmlns=\"{MAIN}\"><sheetData>");
        for (row, cells) in *rows {
            let _ = write!(sheet, "<row r=\"{row}\">{}</row>", cells.concat());
        }
        parts.push((format!("xl/worksheets/sheet{id}.xml"), sheet + "</sheetData></worksheet>"));
    }
    let workbook =
        format!("<workbook xmlns=\"{MAIN}\" xmlns:r=\"{DOCUMENT}\"><sheets>{names}</sheets></workbook>");
    let root = relations(&relation(1, "officeDocument", "xl/workbook.xml"));
    let mut files = vec![
        ("_rels/.rels".to_owned(), root),
        ("xl/_rels/workbook.xml.rels".to_owned(), relations(&links)),
        ("xl/workbook.xml".to_owned(), workbook),
    ];
    files.extend(parts);
    files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

/// An archive of uncompressed files.
pub(in crate::source::jpx::parse) fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let size = u32::try_from(content.len()).unwrap().to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc32(content).to_le_bytes());
        common.extend([size, size].concat());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        let offset = u32::try_from(archive.len()).unwrap().to_le_bytes();
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &offset, name.as_bytes()].concat());
        archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), content].concat());
    }
    let [offset, size] =
        [archive.len(), directory.len()].map(|length| u32::try_from(length).unwrap().to_le_bytes());
    let count = [u8::try_from(files.len()).unwrap(), 0];
    [&archive, &directory, &b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &offset, &[0, 0]].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
