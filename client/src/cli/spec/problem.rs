//! What is wrong with a spec, and where.

use std::fmt;

use strsim::jaro_winkler;

/// Names less alike than this are no slips of each other.
const ALIKE_MIN: f64 = 0.8;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Line in the file, from 1, where it is plain.
    pub line: Option<usize>,
    /// Where, in the file's own words: `spec.fetch.wrokers`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl Problem {
    pub(crate) fn whole(text: String) -> Self {
        Self { line: None, path: "spec".to_owned(), text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// One line per problem, each with the file's name, so that editors can jump there.
pub(crate) fn list(origin: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| match problem.line {
            Some(line) => format!("{origin}:{line}: {problem}"),
            None => format!("{origin}: {problem}"),
        })
        .collect();
    lines.join("\n")
}

/// The known name that was probably meant, or all that are known.
pub(crate) fn advice(given: &str, known: &[String]) -> String {
    let nearest = known.iter().map(|name| (alike(given, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((score, name)) if score >= ALIKE_MIN => format!("did you mean {name:?}?"),
        Some(_) => format!("known are {}", known.join(", ")),
        None => "nothing is known here".to_owned(),
    }
}

fn alike(a: &str, b: &str) -> f64 {
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    jaro_winkler(&plain(a), &plain(b))
}

/// The line on which `name` stands as a member's name, if it does so only once.
pub(crate) fn line_of_name(text: &str, name: &str) -> Option<usize> {
    let mut lines =
        text.lines().enumerate().filter(|(_, line)| names(line, name)).map(|(index, _)| index + 1);
    let line = lines.next()?;
    lines.next().is_none().then_some(line)
}

/// Whether `name` stands on a line as a member's name.
pub(crate) fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + name.len()..].trim_start_matches(['"', '\'']);
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_') && after.trim_start().starts_with(':')
    })
}
