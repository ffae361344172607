//! Bounded texts.

/// Longest reason or message that is stored, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

const MARK: &str = "…";

/// Cuts a text to at most `bytes_max` bytes at a character's boundary, marking the cut.
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

/// A message for people: one line, bounded.
pub fn message(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(line.trim(), MESSAGE_BYTES_MAX)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cut_keeps_whole_characters_and_the_bound() {
        assert_eq!(super::cut("abc", 3), "abc");
        let cut = super::cut("日本語日本語", 10);
        assert!(cut.len() <= 10 && cut.ends_with('…'), "{cut}");
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(super::hex(&[0, 0x0f, 0xff]), "000fff");
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(super::message("  a\r\nb\tc "), "a  b c");
    }
}
