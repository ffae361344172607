//! The grammar. It knows nothing of fields and types.

use winnow::{
    LocatingSlice, Parser,
    combinator::{alt, delimited, not, opt, preceded, repeat, separated, terminated},
    error::ParserError,
    stream::{Location, Stream},
    token::{any, one_of, take_while},
};

use super::{FILTER_DEPTH_MAX, Fault};

type Input<'a> = LocatingSlice<&'a str>;

/// What was written.
#[derive(Debug)]
pub(super) enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Is(Restriction),
}

/// `field operator value`.
#[derive(Debug)]
pub(super) struct Restriction {
    /// One word at least.
    pub(super) path: Vec<Word>,
    pub(super) operator: Operator,
    pub(super) operator_at: usize,
    pub(super) value: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Has,
}

/// A name or a value, and where it begins.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: usize,
    pub(super) quoted: bool,
}

/// Reads the whole text; nothing if there is nothing in it. It is at most as deep as parentheses may be, so it can be
/// walked by recursion.
pub(super) fn read(text: &str) -> Result<Option<Expression>, Fault> {
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut input = Input::new(text);
    let expression = expression(&mut input, 0).map_err(|problem| (problem.at, problem.text))?;
    blank(&mut input).map_err(|problem| (problem.at, problem.text))?;
    let at = input.current_token_start();
    match input.peek_token() {
        None => Ok(Some(expression)),
        Some(')') => Err((at, "no ( is open here".to_owned())),
        Some(_) => Err((at, "AND, OR or the end should stand here".to_owned())),
    }
}

fn expression(input: &mut Input<'_>, depth: usize) -> Result<Expression, Problem> {
    let factors = separated(1.., |input: &mut Input<'_>| factor(input, depth), keyword("AND"));
    factors.map(|factors| one_or(factors, Expression::All)).parse_next(input)
}

fn factor(input: &mut Input<'_>, depth: usize) -> Result<Expression, Problem> {
    let terms = separated(1.., |input: &mut Input<'_>| term(input, depth), keyword("OR"));
    terms.map(|terms| one_or(terms, Expression::Any)).parse_next(input)
}

fn one_or(mut all: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match all.pop() {
        Some(last) if all.is_empty() => last,
        last => many(all.into_iter().chain(last).collect()),
    }
}

fn term(input: &mut Input<'_>, depth: usize) -> Result<Expression, Problem> {
    let negated = opt(alt((keyword("NOT"), preceded(blank, "-".void())))).parse_next(input)?.is_some();
    blank(input)?;
    let inner = if input.starts_with('(') {
        parenthesized(input, depth + 1)?
    } else {
        Expression::Is(restriction(input)?)
    };
    Ok(if negated { Expression::Not(Box::new(inner)) } else { inner })
}

fn parenthesized(input: &mut Input<'_>, depth: usize) -> Result<Expression, Problem> {
    if depth > FILTER_DEPTH_MAX {
        let problem = format!("parentheses are nested deeper than {FILTER_DEPTH_MAX} levels");
        return Err(Problem::here(input, problem));
    }
    let _open = any(input)?;
    let inner = expression(input, depth)?;
    blank(input)?;
    let closed: Option<char> = opt(')').parse_next(input)?;
    closed.map(|_| inner).ok_or_else(|| Problem::here(input, "AND, OR or ) should stand here"))
}

fn restriction(input: &mut Input<'_>) -> Result<Restriction, Problem> {
    if opt(alt((keyword("AND"), keyword("OR"), keyword("NOT")))).parse_peek(*input)?.1.is_some() {
        return Err(Problem::here(input, "a field should stand here"));
    }
    let mut path = vec![name(input, is_name)?];
    let more: Vec<Word> = repeat(
        0..,
        preceded(
            '.',
            |input: &mut Input<'_>| {
                if input.starts_with(['"', '\'']) { quoted(input) } else { name(input, is_key) }
            },
        ),
    )
    .parse_next(input)?;
    path.extend(more);
    blank(input)?;
    let operator_at = input.current_token_start();
    let operator = opt(alt((
        "!=".value(Operator::NotEqual),
        "<=".value(Operator::LessOrEqual),
        ">=".value(Operator::GreaterOrEqual),
        "=".value(Operator::Equal),
        "<".value(Operator::Less),
        ">".value(Operator::Greater),
        ":".value(Operator::Has),
    )))
    .parse_next(input)?
    .ok_or_else(|| Problem::here(input, "one of = != < <= > >= : should follow the field"))?;
    blank(input)?;
    let value = if input.starts_with(['"', '\'']) { quoted(input)? } else { bare(input)? };
    Ok(Restriction { path, operator, operator_at, value })
}

fn name(input: &mut Input<'_>, part: fn(char) -> bool) -> Result<Word, Problem> {
    let at = input.current_token_start();
    let text: &str = take_while(0.., part).parse_next(input)?;
    if text.is_empty() {
        return Err(Problem::here(input, "the name of a field should stand here"));
    }
    Ok(Word { text: text.to_owned(), at, quoted: false })
}

fn bare(input: &mut Input<'_>) -> Result<Word, Problem> {
    let at = input.current_token_start();
    let is_part = |c: char| !c.is_whitespace() && !c.is_control() && !r#"()"',=<>!"#.contains(c);
    let text: &str = take_while(0.., is_part).parse_next(input)?;
    if text.is_empty() || ["AND", "OR", "NOT"].contains(&text) {
        return Err(Problem::at(at, "a value should stand here, in quotes if it is no plain word"));
    }
    Ok(Word { text: text.to_owned(), at, quoted: false })
}

fn quoted(input: &mut Input<'_>) -> Result<Word, Problem> {
    let at = input.current_token_start();
    let quote: char = any(input)?;
    let mut text = String::new();
    loop {
        match opt(any).parse_next(input)? {
            None => return Err(Problem::at(at, "this quote is not closed")),
            Some(c) if c == quote => return Ok(Word { text, at, quoted: true }),
            Some('\\') => {
                let escaped: Option<char> = opt(one_of(['\\', '"', '\''])).parse_next(input)?;
                let problem = r#"only \\, \" and \' may follow a backslash"#;
                text.push(escaped.ok_or_else(|| Problem::here(input, problem))?);
            }
            Some(c) => text.push(c),
        }
    }
}

fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), Problem> {
    delimited(blank, terminated(word, not(one_of(is_name))), blank).void()
}

fn blank(input: &mut Input<'_>) -> Result<(), Problem> {
    take_while(0.., |c: char| c.is_ascii_whitespace()).void().parse_next(input)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_key(c: char) -> bool {
    is_name(c) || c == '-' || c == '/'
}

/// What stands where something else should. Another way is tried only behind what winnow's own parsers say.
#[derive(Debug)]
struct Problem {
    at: usize,
    text: String,
    is_ours: bool,
}

impl Problem {
    fn here(input: &Input<'_>, text: impl Into<String>) -> Self {
        Self::at(input.current_token_start(), text)
    }

    fn at(at: usize, text: impl Into<String>) -> Self {
        Self { at, text: text.into(), is_ours: true }
    }
}

impl ParserError<Input<'_>> for Problem {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        Self { is_ours: false, ..Self::here(input, "this cannot be read") }
    }

    fn is_backtrack(&self) -> bool {
        !self.is_ours
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}
