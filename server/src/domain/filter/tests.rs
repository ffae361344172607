//! What is read, how it binds, and what is refused where.

use super::*;

type Batches = Filter<BatchField>;
type Items = Filter<ItemField>;

/// A condition with its parentheses written out.
fn shown<F: Field>(condition: &Condition<F>) -> String {
    let joined =
        |all: &[Condition<F>], by: &str| format!("({})", all.iter().map(shown).collect::<Vec<_>>().join(by));
    match condition {
        Condition::All(all) => joined(all, " & "),
        Condition::Any(any) => joined(any, " | "),
        Condition::Not(inner) => format!("!{}", shown(inner)),
        Condition::Compare { field, order, value } => {
            let value = match value {
                Value::Text(text) => format!("{text:?}"),
                Value::Whole(number) => number.to_string(),
                Value::Instant(ms) => format!("@{ms}"),
            };
            format!("{field:?} {order:?} {value}")
        }
        Condition::Label { key, value } => format!("label {key:?} {value:?}"),
    }
}

#[test]
fn filters_are_read_as_they_bind() {
    let table = [
        ("state = RUNNING", "State Equal \"RUNNING\""),
        ("state=\"RUNNING\"", "State Equal \"RUNNING\""),
        ("state != RUNNING", "!State Equal \"RUNNING\""),
        // OR binds tighter than AND.
        (
            "kind = FETCH AND state = RUNNING OR state = PAUSED",
            "(Kind Equal \"FETCH\" & (State Equal \"RUNNING\" | State Equal \"PAUSED\"))",
        ),
        (
            "(kind = FETCH AND state = RUNNING) OR state = PAUSED",
            "((Kind Equal \"FETCH\" & State Equal \"RUNNING\") | State Equal \"PAUSED\")",
        ),
        ("NOT state = PAUSED", "!State Equal \"PAUSED\""),
        ("-state = PAUSED", "!State Equal \"PAUSED\""),
        ("NOT(state = PAUSED)AND(kind=FETCH)", "(!State Equal \"PAUSED\" & Kind Equal \"FETCH\")"),
        ("name = batches/nightly", "Name Equal \"batches/nightly\""),
        ("name >= batches/", "Name GreaterOrEqual \"batches/\""),
        ("parent_batch != \"\"", "!ParentBatch Equal \"\""),
        (r#"display_name = "a \"b\" \\ 'c'""#, r#"DisplayName Equal "a \"b\" \\ 'c'""#),
        (
            "display_name > 'NOT a \"keyword\" AND (so on'",
            r#"DisplayName Greater "NOT a \"keyword\" AND (so on""#,
        ),
        ("display_name = 日本", "DisplayName Equal \"日本\""),
        ("batch_type = \"\"", "BatchType Equal \"\""),
        ("create_time >= 1970-01-01T09:00:01.5+09:00", "CreateTime GreaterOrEqual @1500"),
        ("end_time < \"1970-01-01T00:00:01Z\"", "EndTime Less @1000"),
        ("labels.team:infra", "label \"team\" Some(\"infra\")"),
        ("labels.team = \"infra\"", "label \"team\" Some(\"infra\")"),
        ("labels.team != infra", "!label \"team\" Some(\"infra\")"),
        ("labels.app.example.org/name-x:y", "label \"app.example.org/name-x\" Some(\"y\")"),
        ("labels.\"a b\":y", "label \"a b\" Some(\"y\")"),
        ("labels.team:*", "label \"team\" None"),
        ("labels.team:\"*\"", "label \"team\" Some(\"*\")"),
        ("labels:team", "label \"team\" None"),
        (" \t state\n= RUNNING ", "State Equal \"RUNNING\""),
        ("NOTE = 1", ""),
        ("end_reason = ANDERS OR end_reason = ORT", "(EndReason Equal \"ANDERS\" | EndReason Equal \"ORT\")"),
    ];
    for (text, expected) in table {
        let read = Batches::parse(text);
        if expected.is_empty() {
            assert!(read.is_err(), "{text}");
        } else {
            assert_eq!(
                read.as_ref().map(|filter| shown(filter.condition().unwrap())).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }
    let items = Items::parse("error.http_status >= 500 AND attempt_count > -1").unwrap();
    assert_eq!(
        shown(items.condition().unwrap()),
        "(HttpStatus GreaterOrEqual 500 & AttemptCount Greater -1)"
    );
    assert_eq!(Items::parse(" \n"), Ok(Items::ALL));
}

#[test]
fn what_is_wrong_is_told_with_its_column() {
    let deep = |levels: usize| format!("{}state = PAUSED{}", "(".repeat(levels), ")".repeat(levels));
    let table = [
        ("stat = RUNNING", 1, "no field \"stat\""),
        ("state = running", 9, "\"running\" is no value of state; there are OPEN, QUEUED"),
        ("state < RUNNING", 7, "no order"),
        ("state:RUNNING", 6, "labels only"),
        ("state", 6, "should follow the field"),
        ("\"nightly\"", 1, "name of a field"),
        ("state =", 8, "a value should stand here"),
        ("state = AND", 9, "a value should stand here"),
        ("state = PAUSED kind = FETCH", 16, "AND, OR or the end"),
        ("state = PAUSED AND", 19, "name of a field"),
        ("AND state = PAUSED", 1, "a field should stand here"),
        ("NOT NOT state = PAUSED", 5, "a field should stand here"),
        ("(state = PAUSED", 16, "AND, OR or )"),
        ("state = PAUSED)", 15, "no ( is open"),
        ("()", 2, "name of a field"),
        ("display_name = \"日本\" AND name = \"x", 32, "not closed"),
        (r#"name = "a\nb""#, 11, "backslash"),
        ("name = nightly", 8, "a full name, batches/nightly, not to \"nightly\""),
        ("NOT parent_batch = \"a b\"", 20, "a full name, batches/nightly, not to \"a b\""),
        ("name > nightly", 8, "a full name"),
        ("create_time > yesterday", 15, "2026-02-28T15:00:00Z"),
        ("create_time > 2026-02-28", 15, "2026-02-28T15:00:00Z"),
        ("labels = x", 8, "labels.key:value"),
        ("labels.team > x", 13, "labels.key:value"),
        ("labels.:x", 8, "name of a field"),
        ("name.x = y", 1, "no field \"name.x\""),
        ("state == PAUSED", 8, "a value should stand here"),
        (&deep(9), 9, "deeper than 8"),
        (&format!("name = \"{}\"", "ö".repeat(1_100)), 1_029, "longer than 2048 bytes"),
    ];
    for (text, column, problem) in table {
        let error = Batches::parse(text).expect_err(text);
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
    }
    assert!(Batches::parse(&deep(8)).is_ok());
    let number = Items::parse("attempt_count = \"3\"").unwrap_err();
    assert_eq!((number.column, number.problem.contains("whole number")), (17, true));
    assert!(Items::parse("labels.team:x").is_err());
}

#[test]
fn a_call_may_take_fewer_fields() {
    let few =
        |text| Batches::parse_over(text, |field| matches!(field, BatchField::State | BatchField::Labels));
    assert!(few("state = PAUSED AND labels.a:b").is_ok());
    assert_eq!(
        few("name = x").unwrap_err().problem,
        "there is no field \"name\" here; there are state, labels"
    );
}

/// One label, and an end that may be missing.
struct Thing(Option<i64>);

impl Subject<BatchField> for Thing {
    fn datum(&self, field: BatchField) -> Datum<'_> {
        match field {
            BatchField::EndTime => Datum::Instant(self.0.and_then(DateTime::from_timestamp_millis)),
            BatchField::Labels => Datum::Labels,
            _ => Datum::Text("".into()),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        (key == "team").then_some("infra")
    }
}

#[test]
fn what_is_absent_is_neither_before_nor_after_and_unequal_is_not_equal() {
    let holds = |thing: &Thing, text| Batches::parse(text).unwrap().matches(thing);
    let (ended, live) = (Thing(Some(1_500)), Thing(None));
    let table = [
        ("end_time < 1970-01-01T00:00:02Z", true, false),
        ("end_time > 1970-01-01T00:00:02Z", false, false),
        ("end_time = 1970-01-01T00:00:01.5Z", true, false),
        ("end_time != 1970-01-01T00:00:01.5Z", false, true),
        ("NOT end_time < 1970-01-01T00:00:02Z", false, true),
        ("end_reason = \"\"", true, true),
        ("pause_cause != USER", true, true),
        ("labels.team:infra", true, true),
        ("labels:team AND NOT labels.team:other", true, true),
        ("labels.other != infra", true, true),
        ("labels:other OR labels.team = x", false, false),
        ("", true, true),
    ];
    for (text, of_ended, of_live) in table {
        assert_eq!((holds(&ended, text), holds(&live, text)), (of_ended, of_live), "{text}");
    }
}
