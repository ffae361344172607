//! Numbers for people.

/// A count with thousands separators.
///
/// ```
/// assert_eq!(haul_client::cli::number::count(1_234_567), "1,234,567");
/// ```
pub fn count(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: whole above 10, one decimal below.
pub fn rate(value: f64) -> String {
    if !value.is_finite() {
        "-".to_owned()
    } else if value.abs() < 10.0 && value != 0.0 {
        format!("{value:.1}")
    } else {
        count(value.round() as i64)
    }
}

/// A percentage with two decimals, never rounded up: 99.999 is not the end.
pub fn percentage(value: f64) -> String {
    // The small addition undoes what binary fractions lose: 27.85 is stored as 27.849999.
    format!("{:.2}%", (value * 100.0 + 1e-6).floor() / 100.0)
}

/// `one` or `many`, by the count, which is written in front.
pub fn plural(value: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// The counts that are not zero: `9 succeeded, 1 failed`.
pub fn tally(counts: &[(i64, &str)]) -> String {
    let parts: Vec<String> = counts
        .iter()
        .filter(|(value, _)| *value != 0)
        .map(|(value, name)| format!("{} {name}", count(*value)))
        .collect();
    parts.join(", ")
}

/// A size in binary units.
pub fn bytes(value: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if value < 1024 {
        return format!("{} B", count(value));
    }
    let mut size = value as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (-1000, "-1,000"),
            (-999, "-999"),
            (12_345_678, "12,345,678"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn rates_and_percentages() {
        for (value, text) in
            [(0.0, "0"), (0.25, "0.2"), (9.94, "9.9"), (12.4, "12"), (12_000.6, "12,001"), (f64::NAN, "-")]
        {
            assert_eq!(rate(value), text);
        }
        for (value, text) in [(0.0, "0.00%"), (27.85, "27.85%"), (99.999, "99.99%"), (100.0, "100.00%")] {
            assert_eq!(percentage(value), text);
        }
    }

    #[test]
    fn sizes() {
        for (value, text) in
            [(1023, "1,023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes(value), text);
        }
    }
}
