//! A cell, whatever kind of file it comes from, and what can be read out of it.

use chrono::NaiveDate;

/// What a cell holds, as a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// Without the blanks around it; a number's without an empty fraction.
    pub(super) text: String,
    /// Why no column of the list can hold it, such as a formula's error.
    pub(super) fault: Option<&'static str>,
}

/// Nothing.
pub(super) static EMPTY: Cell = Cell { text: String::new(), fault: None };

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self { text: text.trim().to_owned(), fault: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == EMPTY
    }

    /// The cell for a message.
    pub(super) fn shown(&self) -> String {
        const SHOWN_CHARS: usize = 60;
        if self.is_empty() {
            return "nothing".to_owned();
        }
        format!("{:?}", self.text.chars().take(SHOWN_CHARS).collect::<String>())
    }

    /// A text as it is written; the exchange writes a hyphen for nothing.
    pub(super) fn to_text(&self) -> Result<String, &'static str> {
        match (self.fault, self.text.as_str()) {
            (Some(fault), _) => Err(fault),
            (None, "-" | "－" | "‐") => Ok(String::new()),
            (None, text) => Ok(text.to_owned()),
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

#[cfg(test)]
mod tests {
    use super::Cell;

    #[test]
    fn a_code_has_four_or_five_signs() {
        for (cell, code) in [
            (Cell::text(" 130A "), "130A"),
            (Cell::text("1301"), "1301"),
            (Cell::text("1301.0"), "1301"),
            (Cell::text("0050"), "0050"),
            (Cell::text("9A8B0"), "9A8B0"),
        ] {
            assert_eq!(cell.to_code().as_deref(), Ok(code), "{cell:?}");
        }
        for cell in [
            Cell::text(""),
            Cell::text("-"),
            Cell::text("130a"),
            Cell::text("１３０１"),
            Cell::text("ABCD"),
            Cell::text("1301.5"),
        ] {
            assert!(cell.to_code().is_err(), "{cell:?}");
        }
    }

    #[test]
    fn dates_are_written_in_several_ways() {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 1, 31).unwrap();
        for cell in [
            Cell::text("20260131"),
            Cell::text("20260131.0"),
            Cell::text("2026-01-31"),
            Cell::text("2026/1/31"),
            Cell::text("2026年1月31日"),
        ] {
            assert_eq!(cell.to_date(), Ok(day), "{cell:?}");
        }
        for cell in [Cell::text("20260132"), Cell::text("46053"), Cell::text("31.1.2026"), Cell::text("")] {
            assert!(cell.to_date().is_err(), "{cell:?}");
        }
    }

    #[test]
    fn a_hyphen_is_nothing() {
        assert_eq!(Cell::text("-").to_text().as_deref(), Ok(""));
        assert_eq!(Cell::text("\u{3000} 極洋 ").to_text().as_deref(), Ok("極洋"));
    }
}
