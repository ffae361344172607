//! A cell, whatever kind of file it comes from, and what can be read out of it.

use chrono::NaiveDate;

/// What a cell holds.
#[cfg_attr(not(feature = "sheets"), allow(dead_code, reason = "CSV has texts alone"))]
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Nothing.
    Empty,
    /// A number of a spreadsheet, which knows no other than floats.
    Number(f64),
    /// A text, without the blanks around it.
    Text(String),
    /// Something that no column of the list holds, such as a formula's error.
    Odd(String),
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() { Self::Empty } else { Self::Text(text.to_owned()) }
    }

    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Odd(text) => text.len(),
            Self::Empty | Self::Number(_) => 0,
        }
    }

    /// Nothing in it; the exchange writes a hyphen there.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => matches!(text.as_str(), "-" | "－" | "‐"),
            Self::Number(_) | Self::Odd(_) => false,
        }
    }

    /// The cell for a message.
    pub(super) fn shown(&self) -> String {
        const SHOWN_CHARS: usize = 60;
        match self {
            Self::Empty => "nothing".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) | Self::Odd(text) => {
                format!("{:?}", text.chars().take(SHOWN_CHARS).collect::<String>())
            }
        }
    }

    /// A text as it is written, a number without its empty fraction. Blank cells are empty texts.
    pub(super) fn to_text(&self) -> Result<String, &'static str> {
        match self {
            _ if self.is_blank() => Ok(String::new()),
            Self::Number(number) => whole(*number).map(|number| number.to_string()),
            Self::Text(text) => Ok(text.clone()),
            Self::Empty | Self::Odd(_) => Err("is neither text nor a number"),
        }
    }

    /// A text that may be a whole number. Converters that take the column for floats write 1301.0.
    pub(super) fn to_number(&self) -> Result<String, &'static str> {
        let mut text = self.to_text()?;
        if text
            .strip_suffix(".0")
            .is_some_and(|whole| !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit()))
        {
            text.truncate(text.len() - 2);
        }
        Ok(text)
    }

    /// A security code: four or five digits and upper-case letters, at least one digit among them.
    pub(super) fn to_code(&self) -> Result<String, &'static str> {
        let code = self.to_number()?;
        let is_code = matches!(code.len(), 4 | 5)
            && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            && code.bytes().any(|byte| byte.is_ascii_digit());
        if is_code { Ok(code) } else { Err("is no security code") }
    }

    /// A date: 20260131 as a number or a text, or with separators.
    pub(super) fn to_date(&self) -> Result<NaiveDate, &'static str> {
        const FORMATS: [&str; 4] = ["%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y年%m月%d日"];
        let text = self.to_number()?;
        FORMATS
            .iter()
            .find_map(|format| NaiveDate::parse_from_str(&text, format).ok())
            .filter(|date| (1900..2200).contains(&chrono::Datelike::year(date)))
            .ok_or("is no date")
    }
}

fn whole(number: f64) -> Result<i64, &'static str> {
    /// Wider than any code or date.
    const MAX: f64 = 1e12;
    if number.fract() == 0.0 && number.abs() <= MAX { Ok(number as i64) } else { Err("is no whole number") }
}

#[cfg(test)]
mod tests {
    use super::Cell;

    #[test]
    fn codes_are_texts_whatever_their_cells_are() {
        for (cell, code) in [
            (Cell::Number(1301.0), "1301"),
            (Cell::Number(25935.0), "25935"),
            (Cell::text(" 130A "), "130A"),
            (Cell::text("1301"), "1301"),
            (Cell::text("1301.0"), "1301"),
            (Cell::text("0050"), "0050"),
            (Cell::text("9A8B0"), "9A8B0"),
        ] {
            assert_eq!(cell.to_code().as_deref(), Ok(code), "{cell:?}");
        }
        for cell in [
            Cell::Number(1301.5),
            Cell::Number(-1301.0),
            Cell::Number(f64::NAN),
            Cell::Number(1e300),
            Cell::Number(7.0),
            Cell::Empty,
            Cell::text("-"),
            Cell::text("130a"),
            Cell::text("１３０１"),
            Cell::text("ABCD"),
            Cell::text("1301.5"),
            Cell::Odd("#N/A".into()),
        ] {
            assert!(cell.to_code().is_err(), "{cell:?}");
        }
    }

    #[test]
    fn dates_are_numbers_or_texts() {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 1, 31).unwrap();
        for cell in [
            Cell::Number(20_260_131.0),
            Cell::text("20260131"),
            Cell::text("20260131.0"),
            Cell::text("2026-01-31"),
            Cell::text("2026/1/31"),
            Cell::text("2026年1月31日"),
        ] {
            assert_eq!(cell.to_date(), Ok(day), "{cell:?}");
        }
        for cell in [Cell::Number(20_260_132.0), Cell::Number(46_053.0), Cell::text("31.1.2026"), Cell::Empty]
        {
            assert!(cell.to_date().is_err(), "{cell:?}");
        }
    }

    #[test]
    fn a_hyphen_is_nothing_and_a_number_has_no_fraction() {
        assert_eq!(Cell::text("-").to_text().as_deref(), Ok(""));
        assert_eq!(Cell::text("\u{3000} 極洋 ").to_text().as_deref(), Ok("極洋"));
        assert_eq!(Cell::Number(50.0).to_text().as_deref(), Ok("50"));
        assert!(Cell::Number(0.5).to_text().is_err());
    }
}
