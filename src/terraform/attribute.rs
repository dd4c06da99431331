//! One value of a resource, with the plan's marks of what is sensitive or unknown.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// An attribute, or a whole resource. No `Debug`: plans hold secrets.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'p> {
    value: &'p Value,
    sensitive: &'p Value,
    unknown: &'p Value,
}

impl<'p> Attribute<'p> {
    pub(super) fn new(value: &'p Value, sensitive: &'p Value, unknown: &'p Value) -> Self {
        Self {
            value,
            sensitive,
            unknown,
        }
    }

    /// Null if it is absent.
    pub(super) fn get(self, name: &str) -> Self {
        Self {
            value: self.value.get(name).unwrap_or(&NULL),
            sensitive: inherited(self.sensitive, self.sensitive.get(name)),
            unknown: inherited(self.unknown, self.unknown.get(name)),
        }
    }

    /// None if it is not a list.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        self.value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .map(move |(number, value)| Self {
                value,
                sensitive: inherited(self.sensitive, self.sensitive.get(number)),
                unknown: inherited(self.unknown, self.unknown.get(number)),
            })
    }

    /// Hidden ones too: they may be interpreted, and never repeated.
    pub(super) fn members(self) -> Option<&'p Map<String, Value>> {
        self.value.as_object()
    }

    /// True if the value, or a part of it, is sensitive or unknown before the apply.
    pub(super) fn is_hidden(self) -> bool {
        is_marked(self.sensitive) || is_marked(self.unknown)
    }

    /// True if there is no value, known or not.
    pub(super) fn is_absent(self) -> bool {
        self.value.is_null() && !self.is_hidden()
    }

    /// None if any part is hidden.
    pub(super) fn value(self) -> Option<&'p Value> {
        (!self.is_hidden()).then_some(self.value)
    }

    /// None if it is hidden.
    pub(super) fn as_str(self) -> Option<&'p str> {
        self.value()?.as_str()
    }

    /// The string, or the number as one, if it looks like a region or a size: short, of letters, digits
    /// and little else. No other value of a resource may leave.
    pub(super) fn word(self) -> Option<String> {
        let word = match self.value()? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_.".contains(&byte);
        let fits = (1..=64).contains(&word.len()) && word.bytes().all(plain);
        fits.then_some(word)
    }
}

/// A whole that is marked marks all of its parts.
fn inherited<'p>(whole: &'p Value, part: Option<&'p Value>) -> &'p Value {
    if whole.as_bool() == Some(true) {
        whole
    } else {
        part.unwrap_or(&NULL)
    }
}

/// True if a mark of `after_unknown` or `after_sensitive` marks any part.
pub(super) fn is_marked(mark: &Value) -> bool {
    match mark {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(is_marked),
        Value::Object(members) => members.values().any(is_marked),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}
