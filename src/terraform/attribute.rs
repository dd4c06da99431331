//! One value of a resource, with the plan's marks of what is secret or not known yet.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// An attribute, or a whole resource. It has no `Debug`: plans hold secrets.
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

    /// The member with this name; null if there is none.
    pub(super) fn at(self, name: &str) -> Self {
        Self {
            value: self.value.get(name).unwrap_or(&NULL),
            sensitive: inherited(self.sensitive, self.sensitive.get(name)),
            unknown: inherited(self.unknown, self.unknown.get(name)),
        }
    }

    /// The items of a list; none if it is no list.
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

    /// The members of an object, whether or not they are hidden: to be understood, not repeated.
    pub(super) fn members(self) -> Option<&'p Map<String, Value>> {
        self.value.as_object()
    }

    /// True if the value, or a part of it, is secret or not known before the apply.
    pub(super) fn is_hidden(self) -> bool {
        marks(self.sensitive) || marks(self.unknown)
    }

    /// True if there is nothing, known or not.
    pub(super) fn is_absent(self) -> bool {
        self.value.is_null() && !self.is_hidden()
    }

    /// The whole value, unless something in it is hidden.
    pub(super) fn value(self) -> Option<&'p Value> {
        (!self.is_hidden()).then_some(self.value)
    }

    /// The text, unless it is hidden.
    pub(super) fn text(self) -> Option<&'p str> {
        self.value()?.as_str()
    }

    /// The text, or the number as text, if it is such a word as regions and sizes are: short, of
    /// letters, digits and little else. Nothing else of a resource's values may leave.
    pub(super) fn as_str(self) -> Option<String> {
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

/// The mark of a part: a whole that is marked marks all of its parts.
fn inherited<'p>(whole: &'p Value, part: Option<&'p Value>) -> &'p Value {
    if whole.as_bool() == Some(true) {
        whole
    } else {
        part.unwrap_or(&NULL)
    }
}

/// True if a mark, as `after_unknown` or `after_sensitive` hold them, marks anything.
pub(super) fn marks(mark: &Value) -> bool {
    match mark {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(marks),
        Value::Object(members) => members.values().any(marks),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}
