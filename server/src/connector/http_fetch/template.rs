//! Templates: MiniJinja, with what is known of an item and nothing else. No clock, no file, no other template.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io,
};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, value::ValueKind,
};

use crate::domain::item::Subject;

/// The template of the URL, as errors name it. Values in it are percent-encoded.
pub(super) const URL: &str = "url_template";
/// Steps that rendering one template may take: enough for some thousand values.
const FUEL: u64 = 50_000;

/// Compiled templates, by name.
pub(super) struct Templates(Environment<'static>);

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.templates().map(|(name, _)| name)).finish()
    }
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|name| {
            if name == URL { AutoEscape::Custom("percent".into()) } else { AutoEscape::None }
        });
        environment.set_formatter(write_value);
        environment.add_filter("urlencode", |value: &Value| -> Result<Value, Error> {
            Ok(Value::from_safe_string(encoded(&scalar(value)?)))
        });
        Self(environment)
    }

    /// Compiles a template. Answers with what is wrong with it.
    pub(super) fn add(&mut self, name: String, source: &str) -> Result<(), String> {
        self.0.add_template_owned(name, source.to_owned()).map_err(|error| said(&error))
    }

    /// Makes something known under a name, in all of them.
    pub(super) fn know(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.add_global(name, value.into());
    }

    /// What a template comes to. Answers else with what is wrong.
    pub(super) fn render(&self, name: &str, item: &Value, bytes_max: usize) -> Result<String, String> {
        let mut text = Bounded { bytes: Vec::new(), bytes_max };
        let template = self.0.get_template(name).map_err(|error| said(&error))?;
        let context = Value::from(BTreeMap::from([("item", item.clone())]));
        if let Err(error) = template.render_captured_to(context, &mut text) {
            return Err(match error.kind() {
                ErrorKind::WriteFailure => format!("it comes to more than {bytes_max} bytes (in {name})"),
                ErrorKind::OutOfFuel => format!("it takes more than {FUEL} steps (in {name})"),
                _ => said(&error),
            });
        }
        String::from_utf8(text.bytes).map_err(|error| format!("{error} (in {name})"))
    }
}

/// What templates call `item`.
pub(super) fn item(item: Subject<'_>) -> Result<Value, String> {
    let mut values: BTreeMap<String, Value> = match item.columns {
        Some(columns) => {
            serde_json::from_str(columns).map_err(|error| format!("its columns cannot be read: {error}"))?
        }
        None => BTreeMap::new(),
    };
    values.insert("key".to_owned(), item.key.into());
    Ok(Value::from(values))
}

/// What templates call `batch`: nothing in it differs from one start of a spec to the next.
pub(super) fn batch(display_name: &str, batch_type: &str, labels: &BTreeMap<String, String>) -> Value {
    Value::from(BTreeMap::from([
        ("display_name", Value::from(display_name)),
        ("batch_type", Value::from(batch_type)),
        ("labels", Value::from(labels.clone())),
    ]))
}

/// Writes a value that an expression came to.
fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = scalar(value)?;
    let escapes = matches!(state.auto_escape(), AutoEscape::Custom(_)) && !value.is_safe();
    let text = if escapes { encoded(&text) } else { text };
    Ok(out.write_str(&text)?)
}

/// The text of one value.
fn scalar(value: &Value) -> Result<String, Error> {
    let what = match value.kind() {
        ValueKind::Bool | ValueKind::Number | ValueKind::String => return Ok(value.to_string()),
        ValueKind::Undefined => return Err(ErrorKind::UndefinedError.into()),
        ValueKind::None => "null",
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a {kind} has no text of its own; the filters tojson and join give it one"),
            ));
        }
    };
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("the value is {what}; the filter default gives another"),
    ))
}

/// Percent-encodes all but what RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// An error in one line, with the expression that it is about.
fn said(error: &Error) -> String {
    let about = error.template_source().zip(error.range()).and_then(|(source, range)| source.get(range));
    match about.filter(|about| !error.to_string().contains(about)) {
        Some(about) => format!("{error}: {about}"),
        None => error.to_string(),
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
