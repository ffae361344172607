//! The exchange's list of listed issues.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

/// One published list. A version never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListVersion {
    /// The day that the list is for, as it says itself.
    pub list_date: NaiveDate,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// A version as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredList {
    /// Where it is from.
    pub uri: String,
    /// Its date and hash.
    pub version: ListVersion,
    /// When it was fetched.
    pub fetched_at: DateTime<Utc>,
    /// Its rows.
    pub issue_count: i64,
}

/// Market segment, as the list's own column says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Segment {
    /// Prime (since 2022-04).
    Prime,
    /// Standard (since 2022-04).
    Standard,
    /// Growth (since 2022-04).
    Growth,
    /// TOKYO PRO Market.
    ProMarket,
    /// Exchange-traded funds and notes.
    EtfEtn,
    /// REITs, venture, country and infrastructure funds.
    Reit,
    /// Equity contribution securities.
    EquityContribution,
    /// First Section (to 2022-04).
    FirstSection,
    /// Second Section (to 2022-04).
    SecondSection,
    /// Mothers (to 2022-04).
    Mothers,
    /// JASDAQ Standard (to 2022-04).
    JasdaqStandard,
    /// JASDAQ Growth (to 2022-04).
    JasdaqGrowth,
}

impl Segment {
    const ALL: [Self; 12] = [
        Self::Prime,
        Self::Standard,
        Self::Growth,
        Self::ProMarket,
        Self::EtfEtn,
        Self::Reit,
        Self::EquityContribution,
        Self::FirstSection,
        Self::SecondSection,
        Self::Mothers,
        Self::JasdaqStandard,
        Self::JasdaqGrowth,
    ];

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prime => "PRIME",
            Self::Standard => "STANDARD",
            Self::Growth => "GROWTH",
            Self::ProMarket => "PRO_MARKET",
            Self::EtfEtn => "ETF_ETN",
            Self::Reit => "REIT",
            Self::EquityContribution => "EQUITY_CONTRIBUTION",
            Self::FirstSection => "FIRST_SECTION",
            Self::SecondSection => "SECOND_SECTION",
            Self::Mothers => "MOTHERS",
            Self::JasdaqStandard => "JASDAQ_STANDARD",
            Self::JasdaqGrowth => "JASDAQ_GROWTH",
        }
    }

    /// The segment of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|segment| segment.as_str() == word)
    }
}

/// One row of a list. Missing texts are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedIssue {
    /// Security code: four digits, three digits and a letter, or five digits for a class of shares.
    pub code: String,
    /// Name of the issue.
    pub name: String,
    /// Segment as the list says it.
    pub market: String,
    /// Segment, where its text is a known one.
    pub segment: Option<Segment>,
    /// Code and name of the 33-sector industry.
    pub industry33_code: String,
    /// Name of the 33-sector industry.
    pub industry33: String,
    /// Code of the 17-sector industry.
    pub industry17_code: String,
    /// Name of the 17-sector industry.
    pub industry17: String,
    /// Code of the size class.
    pub scale_code: String,
    /// Name of the size class.
    pub scale: String,
}

/// A list as read from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFile {
    /// Its date and hash.
    pub version: ListVersion,
    /// Its rows in the file's order, each code once.
    pub issues: Vec<ListedIssue>,
}
