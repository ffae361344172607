//! JSON straight into a buffer: the bodies are made of some thousand numbers each.

/// A JSON text being written.
#[derive(Debug)]
pub(super) struct Json {
    out: Vec<u8>,
}

impl Json {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// Appends text that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.out.extend_from_slice(json.as_bytes());
        self
    }

    /// Appends a string, quoted.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let quoted = serde_json::Value::from(text).to_string();
        self.raw(&quoted)
    }

    pub(super) fn integer(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self
    }

    /// Appends a price as the provider does: a single-precision number in double precision's digits, whole yen as an
    /// integer.
    pub(super) fn price(&mut self, price: f32) -> &mut Self {
        self.number(f64::from(price))
    }

    pub(super) fn number(&mut self, number: f64) -> &mut Self {
        if number.fract() == 0.0 && number.abs() < 1e15 {
            return self.integer(number as i64);
        }
        self.out.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
        self
    }

    /// Appends an array, each item written by `item`.
    pub(super) fn array<T: Copy>(&mut self, items: &[T], item: impl Fn(&mut Self, T)) -> &mut Self {
        self.out.push(b'[');
        for (i, value) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            item(self, *value);
        }
        self.out.push(b']');
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}
